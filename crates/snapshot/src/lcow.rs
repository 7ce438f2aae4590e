//! `lcow-layer`: layers as fixed VHDs with ext4 inside, for a Linux guest, and scratches as such or as disks that grow.
//!
//! The daemon opens it once per store and gives it to the engine as [`Snapshotter`] and [`Differ`]. It registers itself
//! with the store as the collector of layers and of scratches.
//!
//! A layer depends on its archive alone, so it is stored once per diff id, whatever images use it. While a layer is being
//! unpacked, others who bring the same one wait and then use it; should the first one fail, the next one takes over.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use layer::{Compression, ConvertOptions};
use store::{BoxError, CollectedResource, Collector, Digest, KeyedLocks, LAYER, Labels, Store};
use tokio_util::task::TaskTracker;

use crate::apply::Apply;
use crate::differ::{ApplyRequest, Differ};
use crate::disk::DiskFormat;
use crate::error::{Result, blocking};
use crate::layers::Layers;
use crate::scratch::Scratches;
use crate::snapshotter::{LayerInfo, MountType, Scratch, Snapshotter};

/// The kind of scratches in the store.
pub const SCRATCH: &str = "scratch";

/// Sizes of layers and scratches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LcowConfig {
    /// Size of a scratch unless the container asks for another one.
    pub scratch_size_bytes: u64,
    /// How scratches are kept: as disks that grow where files are not sparse.
    pub scratch_format: DiskFormat,
    /// Largest layer.
    pub max_layer_bytes: u64,
}

impl Default for LcowConfig {
    fn default() -> Self {
        Self {
            scratch_size_bytes: 20 << 30,
            scratch_format: if cfg!(windows) {
                DiskFormat::Growing
            } else {
                DiskFormat::Fixed
            },
            max_layer_bytes: 128 << 30,
        }
    }
}

/// Layers and scratches for Linux guests.
pub struct LcowLayers {
    layers: Layers,
    scratches: Arc<Scratches>,
    unpacking: KeyedLocks,
    tasks: TaskTracker,
}

impl fmt::Debug for LcowLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LcowLayers")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

impl LcowLayers {
    /// Opens the layers and scratches in the store's directory, removes what a crash left behind, prepares the default
    /// scratch, and registers the collectors.
    pub async fn open(store: &Store, config: LcowConfig) -> Result<Arc<Self>> {
        let root = store.root().to_owned();
        let (layers, scratches) = blocking(move || {
            let options = ConvertOptions {
                max_image_bytes: config.max_layer_bytes,
                ..ConvertOptions::default()
            };
            let layers = Layers::open(root.join("layers"), options)?;
            let scratches = Scratches::open(
                root.join("scratch"),
                config.scratch_size_bytes,
                config.scratch_format,
            )?;
            scratches.prepare()?;
            Ok((layers, Arc::new(scratches)))
        })
        .await?;
        store.register_collector(LAYER, Arc::new(LayerCollector(layers.clone())));
        store.register_collector(SCRATCH, Arc::new(ScratchCollector(Arc::clone(&scratches))));
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
}

#[async_trait]
impl Snapshotter for LcowLayers {
    fn mount_type(&self) -> MountType {
        MountType::LcowLayer
    }

    async fn layer(&self, diff_id: &Digest) -> Result<Option<LayerInfo>> {
        let (layers, diff_id) = (self.layers.clone(), diff_id.clone());
        blocking(move || layers.find(&diff_id)).await
    }

    async fn layers(&self) -> Result<Vec<LayerInfo>> {
        let layers = self.layers.clone();
        blocking(move || layers.list()).await
    }

    async fn remove_layer(&self, diff_id: &Digest) -> Result<u64> {
        let (layers, diff_id) = (self.layers.clone(), diff_id.clone());
        blocking(move || layers.remove(&diff_id)).await
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
impl Differ for LcowLayers {
    async fn apply(&self, request: ApplyRequest) -> Result<Option<Apply>> {
        let known = Compression::from_media_type(&request.media_type).is_some();
        if request.mount_type != MountType::LcowLayer || !known {
            return Ok(None);
        }
        let layers = self.layers.clone();
        let Some(expected) = request.expected_diff_id else {
            return Ok(Some(Apply::start(&self.tasks, move |incoming| {
                layers.convert(incoming, None)
            })));
        };
        let unpacking = self.unpacking.lock(expected.as_str()).await;
        if let Some(layer) = self.layer(&expected).await? {
            return Ok(Some(Apply::present(layer)));
        }
        Ok(Some(Apply::start(&self.tasks, move |incoming| {
            let result = layers.convert(incoming, Some(&expected));
            // Only now: also an abandoned layer must be gone before the next one begins.
            drop(unpacking);
            result
        })))
    }
}

struct LayerCollector(Layers);

#[async_trait]
impl Collector for LayerCollector {
    async fn list(&self) -> Result<Vec<CollectedResource>, BoxError> {
        let layers = self.0.clone();
        let list = blocking(move || layers.list()).await?;
        let resource = |layer: LayerInfo| CollectedResource {
            id: layer.diff_id.into(),
            labels: Labels::new(),
            size: layer.allocated_bytes,
        };
        Ok(list.into_iter().map(resource).collect())
    }

    async fn remove(&self, id: &str) -> Result<u64, BoxError> {
        let (layers, diff_id) = (self.0.clone(), id.parse()?);
        Ok(blocking(move || layers.remove(&diff_id)).await?)
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
