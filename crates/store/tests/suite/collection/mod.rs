//! Garbage collection: what is kept, what goes, and what happens when others work meanwhile.

mod concurrency;
mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use store::{BoxError, CollectedResource, Collector, Digest, Labels, LeaseId, Resource, Store};
use tokio::sync::Semaphore;

/// Layers that exist in memory only.
#[derive(Default)]
struct Layers {
    there: Mutex<BTreeMap<String, Labels>>,
    /// When set, every removal waits here for a permit, and says so.
    gate: Option<(Semaphore, Semaphore)>,
}

#[async_trait]
impl Collector for Layers {
    async fn list(&self) -> Result<Vec<CollectedResource>, BoxError> {
        let there = self.there.lock().unwrap();
        Ok(there
            .iter()
            .map(|(id, labels)| CollectedResource {
                id: id.clone(),
                labels: labels.clone(),
                size: 10,
            })
            .collect())
    }

    async fn remove(&self, id: &str) -> Result<u64, BoxError> {
        if let Some((arrived, go)) = &self.gate {
            arrived.add_permits(1);
            go.acquire().await?.forget();
        }
        self.there.lock().unwrap().remove(id);
        Ok(10)
    }
}

impl Layers {
    fn add(&self, id: &str, parent: Option<&str>) {
        let labels = parent
            .map(|parent| Resource::new("layer", parent).label(0))
            .into_iter()
            .collect();
        self.there.lock().unwrap().insert(id.into(), labels);
    }

    fn ids(&self) -> Vec<String> {
        self.there.lock().unwrap().keys().cloned().collect()
    }
}

async fn put(store: &Store, lease: &LeaseId, bytes: &[u8], labels: Labels) -> Digest {
    let digest = Digest::of(bytes);
    let mut ingest = store
        .ingest(lease, digest.as_str(), Some(digest.clone()), None)
        .await
        .unwrap();
    if !ingest.is_present() {
        ingest.truncate().await.unwrap();
        ingest.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    }
    ingest.commit(labels).await.unwrap();
    digest
}

async fn digests(store: &Store) -> BTreeSet<Digest> {
    store
        .blobs()
        .await
        .unwrap()
        .into_iter()
        .map(|blob| blob.digest)
        .collect()
}

fn blob_files(store: &Store) -> usize {
    std::fs::read_dir(store.root().join("blobs/sha256"))
        .unwrap()
        .count()
}

#[tokio::test]
async fn an_image_goes_with_its_last_reference_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let layers = Arc::new(Layers::default());
    store.register_collector("layer", layers.clone());
    for (id, parent) in [
        ("l1", None),
        ("l2", Some("l1")),
        ("l3", Some("l2")),
        ("free", None),
    ] {
        layers.add(id, parent);
    }
    let lease = store.lease().await.unwrap();
    let config = put(&store, lease.id(), b"config", Labels::new()).await;
    let shared = put(&store, lease.id(), b"shared layer", Labels::new()).await;
    let own = put(&store, lease.id(), b"own layer", Labels::new()).await;
    let manifest_labels = |list: &[Resource]| {
        list.iter()
            .enumerate()
            .map(|(n, r)| r.label(n))
            .collect::<Labels>()
    };
    let first = [
        Resource::content(&config),
        Resource::content(&shared),
        Resource::new("layer", "l3"),
    ];
    let second = [
        Resource::content(&config),
        Resource::content(&shared),
        Resource::content(&own),
    ];
    let first = put(&store, lease.id(), b"manifest 1", manifest_labels(&first)).await;
    let second = put(&store, lease.id(), b"manifest 2", manifest_labels(&second)).await;

    let report = store.collect().await.unwrap();
    assert_eq!(report.removed, [Resource::new("layer", "free")]);

    store.put_reference("one", &first, Labels::new()).await.unwrap();
    store.put_reference("two", &second, Labels::new()).await.unwrap();
    lease.release().await.unwrap();
    assert!(store.collect().await.unwrap().removed.is_empty());
    assert_eq!(layers.ids(), ["l1", "l2", "l3"]);

    store
        .put_root("container", vec![Resource::new("layer", "l2")])
        .await
        .unwrap();
    store.remove_reference("one").await.unwrap();
    let report = store.collect().await.unwrap();
    assert_eq!(report.removed.len(), 2);
    assert_eq!(report.freed_bytes, 10 + "manifest 1".len() as u64);
    assert_eq!(layers.ids(), ["l1", "l2"]);
    assert_eq!(
        digests(&store).await,
        BTreeSet::from([config, shared, own, second])
    );

    store.remove_root("container").await.unwrap();
    store.remove_reference("two").await.unwrap();
    let removed = store.collect().await.unwrap().removed;
    let order: Vec<_> = removed
        .iter()
        .filter(|r| r.kind == "layer")
        .map(|r| r.id.as_str())
        .collect();
    assert_eq!(order, ["l2", "l1"], "children go before their parents");
    assert_eq!((digests(&store).await.len(), blob_files(&store)), (0, 0));
}

#[tokio::test]
async fn partial_downloads_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    let mut ingest = store.ingest(lease.id(), "k", None, Some(6)).await.unwrap();
    ingest.write("abc".into()).await.unwrap();
    store.collect().await.unwrap();
    ingest.write("def".into()).await.unwrap();
    let info = ingest.commit(Labels::new()).await.unwrap();
    store.collect().await.unwrap();
    assert_eq!(store.read_blob(&info.digest, 6).await.unwrap(), b"abcdef");
}

struct Broken;
#[async_trait]
impl Collector for Broken {
    async fn list(&self) -> Result<Vec<CollectedResource>, BoxError> {
        Err("no list today".into())
    }
    async fn remove(&self, _: &str) -> Result<u64, BoxError> {
        unreachable!("nothing is listed")
    }
}

struct Stubborn;
#[async_trait]
impl Collector for Stubborn {
    async fn list(&self) -> Result<Vec<CollectedResource>, BoxError> {
        Ok(vec![CollectedResource {
            id: "s".into(),
            labels: Labels::new(),
            size: 1,
        }])
    }
    async fn remove(&self, _: &str) -> Result<u64, BoxError> {
        Err("in use".into())
    }
}

#[tokio::test]
async fn a_failing_collector_endangers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    put(&store, lease.id(), b"x", Labels::new()).await;
    lease.release().await.unwrap();
    store.register_collector("layer", Arc::new(Broken));
    assert!(
        store
            .collect()
            .await
            .unwrap_err()
            .to_string()
            .contains("\"layer\"")
    );
    assert_eq!(digests(&store).await.len(), 1);
    store.register_collector("layer", Arc::new(Stubborn));
    for _ in 0..2 {
        let report = store.collect().await.unwrap();
        assert_eq!(report.failed[0].0, Resource::new("layer", "s"));
    }
    assert!(digests(&store).await.is_empty());
    assert_eq!(store.dump().await.unwrap()["condemned"], serde_json::json!([]));
}
