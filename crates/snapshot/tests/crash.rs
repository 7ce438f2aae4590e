//! Faults from outside: the process is killed while it unpacks, and the disk is full.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod kit;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use kit::{GZIP, archive, files, gzip, open, request, unpack};
use snapshot::{Differ, Snapshotter};
use store::{Digest, Resource};

const ROOT: &str = "SNAPSHOT_TEST_CHILD_ROOT";

fn tars() -> Vec<Vec<u8>> {
    (0..4)
        .map(|n| archive(&format!("layer {n}"), 20, 20_000 + n * 7000))
        .collect()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("@ {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "the child process of another test"]
fn child_that_unpacks() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (store, layers) = open(Path::new(&root)).await;
        let resources = tars()
            .iter()
            .map(|tar| Resource::layer(&Digest::of(tar)))
            .collect();
        store.put_root("all", resources).await.unwrap();
        for round in 0..1000 {
            let tar = tars().swap_remove(round % 4);
            let blob = gzip(&tar);
            let apply = layers
                .apply(request(GZIP, Some(&Digest::of(&tar))))
                .await
                .unwrap()
                .unwrap();
            say("begun");
            let mut apply = apply;
            for chunk in blob.chunks(500) {
                apply.write(bytes::Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            say("written");
            apply.finish().await.unwrap();
            say(&format!("done {}", Digest::of(&tar)));
            let id = format!("s{round}");
            layers.create_scratch(&id, Some(16 << 20)).await.unwrap();
            say(&format!("scratch {id}"));
            if round % 4 == 3 {
                for tar in tars() {
                    say(&format!("remove {}", Digest::of(&tar)));
                    layers.remove_layer(&Digest::of(&tar)).await.unwrap();
                }
            }
        }
    });
}

#[tokio::test]
async fn killed_while_unpacking_it_keeps_whole_layers_only() {
    let reference = tempfile::tempdir().unwrap();
    let (_store, layers) = open(reference.path()).await;
    let mut disks = BTreeMap::new();
    for tar in tars() {
        let layer = unpack(&layers, &gzip(&tar), GZIP, None).await.unwrap();
        disks.insert(layer.diff_id, fs::read(layer.path).unwrap());
    }

    let dir = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_that_unpacks",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ROOT, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut known = BTreeMap::new();
        let mut note = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [.., "done" | "scratch", what] => drop(known.insert(what.to_owned(), true)),
                [.., "remove", what] => drop(known.remove(what)),
                _ => {}
            }
        };
        for _ in 0..rand::random_range(1..40_usize) {
            note(&lines.next().expect("the child works until it is killed").unwrap());
        }
        child.kill().unwrap();
        lines.map_while(Result::ok).for_each(|line| note(&line));
        child.wait().unwrap();

        let (store, layers) = open(dir.path()).await;
        for (what, _) in known {
            match what.parse() {
                Ok(diff_id) => assert!(layers.layer(&diff_id).await.unwrap().is_some(), "{what}"),
                Err(_) => assert!(layers.scratch(&what).await.unwrap().is_some(), "{what}"),
            }
        }
        let found = layers.layers().await.unwrap();
        assert_eq!(files(&dir.path().join("layers")).len(), found.len());
        for layer in found {
            assert!(
                fs::read(&layer.path).unwrap() == disks[&layer.diff_id],
                "{}",
                layer.diff_id
            );
        }
        for scratch in layers.scratches().await.unwrap() {
            layers.remove_scratch(&scratch.id).await.unwrap();
        }
        let names = files(&dir.path().join("scratch"));
        assert_eq!(names, [format!(".template-{}.vhd", kit::SCRATCH_SIZE)]);
        drop(layers);
        store.close().await.unwrap();
    }
}

/// Needs root, to mount a small file system.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_and_nothing_stays() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            unmount(&self.0, UnmountFlags::DETACH).unwrap();
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("small");
    fs::create_dir(&root).unwrap();
    mount("none", &root, "tmpfs", MountFlags::empty(), c"size=24m,mode=700")
        .expect("this test must run as root");
    let _mounted = Mounted(root.clone());
    let (store, layers) = open(&root).await;
    let small = archive("small", 3, 1000);
    let large = kit::archive_of(&kit::noise(40 << 20));
    for _ in 0..2 {
        let error = unpack(&layers, &large, kit::TAR, Some(&Digest::of(&large)))
            .await
            .unwrap_err();
        assert!(error.is_no_space(), "{error:?}");
        assert!(
            layers
                .layers()
                .await
                .unwrap()
                .iter()
                .all(|layer| layer.diff_id == Digest::of(&small))
        );
        assert!(
            files(&root.join("layers"))
                .iter()
                .all(|name| !name.starts_with('.'))
        );
        unpack(&layers, &small, kit::TAR, Some(&Digest::of(&small)))
            .await
            .unwrap();
    }

    let lease = store.lease().await.unwrap();
    let blob = kit::noise(40 << 20);
    let mut ingest = store
        .ingest(lease.id(), "large", Some(Digest::of(&blob)), None)
        .await
        .unwrap();
    let error = loop {
        let at = usize::try_from(ingest.offset()).unwrap();
        if let Err(error) = ingest
            .write(bytes::Bytes::copy_from_slice(&blob[at..at + 100_000]))
            .await
        {
            break error;
        }
    };
    assert!(error.is_no_space(), "{error:?}");
    drop(ingest);
    assert!(files(&root.join("ingest")).is_empty());
    store
        .put_root("still", vec![Resource::new("layer", "works")])
        .await
        .unwrap();
}
