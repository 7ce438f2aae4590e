//! Ingests: resumed, refused, taking turns, and never more than their keys allow.

use super::*;

#[tokio::test]
async fn an_interrupted_ingest_continues_where_it_stopped_even_in_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = pattern(2_000_000, 2);
    let digest = Digest::of(&bytes);
    let size = Some(bytes.len() as u64);
    let mut offset = 0;
    for end in [900_000, 1_500_000, 2_000_000] {
        let store = Store::open(dir.path()).await.unwrap();
        let lease = store.lease().await.unwrap();
        let mut ingest = store
            .ingest(lease.id(), "k", Some(digest.clone()), size)
            .await
            .unwrap();
        let resumed = usize::try_from(ingest.offset()).unwrap();
        assert!(resumed >= offset, "{resumed}");
        assert!(end == 900_000 || resumed > 0);
        for chunk in bytes[resumed..end].chunks(100_000) {
            ingest.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        offset = resumed;
        if end == bytes.len() {
            ingest.commit(Labels::new()).await.unwrap();
            assert_eq!(store.read_blob(&digest, u64::MAX).await.unwrap(), bytes);
        } else {
            drop(ingest);
        }
        lease.release().await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    let expected = Digest::of(b"good bytes");
    let mut ingest = store
        .ingest(lease.id(), "k", Some(expected.clone()), Some(10))
        .await
        .unwrap();
    ingest.write("evil bytes".into()).await.unwrap();
    match ingest.commit(Labels::new()).await {
        Err(StoreError::DigestMismatch {
            expected: e,
            actual,
            size: 10,
        }) => {
            assert_eq!((e, actual), (expected.clone(), Digest::of(b"evil bytes")));
        }
        other => panic!("{other:?}"),
    }
    assert!(store.blob(&expected).await.unwrap().is_none());
    let mut ingest = store
        .ingest(lease.id(), "k", Some(expected.clone()), Some(10))
        .await
        .unwrap();
    assert_eq!(ingest.offset(), 0);
    ingest.write("good bytes".into()).await.unwrap();
    ingest.commit(Labels::new()).await.unwrap();
    assert_eq!(store.blobs().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_short_ingest_stays_resumable_and_a_long_one_is_discarded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    let digest = Digest::of(b"0123456789");
    let start = || store.ingest(lease.id(), "k", Some(digest.clone()), Some(10));

    let mut ingest = start().await.unwrap();
    ingest.write("01234".into()).await.unwrap();
    let error = ingest.commit(Labels::new()).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::SizeMismatch {
                expected: 10,
                actual: 5,
                ..
            }
        ) && error.is_data_loss()
    );

    let mut ingest = start().await.unwrap();
    assert_eq!(ingest.offset(), 5);
    let error = ingest.write("56789+".into()).await.unwrap_err();
    assert!(matches!(
        error,
        StoreError::SizeMismatch {
            expected: 10,
            actual: 11,
            ..
        }
    ));
    assert!(matches!(
        ingest.write("5".into()).await,
        Err(StoreError::IngestFailed { .. })
    ));
    drop(ingest);

    let mut ingest = start().await.unwrap();
    assert_eq!(ingest.offset(), 0);
    ingest.write("abc".into()).await.unwrap();
    ingest.truncate().await.unwrap();
    assert_eq!(ingest.offset(), 0);
    ingest.write("0123456789".into()).await.unwrap();
    ingest.commit(Labels::new()).await.unwrap();
    assert_eq!(store.read_blob(&digest, 10).await.unwrap(), b"0123456789");
}

#[tokio::test]
async fn a_partial_that_is_too_long_or_was_announced_differently_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    let digest = Digest::of(b"0123456789");
    let mut ingest = store
        .ingest(lease.id(), "k", Some(digest.clone()), Some(10))
        .await
        .unwrap();
    ingest.write("0123".into()).await.unwrap();
    assert!(ingest.commit(Labels::new()).await.is_err());
    let partial = dir
        .path()
        .join("ingest")
        .join(&files(&dir.path().join("ingest"))[0])
        .join("data");
    fs::write(&partial, "0123456789 and more").unwrap();
    let ingest = store
        .ingest(lease.id(), "k", Some(digest.clone()), Some(10))
        .await
        .unwrap();
    assert_eq!(ingest.offset(), 0);
    drop(ingest);
    fs::write(&partial, "0123").unwrap();
    let mut ingest = store
        .ingest(lease.id(), "k", Some(digest.clone()), Some(10))
        .await
        .unwrap();
    assert_eq!(
        std::io::read_to_string(ingest.partial().await.unwrap()).unwrap(),
        "0123"
    );
    ingest.write("45".into()).await.unwrap();
    assert_eq!(
        std::io::read_to_string(ingest.partial().await.unwrap()).unwrap(),
        "012345"
    );
    drop(ingest);
    let ingest = store
        .ingest(lease.id(), "k", Some(Digest::of(b"x")), Some(10))
        .await
        .unwrap();
    assert_eq!(ingest.offset(), 0);
    ingest.discard().await.unwrap();
    assert!(files(&dir.path().join("ingest")).is_empty());
}

#[tokio::test]
async fn keys_never_become_paths() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    for key in ["../../etc/passwd", "/abs", "", "a\0b", "CON", &"x".repeat(5000)] {
        let mut ingest = store.ingest(lease.id(), key, None, None).await.unwrap();
        ingest
            .write(Bytes::copy_from_slice(key.as_bytes()))
            .await
            .unwrap();
        let info = ingest.commit(Labels::new()).await.unwrap();
        assert_eq!(info.digest, Digest::of(key));
    }
    assert_eq!(
        files(dir.path()),
        [
            "blobs",
            "ingest",
            "lock",
            "lock.pid",
            "metadata.journal",
            "metadata.redb"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_ingests_of_one_key_take_turns_and_the_second_finds_the_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let bytes = pattern(1_000_000, 3);
    let digest = Digest::of(&bytes);
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (store, bytes, digest) = (store.clone(), bytes.clone(), digest.clone());
            tokio::spawn(async move {
                let lease = store.lease().await.unwrap();
                let key = if n % 4 == 3 { "other key" } else { "k" };
                let mut ingest = store
                    .ingest(lease.id(), key, Some(digest), Some(1_000_000))
                    .await
                    .unwrap();
                let rest = usize::try_from(ingest.offset()).unwrap();
                for chunk in bytes[rest..].chunks(50_000) {
                    ingest.write(Bytes::copy_from_slice(chunk)).await.unwrap();
                }
                let written = bytes.len() - rest;
                ingest.commit(labels(&[(&format!("by.{n}"), "x")])).await.unwrap();
                (key, written)
            })
        })
        .collect();
    let mut written = 0;
    for task in tasks {
        let (key, bytes) = task.await.unwrap();
        written += if key == "k" { bytes } else { 0 };
    }
    // Either the first of the six wrote it all, or somebody with the other key was faster.
    assert!(written == 1_000_000 || written == 0, "{written}");
    let info = store.blob(&digest).await.unwrap().unwrap();
    assert_eq!(info.labels.len(), 8);
    assert_eq!(store.read_blob(&digest, u64::MAX).await.unwrap(), bytes);
    assert!(files(&dir.path().join("ingest")).is_empty());
}

#[tokio::test]
async fn an_ingest_of_a_present_blob_needs_no_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    let info = put(&store, &lease, b"hello").await;
    let ingest = store
        .ingest(lease.id(), "again", Some(info.digest.clone()), Some(5))
        .await
        .unwrap();
    assert!(ingest.is_present());
    assert_eq!(ingest.offset(), 5);
    let again = ingest.commit(labels(&[("l", "v")])).await.unwrap();
    assert_eq!(
        (again.size, again.labels.len(), again.created_unix_ms),
        (5, 1, info.created_unix_ms)
    );
    // A server that sends everything again is tolerated after a truncate.
    let mut ingest = store
        .ingest(lease.id(), "again", Some(info.digest.clone()), None)
        .await
        .unwrap();
    assert!(ingest.write("h".into()).await.is_err());
    let mut ingest = store
        .ingest(lease.id(), "again", Some(info.digest.clone()), None)
        .await
        .unwrap();
    ingest.truncate().await.unwrap();
    ingest.write("hello".into()).await.unwrap();
    ingest.commit(Labels::new()).await.unwrap();
    let wrong = store
        .ingest(lease.id(), "again", Some(info.digest), Some(6))
        .await;
    assert!(matches!(
        wrong,
        Err(StoreError::SizeMismatch {
            expected: 6,
            actual: 5,
            ..
        })
    ));
}

#[tokio::test]
async fn an_ingest_needs_a_living_lease() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    let id = lease.id().clone();
    let mut ingest = store.ingest(&id, "k", None, None).await.unwrap();
    ingest.write("x".into()).await.unwrap();
    lease.release().await.unwrap();
    assert!(matches!(
        ingest.commit(Labels::new()).await,
        Err(StoreError::LeaseGone { .. })
    ));
    assert!(matches!(
        store.ingest(&id, "k", None, None).await,
        Err(StoreError::LeaseGone { .. })
    ));
}
