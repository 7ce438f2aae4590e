//! Blobs that are in the store: found, read, checked, and made to agree with the records.

use super::*;

#[tokio::test]
async fn a_committed_blob_is_found_read_and_labelled() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    let bytes = pattern(700_000, 1);
    let digest = Digest::of(&bytes);
    let mut ingest = store
        .ingest(lease.id(), "pull", Some(digest.clone()), Some(700_000))
        .await
        .unwrap();
    assert_eq!(ingest.offset(), 0);
    for chunk in bytes.chunks(10_007) {
        ingest.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    assert_eq!(ingest.offset(), 700_000);
    assert!(store.blob(&digest).await.unwrap().is_none());
    let info = ingest.commit(labels(&[("a", "1"), ("empty", "")])).await.unwrap();
    assert_eq!((info.size, info.labels), (700_000, labels(&[("a", "1")])));

    assert_eq!(store.read_blob(&digest, 700_000).await.unwrap(), bytes);
    assert!(matches!(
        store.read_blob(&digest, 699_999).await,
        Err(StoreError::TooLarge { size: 700_000, .. })
    ));
    store.verify_blob(&digest).await.unwrap();
    let info = store
        .label_blob(&digest, labels(&[("a", ""), ("b", "2")]))
        .await
        .unwrap();
    assert_eq!(info.labels, labels(&[("b", "2")]));
    assert_eq!(store.blobs().await.unwrap(), [info]);
    assert_eq!(files(&dir.path().join("blobs/sha256")), [digest.hex()]);
    assert!(files(&dir.path().join("ingest")).is_empty());

    let missing = Digest::of(b"missing");
    for error in [
        store.open_blob(&missing).await.unwrap_err(),
        store.read_blob(&missing, 1).await.unwrap_err(),
        store.label_blob(&missing, Labels::new()).await.unwrap_err(),
    ] {
        assert!(error.is_not_found());
        assert!(error.to_string().contains(missing.as_str()), "{error}");
    }
}

#[tokio::test]
async fn damage_is_noticed_and_healed_by_fetching_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    for damage in ["flip", "shorten", "remove"] {
        let info = put(&store, &lease, b"precious").await;
        let path = dir.path().join("blobs/sha256").join(info.digest.hex());
        match damage {
            "flip" => fs::write(&path, "Precious").unwrap(),
            "shorten" => fs::write(&path, "prec").unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
        let error = store.read_blob(&info.digest, 100).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Damaged { .. }) && error.is_data_loss(),
            "{error}"
        );
        assert!(store.blob(&info.digest).await.unwrap().is_none());
        put(&store, &lease, b"precious").await;
        assert_eq!(store.read_blob(&info.digest, 100).await.unwrap(), b"precious");
    }
}

#[tokio::test]
async fn opening_makes_files_and_records_agree() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    let kept = put(&store, &lease, b"kept").await;
    let lost = put(&store, &lease, b"lost").await;
    let short = put(&store, &lease, b"short").await;
    drop(lease);
    store.close().await.unwrap();
    let blobs = dir.path().join("blobs/sha256");
    fs::remove_file(blobs.join(lost.digest.hex())).unwrap();
    fs::write(blobs.join(short.digest.hex()), "").unwrap();
    fs::write(blobs.join(Digest::of(b"orphan").hex()), "orphan").unwrap();
    fs::write(blobs.join(".tmp"), "x").unwrap();
    fs::create_dir(blobs.join("directory")).unwrap();
    let stale = dir.path().join("ingest/stale");
    fs::create_dir(&stale).unwrap();
    let data = fs::File::create(stale.join("data")).unwrap();
    data.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 3600))
        .unwrap();

    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(
        store
            .blobs()
            .await
            .unwrap()
            .iter()
            .map(|b| &b.digest)
            .collect::<Vec<_>>(),
        [&kept.digest]
    );
    assert_eq!(files(&blobs), [kept.digest.hex()]);
    assert!(files(&dir.path().join("ingest")).is_empty());
    assert!(store.leases().await.unwrap().is_empty());
}
