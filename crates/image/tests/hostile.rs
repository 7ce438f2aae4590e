//! A registry that lies, cuts, stalls, loops and begs for credentials. Whatever it does: a typed error or a right image,
//! nothing left behind, and no secret in a place where it does not belong.
#![allow(clippy::unwrap_used, reason = "a test may fail here")]

mod kit;

use std::sync::Arc;

use image::{Auth, ImageError, PullOptions, RegistryConfig};
use kit::*;
use store::Digest;

/// Starts a registry with one image of one layer, whose blob answers are scripted.
async fn with_blob(
    image: &TestImage,
    blob: impl Fn(&Seen, usize, &[u8]) -> Option<Answer> + Send + Sync + 'static,
) -> Server {
    let (digest, bytes) = (image.layer(0).to_string(), image.layers[0].clone());
    Server::start(Content::default().image("t", image), move |seen, nth| {
        if seen.path().ends_with(&digest) {
            blob(seen, nth, &bytes)
        } else {
            None
        }
    })
    .await
}

async fn pull_manifest(media_type: &str, bytes: impl Into<Vec<u8>>) -> (World, ImageError) {
    let server = Server::start(
        Content::default().manifest("t", media_type, bytes.into()),
        |_, _| None,
    )
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    world.assert_nothing_behind().await;
    (world, error)
}

#[tokio::test]
async fn a_blob_with_other_bytes_is_refused() {
    let image = TestImage::new(&["hello"]);
    let server = with_blob(&image, |_, _, bytes| {
        let mut wrong = bytes.to_vec();
        wrong[20] ^= 1;
        Some(Answer::new(200, wrong))
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    assert_eq!(*world.recorder.aborted.lock().unwrap(), 1);
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn a_wrong_size_in_the_manifest_is_refused() {
    for difference in [-1isize, 1] {
        let image = TestImage::new(&["hello"]);
        let size = image.layers[0].len().checked_add_signed(difference).unwrap();
        let layer = serde_json::json!({"mediaType": OCI_LAYER_GZIP, "digest": image.layer(0), "size": size});
        let lying = TestImage {
            manifest: TestImage::manifest_of(&image.config, &[layer]),
            ..image
        };
        for framed in [true, false] {
            let server = with_blob(&lying, move |_, _, bytes| {
                (!framed).then(|| Answer::new(200, bytes).with(Body::Full(bytes.to_vec()), None))
            })
            .await;
            let world = World::new().await;
            let error = world.pull(&server.reference("x:t")).await.unwrap_err();
            let expected = matches!(
                error,
                ImageError::SizeMismatch { .. }
                    | ImageError::DigestMismatch { .. }
                    | ImageError::Transport { .. }
            );
            assert!(expected, "{error}");
            world.assert_nothing_behind().await;
        }
    }
}

#[tokio::test]
async fn an_endless_body_is_stopped() {
    let image = TestImage::new(&["hello"]);
    let server = with_blob(&image, |_, _, _| {
        Some(Answer::new(200, "").with(Body::Endless, None))
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::SizeMismatch { .. }), "{error}");
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn a_stalling_server_is_given_up() {
    let image = TestImage::big(100_000);
    let server = with_blob(&image, |seen, _, bytes| {
        let start = range_start(seen).unwrap_or(0);
        Some(ranged(seen, bytes).with(
            Body::Stall(bytes[start..start + 1000].to_vec()),
            Some(bytes.len() - start),
        ))
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(
        matches!(error, ImageError::Transport { attempts: 4, .. }),
        "{error}"
    );
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn a_connection_that_breaks_every_64_kib_is_resumed() {
    let image = TestImage::big(1 << 20);
    let server = with_blob(&image, |seen, _, bytes| {
        let start = range_start(seen).unwrap_or(0);
        let end = (start + (64 << 10)).min(bytes.len());
        let answer = ranged(seen, bytes);
        Some(answer.with(Body::Cut(bytes[start..end].to_vec()), Some(bytes.len() - start)))
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
    assert_eq!(
        world.recorder.unpacked.lock().unwrap()[&image.diff_ids[0]],
        image.layers[0]
    );
    // One sink saw all of it: nothing was started over.
    assert_eq!(world.recorder.begun.lock().unwrap().len(), 1);
    assert!(server.requests("/blobs/").len() > 16);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start_again() {
    let image = TestImage::big(200_000);
    let server = with_blob(&image, |_, nth, bytes| {
        let whole = Answer::new(200, bytes);
        Some(if nth < 2 {
            whole.with(Body::Cut(bytes[..100_000].to_vec()), Some(bytes.len()))
        } else {
            whole
        })
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
    assert_eq!(
        world.recorder.unpacked.lock().unwrap()[&image.diff_ids[0]],
        image.layers[0]
    );
    assert!(*world.recorder.aborted.lock().unwrap() > 0);
}

#[tokio::test]
async fn a_wrong_range_is_not_believed() {
    let image = TestImage::big(200_000);
    let server = with_blob(&image, |seen, nth, bytes| {
        Some(match (nth, range_start(seen)) {
            (0, _) => Answer::new(200, "").with(Body::Cut(bytes[..100_000].to_vec()), Some(bytes.len())),
            (_, Some(start)) => Answer::new(206, &bytes[start - 10..]).header(
                "Content-Range",
                format!("bytes {}-{}/{}", start - 10, bytes.len() - 1, bytes.len()),
            ),
            (_, None) => Answer::new(200, bytes),
        })
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
    assert_eq!(
        world.recorder.unpacked.lock().unwrap()[&image.diff_ids[0]],
        image.layers[0]
    );
}

#[tokio::test]
async fn the_next_pull_continues_where_a_dead_one_stopped() {
    let image = TestImage::big(2 << 20);
    const SENT: usize = 3 << 19;
    let server = with_blob(&image, |seen, nth, bytes| {
        (nth == 0).then(|| ranged(seen, bytes).with(Body::Stall(bytes[..SENT].to_vec()), Some(bytes.len())))
    })
    .await;
    let world = World::with(RegistryConfig::default(), Recorder::default()).await;
    let reference = server.reference("x:t");
    let mut received = world.recorder.received.subscribe();
    tokio::select! {
        _ = world.pull(&reference) => panic!("the pull ended"),
        waited = received.wait_for(|n| *n >= SENT) => drop(waited.unwrap()),
    }
    world.pull(&reference).await.unwrap();
    let ranges: Vec<_> = server
        .requests(image.layer(0).hex())
        .iter()
        .filter_map(range_start)
        .collect();
    assert!(
        ranges.first().is_some_and(|start| *start >= 512 << 10),
        "{ranges:?}"
    );
    // The new sink has seen the first part from disk.
    assert_eq!(
        world.recorder.unpacked.lock().unwrap()[&image.diff_ids[0]],
        image.layers[0]
    );
}

#[tokio::test]
async fn a_damaged_partial_copy_is_fetched_again() {
    for strict in [false, true] {
        let image = TestImage::big(300_000);
        let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
        let world = World::with(
            impatient(),
            Recorder {
                strict,
                ..Recorder::default()
            },
        )
        .await;
        let lease = world.store.lease().await.unwrap();
        let (digest, size) = (image.layer(0), image.layers[0].len() as u64);
        let ingest = world
            .store
            .ingest(lease.id(), digest.as_str(), Some(digest.clone()), Some(size));
        let mut ingest = ingest.await.unwrap();
        for _ in 0..10 {
            ingest.write(vec![7; 10_000].into()).await.unwrap();
        }
        // Something must be on disk, which a failed commit makes sure of.
        ingest.commit(store::Labels::new()).await.unwrap_err();
        lease.release().await.unwrap();
        world.pull(&server.reference("x:t")).await.unwrap();
        let ranges: Vec<_> = server.requests(digest.hex()).iter().map(range_start).collect();
        // An unpacker that understands the bytes notices before anything is fetched.
        assert_eq!(
            ranges,
            if strict {
                vec![None]
            } else {
                vec![Some(100_000), None]
            }
        );
        assert_eq!(
            world.recorder.unpacked.lock().unwrap()[&image.diff_ids[0]],
            image.layers[0]
        );
    }
}

#[tokio::test]
async fn wrong_bytes_are_the_registry_s_fault_even_if_the_unpacker_chokes_first() {
    let image = TestImage::big(100_000);
    let server = with_blob(&image, |_, _, bytes| Some(Answer::new(200, vec![7; bytes.len()]))).await;
    let world = World::with(
        impatient(),
        Recorder {
            strict: true,
            ..Recorder::default()
        },
    )
    .await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn a_manifest_has_a_limit() {
    let (_, error) = pull_manifest(OCI_MANIFEST, vec![b' '; 5 << 20]).await;
    assert!(matches!(error, ImageError::LimitExceeded { .. }), "{error}");
    let server = Server::start(Content::default(), |seen, _| {
        seen.path()
            .contains("/manifests/")
            .then(|| Answer::new(200, "").with(Body::Endless, None))
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::LimitExceeded { .. }), "{error}");
}

#[tokio::test]
async fn ambiguous_manifests_are_refused() {
    let image = TestImage::new(&["a"]);
    let text = String::from_utf8(image.manifest.clone()).unwrap();
    let both = text.replacen('{', r#"{"manifests":[],"#, 1);
    let doubled = text.replacen('{', r#"{"layers":[],"#, 1);
    let deep = "{\"a\":".to_owned() + &"[".repeat(100_000);
    for (media_type, bytes) in [
        (OCI_MANIFEST, both),
        (OCI_MANIFEST, doubled),
        (OCI_MANIFEST, deep),
        (OCI_INDEX, text.clone()),
        ("application/vnd.docker.distribution.manifest.v2+json", text),
        (OCI_MANIFEST, "not json".into()),
    ] {
        let (_, error) = pull_manifest(media_type, bytes).await;
        assert!(matches!(error, ImageError::ManifestInvalid { .. }), "{error}");
    }
}

#[tokio::test]
async fn schema_1_is_refused_with_a_hint() {
    let old = r#"{"schemaVersion":1,"name":"x","tag":"t","fsLayers":[],"history":[]}"#;
    let (_, error) = pull_manifest("application/vnd.docker.distribution.manifest.v1+prettyjws", old).await;
    assert!(matches!(error, ImageError::Schema1 { .. }), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn indexes_are_limited_in_depth_and_width() {
    let image = TestImage::new(&["a"]);
    let mut content = Content::default().image("image", &image);
    let (mut digest, mut size, mut media_type) = (image.digest(), image.manifest.len(), OCI_MANIFEST);
    for level in 1..=4 {
        let entry = serde_json::json!({"mediaType": media_type, "digest": digest, "size": size});
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
        let bytes = serde_json::to_vec(&index).unwrap();
        (digest, size, media_type) = (Digest::of(&bytes), bytes.len(), OCI_INDEX);
        content = content.manifest(&format!("level{level}"), OCI_INDEX, bytes);
    }
    let server = Server::start(content, |_, _| None).await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:level4")).await.unwrap_err();
    assert!(matches!(error, ImageError::ManifestInvalid { .. }), "{error}");
    world.assert_nothing_behind().await;
    world.pull(&server.reference("x:level3")).await.unwrap();

    let entry = format!(
        r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":1}}"#,
        image.digest()
    );
    let wide = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        vec![entry; 2000].join(",")
    );
    let (_, error) = pull_manifest(OCI_INDEX, wide).await;
    assert!(matches!(error, ImageError::LimitExceeded { .. }), "{error}");
}

#[tokio::test]
async fn digests_are_checked_before_any_request() {
    for bad in ["sha256:../../x", "md5:0123", "sha256:ABCDEF"] {
        let image = TestImage::new(&["a"]);
        let text = String::from_utf8(image.manifest.clone())
            .unwrap()
            .replace(image.layer(0).as_str(), bad);
        let (_, error) = pull_manifest(OCI_MANIFEST, text).await;
        assert!(matches!(error, ImageError::InvalidDigest { .. }), "{error}");
    }
}

#[tokio::test]
async fn manifests_must_have_the_announced_digest() {
    let image = TestImage::new(&["a"]);
    let manifest = image.manifest.clone();
    let server = Server::start(Content::default().image("t", &image), move |seen, _| {
        seen.path().ends_with("/manifests/t").then(|| {
            Answer::new(200, manifest.clone())
                .header("Content-Type", OCI_MANIFEST)
                .header("Docker-Content-Digest", Digest::of("something else"))
        })
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");

    let wanted = Digest::of("other bytes");
    let bytes = image.manifest.clone();
    let server = Server::start(Content::default(), move |_, _| {
        Some(Answer::new(200, bytes.clone()).header("Content-Type", OCI_MANIFEST))
    })
    .await;
    let error = world
        .pull(&server.reference(&format!("x@{wanted}")))
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn layers_and_diff_ids_must_match_in_number() {
    let image = TestImage::new(&["a"]);
    for layers in [vec![], vec![0, 0]] {
        let layers: Vec<_> = layers
            .iter()
            .map(|n: &usize| {
                serde_json::json!({"mediaType": OCI_LAYER_GZIP, "digest": image.layer(*n), "size": image.layers[*n].len()})
            })
            .collect();
        let lying = TestImage {
            manifest: TestImage::manifest_of(&image.config, &layers),
            ..image.clone()
        };
        let server = Server::start(Content::default().image("t", &lying), |_, _| None).await;
        let world = World::new().await;
        let error = world.pull(&server.reference("x:t")).await.unwrap_err();
        assert!(matches!(error, ImageError::ManifestInvalid { .. }), "{error}");
        world.assert_nothing_behind().await;
    }
}

fn challenge(realm: &str) -> Answer {
    Answer::new(
        401,
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
    )
    .header(
        "WWW-Authenticate",
        format!(r#"Bearer realm="{realm}",service="test""#),
    )
}

fn basic_auth() -> Auth {
    Auth::Basic {
        username: "user".into(),
        password: "canary-password".into(),
    }
}

async fn pull_with_auth(world: &World, server: &Server, auth: Option<Auth>) -> image::Result<image::Image> {
    let options = PullOptions {
        auth,
        ..World::options()
    };
    world
        .images
        .pull(
            &server.reference("x:t"),
            options,
            world.unpacker(),
            world.progress(),
        )
        .await
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used() {
    let image = TestImage::new(&["a", "b", "c"]);
    let server = Server::start(Content::default().image("t", &image), |seen, _| {
        if seen.path() == "/token" {
            return Some(Answer::new(200, r#"{"token":"good","expires_in":300}"#));
        }
        let realm = format!("http://{}/token", seen.header("host").unwrap());
        (seen.header("authorization") != Some("Bearer good")).then(|| challenge(&realm))
    })
    .await;
    let world = World::new().await;
    pull_with_auth(&world, &server, Some(basic_auth())).await.unwrap();
    let tokens = server.requests("/token");
    assert_eq!(tokens.len(), 1);
    assert!(
        tokens[0].target.contains("scope=repository%3Ax%3Apull"),
        "{}",
        tokens[0].target
    );
    assert!(tokens[0].header("authorization").unwrap().starts_with("Basic "));
    // The password went to the token service only.
    let elsewhere = server.requests("/v2/");
    assert!(
        elsewhere
            .iter()
            .all(|s| !s.header("authorization").unwrap_or_default().starts_with("Basic"))
    );
}

#[tokio::test]
async fn basic_credentials_are_sent_where_they_are_asked_for() {
    let image = TestImage::new(&["a"]);
    let script = |seen: &Seen, _: usize| {
        (seen.header("authorization") != Some("Basic dXNlcjpjYW5hcnktcGFzc3dvcmQ="))
            .then(|| Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="x""#))
    };
    let server = Server::start(Content::default().image("t", &image), script).await;
    let world = World::new().await;
    pull_with_auth(&world, &server, Some(basic_auth())).await.unwrap();
    let wrong = Auth::Basic {
        username: "user".into(),
        password: "wrong".into(),
    };
    for auth in [None, Some(wrong)] {
        let error = pull_with_auth(&world, &server, auth).await.unwrap_err();
        assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_token_service_elsewhere_does_not_see_the_password() {
    let canary = Server::start_on("127.0.0.2:0", Content::default(), |_, _| {
        Some(Answer::new(200, r#"{"token":"anonymous"}"#))
    })
    .await;
    let realm = format!("http://{}/token", canary.address);
    let server = Server::start(Content::default(), move |_, _| Some(challenge(&realm))).await;
    let world = World::new().await;
    let error = pull_with_auth(&world, &server, Some(basic_auth()))
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
    assert!(!canary.saw_nothing());
    assert!(
        canary
            .requests("")
            .iter()
            .all(|s| s.header("authorization").is_none() && !s.target.contains("user"))
    );
}

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
async fn endless_challenges_end() {
    let server = Server::start(Content::default(), |seen, _| {
        let realm = format!("http://{}/token", seen.header("host").unwrap());
        Some(if seen.path() == "/token" {
            Answer::new(200, r#"{"token":"bad"}"#)
        } else {
            challenge(&realm)
        })
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
    assert!(server.requests("/manifests/").len() <= 3);
}

#[tokio::test]
async fn token_answers_are_not_trusted() {
    for (answer, limit) in [
        (Answer::new(200, vec![b'x'; 2 << 20]), true),
        (Answer::new(200, "not json"), false),
        (Answer::new(200, r#"{"token":"a\r\nX-Injected: 1"}"#), false),
        (Answer::new(403, "\u{1b}[2Jno"), false),
    ] {
        let server = Server::start(Content::default(), move |seen, _| {
            let realm = format!("http://{}/token", seen.header("host").unwrap());
            Some(if seen.path() == "/token" {
                answer.clone()
            } else {
                challenge(&realm)
            })
        })
        .await;
        let world = World::new().await;
        let error = world.pull(&server.reference("x:t")).await.unwrap_err();
        assert_eq!(
            matches!(error, ImageError::LimitExceeded { .. }),
            limit,
            "{error}"
        );
        assert!(
            limit || matches!(error, ImageError::Unauthorized { .. }),
            "{error}"
        );
        assert!(!error.to_string().contains('\u{1b}'));
        assert!(
            server
                .requests("")
                .iter()
                .all(|s| s.header("x-injected").is_none())
        );
    }
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
            return Some(Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="x""#));
        }
        seen.path()
            .ends_with(&digest)
            .then(|| Answer::new(307, "").header("Location", &target))
    })
    .await;
    let world = World::new().await;
    pull_with_auth(&world, &server, Some(basic_auth())).await.unwrap();
    assert!(!other.saw_nothing());
    assert!(
        other
            .requests("")
            .iter()
            .all(|s| s.header("authorization").is_none())
    );
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

#[tokio::test]
async fn foreign_layers_come_from_their_urls_without_credentials() {
    let image = TestImage::for_platform("windows(10.0.20348.1)/amd64", &["a"]);
    let bytes = image.layers[0].clone();
    let other = Server::start_on("127.0.0.6:0", Content::default(), move |seen, _| {
        (seen.path() == "/layer").then(|| ranged(seen, &bytes))
    })
    .await;
    let layer = serde_json::json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": image.layer(0), "size": image.layers[0].len(),
        "urls": [format!("http://{}/gone", other.address), format!("http://{}/layer", other.address)],
    });
    let foreign = TestImage {
        manifest: TestImage::manifest_of(&image.config, &[layer]),
        ..image.clone()
    };
    let digest = image.layer(0).to_string();
    let server = Server::start(Content::default().image("t", &foreign), move |seen, _| {
        if seen.header("authorization").is_none() {
            return Some(Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="x""#));
        }
        seen.path().ends_with(&digest).then(|| Answer::new(404, ""))
    })
    .await;
    let world = World::new().await;
    let pulled = pull_with_auth(&world, &server, Some(basic_auth())).await.unwrap();
    assert!(pulled.platform.is_windows());
    assert_eq!(pulled.layers[0].urls.len(), 2);
    assert!(
        other
            .requests("")
            .iter()
            .all(|s| s.header("authorization").is_none())
    );

    // A place that asks for credentials does not get them.
    let asking = Server::start_on("127.0.0.6:0", Content::default(), |_, _| {
        Some(Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="x""#))
    })
    .await;
    let layer = serde_json::json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": image.layer(0), "size": image.layers[0].len(), "urls": [format!("http://{}/", asking.address)],
    });
    let foreign = TestImage {
        manifest: TestImage::manifest_of(&image.config, &[layer]),
        ..image.clone()
    };
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
    assert!(
        asking
            .requests("")
            .iter()
            .all(|s| s.header("authorization").is_none())
    );
}

#[tokio::test]
async fn busy_servers_are_asked_again() {
    let image = TestImage::new(&["a"]);
    let server = Server::start(Content::default().image("t", &image), |seen, nth| {
        let busy = [503, 429, 500][nth.min(2)];
        (nth < 3 && seen.method == "GET").then(|| Answer::new(busy, "busy").header("Retry-After", 0))
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_years_and_errors_are_final() {
    for (status, after) in [(429, Some("999999999")), (418, None)] {
        let server = Server::start(Content::default(), move |_, _| {
            let answer = Answer::new(status, "\u{1b}]0;title\u{7}".repeat(100_000));
            Some(after.map_or(answer.clone(), |a| answer.clone().header("Retry-After", a)))
        })
        .await;
        let world = World::new().await;
        let error = world.pull(&server.reference("x:t")).await.unwrap_err();
        assert!(
            matches!(error, ImageError::Registry { status: s, .. } if s == status),
            "{error}"
        );
        assert_eq!(server.requests("/manifests/").len(), 1);
        let text = error.to_string();
        assert!(text.len() < 2000 && !text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test]
async fn a_flood_of_headers_is_an_error() {
    let server = Server::start(Content::default(), |_, _| {
        let mut answer = Answer::new(200, "{}");
        for n in 0..2000 {
            answer = answer.header(&format!("X-{n}"), "y".repeat(500));
        }
        Some(answer)
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap_err();
}

#[tokio::test]
async fn a_repeated_layer_is_fetched_once_and_too_many_are_refused() {
    let one = TestImage::new(&["a"]);
    let tar = tar_of("file", b"a");
    let many = TestImage::from_tars("linux/amd64", &vec![tar.clone(); 200]);
    let server = Server::start(Content::default().image("t", &many), |_, _| None).await;
    let world = World::new().await;
    let image = world.pull(&server.reference("x:t")).await.unwrap();
    assert_eq!(image.layers.len(), 200);
    assert_eq!(server.requests(one.layer(0).hex()).len(), 1);
    let too_many = TestImage::from_tars("linux/amd64", &vec![tar; 257]);
    let server = Server::start(Content::default().image("t", &too_many), |_, _| None).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::LimitExceeded { .. }), "{error}");
}

#[tokio::test]
async fn the_tag_may_move_under_the_pull() {
    let (old, new) = (TestImage::new(&["old"]), TestImage::new(&["new"]));
    let index = index_of(&[(&old, serde_json::json!({"os": "linux", "architecture": "amd64"}))]);
    let content = Content::default()
        .image("new", &new)
        .image("old", &old)
        .manifest("t", OCI_INDEX, index);
    let moved = new.manifest.clone();
    let server = Server::start(content, move |seen, nth| {
        (seen.path().ends_with("/manifests/t") && nth > 0)
            .then(|| Answer::new(200, moved.clone()).header("Content-Type", OCI_MANIFEST))
    })
    .await;
    let world = World::new().await;
    let image = world.pull(&server.reference("x:t")).await.unwrap();
    assert_eq!(image.config_digest, old.id());
}

#[tokio::test]
async fn an_unpacker_that_fails_fails_the_pull_with_its_reason() {
    let image = TestImage::big(100_000);
    let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let recorder = Recorder {
        fail_after: Some(1000),
        ..Recorder::default()
    };
    let world = World::with(impatient(), recorder).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::Unpack { source, .. } if source.to_string() == "the disk is full"),
        "{error}"
    );
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn nobody_listening_is_reported_with_the_address() {
    let world = World::new().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = world
        .pull(&format!("{closed}/x").parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ImageError::Transport { attempts: 4, .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
}

#[tokio::test]
async fn an_upload_must_not_be_sent_elsewhere() {
    let image = TestImage::new(&["a"]);
    let source = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let world = World::new().await;
    world.pull(&source.reference("x:t")).await.unwrap();
    let canary = Server::canary("127.0.0.7:0").await;
    let target = format!("http://{}/upload", canary.address);
    let registry = Server::start(Content::default(), move |seen, _| match seen.method.as_str() {
        "HEAD" => Some(Answer::new(404, "")),
        "POST" if seen.header("authorization").is_none() => {
            Some(Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="x""#))
        }
        "POST" => Some(Answer::new(202, "").header("Location", &target)),
        _ => None,
    })
    .await;
    let name = registry.reference("x:t");
    world
        .images
        .tag(&source.reference("x:t").to_string(), &name)
        .await
        .unwrap();
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
    let source = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let world = World::new().await;
    world.pull(&source.reference("x:t")).await.unwrap();
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
    world
        .images
        .tag(&source.reference("x:t").to_string(), &name)
        .await
        .unwrap();
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

#[tokio::test]
async fn secrets_do_not_show_in_errors() {
    let server = Server::start(Content::default(), |seen, _| {
        let location = format!("ftp://user:canary@{}/x?sig=canary", seen.header("host").unwrap());
        Some(Answer::new(307, "").header("Location", location))
    })
    .await;
    let world = World::new().await;
    let error = pull_with_auth(&world, &server, Some(basic_auth()))
        .await
        .unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn tls_is_verified_and_never_given_up() {
    let image = TestImage::new(&["a"]);
    let config = |server: &Server, roots: Vec<Vec<u8>>| RegistryConfig {
        encrypted_loopback: vec![server.address.to_string()],
        extra_roots: roots,
        ..impatient()
    };
    let authority = include_bytes!("data/ca.pem").to_vec();

    let server = Server::start_encrypted("127.0.0.1:0", Content::default().image("t", &image)).await;
    let world = World::with(config(&server, Vec::new()), Recorder::default()).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::Transport { attempts: 1, reason, .. } if reason.contains("TLS")),
        "{error}"
    );
    assert!(server.saw_nothing());

    let world = World::with(config(&server, vec![authority.clone()]), Recorder::default()).await;
    world.pull(&server.reference("x:t")).await.unwrap();

    // The certificate is for another address.
    let server = Server::start_encrypted("127.0.0.8:0", Content::default().image("t", &image)).await;
    let world = World::with(config(&server, vec![authority]), Recorder::default()).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::Transport { reason, .. } if reason.contains("TLS")),
        "{error}"
    );

    // A server without TLS where TLS is expected.
    let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let mut impatient = config(&server, Vec::new());
    impatient.retry.attempts = 1;
    impatient.timeouts.connect = std::time::Duration::from_millis(300);
    let world = World::with(impatient, Recorder::default()).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::Transport { .. }), "{error}");
    assert!(server.requests("/v2/").is_empty());
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_and_a_bearer_token_is_sent_as_it_is() {
    let image = TestImage::new(&["a"]);
    let server = Server::start(Content::default().image("t", &image), |seen, _| {
        if seen.path() == "/token" {
            let form = String::from_utf8_lossy(&seen.body).into_owned();
            let right = seen.method == "POST"
                && form.contains("grant_type=refresh_token")
                && form.contains("refresh_token=refresh-me")
                && form.contains("scope=repository%3Ax%3Apull");
            return Some(if right {
                Answer::new(200, r#"{"access_token":"good"}"#)
            } else {
                Answer::new(401, "")
            });
        }
        let realm = format!("http://{}/token", seen.header("host").unwrap());
        (seen.header("authorization") != Some("Bearer good")).then(|| challenge(&realm))
    })
    .await;
    for (auth, right) in [
        (Auth::IdentityToken("refresh-me".into()), true),
        (Auth::IdentityToken("other".into()), false),
        (Auth::Bearer("good".into()), true),
        (Auth::Bearer("bad".into()), false),
    ] {
        let world = World::new().await;
        let result = pull_with_auth(&world, &server, Some(auth.clone())).await;
        assert_eq!(result.is_ok(), right, "{auth:?}: {result:?}");
        assert!(right || matches!(result, Err(ImageError::Unauthorized { .. })));
    }
}
