//! What is saved can be loaded, and what other tools have saved before.

use super::*;

#[tokio::test]
async fn what_is_saved_can_be_loaded() {
    let image = TestImage::new(&["one", "two"]);
    let world = world_with(&image).await;
    let bytes = save(&world, &["mine:1"]).await;
    assert_eq!(
        bytes,
        save(&world, &["mine:1"]).await,
        "the same image gives the same bytes"
    );
    for bytes in [gzip(&bytes), bytes] {
        let other = World::new().await;
        let loaded = load(&other, bytes).await.unwrap();
        assert_eq!(loaded, [Loaded::Named("mine:1".parse().unwrap())]);
        other.store.collect().await.unwrap();
        let found = other.images.resolve("mine:1", None).await.unwrap();
        assert_eq!(found.manifest, image.digest());
        assert_eq!(found.layers.len(), 2);
        assert!(other.statuses().contains(&"Loaded image: mine:1".to_owned()));
    }
}

#[tokio::test]
async fn a_pipe_is_enough() {
    let image = TestImage::big(3 << 20);
    let world = world_with(&image).await;
    let other = World::new().await;
    let (writer, reader) = tokio::io::duplex(4096);
    let names = ["mine:1".to_owned()];
    let (saved, loaded) = tokio::join!(
        world.images.save(&names, None, writer),
        other.images.load(reader, silent())
    );
    saved.unwrap();
    assert_eq!(loaded.unwrap().len(), 1);
}

#[tokio::test]
async fn a_windows_image_is_saved_and_loaded_on_any_host() {
    let image = TestImage::for_platform("windows(10.0.20348.1)/amd64", &["w"]);
    let world = world_with(&image).await;
    let bytes = save(&world, &["mine:1"]).await;
    let other = World::new().await;
    load(&other, bytes).await.unwrap();
    let found = other.images.resolve("mine:1", None).await.unwrap();
    assert_eq!(found.platform.to_string(), "windows(10.0.20348.1)/amd64");
}

#[tokio::test]
async fn several_names_and_ids_go_into_one_archive() {
    let image = TestImage::new(&["one"]);
    let world = world_with(&image).await;
    world
        .images
        .tag("mine:1", &"mine:2".parse().unwrap())
        .await
        .unwrap();
    let bytes = save(&world, &["mine:1", "mine:2"]).await;
    let other = World::new().await;
    let mut names: Vec<_> = load(&other, bytes).await.unwrap();
    names.sort_by_key(|n| format!("{n:?}"));
    assert_eq!(
        names,
        [
            Loaded::Named("mine:1".parse().unwrap()),
            Loaded::Named("mine:2".parse().unwrap())
        ]
    );

    let by_id = save(&world, &[&image.id().hex()[..12]]).await;
    let other = World::new().await;
    assert_eq!(load(&other, by_id).await.unwrap(), [Loaded::Unnamed(image.id())]);
    other.store.collect().await.unwrap();
    assert_eq!(other.images.list().await.unwrap().len(), 1);
    let error = world
        .images
        .save(&["nope".into()], None, Vec::new())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no such image: nope");
}

#[tokio::test]
async fn a_docker_archive_with_links_and_plain_layers_is_loaded() {
    let tars = [tar_of("a", b"1"), tar_of("b", b"2")];
    let image = TestImage::from_tars("linux/amd64", &tars);
    let config_name = format!("{}.json", image.id().hex());
    let archive = Archive::default()
        .file("aaa/VERSION", "1.0")
        .file("aaa/json", "{}")
        .file("aaa/layer.tar", &tars[0])
        .file("real.tar", &tars[1])
        .link("bbb/layer.tar", "../real.tar")
        .file(&config_name, &image.config)
        .json(
            "manifest.json",
            &json!([{"Config": config_name, "RepoTags": ["old:style", "127.0.0.1:5000/x:y"],
                "Layers": ["aaa/layer.tar", "bbb/layer.tar"]}]),
        )
        .json("repositories", &json!({"old": {"style": "aaa"}}))
        .end();
    let world = World::new().await;
    assert_eq!(load(&world, archive).await.unwrap().len(), 2);
    world.store.collect().await.unwrap();
    let found = world.images.resolve("old:style", None).await.unwrap();
    assert_eq!(found.config_digest, image.id());
    assert_eq!(found.layers[1].digest, found.layers[1].diff_id);
    assert_eq!(
        found.layers[1].media_type,
        "application/vnd.oci.image.layer.v1.tar"
    );
    world
        .images
        .unpack(
            &found,
            std::sync::Arc::new(Unpacker(world.recorder.clone())),
            silent(),
        )
        .await
        .unwrap();
    assert_eq!(
        world.recorder.unpacked.lock().unwrap()[&image.diff_ids[1]],
        tars[1]
    );
}

#[tokio::test]
async fn an_index_with_one_platform_and_an_attestation_is_loaded() {
    let image = TestImage::new(&["a"]);
    let attestation = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
         "platform": {"os": "linux", "architecture": "amd64"}},
        {"mediaType": OCI_MANIFEST, "digest": Digest::of("absent"), "size": 6,
         "platform": {"os": "linux", "architecture": "arm64"}},
        {"mediaType": OCI_MANIFEST, "digest": Digest::of(attestation), "size": attestation.len(),
         "platform": {"os": "unknown", "architecture": "unknown"},
         "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
    ]});
    let index = serde_json::to_vec(&index).unwrap();
    let top = json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_INDEX, "digest": Digest::of(&index),
        "size": index.len(), "annotations": {"io.containerd.image.name": "docker.io/library/built:1"}}]});
    let archive = Archive::default()
        .blob(&index)
        .blob(attestation)
        .blob(&image.manifest)
        .blob(&image.config)
        .blob(&image.layers[0])
        .json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
        .json("index.json", &top)
        .end();
    let world = World::new().await;
    load(&world, archive).await.unwrap();
    world.store.collect().await.unwrap();
    assert_eq!(world.images.list().await.unwrap().len(), 1);
    assert_eq!(
        world.images.resolve("built:1", None).await.unwrap().target,
        Digest::of(&index)
    );
    // What is incomplete is saved as the platform that is here.
    let saved = save(&world, &["built:1"]).await;
    let other = World::new().await;
    load(&other, saved).await.unwrap();
    assert_eq!(
        other.images.resolve("built:1", None).await.unwrap().target,
        image.digest()
    );
}
