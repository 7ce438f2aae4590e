//! A real registry: Debian's `docker-registry` on a free loopback port, and skopeo as the second opinion.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use image::{PullOptions, PushOptions, Reference, silent};
use serde_json::json;
use store::Digest;

use crate::kit::*;

struct DockerRegistry {
    child: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl DockerRegistry {
    async fn start() -> Self {
        let program = ["/usr/bin/docker-registry", "/usr/bin/registry"];
        let program = program
            .iter()
            .find(|p| Path::new(p).exists())
            .expect("Debian's docker-registry is installed");
        let dir = tempfile::tempdir().unwrap();
        // An address of its own: the port is free for a moment, and no other test may take it meanwhile.
        let address = {
            let socket = std::net::TcpListener::bind("127.0.0.9:0").unwrap();
            socket.local_addr().unwrap().to_string()
        };
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: {address}\n",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(program)
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self {
            child,
            address,
            _dir: dir,
        };
        let client = reqwest_ready(&registry.address);
        tokio::time::timeout(std::time::Duration::from_secs(180), client)
            .await
            .expect("the registry answers");
        registry
    }
}

/// Waits until the port accepts.
async fn reqwest_ready(address: &str) {
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn skopeo(arguments: &[&str]) -> String {
    run("skopeo", arguments)
}

/// A world that has an image under a name of the registry.
async fn world_with(content: Content, tag: &str, registry: &DockerRegistry, name: &str) -> World {
    let source = Server::start(content, |_, _| None).await;
    let world = World::new().await;
    let from = source.reference(&format!("source:{tag}"));
    world
        .images
        .pull(&from, World::options(), None, silent())
        .await
        .unwrap();
    let to = format!("{}/{name}", registry.address).parse().unwrap();
    world.images.tag(&from.to_string(), &to).await.unwrap();
    world
}

async fn push(world: &World, name: &Reference) -> Digest {
    let pushed = world.images.push(name, PushOptions::default(), world.progress());
    pushed.await.unwrap()
}

#[tokio::test]
async fn an_image_survives_the_way_there_and_back() {
    let registry = DockerRegistry::start().await;
    let image = TestImage::big(3 << 20);
    let world = world_with(
        Content::default().image("t", &image),
        "t",
        &registry,
        "team/app:1",
    )
    .await;
    let name = format!("{}/team/app:1", registry.address).parse().unwrap();
    let digest = push(&world, &name).await;
    assert_eq!(digest, image.digest());
    let statuses = world.statuses();
    assert!(statuses.contains(&"Pushed".to_owned()), "{statuses:?}");
    assert!(
        statuses
            .last()
            .unwrap()
            .starts_with(&format!("1: digest: {digest} size: ")),
        "{statuses:?}"
    );

    let other = World::new().await;
    let pulled = other.pull(&name).await.unwrap();
    assert_eq!(pulled.manifest, image.digest());
    other.assert_unpacked(&image, 0);

    // A second push has nothing to send.
    world.events.lock().unwrap().clear();
    push(&world, &name).await;
    let statuses = world.statuses();
    assert_eq!(
        statuses.iter().filter(|s| *s == "Layer already exists").count(),
        2,
        "{statuses:?}"
    );

    // Another repository takes the blobs from the first.
    let elsewhere = format!("{}/team/copy:1", registry.address).parse().unwrap();
    world.images.tag(&name.to_string(), &elsewhere).await.unwrap();
    world.events.lock().unwrap().clear();
    push(&world, &elsewhere).await;
    let statuses = world.statuses();
    assert!(
        statuses.contains(&"Mounted from team/app".to_owned()),
        "{statuses:?}"
    );

    let inspected = skopeo(&[
        "inspect",
        "--tls-verify=false",
        "--raw",
        &format!("docker://{elsewhere}"),
    ]);
    assert_eq!(inspected.as_bytes(), image.manifest);
}

#[tokio::test]
async fn a_multi_platform_image_goes_up_whole_when_it_is_here_whole() {
    let registry = DockerRegistry::start().await;
    let (linux, windows) = (
        TestImage::for_platform("linux/amd64", &["l"]),
        TestImage::for_platform("windows(10.0.20348.1)/amd64", &["w"]),
    );
    let index = index_of(&[
        (&linux, json!({"os": "linux", "architecture": "amd64"})),
        (
            &windows,
            json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.1"}),
        ),
    ]);
    let index_digest = Digest::of(&index);
    let content = Content::default()
        .image("l", &linux)
        .image("w", &windows)
        .manifest("t", OCI_INDEX, index);
    let source = Server::start(content, |_, _| None).await;
    let world = World::new().await;
    let from = source.reference("x:t");
    world.pull(&from).await.unwrap();
    let name = format!("{}/multi:1", registry.address).parse().unwrap();
    world.images.tag(&from.to_string(), &name).await.unwrap();
    assert_eq!(push(&world, &name).await, linux.digest());

    let options = PullOptions {
        platform: "windows/amd64".parse().unwrap(),
        platform_explicit: true,
        ..World::options()
    };
    world.images.pull(&from, options, None, silent()).await.unwrap();
    assert_eq!(push(&world, &name).await, index_digest);
    let raw = skopeo(&[
        "inspect",
        "--tls-verify=false",
        "--raw",
        &format!("docker://{name}"),
    ]);
    assert_eq!(Digest::of(raw.as_bytes()), index_digest);
    let other = World::new().await;
    assert_eq!(other.pull(&name).await.unwrap().target, index_digest);
}

#[tokio::test]
async fn images_that_skopeo_pushed_are_pulled_in_every_format() {
    let registry = DockerRegistry::start().await;
    let image = TestImage::new(&["one", "two"]);
    let world = world_with(Content::default().image("t", &image), "t", &registry, "x:1").await;
    let archive = world.dir.path().join("x.tar");
    let file = tokio::fs::File::create(&archive).await.unwrap();
    world
        .images
        .save(&[format!("{}/x:1", registry.address)], None, file)
        .await
        .unwrap();
    for format in ["oci", "v2s2"] {
        let name = format!("{}/formats:{format}", registry.address);
        let source = format!("docker-archive:{}", archive.display());
        skopeo(&[
            "copy",
            "--insecure-policy",
            "--dest-tls-verify=false",
            "--format",
            format,
            &source,
            &format!("docker://{name}"),
        ]);
        let other = World::new().await;
        let pulled = other.pull(&name.parse().unwrap()).await.unwrap();
        assert_eq!(
            pulled
                .layers
                .iter()
                .map(|l| l.diff_id.clone())
                .collect::<Vec<_>>(),
            image.diff_ids
        );
        assert_eq!(other.recorder.unpacked.lock().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_missing_image_is_said_to_be_missing() {
    let registry = DockerRegistry::start().await;
    let world = World::new().await;
    let error = world
        .pull(&format!("{}/nope:1", registry.address).parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, image::ImageError::ManifestUnknown { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("not found"));
}
