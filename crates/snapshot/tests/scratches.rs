//! Scratches.

mod kit;

use std::collections::BTreeSet;
use std::fs;

use kit::{SCRATCH_SIZE, files, open};
use snapshot::{SnapshotError, Snapshotter};

#[tokio::test]
async fn a_scratch_is_a_cheap_copy_of_an_empty_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let first = layers.create_scratch("c1", None).await.unwrap();
    let second = layers.create_scratch("c2", None).await.unwrap();
    assert_eq!(first.path, dir.path().join("scratch/c1/scratch.vhd"));
    assert_eq!(first.size_bytes, Some(SCRATCH_SIZE));
    assert_eq!(fs::metadata(&first.path).unwrap().len(), SCRATCH_SIZE + 512);
    assert!(fs::read(&first.path).unwrap() == fs::read(&second.path).unwrap());
    #[cfg(unix)]
    assert!(first.allocated_bytes < 2 << 20, "{}", first.allocated_bytes);

    let ids: Vec<_> = layers
        .scratches()
        .await
        .unwrap()
        .into_iter()
        .map(|scratch| scratch.id)
        .collect();
    assert_eq!(ids, ["c1", "c2"]);
    let again = layers.create_scratch("c1", None).await.unwrap_err();
    assert!(
        matches!(&again, SnapshotError::ScratchExists { id } if id == "c1"),
        "{again}"
    );
    assert_eq!(layers.scratch("c1").await.unwrap().unwrap().path, first.path);
    assert!(layers.scratch("c3").await.unwrap().is_none());
    layers.remove_scratch("c1").await.unwrap();
    assert_eq!(layers.remove_scratch("c1").await.unwrap(), 0);
    assert!(layers.scratch("c1").await.unwrap().is_none());
    layers.create_scratch("c1", None).await.unwrap();
}

#[tokio::test]
async fn sizes_are_free_within_limits() {
    let dir = tempfile::tempdir().unwrap();
    let (store, layers) = open(dir.path()).await;
    let small = layers.create_scratch("small", Some(16 << 20)).await.unwrap();
    assert_eq!(small.size_bytes, Some(16 << 20));
    let odd = layers.create_scratch("odd", Some((100 << 20) + 1)).await.unwrap();
    assert_eq!(odd.size_bytes, Some(101 << 20));
    let large = layers.create_scratch("large", Some(1 << 40)).await.unwrap();
    assert_eq!(
        layers.scratch("large").await.unwrap().unwrap().size_bytes,
        large.size_bytes
    );
    for bad in [0, (16 << 20) - 1, (2040 << 30) + 1, u64::MAX] {
        let error = layers.create_scratch("bad", Some(bad)).await.unwrap_err();
        assert!(
            matches!(error, SnapshotError::InvalidSize { size, .. } if size == bad),
            "{error}"
        );
    }
    for bad in ["", "..", "a/b", ".hidden", "a\\b"] {
        let error = layers.create_scratch(bad, None).await.unwrap_err();
        assert!(
            matches!(&error, SnapshotError::InvalidId { id } if id == bad),
            "{error}"
        );
        assert!(layers.scratch(bad).await.is_err() && layers.remove_scratch(bad).await.is_err());
    }
    drop(layers);
    store.close().await.unwrap();
    // Only the usual template is kept.
    fs::write(dir.path().join("scratch/.tmp-x"), "half a template").unwrap();
    let (_store, layers) = open(dir.path()).await;
    let names = files(&dir.path().join("scratch"));
    assert_eq!(
        names,
        [&format!(".template-{SCRATCH_SIZE}.vhd"), "large", "odd", "small"]
    );
    assert_eq!(layers.scratches().await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_share_one_template() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, layers) = open(dir.path()).await;
    let tasks: Vec<_> = (0..24)
        .map(|n| {
            let layers = layers.clone();
            tokio::spawn(async move {
                // Each id is wanted three times.
                let made = layers
                    .create_scratch(&format!("c{}", n % 8), Some(32 << 20))
                    .await;
                matches!(made, Err(SnapshotError::ScratchExists { .. })) || made.is_ok()
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    let names: BTreeSet<_> = files(&dir.path().join("scratch")).into_iter().collect();
    assert_eq!(names.len(), 8 + 2);
    assert_eq!(layers.scratches().await.unwrap().len(), 8);
}

#[tokio::test]
async fn damage_is_told_and_can_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, layers) = open(dir.path()).await;
    let scratch = layers.create_scratch("c1", None).await.unwrap();
    layers.create_scratch("c2", None).await.unwrap();
    fs::File::options()
        .write(true)
        .open(&scratch.path)
        .unwrap()
        .set_len(0)
        .unwrap();
    let error = layers.scratch("c1").await.unwrap_err();
    assert!(
        matches!(error, SnapshotError::ScratchDamaged { .. }) && error.is_data_loss(),
        "{error}"
    );
    assert_eq!(layers.scratches().await.unwrap().len(), 1);
    let removed = store.collect().await.unwrap().removed;
    assert_eq!(removed.len(), 2);

    // A template that was damaged while nobody ran is made again.
    drop(layers);
    store.close().await.unwrap();
    let template = dir.path().join(format!("scratch/.template-{SCRATCH_SIZE}.vhd"));
    fs::File::options()
        .write(true)
        .open(&template)
        .unwrap()
        .set_len(4096)
        .unwrap();
    let (_store, layers) = open(dir.path()).await;
    layers.create_scratch("c1", None).await.unwrap();
    assert_eq!(
        layers.scratch("c1").await.unwrap().unwrap().size_bytes,
        Some(SCRATCH_SIZE)
    );
}
