//! `save` and `load`: through pipes, with other tools, and against archives made to hurt.
#![allow(clippy::unwrap_used, reason = "a test may fail here")]

mod kit;

use image::{ImageError, Loaded, PullOptions, silent};
use kit::*;
use serde_json::json;
use store::Digest;

/// A world with one pulled image, under the short name `mine:1`.
async fn world_with(image: &TestImage) -> World {
    let server = Server::start(Content::default().image("t", image), |_, _| None).await;
    let world = World::new().await;
    let from = server.reference("x:t");
    let options = PullOptions {
        platform_explicit: false,
        ..World::options()
    };
    world.images.pull(&from, options, None, silent()).await.unwrap();
    world
        .images
        .tag(&from.to_string(), &"mine:1".parse().unwrap())
        .await
        .unwrap();
    world.images.remove(&from.to_string(), false).await.unwrap();
    world
}

async fn save(world: &World, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut bytes = Vec::new();
    world.images.save(&names, None, &mut bytes).await.unwrap();
    bytes
}

async fn load(world: &World, bytes: Vec<u8>) -> image::Result<Vec<Loaded>> {
    world
        .images
        .load(std::io::Cursor::new(bytes), world.progress())
        .await
}

async fn refused(bytes: Vec<u8>) -> ImageError {
    let world = World::new().await;
    let error = load(&world, bytes).await.unwrap_err();
    world.assert_nothing_behind().await;
    error
}

/// Builds archives member by member.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn file(mut self, name: &str, body: impl AsRef<[u8]>) -> Self {
        let mut builder = tar::Builder::new(&mut self.0);
        let mut header = tar::Header::new_gnu();
        header.set_size(body.as_ref().len() as u64);
        header.set_mode(0o644);
        // The crate refuses some of the names that are wanted here.
        let field = &mut header.as_gnu_mut().unwrap().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, body.as_ref()).unwrap();
        builder.into_inner().unwrap();
        let end = self.0.len() - 1024;
        self.0.truncate(end);
        self
    }

    fn link(mut self, name: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_path(name).unwrap();
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    fn json(self, name: &str, value: &serde_json::Value) -> Self {
        self.file(name, serde_json::to_vec(value).unwrap())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    fn blob(self, bytes: &[u8]) -> Self {
        let name = format!("blobs/sha256/{}", Digest::of(bytes).hex());
        self.file(&name, bytes)
    }

    fn layout(self, image: &TestImage, annotations: &serde_json::Value) -> Self {
        let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_MANIFEST, "digest": image.digest(),
            "size": image.manifest.len(), "annotations": annotations}]});
        self.json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
            .json("index.json", &index)
    }
}

#[tokio::test]
async fn what_is_saved_can_be_loaded() {
    let image = TestImage::new(&["one", "two"]);
    let world = world_with(&image).await;
    let bytes = save(&world, &["mine:1"]).await;
    assert_eq!(
        bytes,
        save(&world, &["mine:1"]).await,
        "the same image gives the same bytes"
    );
    for bytes in [gzip(&bytes), bytes] {
        let other = World::new().await;
        let loaded = load(&other, bytes).await.unwrap();
        assert_eq!(loaded, [Loaded::Named("mine:1".parse().unwrap())]);
        other.store.collect().await.unwrap();
        let found = other.images.resolve("mine:1", None).await.unwrap();
        assert_eq!(found.manifest, image.digest());
        assert_eq!(found.layers.len(), 2);
        assert!(other.statuses().contains(&"Loaded image: mine:1".to_owned()));
    }
}

#[tokio::test]
async fn a_pipe_is_enough() {
    let image = TestImage::big(3 << 20);
    let world = world_with(&image).await;
    let other = World::new().await;
    let (writer, reader) = tokio::io::duplex(4096);
    let names = ["mine:1".to_owned()];
    let (saved, loaded) = tokio::join!(
        world.images.save(&names, None, writer),
        other.images.load(reader, silent())
    );
    saved.unwrap();
    assert_eq!(loaded.unwrap().len(), 1);
}

#[tokio::test]
async fn a_windows_image_is_saved_and_loaded_on_any_host() {
    let image = TestImage::for_platform("windows(10.0.20348.1)/amd64", &["w"]);
    let world = world_with(&image).await;
    let bytes = save(&world, &["mine:1"]).await;
    let other = World::new().await;
    load(&other, bytes).await.unwrap();
    let found = other.images.resolve("mine:1", None).await.unwrap();
    assert_eq!(found.platform.to_string(), "windows(10.0.20348.1)/amd64");
}

#[tokio::test]
async fn several_names_and_ids_go_into_one_archive() {
    let image = TestImage::new(&["one"]);
    let world = world_with(&image).await;
    world
        .images
        .tag("mine:1", &"mine:2".parse().unwrap())
        .await
        .unwrap();
    let bytes = save(&world, &["mine:1", "mine:2"]).await;
    let other = World::new().await;
    let mut names: Vec<_> = load(&other, bytes).await.unwrap();
    names.sort_by_key(|n| format!("{n:?}"));
    assert_eq!(
        names,
        [
            Loaded::Named("mine:1".parse().unwrap()),
            Loaded::Named("mine:2".parse().unwrap())
        ]
    );

    let by_id = save(&world, &[&image.id().hex()[..12]]).await;
    let other = World::new().await;
    assert_eq!(load(&other, by_id).await.unwrap(), [Loaded::Unnamed(image.id())]);
    other.store.collect().await.unwrap();
    assert_eq!(other.images.list().await.unwrap().len(), 1);
    let error = world
        .images
        .save(&["nope".into()], None, Vec::new())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no such image: nope");
}

#[tokio::test]
async fn a_docker_archive_with_links_and_plain_layers_is_loaded() {
    let tars = [tar_of("a", b"1"), tar_of("b", b"2")];
    let image = TestImage::from_tars("linux/amd64", &tars);
    let config_name = format!("{}.json", image.id().hex());
    let archive = Archive::default()
        .file("aaa/VERSION", "1.0")
        .file("aaa/json", "{}")
        .file("aaa/layer.tar", &tars[0])
        .file("real.tar", &tars[1])
        .link("bbb/layer.tar", "../real.tar")
        .file(&config_name, &image.config)
        .json(
            "manifest.json",
            &json!([{"Config": config_name, "RepoTags": ["old:style", "127.0.0.1:5000/x:y"],
                "Layers": ["aaa/layer.tar", "bbb/layer.tar"]}]),
        )
        .json("repositories", &json!({"old": {"style": "aaa"}}))
        .end();
    let world = World::new().await;
    assert_eq!(load(&world, archive).await.unwrap().len(), 2);
    world.store.collect().await.unwrap();
    let found = world.images.resolve("old:style", None).await.unwrap();
    assert_eq!(found.config_digest, image.id());
    assert_eq!(found.layers[1].digest, found.layers[1].diff_id);
    assert_eq!(
        found.layers[1].media_type,
        "application/vnd.oci.image.layer.v1.tar"
    );
    world
        .images
        .unpack(
            &found,
            std::sync::Arc::new(Unpacker(world.recorder.clone())),
            silent(),
        )
        .await
        .unwrap();
    assert_eq!(
        world.recorder.unpacked.lock().unwrap()[&image.diff_ids[1]],
        tars[1]
    );
}

#[tokio::test]
async fn an_index_with_one_platform_and_an_attestation_is_loaded() {
    let image = TestImage::new(&["a"]);
    let attestation = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
         "platform": {"os": "linux", "architecture": "amd64"}},
        {"mediaType": OCI_MANIFEST, "digest": Digest::of("absent"), "size": 6,
         "platform": {"os": "linux", "architecture": "arm64"}},
        {"mediaType": OCI_MANIFEST, "digest": Digest::of(attestation), "size": attestation.len(),
         "platform": {"os": "unknown", "architecture": "unknown"},
         "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
    ]});
    let index = serde_json::to_vec(&index).unwrap();
    let top = json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_INDEX, "digest": Digest::of(&index),
        "size": index.len(), "annotations": {"io.containerd.image.name": "docker.io/library/built:1"}}]});
    let archive = Archive::default()
        .blob(&index)
        .blob(attestation)
        .blob(&image.manifest)
        .blob(&image.config)
        .blob(&image.layers[0])
        .json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
        .json("index.json", &top)
        .end();
    let world = World::new().await;
    load(&world, archive).await.unwrap();
    world.store.collect().await.unwrap();
    assert_eq!(world.images.list().await.unwrap().len(), 1);
    assert_eq!(
        world.images.resolve("built:1", None).await.unwrap().target,
        Digest::of(&index)
    );
    // What is incomplete is saved as the platform that is here.
    let saved = save(&world, &["built:1"]).await;
    let other = World::new().await;
    load(&other, saved).await.unwrap();
    assert_eq!(
        other.images.resolve("built:1", None).await.unwrap().target,
        image.digest()
    );
}

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

#[cfg(target_os = "linux")]
mod other_tools {
    use std::{io::Write, process::Command};

    use super::*;

    fn run(program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .output()
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    #[tokio::test]
    async fn skopeo_reads_what_we_save_and_we_read_what_it_writes() {
        let image = TestImage::new(&["one", "two", "one"]);
        let world = world_with(&image).await;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::File::create(path("ours.tar"))
            .unwrap()
            .write_all(&save(&world, &["mine:1"]).await)
            .unwrap();
        for transport in ["docker-archive", "oci-archive"] {
            let config = run(
                "skopeo",
                &[
                    "inspect",
                    "--config",
                    &format!("{transport}:{}", path("ours.tar")),
                ],
            );
            assert!(config.contains("/bin/sh"), "{config}");
            for target in ["docker-archive", "oci-archive"] {
                let file = path(&format!("{transport}-{target}.tar"));
                let from = format!("{transport}:{}", path("ours.tar"));
                run(
                    "skopeo",
                    &[
                        "copy",
                        "--insecure-policy",
                        &from,
                        &format!("{target}:{file}:theirs:1"),
                    ],
                );
                let other = World::new().await;
                let loaded = load(&other, std::fs::read(&file).unwrap()).await.unwrap();
                assert_eq!(loaded, [Loaded::Named("theirs:1".parse().unwrap())], "{file}");
                let found = other.images.resolve("theirs:1", None).await.unwrap();
                let diff_ids: Vec<_> = found.layers.iter().map(|l| l.diff_id.clone()).collect();
                assert_eq!(diff_ids, image.diff_ids);
                other
                    .images
                    .unpack(&found, other.unpacker().unwrap(), silent())
                    .await
                    .unwrap();
            }
        }
    }

    #[tokio::test]
    async fn umoci_reads_the_layout_that_we_save() {
        let image = TestImage::new(&["one", "two"]);
        let world = world_with(&image).await;
        let dir = tempfile::tempdir().unwrap();
        let archive = save(&world, &["mine:1"]).await;
        tar::Archive::new(&archive[..]).unpack(dir.path()).unwrap();
        let listed = run("umoci", &["list", "--layout", &dir.path().display().to_string()]);
        assert_eq!(listed.trim(), "1");
    }
}
