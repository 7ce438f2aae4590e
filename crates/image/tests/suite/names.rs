//! Finding images by names and ids, tagging, removing, and pushing what has a name.

use image::{ImageError, Images, Reference, silent};

use crate::kit::*;

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
