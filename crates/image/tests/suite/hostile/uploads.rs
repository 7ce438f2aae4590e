//! Pushes to registries that send them elsewhere or break them.

use super::*;

/// A world that has the image, and the name it has there.
async fn pulled(image: &TestImage) -> (World, String) {
    let source = Server::start(Content::default().image("t", image), |_, _| None).await;
    let (world, name) = (World::new().await, source.reference("x:t"));
    world.pull(&name).await.unwrap();
    (world, name.to_string())
}

#[tokio::test]
async fn an_upload_must_not_be_sent_elsewhere() {
    let image = TestImage::new(&["a"]);
    let (world, source) = pulled(&image).await;
    let canary = Server::canary("127.0.0.7:0").await;
    let target = format!("http://{}/upload", canary.address);
    let registry = Server::start(Content::default(), move |seen, _| match seen.method.as_str() {
        "HEAD" => Some(Answer::new(404, "")),
        "POST" if seen.header("authorization").is_none() => Some(basic_challenge()),
        "POST" => Some(Answer::new(202, "").header("Location", &target)),
        _ => None,
    })
    .await;
    let name = registry.reference("x:t");
    world.images.tag(&source, &name).await.unwrap();
    let options = image::PushOptions {
        auth: Some(basic_auth()),
        ..image::PushOptions::default()
    };
    let error = world
        .images
        .push(&name, options, image::silent())
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::RefusedRedirect { .. }), "{error}");
    assert!(canary.saw_nothing());
}

#[tokio::test]
async fn a_broken_upload_starts_a_new_session() {
    let image = TestImage::new(&["a"]);
    let (world, source) = pulled(&image).await;
    let sessions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = sessions.clone();
    let registry = Server::start(Content::default(), move |seen, nth| match seen.method.as_str() {
        "HEAD" => Some(Answer::new(404, "")),
        "POST" => {
            let n = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Some(Answer::new(202, "").header("Location", format!("/v2/x/blobs/uploads/{n}?state=s")))
        }
        "PUT" if seen.path().contains("/manifests/") => Some(if nth == 0 {
            Answer::new(503, "")
        } else {
            Answer::new(201, "")
        }),
        // The first two sessions break; a session is used once.
        "PUT" if seen.path().ends_with("/0") || seen.path().ends_with("/1") => Some(Answer::new(502, "")),
        "PUT" => Some(Answer::new(201, "")),
        _ => None,
    })
    .await;
    let name = registry.reference("x:t");
    world.images.tag(&source, &name).await.unwrap();
    let digest = world
        .images
        .push(&name, image::PushOptions::default(), world.progress())
        .await
        .unwrap();
    assert_eq!(digest, image.digest());
    let puts = registry.requests("/uploads/");
    let mut used: Vec<_> = puts
        .iter()
        .filter(|s| s.method == "PUT")
        .map(|s| s.path().to_owned())
        .collect();
    let all = used.len();
    used.sort();
    used.dedup();
    assert_eq!(used.len(), all, "a session was used twice");
    assert_eq!(sessions.load(std::sync::atomic::Ordering::SeqCst), 4);
    let sent = puts
        .iter()
        .find(|s| s.target.contains(&image.layer(0).to_string().replace(':', "%3A")))
        .unwrap();
    assert_eq!(sent.body, image.layers[0]);
}
