//! Being sent elsewhere: other origins, the neighbourhood, strange schemes, circles, and the places of foreign layers.

use super::*;

/// A configuration for which only this address is private: the loopback registry plays one on the internet.
fn public_except(private: std::net::SocketAddr) -> RegistryConfig {
    RegistryConfig {
        is_private: Arc::new(move |a| a == private.ip()),
        ..impatient()
    }
}

#[tokio::test]
async fn a_public_registry_cannot_send_us_into_the_neighbourhood() {
    let image = TestImage::new(&["a"]);
    let canary = Server::canary("127.0.0.3:0").await;
    let world = World::with(public_except(canary.address), Recorder::default()).await;
    let realm = format!("http://{}/token", canary.address);
    let server = Server::start(Content::default(), move |_, _| Some(challenge(&realm))).await;
    let error = pull_with_auth(&world, &server, Some(basic_auth()))
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::RefusedRedirect { .. }), "{error}");

    let target = format!("http://{}/blob", canary.address);
    let server = with_blob(&image, move |_, _, _| {
        Some(Answer::new(307, "").header("Location", &target))
    })
    .await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::RefusedRedirect { .. }), "{error}");
    assert!(canary.saw_nothing());
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn names_that_resolve_into_the_neighbourhood_are_refused_too() {
    let image = TestImage::new(&["a"]);
    // The name has addresses of both families; both are private, the registry's own is not.
    let canary = Server::canary("127.0.0.1:0").await;
    let config = RegistryConfig {
        is_private: Arc::new(|a| a.to_string() == "127.0.0.1" || a.to_string() == "::1"),
        ..impatient()
    };
    let world = World::with(config, Recorder::default()).await;
    let target = format!("http://localhost:{}/blob", canary.address.port());
    let digest = image.layer(0).to_string();
    let server = Server::start_on(
        "127.0.0.4:0",
        Content::default().image("t", &image),
        move |seen, _| {
            seen.path()
                .ends_with(&digest)
                .then(|| Answer::new(307, "").header("Location", &target))
        },
    )
    .await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::RefusedRedirect { .. }), "{error}");
    assert!(canary.saw_nothing());
}

#[tokio::test]
async fn a_redirect_to_another_origin_carries_no_credentials() {
    let image = TestImage::new(&["a"]);
    let bytes = image.layers[0].clone();
    let other = Server::start_on("127.0.0.5:0", Content::default(), move |seen, _| {
        Some(ranged(seen, &bytes))
    })
    .await;
    let target = format!("http://{}/cdn/blob?signature=canary", other.address);
    let digest = image.layer(0).to_string();
    let server = Server::start(Content::default().image("t", &image), move |seen, _| {
        if seen.header("authorization").is_none() {
            return Some(basic_challenge());
        }
        seen.path()
            .ends_with(&digest)
            .then(|| Answer::new(307, "").header("Location", &target))
    })
    .await;
    let world = World::new().await;
    pull_with_auth(&world, &server, Some(basic_auth())).await.unwrap();
    assert!(!other.saw_nothing());
    assert!(other.saw_no_credentials());
}

#[tokio::test]
async fn redirects_to_strange_places_and_in_circles_are_refused() {
    let image = TestImage::new(&["a"]);
    for target in ["file:///etc/passwd", "ftp://127.0.0.1/x", "unix:/x", "\u{ff}"] {
        let server = with_blob(&image, move |_, _, _| {
            Some(Answer::new(307, "").header("Location", target))
        })
        .await;
        let world = World::new().await;
        let error = world.pull(&server.reference("x:t")).await.unwrap_err();
        // A relative target leads to a page that does not exist.
        let refused = matches!(
            error,
            ImageError::RefusedRedirect { .. } | ImageError::Registry { status: 404, .. }
        );
        assert!(refused, "{target}: {error}");
    }
    let server = with_blob(&image, |seen, _, _| {
        Some(Answer::new(307, "").header("Location", &seen.target))
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::RefusedRedirect { .. }), "{error}");
    assert_eq!(server.requests(image.layer(0).hex()).len(), 6);
    world.assert_nothing_behind().await;
}

/// The same image, its layer to be had from these places only.
fn with_foreign_layer(image: &TestImage, urls: &[String]) -> TestImage {
    let layer = serde_json::json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": image.layer(0), "size": image.layers[0].len(), "urls": urls,
    });
    TestImage {
        manifest: TestImage::manifest_of(&image.config, &[layer]),
        ..image.clone()
    }
}

#[tokio::test]
async fn foreign_layers_come_from_their_urls_without_credentials() {
    let image = TestImage::for_platform("windows(10.0.20348.1)/amd64", &["a"]);
    let bytes = image.layers[0].clone();
    let other = Server::start_on("127.0.0.6:0", Content::default(), move |seen, _| {
        (seen.path() == "/layer").then(|| ranged(seen, &bytes))
    })
    .await;
    let urls = [
        format!("http://{}/gone", other.address),
        format!("http://{}/layer", other.address),
    ];
    let foreign = with_foreign_layer(&image, &urls);
    let digest = image.layer(0).to_string();
    let server = Server::start(Content::default().image("t", &foreign), move |seen, _| {
        if seen.header("authorization").is_none() {
            return Some(basic_challenge());
        }
        seen.path().ends_with(&digest).then(|| Answer::new(404, ""))
    })
    .await;
    let world = World::new().await;
    let pulled = pull_with_auth(&world, &server, Some(basic_auth())).await.unwrap();
    assert!(pulled.platform.is_windows());
    assert_eq!(pulled.layers[0].urls.len(), 2);
    assert!(other.saw_no_credentials());

    // A place that asks for credentials does not get them.
    let asking = Server::start_on("127.0.0.6:0", Content::default(), |_, _| Some(basic_challenge())).await;
    let foreign = with_foreign_layer(&image, &[format!("http://{}/", asking.address)]);
    let digest = image.layer(0).to_string();
    let server = Server::start(Content::default().image("t", &foreign), move |seen, _| {
        seen.path().ends_with(&digest).then(|| Answer::new(404, ""))
    })
    .await;
    let world = World::new().await;
    let error = pull_with_auth(&world, &server, Some(basic_auth()))
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
    assert!(asking.saw_no_credentials());
}
