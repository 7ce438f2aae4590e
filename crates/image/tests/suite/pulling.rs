//! Pulling as it should be: platforms, what is here already, and what is shared.

use std::sync::Arc;

use image::{ImageError, PullOptions, Reference, silent};
use serde_json::json;

use crate::kit::*;

fn many_platforms() -> (Content, Vec<TestImage>) {
    let images = vec![
        TestImage::for_platform("linux/amd64", &["linux amd64"]),
        TestImage::for_platform("linux/arm64", &["linux arm64"]),
        TestImage::for_platform("windows(10.0.17763.5000)/amd64", &["windows 2019"]),
        TestImage::for_platform("windows(10.0.20348.2000)/amd64", &["windows 2022"]),
    ];
    let index = index_of(&[
        (&images[0], json!({"os": "linux", "architecture": "amd64"})),
        (
            &images[1],
            json!({"os": "linux", "architecture": "arm64", "variant": "v8"}),
        ),
        (
            &images[2],
            json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.5000"}),
        ),
        (
            &images[3],
            json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.2000"}),
        ),
    ]);
    let mut content = Content::default();
    for (n, image) in images.iter().enumerate() {
        content = content.image(&format!("platform{n}"), image);
    }
    (content.manifest("many", OCI_INDEX, index), images)
}

fn for_platform(text: &str) -> PullOptions {
    PullOptions {
        platform: text.parse().unwrap(),
        platform_explicit: true,
        ..World::options()
    }
}

async fn pull_as(world: &World, reference: &Reference, options: PullOptions) -> image::Result<image::Image> {
    world
        .images
        .pull(reference, options, world.unpacker(), silent())
        .await
}

#[tokio::test]
async fn images_of_all_platforms_live_side_by_side() {
    let (content, images) = many_platforms();
    let server = Server::start(content, |_, _| None).await;
    let world = World::new().await;
    let name = server.reference("x:many");
    let linux = world.pull(&name).await.unwrap();
    assert_eq!(linux.id(), &images[0].id());
    let windows = pull_as(&world, &name, for_platform("windows/amd64"))
        .await
        .unwrap();
    assert_eq!(windows.id(), &images[3].id());
    let old_host = for_platform("windows(10.0.17763.1)/amd64");
    assert_eq!(
        pull_as(&world, &name, old_host).await.unwrap().id(),
        &images[2].id()
    );

    assert_eq!(world.images.list().await.unwrap().len(), 3);
    let text = name.to_string();
    let resolve = async |platform: &str| {
        world
            .images
            .resolve(&text, Some(&platform.parse().unwrap()))
            .await
    };
    assert_eq!(resolve("linux/amd64").await.unwrap().id(), &images[0].id());
    assert_eq!(
        resolve("windows(10.0.20348.5)/amd64").await.unwrap().id(),
        &images[3].id()
    );
    let error = resolve("linux/s390x").await.unwrap_err();
    assert!(
        matches!(&error, ImageError::PlatformMismatch { available, .. } if available.len() == 3),
        "{error}"
    );
    // A collection keeps all three.
    world.store.collect().await.unwrap();
    assert_eq!(world.images.list().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_platform_that_does_not_exist_is_named_with_those_that_do() {
    let (content, _) = many_platforms();
    let server = Server::start(content, |_, _| None).await;
    let world = World::new().await;
    let error = pull_as(&world, &server.reference("x:many"), for_platform("linux/s390x"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("does not provide the platform linux/s390x"),
        "{text}"
    );
    assert!(text.contains("windows(10.0.20348.2000)/amd64"), "{text}");
    let single = pull_as(
        &world,
        &server.reference("x:platform1"),
        for_platform("linux/amd64"),
    )
    .await
    .unwrap_err();
    assert!(matches!(single, ImageError::PlatformMismatch { .. }), "{single}");
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn without_an_explicit_platform_a_windows_image_is_just_pulled() {
    let (content, images) = many_platforms();
    let server = Server::start(content, |_, _| None).await;
    let world = World::new().await;
    let image = world.pull(&server.reference("x:platform2")).await.unwrap();
    assert_eq!(image.id(), &images[2].id());
    assert_eq!(image.platform.os_version.as_deref(), Some("10.0.17763.5000"));
}

#[tokio::test]
async fn what_is_here_is_not_fetched_again() {
    let image = TestImage::new(&["a", "b"]);
    let server = Server::start(
        Content::default().image("t", &image).image("u", &image),
        |_, _| None,
    )
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
    let blobs = server.requests("/blobs/").len();
    assert_eq!(blobs, 3);
    world.events.lock().unwrap().clear();
    world.pull(&server.reference("x:u")).await.unwrap();
    assert_eq!(server.requests("/blobs/").len(), blobs);
    let statuses = world.statuses();
    assert_eq!(
        statuses.iter().filter(|s| *s == "Already exists").count(),
        2,
        "{statuses:?}"
    );
    assert!(
        statuses
            .last()
            .unwrap()
            .starts_with("Status: Downloaded newer image")
    );
    world.events.lock().unwrap().clear();
    world.pull(&server.reference("x:t")).await.unwrap();
    assert!(
        world
            .statuses()
            .last()
            .unwrap()
            .starts_with("Status: Image is up to date for")
    );
}

#[tokio::test]
async fn layers_that_are_here_but_not_unpacked_are_fed_from_disk() {
    let image = TestImage::new(&["a", "b"]);
    let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let world = World::new().await;
    let name = server.reference("x:t");
    world
        .images
        .pull(&name, World::options(), None, silent())
        .await
        .unwrap();
    assert!(world.recorder.unpacked.lock().unwrap().is_empty());
    let before = server.requests("/blobs/").len();
    let pulled = world.pull(&name).await.unwrap();
    assert_eq!(server.requests("/blobs/").len(), before);
    world.assert_unpacked(&image, 1);
    // The same through unpack, into a fresh unpacker.
    let recorder = Arc::new(Recorder::default());
    world
        .images
        .unpack(&pulled, Arc::new(Unpacker(recorder.clone())), silent())
        .await
        .unwrap();
    assert_eq!(recorder.unpacked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_damaged_blob_is_noticed_and_healed_by_the_next_pull() {
    // Where the damage is decides whether the unpacker or the digest notices first.
    for position in [0, 30] {
        let image = TestImage::new(&["a"]);
        let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
        let world = World::strict().await;
        let name = server.reference("x:t");
        let pulled = world
            .images
            .pull(&name, World::options(), None, silent())
            .await
            .unwrap();
        let path = world.store.root().join("blobs/sha256").join(image.layer(0).hex());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[position] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let unpacker = Arc::new(Unpacker(world.recorder.clone()));
        let error = world
            .images
            .unpack(&pulled, unpacker, silent())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, ImageError::Store(e) if e.is_data_loss()),
            "{error}"
        );
        assert!(world.recorder.unpacked.lock().unwrap().is_empty());
        world.pull(&name).await.unwrap();
        world.assert_unpacked(&image, 0);
    }
}

#[tokio::test]
async fn an_image_asked_for_by_digest_needs_no_registry_once_it_is_here() {
    let image = TestImage::new(&["a"]);
    let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let world = World::new().await;
    let name = server.reference(&format!("x:ignored@{}", image.digest()));
    world.pull(&name).await.unwrap();
    let requests = server.requests("").len();
    world.pull(&name).await.unwrap();
    assert_eq!(server.requests("").len(), requests);
    let text = name.to_string();
    let found = world.images.resolve(&text, None).await.unwrap();
    assert_eq!(found.manifest, image.digest());
    assert!(found.repo_tags.is_empty());
    assert_eq!(
        found.repo_digests,
        [format!("{}@{}", name.familiar_name(), image.digest())]
    );
}

#[tokio::test]
async fn two_pulls_of_one_image_share_the_transfer() {
    let image = TestImage::big(200_000);
    let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let world = World::new().await;
    let name = server.reference("x:t");
    let (a, b) = tokio::join!(world.pull(&name), world.pull(&name));
    assert_eq!(a.unwrap().id(), b.unwrap().id());
    assert_eq!(server.requests(image.layer(0).hex()).len(), 1);
}

#[tokio::test]
async fn facts_of_an_image_are_complete() {
    let image = TestImage::new(&["a", "b"]);
    let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let world = World::new().await;
    let pulled = world.pull(&server.reference("x:t")).await.unwrap();
    assert_eq!(pulled.created.as_deref(), Some("2024-01-02T03:04:05Z"));
    assert_eq!(
        pulled.config.config().as_ref().unwrap().cmd().as_ref().unwrap(),
        &["/bin/sh"]
    );
    assert!(pulled.raw_config.get().contains("\"history\""));
    let parts: usize = image
        .layers
        .iter()
        .chain([&image.config, &image.manifest])
        .map(Vec::len)
        .sum();
    assert_eq!(pulled.size, parts as u64);
    assert_eq!(pulled.repo_tags, [format!("{}/x:t", server.address)]);
    assert_eq!(
        pulled.repo_digests,
        [format!("{}/x@{}", server.address, image.digest())]
    );
    assert_eq!(pulled.layers[1].diff_id, image.diff_ids[1]);
    assert!(pulled.tagged_unix_ms > 0);
}
