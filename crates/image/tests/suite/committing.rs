//! Images made of another one and a layer more: what they contain, what keeps them, and what is left of one that failed.

use image::{CommitSpec, silent};
use serde_json::{Map, Value, json};
use store::Digest;
use tokio::io::AsyncWriteExt;

use crate::kit::*;

/// A world with one pulled image, and its name.
async fn world_with(content: Content) -> (World, String) {
    let server = Server::start(content, |_, _| None).await;
    let world = World::new().await;
    let from = server.reference("x:t");
    world
        .images
        .pull(&from, World::options(), None, silent())
        .await
        .unwrap();
    (world, from.to_string())
}

fn spec(base: Digest, name: Option<&str>) -> CommitSpec {
    CommitSpec {
        base,
        config: Map::from_iter([("Cmd".to_owned(), json!(["new"]))]),
        author: "Jane".to_owned(),
        comment: "what for".to_owned(),
        created_by: "sh -c true".to_owned(),
        created: "2030-01-02T03:04:05Z".to_owned(),
        name: name.map(|name| name.parse().unwrap()),
    }
}

#[tokio::test]
async fn a_commit_adds_a_layer_and_a_line_of_history() {
    let base = TestImage::new(&["one", "two"]);
    let (world, from) = world_with(Content::default().image("t", &base)).await;
    let tar = TestImage::big(3 << 20).layers[0].clone();
    let draft = world
        .images
        .draft_layer(std::io::Cursor::new(tar.clone()))
        .await
        .unwrap();
    assert_eq!(*draft.diff_id(), Digest::of(&tar));
    let id = world
        .images
        .commit(draft, spec(base.digest(), Some("mine:1")))
        .await
        .unwrap();
    // Its base is needed by nobody but it.
    world.images.remove(&from, false).await.unwrap();
    world.store.collect().await.unwrap();
    assert!(world.store.leases().await.unwrap().is_empty());
    let made = world.images.resolve("mine:1", None).await.unwrap();
    assert_eq!(made.config_digest, id);
    assert_eq!(made.layers.len(), 3);
    assert_eq!(made.layers[2].diff_id, Digest::of(&tar));
    assert_eq!(made.layers[1].digest, base.layer(1));
    let config: Value = serde_json::from_str(made.raw_config.get()).unwrap();
    assert_eq!(config["config"], json!({"Cmd": ["new"]}));
    assert_eq!(config["architecture"], "amd64");
    assert_eq!(
        config["history"],
        json!([{"created_by": "test"}, {"created": "2030-01-02T03:04:05Z", "created_by": "sh -c true",
            "author": "Jane", "comment": "what for"}])
    );
    // The blobs are what the manifest says.
    let recorder = world.unpacker().unwrap();
    world.images.unpack(&made, recorder, silent()).await.unwrap();
    let unpacked = world.recorder.unpacked.lock().unwrap();
    assert_eq!(gunzip(&unpacked[&Digest::of(&tar)]), tar);
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
    plain
}

#[tokio::test]
async fn the_same_layer_twice_is_stored_once_and_an_image_without_name_is_kept() {
    let base = TestImage::new(&["one"]);
    let (world, _) = world_with(Content::default().image("t", &base)).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let draft = world.images.draft_layer(&b"layer"[..]).await.unwrap();
        ids.push(
            world
                .images
                .commit(draft, spec(base.digest(), None))
                .await
                .unwrap(),
        );
    }
    assert_eq!(ids[0], ids[1]);
    world.store.collect().await.unwrap();
    let made = world.images.resolve(ids[0].as_str(), None).await.unwrap();
    assert!(made.repo_tags.is_empty());
    assert_eq!(world.store.blobs().await.unwrap().len(), 6);
}

#[tokio::test]
async fn an_image_of_docker_stays_one_of_docker() {
    const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let base = TestImage::new(&["one"]);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": base.id(), "size": base.config.len()},
        "layers": [{"mediaType": LAYER, "digest": base.layer(0), "size": base.layers[0].len()}],
    }))
    .unwrap();
    let digest = Digest::of(&manifest);
    let content = Content::default()
        .image("other", &base)
        .manifest("t", MANIFEST, manifest);
    let (world, _) = world_with(content).await;
    let draft = world.images.draft_layer(&b"layer"[..]).await.unwrap();
    world
        .images
        .commit(draft, spec(digest, Some("mine:1")))
        .await
        .unwrap();
    let made = world.images.resolve("mine:1", None).await.unwrap();
    assert_eq!(made.target_media_type, MANIFEST);
    assert!(made.layers.iter().all(|layer| layer.media_type == LAYER));
}

#[tokio::test]
async fn a_draft_that_is_given_up_leaves_nothing() {
    let world = World::new().await;
    let draft = world.images.draft_layer(&b"layer"[..]).await.unwrap();
    world.images.discard_draft(draft).await.unwrap();
    world.assert_nothing_behind().await;
    // Dropped in the middle, as when the daemon gives up.
    let (mut write, read) = tokio::io::duplex(16);
    write.write_all(b"begun").await.unwrap();
    tokio::select! {
        _ = world.images.draft_layer(read) => panic!("it has not ended"),
        // More than fits between them: it can be written only while it is read.
        written = write.write_all(&[0; 64 << 10]) => written.unwrap(),
    }
    drop(write);
    // A base that is not here.
    let draft = world.images.draft_layer(&b"layer"[..]).await.unwrap();
    let missing = spec(Digest::of("nothing"), Some("mine:1"));
    world.images.commit(draft, missing).await.unwrap_err();
    world.assert_nothing_behind().await;
}
