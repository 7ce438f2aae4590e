//! Layers: from bytes to disks, and back to nothing.

mod kit;

use std::fs;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kit::{GZIP, TAR, ZSTD, archive, files, gzip, open, request, unpack};
use snapshot::{Apply, ApplyRequest, Differ, Differs, MountType, SnapshotError, Snapshotter};
use store::{Digest, Labels, Resource};

#[tokio::test]
async fn a_layer_is_the_same_disk_however_it_was_compressed() {
    let tar = archive("a", 20, 10_000);
    let diff_id = Digest::of(&tar);
    let mut disks = Vec::new();
    // Registries hold plain archives that are called compressed, and the other way round.
    for (blob, media_type) in [
        (tar.clone(), TAR),
        (gzip(&tar), GZIP),
        (zstd::encode_all(&tar[..], 1).unwrap(), ZSTD),
        (tar.clone(), GZIP),
        (gzip(&tar), TAR),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (_store, layers) = open(dir.path()).await;
        assert!(layers.layer(&diff_id).await.unwrap().is_none());
        let layer = unpack(&layers, &blob, media_type, Some(&diff_id)).await.unwrap();
        assert_eq!(layer.diff_id, diff_id);
        assert_eq!(
            layer.path,
            dir.path().join("layers").join(diff_id.hex()).join("layer.vhd")
        );
        assert!(layer.size.is_multiple_of(512) && layer.allocated_bytes > 200_000 && !layer.opaque_root);
        assert_eq!(layers.layer(&diff_id).await.unwrap(), Some(layer.clone()));
        assert_eq!(layers.layers().await.unwrap(), std::slice::from_ref(&layer));
        disks.push(fs::read(&layer.path).unwrap());
        assert_eq!(
            layers.remove_layer(&diff_id).await.unwrap() / 100_000,
            layer.allocated_bytes / 100_000
        );
        assert_eq!(layers.remove_layer(&diff_id).await.unwrap(), 0);
        assert!(files(&dir.path().join("layers")).is_empty());
    }
    assert!(disks.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_layer_without_an_announced_diff_id_gets_the_one_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tar = archive("a", 3, 100);
    for _ in 0..2 {
        let layer = unpack(&layers, &gzip(&tar), GZIP, None).await.unwrap();
        assert_eq!(layer.diff_id, Digest::of(&tar));
    }
    assert_eq!(files(&dir.path().join("layers")), [Digest::of(&tar).hex()]);
}

#[tokio::test]
async fn nothing_is_kept_of_a_layer_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tar = archive("a", 50, 20_000);
    let compressed = gzip(&tar);
    let expected = Digest::of(b"something else");
    let error = unpack(&layers, &compressed, GZIP, Some(&expected))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, SnapshotError::DiffIdMismatch { expected: e, actual }
            if *e == expected && *actual == Digest::of(&tar)),
        "{error}"
    );
    assert!(error.is_data_loss());

    let mut flipped = compressed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let cases: [(&[u8], &str); 4] = [
        (&compressed[..compressed.len() - 9], "cut gzip"),
        (&tar[..tar.len() / 2 + 100], "cut tar"),
        (&flipped, "flipped bit"),
        (&[0xff; 5000], "no archive at all"),
    ];
    for (blob, what) in cases {
        let diff_id = Digest::of(&tar);
        let error = unpack(&layers, blob, GZIP, Some(&diff_id)).await.unwrap_err();
        assert!(matches!(error, SnapshotError::Layer { .. }), "{what}: {error}");
        assert!(error.to_string().contains(diff_id.as_str()));
        assert!(files(&dir.path().join("layers")).is_empty(), "{what}");
    }
}

#[tokio::test]
async fn the_error_is_told_while_there_is_more_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let mut apply = layers
        .apply(request(TAR, Some(&Digest::of(b"x"))))
        .await
        .unwrap()
        .unwrap();
    let error = loop {
        if let Err(error) = apply.write(Bytes::from(vec![0xee; 100_000])).await {
            break error;
        }
    };
    assert!(matches!(error, SnapshotError::Layer { .. }), "{error}");
    assert!(matches!(
        apply.write("x".into()).await,
        Err(SnapshotError::Abandoned)
    ));
    assert!(matches!(apply.finish().await, Err(SnapshotError::Abandoned)));
}

#[tokio::test]
async fn an_abandoned_layer_leaves_nothing_even_if_all_its_bytes_came() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tar = archive("a", 20, 50_000);
    for end in [0, 1000, tar.len() / 2, tar.len()] {
        let mut apply = layers
            .apply(request(TAR, Some(&Digest::of(&tar))))
            .await
            .unwrap()
            .unwrap();
        for chunk in tar[..end].chunks(100_000) {
            apply.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        drop(apply);
        layers.settle().await;
        assert!(files(&dir.path().join("layers")).is_empty(), "{end}");
    }
    unpack(&layers, &tar, TAR, Some(&Digest::of(&tar))).await.unwrap();
}

#[tokio::test]
async fn a_layer_that_ended_is_flushed_but_appears_only_when_it_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tar = archive("a", 20, 50_000);
    let diff_id = Digest::of(&tar);
    for finished in [false, true] {
        let mut apply = layers.apply(request(TAR, Some(&diff_id))).await.unwrap().unwrap();
        apply.write(Bytes::from(tar.clone())).await.unwrap();
        apply.end().await.unwrap();
        // The record is the last file of a layer that is written.
        let place = dir.path().join("layers");
        let written = || {
            files(&place)
                .iter()
                .any(|unfinished| place.join(unfinished).join("layer.json").exists())
        };
        while !written() {
            tokio::task::yield_now().await;
        }
        assert!(layers.layer(&diff_id).await.unwrap().is_none());
        if finished {
            apply.finish().await.unwrap();
            assert!(layers.layer(&diff_id).await.unwrap().is_some());
        } else {
            drop(apply);
            layers.settle().await;
            assert!(files(&dir.path().join("layers")).is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_brings_the_same_layer_waits_and_shares() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tar = Arc::new(archive("a", 100, 30_000));
    let diff_id = Digest::of(&*tar);
    let first = layers.apply(request(TAR, Some(&diff_id))).await.unwrap().unwrap();
    assert!(!first.is_present());
    let others: Vec<_> = (0..6)
        .map(|n| {
            let (layers, tar, diff_id) = (layers.clone(), tar.clone(), diff_id.clone());
            tokio::spawn(async move {
                let apply = layers.apply(request(TAR, Some(&diff_id))).await.unwrap().unwrap();
                let present = apply.is_present();
                if n < 2 {
                    // Two give up; somebody else takes over.
                    drop(apply);
                } else {
                    kit::feed(apply, &tar, 77_777).await.unwrap();
                }
                (n, present)
            })
        })
        .collect();
    drop(first);
    let mut converted = 0;
    for other in others {
        let (n, present) = other.await.unwrap();
        converted += usize::from(n >= 2 && !present);
    }
    assert_eq!(converted, 1);
    assert_eq!(files(&dir.path().join("layers")), [diff_id.hex()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn different_layers_are_unpacked_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tars: Vec<_> = (0..6)
        .map(|n| archive(&format!("layer {n}"), 10 + n, 40_000))
        .collect();
    // All are open before the first one ends.
    let mut applies = Vec::new();
    for tar in &tars {
        applies.push(
            layers
                .apply(request(GZIP, Some(&Digest::of(tar))))
                .await
                .unwrap()
                .unwrap(),
        );
    }
    for (apply, tar) in applies.into_iter().zip(&tars).rev() {
        kit::feed(apply, &gzip(tar), 4096).await.unwrap();
    }
    assert_eq!(layers.layers().await.unwrap().len(), 6);
}

struct WindowsOnly;

#[async_trait]
impl Differ for WindowsOnly {
    async fn apply(&self, request: ApplyRequest) -> snapshot::Result<Option<Apply>> {
        assert!(request.mount_type != MountType::WindowsLayer, "not in this test");
        Ok(None)
    }
}

#[tokio::test]
async fn differs_are_asked_in_order_until_one_serves() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tar = archive("a", 1, 10);
    let differs = Differs::new(vec![Arc::new(WindowsOnly), layers.clone()]);
    let apply = differs.apply(request(TAR, None)).await.unwrap();
    kit::feed(apply, &tar, 1000).await.unwrap();

    let windows = ApplyRequest {
        mount_type: MountType::WindowsLayer,
        ..request(TAR, None)
    };
    let error = Differs::new(vec![layers.clone()])
        .apply(windows)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SnapshotError::NoDiffer {
                mount_type: MountType::WindowsLayer,
                ..
            }
        ),
        "{error}"
    );
    let unknown = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    let error = differs.apply(request(unknown, None)).await.unwrap_err();
    assert!(
        error.to_string().contains(unknown) && error.to_string().contains("lcow-layer"),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_layer_counts_as_absent_and_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, layers) = open(dir.path()).await;
    let tar = archive("a", 5, 5000);
    let diff_id = Digest::of(&tar);
    for damage in ["shorten", "footer", "remove", "record"] {
        let layer = unpack(&layers, &tar, TAR, Some(&diff_id)).await.unwrap();
        match damage {
            "shorten" => fs::File::options()
                .write(true)
                .open(&layer.path)
                .unwrap()
                .set_len(layer.size - 4096)
                .unwrap(),
            "footer" => {
                let mut bytes = fs::read(&layer.path).unwrap();
                let at = bytes.len() - 512;
                bytes[at] = 0;
                fs::write(&layer.path, bytes).unwrap();
            }
            "remove" => fs::remove_file(&layer.path).unwrap(),
            _ => fs::write(layer.path.with_file_name("layer.json"), "{").unwrap(),
        }
        assert!(layers.layer(&diff_id).await.unwrap().is_none(), "{damage}");
    }
    drop(layers);
    store.close().await.unwrap();
    fs::create_dir(dir.path().join("layers/.tmp-123")).unwrap();
    fs::create_dir(dir.path().join("layers/.rm-123")).unwrap();
    fs::write(dir.path().join("layers/.rm-123/layer.vhd"), "x").unwrap();
    let (_store, layers) = open(dir.path()).await;
    assert!(files(&dir.path().join("layers")).is_empty());
    unpack(&layers, &tar, TAR, Some(&diff_id)).await.unwrap();
}

#[tokio::test]
async fn the_store_collects_layers_and_scratches_that_nothing_points_to() {
    let dir = tempfile::tempdir().unwrap();
    let (store, layers) = open(dir.path()).await;
    let (kept, free) = (archive("kept", 2, 100), archive("free", 2, 100));
    let lease = store.lease().await.unwrap();
    for tar in [&kept, &free] {
        lease.protect(Resource::layer(&Digest::of(tar))).await.unwrap();
        unpack(&layers, tar, TAR, Some(&Digest::of(tar))).await.unwrap();
    }
    let manifest = Digest::of(b"manifest");
    let mut ingest = store
        .ingest(lease.id(), "m", Some(manifest.clone()), None)
        .await
        .unwrap();
    ingest.write("manifest".into()).await.unwrap();
    ingest
        .commit(Labels::from([Resource::layer(&Digest::of(&kept)).label(0)]))
        .await
        .unwrap();
    store
        .put_reference("image", &manifest, Labels::new())
        .await
        .unwrap();
    store
        .put_root("container/c1", vec![Resource::new(snapshot::SCRATCH, "c1")])
        .await
        .unwrap();
    layers.create_scratch("c1", None).await.unwrap();
    layers.create_scratch("c2", None).await.unwrap();

    assert_eq!(
        store.collect().await.unwrap().removed,
        [Resource::new("scratch", "c2")]
    );
    lease.release().await.unwrap();
    let report = store.collect().await.unwrap();
    assert_eq!(report.removed, [Resource::layer(&Digest::of(&free))]);
    assert!(report.freed_bytes > 0);
    store.remove_root("container/c1").await.unwrap();
    store.remove_reference("image").await.unwrap();
    assert_eq!(store.collect().await.unwrap().removed.len(), 3);
    assert!(files(&dir.path().join("layers")).is_empty());
    assert_eq!(
        files(&dir.path().join("scratch")),
        [format!(".template-{}.vhd", kit::SCRATCH_SIZE)]
    );
}

#[tokio::test]
async fn a_layer_larger_than_allowed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store::Store::open(dir.path()).await.unwrap();
    let config = snapshot::LcowConfig {
        max_layer_bytes: 1 << 20,
        scratch_size_bytes: 16 << 20,
        ..Default::default()
    };
    let layers = snapshot::LcowLayers::open(&store, config).await.unwrap();
    let tar = archive("a", 40, 100_000);
    let error = unpack(&layers, &gzip(&tar), GZIP, Some(&Digest::of(&tar)))
        .await
        .unwrap_err();
    let SnapshotError::Layer { source, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(source.code(), "limit");
    assert!(files(&dir.path().join("layers")).is_empty());
}
