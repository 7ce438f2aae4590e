//! Garbage collection: what is kept, what goes, and what happens when others work meanwhile.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use store::{BoxError, CollectedResource, Collector, Digest, Labels, Lease, LeaseId, Resource, Store};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn protecting_during_the_sweep_either_saves_or_waits_for_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let layers = Arc::new(Layers {
        gate: Some((Semaphore::new(0), Semaphore::new(0))),
        ..Layers::default()
    });
    store.register_collector("layer", layers.clone());
    for id in ["a", "b", "c"] {
        layers.add(id, None);
    }
    let collection = tokio::spawn({
        let store = store.clone();
        async move { store.collect().await.unwrap() }
    });
    let (arrived, go) = layers.gate.as_ref().unwrap();
    arrived.acquire().await.unwrap().forget();
    // One of the three is being removed now, the others are condemned.
    let lease = Arc::new(store.lease().await.unwrap());
    let protections: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|id| {
            let (lease, layers) = (lease.clone(), layers.clone());
            tokio::spawn(async move {
                lease.protect(Resource::new("layer", id)).await.unwrap();
                // What is there now must stay.
                layers.ids().contains(&id.to_owned())
            })
        })
        .collect();
    // Two protections end while the removal still waits.
    while protections.iter().filter(|task| task.is_finished()).count() < 2 {
        tokio::task::yield_now().await;
    }
    go.add_permits(3);
    let mut saved = 0;
    for task in protections {
        saved += usize::from(task.await.unwrap());
    }
    let report = collection.await.unwrap();
    assert_eq!((saved, report.removed.len()), (2, 1));
    assert_eq!(layers.ids().len(), 2);
    assert!(store.collect().await.unwrap().removed.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pulls_and_removals_during_endless_collection_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let layers = Arc::new(Layers::default());
    store.register_collector("layer", layers.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let collector = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let mut runs = 0;
            while !stop.is_cancelled() {
                store.collect().await.unwrap();
                runs += 1;
            }
            runs
        }
    });
    // Four images over the same few layers are pulled, used and removed again and again.
    let pullers: Vec<_> = (0..4)
        .map(|n| {
            let (store, layers) = (store.clone(), layers.clone());
            tokio::spawn(async move {
                for round in 0..25 {
                    let lease = store.lease().await.unwrap();
                    let mut labels = Labels::new();
                    for k in 0..3 {
                        let bytes = format!("layer {}", (n + k + round) % 5);
                        let diff = Digest::of(format!("diff of {bytes}"));
                        lease.protect(Resource::layer(&diff)).await.unwrap();
                        if !layers.ids().contains(&diff.to_string()) {
                            layers.add(diff.as_str(), None);
                        }
                        let digest = Digest::of(&bytes);
                        lease.protect(Resource::content(&digest)).await.unwrap();
                        if store.blob(&digest).await.unwrap().is_none() {
                            put(&store, lease.id(), bytes.as_bytes(), Labels::new()).await;
                        }
                        labels.extend([
                            Resource::content(&digest).label(k),
                            Resource::layer(&diff).label(k),
                        ]);
                    }
                    let manifest = put(&store, lease.id(), format!("m{n}").as_bytes(), labels.clone()).await;
                    // Labels of an older pull of the same manifest may name other layers.
                    store.label_blob(&manifest, labels.clone()).await.unwrap();
                    let name = format!("image{n}");
                    store
                        .put_reference(&name, &manifest, Labels::new())
                        .await
                        .unwrap();
                    lease.release().await.unwrap();
                    for (key, value) in &labels {
                        if key.contains("content") {
                            let digest = value.parse().unwrap();
                            store
                                .read_blob(&digest, 100)
                                .await
                                .unwrap_or_else(|e| panic!("{key}: {e}"));
                        } else {
                            assert!(layers.ids().contains(value), "{key} {value}");
                        }
                    }
                    store.remove_reference(&name).await.unwrap();
                }
            })
        })
        .collect();
    for puller in pullers {
        puller.await.unwrap();
    }
    stop.cancel();
    assert!(collector.await.unwrap() > 0);
    store.collect().await.unwrap();
    assert_eq!(
        (
            digests(&store).await.len(),
            blob_files(&store),
            layers.ids().len()
        ),
        (0, 0, 0)
    );
}

#[derive(Debug, Clone)]
enum Op {
    Put {
        blob: u8,
        targets: Vec<u8>,
        layer: Option<u8>,
    },
    Refer {
        name: u8,
        blob: u8,
    },
    Unrefer {
        name: u8,
    },
    Root {
        name: u8,
        blob: u8,
        layer: u8,
    },
    Unroot {
        name: u8,
    },
    Label {
        blob: u8,
        target: u8,
        set: bool,
    },
    Layer {
        id: u8,
        parent: Option<u8>,
    },
    NewLease,
    Collect,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let n = 0..8_u8;
    prop_oneof![
        4 => (n.clone(), prop::collection::vec(n.clone(), 0..3), prop::option::of(n.clone()))
            .prop_map(|(blob, targets, layer)| Op::Put { blob, targets, layer }),
        3 => (n.clone(), n.clone()).prop_map(|(name, blob)| Op::Refer { name, blob }),
        2 => n.clone().prop_map(|name| Op::Unrefer { name }),
        2 => (n.clone(), n.clone(), n.clone()).prop_map(|(name, blob, layer)| Op::Root { name, blob, layer }),
        2 => n.clone().prop_map(|name| Op::Unroot { name }),
        3 => (n.clone(), n.clone(), any::<bool>()).prop_map(|(blob, target, set)| Op::Label { blob, target, set }),
        3 => (n.clone(), prop::option::of(n)).prop_map(|(id, parent)| Op::Layer { id, parent }),
        2 => Just(Op::NewLease),
        3 => Just(Op::Collect),
        1 => Just(Op::Reopen),
    ]
}

fn bytes_of(blob: u8) -> Vec<u8> {
    vec![blob; 3]
}

fn blob_of(blob: u8) -> Resource {
    Resource::content(&Digest::of(bytes_of(blob)))
}

fn layer_of(layer: u8) -> Resource {
    Resource::new("layer", format!("l{layer}"))
}

/// What the store should contain.
#[derive(Default)]
struct Model {
    blobs: BTreeMap<Resource, Labels>,
    layers: BTreeMap<Resource, Option<Resource>>,
    references: BTreeMap<u8, Resource>,
    roots: BTreeMap<u8, Vec<Resource>>,
    leased: HashSet<Resource>,
}

impl Model {
    fn collect(&mut self) {
        let mut todo: Vec<Resource> = self.references.values().cloned().collect();
        todo.extend(self.roots.values().flatten().cloned());
        todo.extend(self.leased.iter().cloned());
        let mut reached = HashSet::new();
        while let Some(resource) = todo.pop() {
            if !reached.insert(resource.clone()) {
                continue;
            }
            for (key, id) in self.blobs.get(&resource).into_iter().flatten() {
                todo.push(Resource::new(
                    if key.contains("layer") { "layer" } else { "content" },
                    id,
                ));
            }
            todo.extend(self.layers.get(&resource).into_iter().flatten().cloned());
        }
        self.blobs.retain(|resource, _| reached.contains(resource));
        self.layers.retain(|resource, _| reached.contains(resource));
    }
}

struct Session {
    store: Option<Store>,
    lease: Option<Lease>,
    layers: Arc<Layers>,
    model: Model,
    dir: tempfile::TempDir,
}

impl Session {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (layers, model) = (Arc::default(), Model::default());
        let mut session = Self {
            store: None,
            lease: None,
            layers,
            model,
            dir,
        };
        session.open().await;
        session
    }

    async fn open(&mut self) {
        self.lease = None;
        if let Some(store) = self.store.take() {
            store.close().await.unwrap();
        }
        let store = Store::open(self.dir.path()).await.unwrap();
        store.register_collector("layer", self.layers.clone());
        self.lease = Some(store.lease().await.unwrap());
        self.store = Some(store);
        self.model.leased.clear();
    }

    async fn apply(&mut self, op: Op) {
        let (store, lease) = (self.store.clone().unwrap(), self.lease.as_ref().unwrap());
        let model = &mut self.model;
        match op {
            Op::Put { blob, targets, layer } => {
                let mut labels: Labels = targets
                    .iter()
                    .enumerate()
                    .map(|(n, t)| blob_of(*t).label(n))
                    .collect();
                labels.extend(layer.map(|layer| layer_of(layer).label(0)));
                put(&store, lease.id(), &bytes_of(blob), labels.clone()).await;
                model.leased.insert(blob_of(blob));
                model.blobs.entry(blob_of(blob)).or_default().extend(labels);
            }
            Op::Refer { name, blob } => {
                let target = Digest::of(bytes_of(blob));
                let put = store
                    .put_reference(&format!("r{name}"), &target, Labels::new())
                    .await;
                assert_eq!(put.is_ok(), model.blobs.contains_key(&blob_of(blob)));
                if put.is_ok() {
                    model.references.insert(name, blob_of(blob));
                }
            }
            Op::Unrefer { name } => {
                let removed = store.remove_reference(&format!("r{name}")).await.unwrap();
                assert_eq!(removed, model.references.remove(&name).is_some());
            }
            Op::Root { name, blob, layer } => {
                let resources = vec![blob_of(blob), layer_of(layer)];
                store
                    .put_root(&format!("c{name}"), resources.clone())
                    .await
                    .unwrap();
                model.roots.insert(name, resources);
            }
            Op::Unroot { name } => {
                let removed = store.remove_root(&format!("c{name}")).await.unwrap();
                assert_eq!(removed, model.roots.remove(&name).is_some());
            }
            Op::Label { blob, target, set } => {
                let (key, value) = blob_of(target).label(9);
                let value = if set { value } else { String::new() };
                let digest = Digest::of(bytes_of(blob));
                let labelled = store
                    .label_blob(&digest, Labels::from([(key.clone(), value.clone())]))
                    .await;
                assert_eq!(labelled.is_ok(), model.blobs.contains_key(&blob_of(blob)));
                if let Some(labels) = model.blobs.get_mut(&blob_of(blob)) {
                    if set {
                        labels.insert(key, value)
                    } else {
                        labels.remove(&key)
                    };
                }
            }
            Op::Layer { id, parent } => {
                let parent = parent.map(layer_of);
                self.layers
                    .add(&layer_of(id).id, parent.as_ref().map(|parent| parent.id.as_str()));
                model.layers.insert(layer_of(id), parent);
            }
            Op::NewLease => {
                let old = self.lease.replace(store.lease().await.unwrap());
                old.unwrap().release().await.unwrap();
                model.leased.clear();
            }
            Op::Collect => {
                let report = store.collect().await.unwrap();
                assert!(report.failed.is_empty());
                model.collect();
            }
            Op::Reopen => {
                drop(store);
                self.open().await;
            }
        }
        self.check().await;
    }

    async fn check(&self) {
        let store = self.store.as_ref().unwrap();
        let blobs: BTreeMap<_, _> = store
            .blobs()
            .await
            .unwrap()
            .into_iter()
            .map(|b| (Resource::content(&b.digest), b.labels))
            .collect();
        assert_eq!(blobs, self.model.blobs);
        assert_eq!(blob_files(store), blobs.len());
        let layers: Vec<_> = self.model.layers.keys().map(|layer| layer.id.clone()).collect();
        assert_eq!(self.layers.ids(), layers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_as_the_model_says(ops in prop::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut session = Session::new().await;
            for op in ops {
                session.apply(op).await;
            }
            session.apply(Op::Collect).await;
        });
    }
}
