//! Any history of operations against a model of what the store should contain.

use std::collections::HashSet;

use proptest::prelude::*;
use store::Lease;

use super::*;

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
