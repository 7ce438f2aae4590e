//! Layers that registries were asked not to distribute: where they come from, where they go, and what is kept of them.

use std::sync::Arc;

use image::{ImageError, PushOptions, RegistryConfig};
use serde_json::{Value, json};
use store::Digest;

use crate::archives::{load, save};
use crate::kit::*;

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
const NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";

/// A Windows image whose base layer is to be had from these places, with the features that its kernel needs.
fn image(media_type: &str, urls: &[String]) -> TestImage {
    let plain = TestImage::for_platform("windows(10.0.17763.5000)/amd64", &["base", "program"]);
    let mut config: Value = serde_json::from_slice(&plain.config).unwrap();
    config["os.features"] = json!(["win32k"]);
    let config = serde_json::to_vec(&config).unwrap();
    let layers = [
        json!({"mediaType": media_type, "digest": plain.layer(0), "size": plain.layers[0].len(), "urls": urls}),
        json!({"mediaType": OCI_LAYER_GZIP, "digest": plain.layer(1), "size": plain.layers[1].len()}),
    ];
    TestImage {
        manifest: TestImage::manifest_of(&config, &layers),
        config,
        ..plain
    }
}

/// A place that has these bytes, whatever is asked for.
async fn place(bytes: Vec<u8>) -> (Server, String) {
    let server = Server::start_on("127.0.0.8:0", Content::default(), move |seen, _| {
        Some(ranged(seen, &bytes))
    })
    .await;
    let url = format!("http://{}/base", server.address);
    (server, url)
}

/// A registry that has the image but not its base layer.
async fn registry_without_base(image: &TestImage) -> Server {
    let base = image.layer(0).to_string();
    Server::start(Content::default().image("t", image), move |seen, _| {
        seen.path().ends_with(&base).then(|| Answer::new(404, ""))
    })
    .await
}

/// A registry that takes whatever is pushed.
async fn taking() -> Server {
    Server::start(Content::default(), |seen, _| match seen.method.as_str() {
        "HEAD" => Some(Answer::new(404, "")),
        "POST" => Some(Answer::new(202, "").header("Location", "/v2/x/blobs/uploads/1?state=s")),
        "PUT" => Some(Answer::new(201, "")),
        _ => None,
    })
    .await
}

/// The digests of blobs, and the manifest, that a registry got.
fn taken(registry: &Server) -> (Vec<Digest>, Vec<u8>) {
    let puts: Vec<Seen> = registry
        .requests("")
        .into_iter()
        .filter(|seen| seen.method == "PUT")
        .collect();
    let (manifests, blobs): (Vec<Seen>, Vec<Seen>) = puts
        .into_iter()
        .partition(|seen| seen.path().contains("/manifests/"));
    let mut digests: Vec<Digest> = blobs.iter().map(|seen| Digest::of(&seen.body)).collect();
    digests.sort();
    (digests, manifests[0].body.clone())
}

fn sorted<const N: usize>(mut digests: [Digest; N]) -> Vec<Digest> {
    digests.sort();
    digests.to_vec()
}

#[tokio::test]
async fn the_registry_is_asked_before_the_other_places() {
    let plain = image(FOREIGN, &[]);
    let (elsewhere, url) = place(plain.layers[0].clone()).await;
    let image = image(FOREIGN, &[url]);
    let complete = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let world = World::new().await;
    world.pull(&complete.reference("x:t")).await.unwrap();
    assert!(elsewhere.saw_nothing());
    world.assert_unpacked(&image, 0);

    let lacking = registry_without_base(&image).await;
    let world = World::new().await;
    let pulled = world.pull(&lacking.reference("x:t")).await.unwrap();
    assert!(!elsewhere.saw_nothing());
    assert_eq!(pulled.layers[0].media_type, FOREIGN);
    assert_eq!(pulled.layers[0].urls.len(), 1);
    assert!(pulled.layers[1].urls.is_empty());
    world.assert_unpacked(&image, 0);
    world.assert_unpacked(&image, 1);
}

#[tokio::test]
async fn wrong_bytes_from_another_place_are_refused() {
    let plain = image(NONDISTRIBUTABLE, &[]);
    let mut wrong = plain.layers[0].clone();
    *wrong.last_mut().unwrap() ^= 1;
    let short = wrong[1..].to_vec();
    for (bytes, same_size) in [(wrong, true), (short, false)] {
        let (_elsewhere, url) = place(bytes).await;
        let image = image(NONDISTRIBUTABLE, &[url]);
        let registry = registry_without_base(&image).await;
        let world = World::new().await;
        let error = world.pull(&registry.reference("x:t")).await.unwrap_err();
        let expected = match same_size {
            true => matches!(error, ImageError::DigestMismatch { .. }),
            false => matches!(error, ImageError::SizeMismatch { .. }),
        };
        assert!(expected, "{error}");
        assert!(world.images.list().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_public_registry_cannot_name_a_place_in_the_neighbourhood() {
    let canary = Server::canary("127.0.0.3:0").await;
    let private = canary.address.ip();
    let config = RegistryConfig {
        is_private: Arc::new(move |address| address == private),
        ..impatient()
    };
    let image = image(FOREIGN, &[format!("http://{}/base", canary.address)]);
    let registry = registry_without_base(&image).await;
    let world = World::with(config, Recorder::default()).await;
    let error = world.pull(&registry.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::RefusedRedirect { .. }), "{error}");
    assert!(canary.saw_nothing());

    let strange = self::image(FOREIGN, &["file:///etc/passwd".to_owned()]);
    let registry = registry_without_base(&strange).await;
    let error = world.pull(&registry.reference("x:t")).await.unwrap_err();
    assert!(error.to_string().contains("is not an http URL"), "{error}");
}

#[tokio::test]
async fn they_are_pushed_unless_told_not_to() {
    let image = image(FOREIGN, &["http://127.0.0.1:1/base".to_owned()]);
    let source = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let world = World::new().await;
    let name = source.reference("x:t");
    world.pull(&name).await.unwrap();
    let config = Digest::of(&image.config);

    for (skip, blobs) in [
        (false, sorted([image.layer(0), image.layer(1), config.clone()])),
        (true, sorted([image.layer(1), config])),
    ] {
        let registry = taking().await;
        let target = registry.reference("x:t");
        world.images.tag(&name.to_string(), &target).await.unwrap();
        let options = PushOptions {
            skip_foreign_layers: skip,
            ..PushOptions::default()
        };
        let digest = world
            .images
            .push(&target, options, world.progress())
            .await
            .unwrap();
        assert_eq!(digest, image.digest());
        let (got, manifest) = taken(&registry);
        assert_eq!(got, blobs);
        // The manifest is the same in either case, with the places.
        assert_eq!(manifest, image.manifest);
        let skipped = world.statuses().contains(&"Skipped foreign layer".to_owned());
        assert_eq!(skipped, skip);
    }
}

#[tokio::test]
async fn saving_and_loading_keeps_places_versions_and_features() {
    let urls = ["http://127.0.0.1:1/base".to_owned()];
    let image = image(FOREIGN, &urls);
    let world = crate::archives::world_with(&image).await;
    let archive = save(&world, &["mine:1"]).await;

    let member = |wanted: &str| -> Value {
        let mut archive = tar::Archive::new(archive.as_slice());
        let found = archive
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .find(|entry| entry.path().unwrap().to_str() == Some(wanted));
        serde_json::from_reader(found.unwrap()).unwrap()
    };
    let index = member("index.json");
    assert_eq!(
        index["manifests"][0]["platform"],
        json!({"architecture": "amd64", "os": "windows", "os.version": "10.0.17763.5000", "os.features": ["win32k"]})
    );
    let docker = member("manifest.json");
    let diff_id = image.diff_ids[0].to_string();
    assert_eq!(
        docker[0]["LayerSources"],
        json!({diff_id: {"mediaType": FOREIGN, "size": image.layers[0].len(), "digest": image.layer(0), "urls": urls}})
    );

    let other = World::new().await;
    load(&other, archive.clone()).await.unwrap();
    let found = other.images.resolve("mine:1", None).await.unwrap();
    assert_eq!(found.manifest, image.digest());
    assert_eq!(found.layers[0].urls, urls);
    assert_eq!(found.platform.os_version.as_deref(), Some("10.0.17763.5000"));
    let raw: Value = serde_json::from_str(found.raw_config.get()).unwrap();
    assert_eq!(raw["os.features"], json!(["win32k"]));
    assert_eq!(save(&other, &["mine:1"]).await, archive);
}

#[tokio::test]
async fn an_archive_of_docker_keeps_its_places_where_the_bytes_are_the_same() {
    let urls = ["http://127.0.0.1:1/base".to_owned()];
    let image = image(FOREIGN, &urls);
    let world = crate::archives::world_with(&image).await;
    let archive = save(&world, &["mine:1"]).await;
    // The same members without those of an OCI layout: what a tool that knows only docker's list would write.
    let mut builder = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().into_owned();
        if name.to_str() == Some("oci-layout") || name.to_str() == Some("index.json") {
            continue;
        }
        let mut header = entry.header().clone();
        builder.append_data(&mut header, name, &mut entry).unwrap();
    }
    let other = World::new().await;
    load(&other, builder.into_inner().unwrap()).await.unwrap();
    let found = other.images.resolve("mine:1", None).await.unwrap();
    assert_eq!(found.id(), &image.id());
    assert_eq!(found.layers[0].media_type, FOREIGN);
    assert_eq!(found.layers[0].urls, urls);
    assert_eq!(found.layers[1].media_type, OCI_LAYER_GZIP);
}
