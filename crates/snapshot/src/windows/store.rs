//! Layers and scratches of Windows containers in a store.
//!
//! The daemon opens it once per store and gives it to the engine as [`Snapshotter`] and [`Differ`]. It registers itself
//! with the store as the collector of layers and of scratches.
//!
//! Whoever uses an image keeps all its layers alive, by their chain ids; beyond that a stored layer keeps the one alive
//! upon which it was unpacked. While a layer is being unpacked, others who bring the same one wait and then use it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use layer::Compression;
use layer::windows::WindowsLimits;
use store::{BoxError, CollectedResource, Collector, Digest, KeyedLocks, Labels, Resource, Store};
use tokio_util::task::TaskTracker;

use super::layers::{Found, Layers, Wanted};
use super::scratch::Scratches;
use crate::apply::Apply;
use crate::differ::{ApplyRequest, Differ};
use crate::error::{Result, blocking};
use crate::snapshotter::{LayerInfo, MountType, Scratch, Snapshotter};

/// The kind of layers in the store; ids are chain ids.
pub const WINDOWS_LAYER: &str = "windows-layer";
/// The kind of scratches in the store.
pub const WINDOWS_SCRATCH: &str = "windows-scratch";

/// Sizes of layers and scratches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsConfig {
    /// Size of a scratch unless the container asks for another one. On Linux it is recorded and not enforced.
    pub scratch_size_bytes: u64,
    /// Largest layer.
    pub max_layer_bytes: u64,
}

impl Default for WindowsConfig {
    fn default() -> Self {
        Self {
            scratch_size_bytes: 20 << 30,
            max_layer_bytes: 128 << 30,
        }
    }
}

/// Layers and scratches of Windows containers.
pub struct WindowsLayers {
    layers: Layers,
    scratches: Arc<Scratches>,
    unpacking: KeyedLocks,
    tasks: TaskTracker,
}

impl fmt::Debug for WindowsLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowsLayers")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

impl WindowsLayers {
    /// Opens the layers and scratches in the store's directory, removes what a crash left behind, and registers the
    /// collectors.
    pub async fn open(store: &Store, config: WindowsConfig) -> Result<Arc<Self>> {
        let root = store.root().join("windows");
        let (layers, scratches) = blocking(move || {
            let limits = WindowsLimits {
                max_tar_bytes: config.max_layer_bytes,
                max_content_bytes: config.max_layer_bytes,
                ..WindowsLimits::default()
            };
            let layers = Layers::open(root.join("layers"), limits)?;
            let scratches = Scratches::open(root.join("scratch"), config.scratch_size_bytes)?;
            Ok((layers, Arc::new(scratches)))
        })
        .await?;
        store.register_collector(WINDOWS_LAYER, Arc::new(LayerCollector(layers.clone())));
        store.register_collector(
            WINDOWS_SCRATCH,
            Arc::new(ScratchCollector(Arc::clone(&scratches))),
        );
        Ok(Arc::new(Self {
            layers,
            scratches,
            unpacking: KeyedLocks::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Waits until all unpacking has ended, abandoned ones included.
    pub async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    async fn start(&self, request: ApplyRequest) -> Result<Apply> {
        let layers = self.layers.clone();
        let wanted = Wanted {
            diff_id: request.expected_diff_id,
            chain_id: request.chain_id,
            parents: request.parents,
        };
        let computed = wanted.key();
        if let (Some(expected), Some(actual)) = (&wanted.chain_id, &computed)
            && expected != actual
        {
            return Err(crate::SnapshotError::ChainIdMismatch {
                expected: expected.clone(),
                actual: actual.clone(),
            });
        }
        let Some(key) = computed.or_else(|| wanted.chain_id.clone()) else {
            return Ok(Apply::start(&self.tasks, move |incoming| {
                layers.unpack(incoming, &wanted)
            }));
        };
        let unpacking = self.unpacking.lock(key.as_str()).await;
        if let Some(layer) = self.layer(&key).await? {
            return Ok(Apply::present(layer));
        }
        Ok(Apply::start(&self.tasks, move |incoming| {
            let result = layers.unpack(incoming, &wanted);
            // Only now: also an abandoned layer must be gone before the next one begins.
            drop(unpacking);
            result
        }))
    }
}

#[async_trait]
impl Snapshotter for WindowsLayers {
    fn mount_type(&self) -> MountType {
        MountType::WindowsLayer
    }

    async fn layer(&self, key: &Digest) -> Result<Option<LayerInfo>> {
        let (layers, key) = (self.layers.clone(), key.clone());
        blocking(move || Ok(layers.find(&key)?.map(|found| found.info))).await
    }

    async fn layers(&self) -> Result<Vec<LayerInfo>> {
        let layers = self.layers.clone();
        blocking(move || Ok(layers.list()?.into_iter().map(|found| found.info).collect())).await
    }

    async fn remove_layer(&self, key: &Digest) -> Result<u64> {
        let (layers, key) = (self.layers.clone(), key.clone());
        blocking(move || layers.remove(&key)).await
    }

    async fn create_scratch(&self, id: &str, size: Option<u64>) -> Result<Scratch> {
        let (scratches, id) = (Arc::clone(&self.scratches), id.to_owned());
        blocking(move || scratches.create(&id, size)).await
    }

    async fn scratch(&self, id: &str) -> Result<Option<Scratch>> {
        let (scratches, id) = (Arc::clone(&self.scratches), id.to_owned());
        blocking(move || scratches.find(&id)).await
    }

    async fn remove_scratch(&self, id: &str) -> Result<u64> {
        let (scratches, id) = (Arc::clone(&self.scratches), id.to_owned());
        blocking(move || scratches.remove(&id)).await
    }

    async fn scratches(&self) -> Result<Vec<Scratch>> {
        let scratches = Arc::clone(&self.scratches);
        blocking(move || scratches.list()).await
    }
}

#[async_trait]
impl Differ for WindowsLayers {
    async fn apply(&self, request: ApplyRequest) -> Result<Option<Apply>> {
        let known = Compression::from_media_type(&request.media_type).is_some();
        if request.mount_type != MountType::WindowsLayer || !known {
            return Ok(None);
        }
        self.start(request).await.map(Some)
    }
}

struct LayerCollector(Layers);

#[async_trait]
impl Collector for LayerCollector {
    async fn list(&self) -> Result<Vec<CollectedResource>, BoxError> {
        let layers = self.0.clone();
        let list = blocking(move || layers.list()).await?;
        let resource = |Found { info, parent }: Found| CollectedResource {
            id: info.key.into(),
            labels: parent
                .map(|parent| Resource::new(WINDOWS_LAYER, parent.as_str()).label("parent"))
                .into_iter()
                .collect(),
            size: info.allocated_bytes,
        };
        Ok(list.into_iter().map(resource).collect())
    }

    async fn remove(&self, id: &str) -> Result<u64, BoxError> {
        let (layers, key) = (self.0.clone(), id.parse()?);
        Ok(blocking(move || layers.remove(&key)).await?)
    }
}

struct ScratchCollector(Arc<Scratches>);

#[async_trait]
impl Collector for ScratchCollector {
    async fn list(&self) -> Result<Vec<CollectedResource>, BoxError> {
        let scratches = Arc::clone(&self.0);
        let ids = blocking(move || scratches.ids()).await?;
        Ok(ids
            .into_iter()
            .map(|id| CollectedResource {
                id,
                labels: Labels::new(),
                size: 0,
            })
            .collect())
    }

    async fn remove(&self, id: &str) -> Result<u64, BoxError> {
        let (scratches, id) = (Arc::clone(&self.0), id.to_owned());
        Ok(blocking(move || scratches.remove(&id)).await?)
    }
}
