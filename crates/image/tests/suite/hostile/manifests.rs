//! Manifests and indexes that are too large, ambiguous, or not what was announced.

use super::*;

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
