//! Pulling as it should be: platforms, what is here already, names, ids, removing. And pushing what was pulled.
#![allow(clippy::unwrap_used, reason = "a test may fail here")]

mod kit;

use std::sync::Arc;

use image::{ImageError, Images, PullOptions, Reference, silent};
use kit::*;
use serde_json::json;

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
        auth: None,
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
    assert_eq!(
        world.recorder.unpacked.lock().unwrap()[&image.diff_ids[1]],
        image.layers[1]
    );
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
        let world = World::with(
            impatient(),
            Recorder {
                strict: true,
                ..Recorder::default()
            },
        )
        .await;
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
        assert_eq!(
            world.recorder.unpacked.lock().unwrap()[&image.diff_ids[0]],
            image.layers[0]
        );
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

async fn two_images() -> (World, Server, TestImage, TestImage) {
    let (a, b) = (TestImage::new(&["a"]), TestImage::new(&["b"]));
    let server = Server::start(Content::default().image("a", &a).image("b", &b), |_, _| None).await;
    let world = World::new().await;
    for tag in ["x:a", "x:b"] {
        world.pull(&server.reference(tag)).await.unwrap();
    }
    (world, server, a, b)
}

#[tokio::test]
async fn images_are_found_by_names_and_ids() {
    let (world, server, a, _) = two_images().await;
    let name = server.reference("x:a");
    world
        .images
        .tag(&name.to_string(), &"mine".parse().unwrap())
        .await
        .unwrap();
    for text in [
        name.familiar(),
        "mine".into(),
        "mine:latest".into(),
        "docker.io/library/mine".into(),
        format!("mine@{}", a.digest()),
        a.id().to_string(),
        a.id().hex().into(),
        a.id().hex()[..12].into(),
        format!("sha256:{}", &a.id().hex()[..7]),
        a.digest().hex()[..12].into(),
    ] {
        let found = world.images.resolve(&text, None).await;
        assert_eq!(
            found.unwrap_or_else(|e| panic!("{text}: {e}")).config_digest,
            a.id(),
            "{text}"
        );
    }
    for text in [
        "nope",
        "mine:other",
        "fffffffffffffffff",
        "sha256:",
        &format!("other@{}", a.digest()),
    ] {
        let error = world.images.resolve(text, None).await.unwrap_err();
        let expected = matches!(
            error,
            ImageError::NotFound { .. } | ImageError::InvalidReference { .. }
        );
        assert!(expected, "{text}: {error}");
    }
    let error = world.images.resolve("nope", None).await.unwrap_err();
    assert_eq!(error.to_string(), "no such image: nope");
}

#[tokio::test]
async fn a_short_id_of_two_images_is_ambiguous() {
    // Among 17 ids, two begin with the same digit.
    let images: Vec<_> = (0..17).map(|n| TestImage::new(&[&n.to_string()])).collect();
    let mut content = Content::default();
    for (n, image) in images.iter().enumerate() {
        content = content.image(&n.to_string(), image);
    }
    let server = Server::start(content, |_, _| None).await;
    let world = World::new().await;
    for n in 0..17 {
        world.pull(&server.reference(&format!("x:{n}"))).await.unwrap();
    }
    let mut firsts: Vec<_> = images.iter().map(|i| i.id().hex()[..1].to_owned()).collect();
    firsts.sort();
    let twice = firsts.windows(2).find(|w| w[0] == w[1]).unwrap();
    let error = world.images.resolve(&twice[0], None).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::Ambiguous { matches, .. } if matches.len() > 1),
        "{error}"
    );
}

#[tokio::test]
async fn removing_names_removes_the_image_with_the_last_one() {
    let (world, server, a, b) = two_images().await;
    let name = server.reference("x:a");
    world
        .images
        .tag(&name.to_string(), &"mine:1".parse().unwrap())
        .await
        .unwrap();
    let removed = world.images.remove("mine:1", false).await.unwrap();
    assert_eq!(removed.untagged, ["mine:1"]);
    assert!(removed.deleted.is_empty());

    let removed = world.images.remove(&name.to_string(), false).await.unwrap();
    assert_eq!(removed.untagged, [name.familiar()]);
    assert_eq!(removed.deleted[0], a.id());
    assert!(removed.deleted.contains(&a.layer(0)));
    assert!(world.store.blob(&a.layer(0)).await.unwrap().is_none());
    assert!(world.store.blob(&b.layer(0)).await.unwrap().is_some());
    assert!(matches!(
        world.images.remove(&name.to_string(), true).await,
        Err(ImageError::NotFound { .. })
    ));
}

#[tokio::test]
async fn an_id_with_several_names_is_removed_only_by_force() {
    let (world, server, a, _) = two_images().await;
    world
        .images
        .tag(&server.reference("x:a").to_string(), &"mine:1".parse().unwrap())
        .await
        .unwrap();
    let id = a.id().hex()[..12].to_owned();
    let error = world.images.remove(&id, false).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("conflict: unable to delete {id} (must be forced) - ")),
        "{text}"
    );
    let removed = world.images.remove(&id, true).await.unwrap();
    assert_eq!(removed.untagged.len(), 2);
    assert!(removed.deleted.contains(&a.id()));
    // One name is no obstacle.
    let other = world.images.list().await.unwrap().remove(0);
    assert_eq!(
        world
            .images
            .remove(other.id().hex(), false)
            .await
            .unwrap()
            .untagged
            .len(),
        1
    );
}

#[tokio::test]
async fn an_image_that_loses_its_tag_to_another_is_kept_without_a_name() {
    let (a, b) = (TestImage::new(&["a"]), TestImage::new(&["b"]));
    let second = b.clone();
    let server = Server::start(
        Content::default().image("t", &a).image("b", &b),
        move |seen, nth| {
            (seen.path().ends_with("/manifests/t") && nth > 0)
                .then(|| Answer::new(200, second.manifest.clone()).header("Content-Type", OCI_MANIFEST))
        },
    )
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
    world.pull(&server.reference("x:t")).await.unwrap();
    world.store.collect().await.unwrap();
    let images = world.images.list().await.unwrap();
    assert_eq!(images.len(), 2);
    let old = images.iter().find(|i| *i.id() == a.id()).unwrap();
    assert!(old.repo_tags.is_empty() && old.repo_digests.is_empty() && old.reference.is_none());
    let removed = world.images.remove(&a.id().hex()[..12], false).await.unwrap();
    assert!(removed.untagged.is_empty());
    assert!(removed.deleted.contains(&a.id()));
}

#[tokio::test]
async fn a_tag_cannot_have_a_digest() {
    let (world, server, a, _) = two_images().await;
    let name = format!("mine@{}", a.digest()).parse().unwrap();
    let error = world
        .images
        .tag(&server.reference("x:a").to_string(), &name)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("refusing to create a tag with a digest reference")
    );
    let error = world
        .images
        .tag("nope", &"mine".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::NotFound { .. }));
}

#[tokio::test]
async fn pushing_needs_a_tag_that_exists() {
    let (world, server, a, _) = two_images().await;
    let push = |name: &str| {
        let name: Reference = name.parse().unwrap();
        let images: Images = world.images.clone();
        async move { images.push(&name, image::PushOptions::default(), silent()).await }
    };
    assert!(matches!(
        push("127.0.0.1:1/nope").await,
        Err(ImageError::NotFound { .. })
    ));
    let digest = format!("{}@{}", server.reference("x:a").name(), a.digest());
    assert!(matches!(
        push(&digest).await,
        Err(ImageError::InvalidReference { .. })
    ));
}
