//! Archives made to hurt are refused with a reason and leave nothing.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::*;

#[tokio::test]
async fn hostile_archives_are_refused_and_leave_nothing() {
    let image = TestImage::new(&["a"]);
    let named = json!({"org.opencontainers.image.ref.name": "mine:1"});
    let good = || {
        Archive::default()
            .blob(&image.manifest)
            .blob(&image.config)
            .blob(&image.layers[0])
            .layout(&image, &named)
    };
    let world = World::new().await;
    load(&world, good().end()).await.unwrap();

    let wrong_blob = format!("blobs/sha256/{}", Digest::of("other").hex());
    let config = format!("{}.json", image.id().hex());
    let docker =
        |config: &str, layer: &str| json!([{"Config": config, "RepoTags": ["a:b"], "Layers": [layer]}]);
    let escaping = json!({"org.opencontainers.image.ref.name": "../../etc/passwd"});
    for (what, reason, archive) in [
        (
            "wrong digest",
            "digest mismatch of archive member",
            good().file(&wrong_blob, "bytes").end(),
        ),
        (
            "no digest",
            "leads out of the archive",
            good().file("blobs/sha256/../../../x", "bytes").end(),
        ),
        (
            "short digest",
            "not a digest",
            good().file("blobs/sha256/abc", "bytes").end(),
        ),
        (
            "climbing name",
            "leads out of the archive",
            good().file("../../etc/passwd", "bytes").end(),
        ),
        (
            "missing layer",
            "is missing",
            Archive::default()
                .blob(&image.manifest)
                .blob(&image.config)
                .layout(&image, &named)
                .end(),
        ),
        (
            "missing manifest",
            "is missing",
            Archive::default().layout(&image, &named).end(),
        ),
        (
            "climbing ref name",
            "invalid reference format",
            Archive::default()
                .blob(&image.manifest)
                .blob(&image.config)
                .blob(&image.layers[0])
                .layout(&image, &escaping)
                .end(),
        ),
        (
            "future layout",
            "version 2.0.0 is not supported",
            Archive::default()
                .json("oci-layout", &json!({"imageLayoutVersion": "2.0.0"}))
                .json("index.json", &json!({"schemaVersion": 2, "manifests": []}))
                .end(),
        ),
        (
            "link loop",
            "links do not end",
            Archive::default()
                .link("a.tar", "b.tar")
                .link("b.tar", "a.tar")
                .file(&config, &image.config)
                .json("manifest.json", &docker(&config, "a.tar"))
                .end(),
        ),
        (
            "link out",
            "links out of the archive",
            Archive::default()
                .link("a.tar", "/etc/passwd")
                .file(&config, &image.config)
                .json("manifest.json", &docker(&config, "a.tar"))
                .end(),
        ),
        (
            "absent layer",
            "is missing",
            Archive::default()
                .file(&config, &image.config)
                .json("manifest.json", &docker(&config, "/etc/passwd"))
                .end(),
        ),
        (
            "wrong plain layer",
            "digest mismatch of an uncompressed layer",
            Archive::default()
                .file("a.tar", tar_of("x", b"not it"))
                .file(&config, &image.config)
                .json("manifest.json", &docker(&config, "a.tar"))
                .end(),
        ),
        (
            "wrong config",
            "digest mismatch of configuration",
            Archive::default()
                .file("a.tar", &image.layers[0])
                .file(&format!("{}.json", Digest::of("x").hex()), &image.config)
                .json(
                    "manifest.json",
                    &docker(&format!("{}.json", Digest::of("x").hex()), "a.tar"),
                )
                .end(),
        ),
        (
            "doubled list",
            "occurs twice",
            good()
                .json("index.json", &json!({"schemaVersion": 2, "manifests": []}))
                .end(),
        ),
        (
            "empty",
            "neither index.json nor manifest.json",
            Archive::default().end(),
        ),
        ("nothing", "neither index.json nor manifest.json", Vec::new()),
        (
            "no tar",
            "not a tar archive",
            b"hello, this is not an archive".repeat(100),
        ),
        ("cut", "ends too early", {
            let mut bytes = good().end();
            bytes.truncate(700);
            bytes
        }),
        ("cut gzip", "invalid image archive", {
            let mut bytes = gzip(&good().end());
            bytes.truncate(bytes.len() / 2);
            bytes
        }),
        (
            "xz",
            "compressed with xz is not supported",
            [&[0xfd, b'7', b'z', b'X', b'Z', 0][..], &[0; 100]].concat(),
        ),
    ] {
        let error = refused(archive).await;
        assert!(error.to_string().contains(reason), "{what}: {error}");
    }
}

#[tokio::test]
async fn an_archive_cannot_have_a_million_members() {
    let mut archive = Archive::default();
    for _ in 0..20 {
        archive = archive.file("d/VERSION", "1.0");
    }
    let mut config = impatient();
    config.limits.archive_members = 10;
    let world = World::with(config, Recorder::default()).await;
    let error = load(&world, archive.end()).await.unwrap_err();
    assert!(matches!(error, ImageError::LimitExceeded { .. }), "{error}");
}

/// Loads; what is refused is refused with a reason and leaves nothing.
fn answered(archive: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new().await;
        match load(&world, archive).await {
            Ok(loaded) => assert!(loaded.len() <= 2, "{loaded:?}"),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                world.assert_nothing_behind().await;
            }
        }
    });
}

/// One image in both layouts, like `save` writes it; each document passes through `change` before others name it.
fn both_layouts(mut change: impl FnMut(usize, Vec<u8>) -> Vec<u8>) -> Archive {
    let image = TestImage::new(&["a", "b"]);
    let config = change(0, image.config.clone());
    let layers: Vec<Value> = image
        .layers
        .iter()
        .map(|l| json!({"mediaType": OCI_LAYER_GZIP, "digest": Digest::of(l), "size": l.len()}))
        .collect();
    let manifest = change(1, TestImage::manifest_of(&config, &layers));
    let platform = json!({"os": "linux", "architecture": "amd64"});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": Digest::of(&manifest), "size": manifest.len(), "platform": platform}]});
    let index = change(2, serde_json::to_vec(&index).unwrap());
    let top = json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_INDEX, "digest": Digest::of(&index),
        "size": index.len(), "annotations": {"io.containerd.image.name": "docker.io/library/mine:1"}}]});
    let top = change(3, serde_json::to_vec(&top).unwrap());
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let docker = json!([{"Config": blob(&config), "RepoTags": ["mine:1"],
        "Layers": [blob(&image.layers[0]), blob(&image.layers[1])]}]);
    let docker = change(4, serde_json::to_vec(&docker).unwrap());
    Archive::default()
        .blob(&image.layers[0])
        .blob(&image.layers[1])
        .blob(&config)
        .blob(&manifest)
        .blob(&index)
        .json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
        .file("index.json", top)
        .file("manifest.json", docker)
}

/// Every place in a value, as a pointer.
fn places(value: &Value, prefix: &str, found: &mut Vec<String>) {
    found.push(prefix.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                places(member, &format!("{prefix}/{}", name.replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                places(item, &format!("{prefix}/{n}"), found);
            }
        }
        _ => {}
    }
}

/// Values that documents do not have where they are put.
fn odd_value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!(true),
        json!(""),
        json!("sha256:../../x"),
        json!(format!("sha256:{}", "a".repeat(64))),
        json!("\u{1b}[2J/\0"),
        json!("x".repeat(10_000)),
        json!([]),
        json!({}),
        json!([null]),
        json!({"os": "plan9", "architecture": ""}),
    ])
}

#[tokio::test]
async fn both_layouts_are_loaded_as_they_are() {
    let world = World::new().await;
    let loaded = load(&world, both_layouts(|_, bytes| bytes).end()).await.unwrap();
    assert_eq!(loaded, [Loaded::Named("mine:1".parse().unwrap())]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_loaded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        answered(bytes);
    }

    #[test]
    fn changed_archives_are_loaded_or_refused(
        compressed: bool,
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let archive = both_layouts(|_, bytes| bytes).end();
        let mut archive = if compressed { gzip(&archive) } else { archive };
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        answered(archive);
    }

    #[test]
    fn archives_with_blocks_moved_are_loaded_or_refused(moves in prop::collection::vec((any::<Index>(), any::<Index>()), 1..4)) {
        let mut archive = both_layouts(|_, bytes| bytes).end();
        let blocks = archive.len() / 512;
        for (from, to) in moves {
            let (from, to) = (from.index(blocks) * 512, to.index(blocks) * 512);
            archive.copy_within(from..from + 512, to);
        }
        answered(archive);
    }

    #[test]
    fn changed_documents_are_loaded_or_refused(which in 0_usize..5, place in any::<Index>(), odd in prop::option::of(odd_value())) {
        answered(both_layouts(|n, bytes| {
            if n != which {
                return bytes;
            }
            let mut document: Value = serde_json::from_slice(&bytes).unwrap();
            let mut found = Vec::new();
            places(&document, "", &mut found);
            let path = &found[place.index(found.len())];
            match (&odd, path.rsplit_once('/')) {
                (Some(odd), _) => *document.pointer_mut(path).unwrap() = odd.clone(),
                (None, Some((parent, name))) => {
                    if let Some(members) = document.pointer_mut(parent).unwrap().as_object_mut() {
                        members.remove(&name.replace("~1", "/"));
                    }
                }
                (None, None) => document = Value::Null,
            }
            serde_json::to_vec(&document).unwrap()
        }).end());
    }

    #[test]
    fn documents_with_bytes_changed_are_loaded_or_refused(
        which in 0_usize..5,
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        answered(both_layouts(|n, mut bytes| {
            for (at, byte) in changes.iter().filter(|_| n == which) {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes
        }).end());
    }

    #[test]
    fn no_text_breaks_the_parsers_of_names(text in "[a-z0-9:/@.()_-]{0,60}|\\PC{0,40}") {
        if let Ok(platform) = text.parse::<image::Platform>() {
            prop_assert_eq!(&platform.to_string().parse::<image::Platform>().unwrap(), &platform);
        }
        if let Ok(reference) = text.parse::<image::Reference>() {
            prop_assert_eq!(&reference.to_string().parse::<image::Reference>().unwrap(), &reference);
        }
    }
}
