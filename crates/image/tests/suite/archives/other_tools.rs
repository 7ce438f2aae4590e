//! skopeo and umoci as the second opinion.

use std::io::Write;

use super::*;

#[tokio::test]
async fn skopeo_reads_what_we_save_and_we_read_what_it_writes() {
    let image = TestImage::new(&["one", "two", "one"]);
    let world = world_with(&image).await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::File::create(path("ours.tar"))
        .unwrap()
        .write_all(&save(&world, &["mine:1"]).await)
        .unwrap();
    for transport in ["docker-archive", "oci-archive"] {
        let config = run(
            "skopeo",
            &[
                "inspect",
                "--config",
                &format!("{transport}:{}", path("ours.tar")),
            ],
        );
        assert!(config.contains("/bin/sh"), "{config}");
        for target in ["docker-archive", "oci-archive"] {
            let file = path(&format!("{transport}-{target}.tar"));
            let from = format!("{transport}:{}", path("ours.tar"));
            run(
                "skopeo",
                &[
                    "copy",
                    "--insecure-policy",
                    &from,
                    &format!("{target}:{file}:theirs:1"),
                ],
            );
            let other = World::new().await;
            let loaded = load(&other, std::fs::read(&file).unwrap()).await.unwrap();
            assert_eq!(loaded, [Loaded::Named("theirs:1".parse().unwrap())], "{file}");
            let found = other.images.resolve("theirs:1", None).await.unwrap();
            let diff_ids: Vec<_> = found.layers.iter().map(|l| l.diff_id.clone()).collect();
            assert_eq!(diff_ids, image.diff_ids);
            other
                .images
                .unpack(&found, other.unpacker().unwrap(), silent())
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn umoci_reads_the_layout_that_we_save() {
    let image = TestImage::new(&["one", "two"]);
    let world = world_with(&image).await;
    let dir = tempfile::tempdir().unwrap();
    let archive = save(&world, &["mine:1"]).await;
    tar::Archive::new(&archive[..]).unpack(dir.path()).unwrap();
    let listed = run("umoci", &["list", "--layout", &dir.path().display().to_string()]);
    assert_eq!(listed.trim(), "1");
}
