//! Layers of Windows images in a store: from archives to directories, and back to nothing.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod windows_kit;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::Arc;

use bytes::Bytes;
use snapshot::windows::{WINDOWS_LAYER, WINDOWS_SCRATCH, chain_id};
use snapshot::{Differ, Differs, LcowConfig, LcowLayers, MountType, SnapshotError, Snapshotter};
use store::{Digest, Resource};
use windows_kit::{Tar, apply, chain, open, request, tree, unpack};

fn names(directory: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn three() -> Vec<Vec<u8>> {
    let base = Tar::base()
        .directory("Files/Windows")
        .directory("Files/Windows/System32")
        .file("Files/Windows/System32/Tool.DLL", "base tool")
        .directory("Files/App")
        .file("Files/App/Readme.txt", "base")
        .file("Files/App/old.txt", "old")
        .directory("Files/App/Sub")
        .file("Files/App/Sub/x", "x")
        .hard_link("Files/App/second", "Files/App/Readme.txt");
    let second = Tar::new()
        .directory("Files")
        .directory("Files/APP")
        .file("Files/APP/readme.TXT", "second layer")
        .delete("Files/APP/OLD.txt")
        .delete("Files/APP/SUB")
        .hard_link("Files/APP/third", "Files/App/second");
    let third = Tar::new()
        .directory("Files")
        .directory("Files/App")
        .directory("Files/App/Sub")
        .file("Files/App/Sub/z", "z")
        .symlink("Files/App/third", "second");
    [base, second, third].map(Tar::end).into()
}

#[tokio::test]
async fn layers_are_stored_by_chain_id_with_the_names_of_those_below() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tars = three();
    let (paths, keys) = chain(&layers, &tars).await;
    let ids: Vec<Digest> = tars.iter().map(Digest::of).collect();
    assert_eq!(keys[0], ids[0]);
    assert_eq!(keys[1], chain_id(Some(&keys[0]), &ids[1]));
    assert_eq!(keys[2], Digest::of(format!("{} {}", keys[1], ids[2])));
    let root = dir.path().join("windows/layers");
    assert_eq!(paths[2], root.join(keys[2].hex()));
    assert_eq!(names(&paths[0]), ["Files", "Hives", "layer.json", "ntfs.meta"]);

    let found = layers.layer(&keys[1]).await.unwrap().unwrap();
    assert_eq!((&found.diff_id, &found.key), (&ids[1], &keys[1]));
    assert_eq!(found.mount_type, MountType::WindowsLayer);
    assert!(found.allocated_bytes > 4096 && found.size > 12);
    assert!(layers.layer(&ids[1]).await.unwrap().is_none());
    assert_eq!(layers.layers().await.unwrap().len(), 3);

    // Wine's spelling for what it has, the base layer's for the rest.
    assert!(paths[0].join("Files/Windows/System32/tool.dll").is_file());
    let app = paths[1].join("Files/App");
    assert_eq!(names(&app), ["Readme.txt", "Sub", "old.txt", "third"]);
    for hidden in ["Sub", "old.txt"] {
        let mark = fs::symlink_metadata(app.join(hidden)).unwrap();
        assert!(mark.file_type().is_char_device() && mark.rdev() == 0, "{hidden}");
    }
    let inode = |path: &str| fs::metadata(path).unwrap().ino();
    let first = paths[0].join("Files/App/second");
    assert_eq!(
        inode(first.to_str().unwrap()),
        inode(app.join("third").to_str().unwrap())
    );
    // A link hides what is below, and is not there for Linux.
    let link = fs::symlink_metadata(paths[2].join("Files/App/third")).unwrap();
    assert!(link.file_type().is_char_device());

    // The same archive upon another layer is another layer.
    let other = unpack(&layers, &tars[2], &keys[..1]).await.unwrap();
    assert_ne!(other.key, keys[2]);
    assert_eq!(other.diff_id, ids[2]);
}

#[tokio::test]
async fn a_layer_needs_those_below_and_the_announced_digests() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tars = three();
    let missing = Digest::of(&tars[0]);
    let error = unpack(&layers, &tars[1], std::slice::from_ref(&missing))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, SnapshotError::MissingParent { parent, .. } if *parent == missing),
        "{error}"
    );
    assert!(error.to_string().contains(missing.as_str()));

    let mut wrong = request(&tars[0], &[]);
    wrong.expected_diff_id = Some(Digest::of(b"other"));
    wrong.chain_id = None;
    let error = apply(&layers, &tars[0], wrong).await.unwrap_err();
    assert!(matches!(error, SnapshotError::DiffIdMismatch { .. }), "{error}");

    let mut wrong = request(&tars[0], &[]);
    wrong.chain_id = Some(Digest::of(b"other"));
    let error = apply(&layers, &tars[0], wrong.clone()).await.unwrap_err();
    assert!(matches!(error, SnapshotError::ChainIdMismatch { .. }), "{error}");
    wrong.expected_diff_id = None;
    let error = apply(&layers, &tars[0], wrong).await.unwrap_err();
    assert!(matches!(error, SnapshotError::ChainIdMismatch { .. }) && error.is_data_loss());

    let mut unknown = request(&tars[0], &[]);
    (unknown.expected_diff_id, unknown.chain_id) = (None, None);
    let layer = apply(&layers, &tars[0], unknown).await.unwrap();
    assert_eq!(layer.key, missing);
    // Again: nothing is to be written.
    let again = layers.apply(request(&tars[0], &[])).await.unwrap().unwrap();
    assert!(again.is_present());
    assert_eq!(names(&dir.path().join("windows/layers")), [missing.hex()]);
}

#[tokio::test]
async fn nothing_is_kept_of_an_archive_that_is_hostile_or_abandoned() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let base = Tar::base().file("Files/a", "a").end();
    let keys = [unpack(&layers, &base, &[]).await.unwrap().key];
    for (tar, entry) in [
        (Tar::new().file("Files/../../x", "x"), "Files/../../x"),
        (Tar::new().file("Files/nul.txt", "x"), "Files/nul.txt"),
        (Tar::new().file("Files/x.", "x"), "Files/x."),
        (Tar::new().file("Files/x", "1").file("Files/X", "2"), "Files/X"),
        (Tar::new().file("C:/x", "x"), "C:/x"),
        (
            Tar::new().symlink("Files/l", "/etc").file("Files/l/x", "x"),
            "Files/l/x",
        ),
        (Tar::new().hard_link("Files/h", "Files/none"), "Files/h"),
        (Tar::new().file("elsewhere", "x"), "elsewhere"),
    ] {
        let error = unpack(&layers, &tar.end(), &keys).await.unwrap_err();
        let SnapshotError::Layer { source, .. } = &error else {
            panic!("{entry}: {error}")
        };
        assert!(source.to_string().contains(entry), "{entry}: {source}");
    }
    let tar = Tar::new().file("Files/b", "b").end();
    let mut abandoned = layers.apply(request(&tar, &keys)).await.unwrap().unwrap();
    abandoned.write(Bytes::from(tar.clone())).await.unwrap();
    abandoned.end().await.unwrap();
    drop(abandoned);
    layers.settle().await;
    assert_eq!(names(&dir.path().join("windows/layers")), [keys[0].hex()]);
    unpack(&layers, &tar, &keys).await.unwrap();
}

#[tokio::test]
async fn each_differ_serves_its_own_mount_type() {
    let dir = tempfile::tempdir().unwrap();
    let (store, layers) = open(dir.path()).await;
    let linux = LcowLayers::open(&store, LcowConfig::default()).await.unwrap();
    let differs = Differs::new(vec![linux.clone(), layers.clone()]);
    let tar = Tar::base().file("Files/a", "a").end();
    for (mount_type, parents) in [
        (MountType::LcowLayer, Vec::new()),
        (MountType::WindowsLayer, Vec::new()),
    ] {
        let mut wanted = request(&tar, &parents);
        wanted.mount_type = mount_type;
        let mut apply = differs.apply(wanted).await.unwrap();
        apply.write(Bytes::from(tar.clone())).await.unwrap();
        assert_eq!(apply.finish().await.unwrap().mount_type, mount_type);
    }
    let mut foreign = request(&tar, &[]);
    foreign.media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".to_owned();
    assert!(differs.apply(foreign).await.unwrap().is_present());
    assert!(linux.layer(&Digest::of(&tar)).await.unwrap().is_some());
}

#[tokio::test]
async fn the_collection_keeps_what_is_used_and_what_that_needs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, layers) = open(dir.path()).await;
    let (_, keys) = chain(&layers, &three()).await;
    layers.create_scratch("kept", None).await.unwrap();
    layers.create_scratch("left", None).await.unwrap();
    let kept = vec![
        Resource::new(WINDOWS_LAYER, keys[1].as_str()),
        Resource::new(WINDOWS_SCRATCH, "kept"),
    ];
    store.put_root("container", kept).await.unwrap();
    let report = store.collect().await.unwrap();
    let removed = [
        Resource::new(WINDOWS_LAYER, keys[2].as_str()),
        Resource::new(WINDOWS_SCRATCH, "left"),
    ];
    assert_eq!(report.removed.len(), 2);
    assert!(
        removed.iter().all(|one| report.removed.contains(one)),
        "{report:?}"
    );
    assert!(report.freed_bytes > 4096);
    assert!(layers.layer(&keys[0]).await.unwrap().is_some());
    store.remove_root("container").await.unwrap();
    store.collect().await.unwrap();
    assert!(layers.layers().await.unwrap().is_empty() && layers.scratches().await.unwrap().is_empty());
    assert!(names(&dir.path().join("windows/layers")).is_empty());
}

#[tokio::test]
async fn what_a_crash_left_is_removed_and_a_damaged_layer_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, layers) = open(dir.path()).await;
    let tars = three();
    let (paths, keys) = chain(&layers, &tars).await;
    let root = dir.path().join("windows/layers");
    for damage in ["record", "side file", "shorter"] {
        match damage {
            "record" => fs::write(paths[1].join("layer.json"), "{").unwrap(),
            "side file" => fs::remove_file(paths[1].join("ntfs.meta")).unwrap(),
            _ => fs::write(paths[1].join("ntfs.meta"), "x").unwrap(),
        }
        assert!(layers.layer(&keys[1]).await.unwrap().is_none(), "{damage}");
        let error = unpack(&layers, &Tar::new().file("Files/n", "n").end(), &keys[..2]).await;
        assert!(
            matches!(error, Err(SnapshotError::MissingParent { .. })),
            "{damage}"
        );
        unpack(&layers, &tars[1], &keys[..1]).await.unwrap();
        assert!(paths[1].join("Files/App/Readme.txt").is_file());
    }
    // The length is right and the content is not: found when it is needed.
    let mut side = fs::read(paths[1].join("ntfs.meta")).unwrap();
    let last = side.len() - 1;
    side[last] ^= 1;
    fs::write(paths[1].join("ntfs.meta"), side).unwrap();
    let error = unpack(&layers, &Tar::new().file("Files/n", "n").end(), &keys[..2]).await;
    assert!(matches!(error, Err(SnapshotError::MissingParent { .. })));

    windows_kit::write(root.join(".tmp-0102/Files/half"), "half");
    windows_kit::write(root.join(".rm-0102/Files/gone"), "gone");
    fs::remove_file(paths[2].join("layer.json")).unwrap();
    windows_kit::write(dir.path().join("windows/scratch/.tmp-03/upper/x"), "x");
    drop(layers);
    store.close().await.unwrap();
    let (_store, layers) = open(dir.path()).await;
    let mut kept = [keys[0].hex(), keys[1].hex()];
    kept.sort_unstable();
    assert_eq!(names(&root), kept);
    assert!(names(&dir.path().join("windows/scratch")).is_empty());
    assert_eq!(layers.layers().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_scratch_is_two_directories_and_a_size_that_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let scratch = layers.create_scratch("c1", Some(5 << 30)).await.unwrap();
    assert_eq!(scratch.path, dir.path().join("windows/scratch/c1"));
    assert_eq!(names(&scratch.path), ["scratch.json", "upper", "work"]);
    assert_eq!((scratch.size_bytes, scratch.allocated_bytes), (Some(5 << 30), 0));
    assert!(matches!(
        layers.create_scratch("c1", None).await,
        Err(SnapshotError::ScratchExists { .. })
    ));
    for bad in ["../x", "", ".hidden", "a/b"] {
        let error = layers.create_scratch(bad, None).await.unwrap_err();
        assert!(matches!(error, SnapshotError::InvalidId { .. }), "{bad}");
    }
    assert!(matches!(
        layers.create_scratch("c2", Some(1)).await,
        Err(SnapshotError::InvalidSize { .. })
    ));
    windows_kit::write(scratch.path.join("upper/Files/a"), &"a".repeat(100_000));
    let found = layers.scratch("c1").await.unwrap().unwrap();
    assert!(found.allocated_bytes >= 100_000 && found.size_bytes == Some(5 << 30));
    assert_eq!(layers.scratches().await.unwrap(), [found]);
    fs::remove_dir(scratch.path.join("work")).unwrap();
    let damaged = layers.scratch("c1").await;
    assert!(matches!(damaged, Err(SnapshotError::ScratchDamaged { .. })));
    assert!(layers.remove_scratch("c1").await.unwrap() >= 100_000);
    assert_eq!(layers.remove_scratch("c1").await.unwrap(), 0);
    assert!(layers.scratch("c1").await.unwrap().is_none());
}

#[tokio::test]
async fn many_who_bring_the_same_layer_make_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tar = Arc::new(Tar::base().file("Files/a", "a".repeat(1 << 20)).end());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (layers, tar) = (Arc::clone(&layers), Arc::clone(&tar));
        tasks.spawn(async move { unpack(&layers, &tar, &[]).await.unwrap() });
    }
    let made = tasks.join_all().await;
    assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
    let content = tree(&made[0].path.join("Files"));
    assert_eq!(content.len(), 1);
    assert_eq!(names(&dir.path().join("windows/layers")).len(), 1);
}
