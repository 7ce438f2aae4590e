//! The stores of layers and scratches, by the operating system of images.
//!
//! Each system has one snapshotter, chosen by its mount type; the engine asks here instead of naming one. What a layer is
//! stored under is the image's to say ([`image::Image::layer_keys`]).

use std::sync::Arc;

use snapshot::{MountType, Scratch, Snapshotter};
use store::{Digest, Resource, WINDOWS_LAYER};

use crate::convert;
use crate::error::{Error, Result};
use crate::record::ContainerRecord;

/// All snapshotters.
pub(crate) struct Snapshots(Vec<Arc<dyn Snapshotter>>);

/// How layers of images for an operating system are mounted.
pub(crate) fn mount_type(windows: bool) -> MountType {
    match windows {
        true => MountType::WindowsLayer,
        false => MountType::LcowLayer,
    }
}

impl Snapshots {
    pub(crate) fn new(all: Vec<Arc<dyn Snapshotter>>) -> Self {
        Self(all)
    }

    /// The one for images of Windows, or of Linux.
    pub(crate) fn of(&self, windows: bool) -> Result<&Arc<dyn Snapshotter>> {
        let wanted = mount_type(windows);
        let found = self.0.iter().find(|one| one.mount_type() == wanted);
        found.ok_or_else(|| {
            Error::unimplemented(
                format!("this daemon stores no {wanted}s"),
                "run the container on a host for images of its operating system",
            )
        })
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn Snapshotter>> {
        self.0.iter()
    }

    /// What keeps a container's layers and scratch from being collected.
    pub(crate) fn resources(record: &ContainerRecord) -> Vec<Resource> {
        let (scratch, layer) = match record.is_windows() {
            true => (snapshot::windows::WINDOWS_SCRATCH, WINDOWS_LAYER),
            false => (snapshot::SCRATCH, store::LAYER),
        };
        let mut resources = vec![Resource::new(scratch, record.id.clone())];
        resources.extend(record.layers.iter().map(|key| Resource::new(layer, key.as_str())));
        resources
    }

    /// Removes a container's scratch, wherever it is.
    pub(crate) async fn remove_scratch(&self, id: &str) {
        for snapshotter in self.all() {
            if let Err(error) = snapshotter.remove_scratch(id).await {
                tracing::warn!(container = id, %error, "scratch not removed");
            }
        }
    }

    /// A container's scratch.
    pub(crate) async fn scratch(&self, record: &ContainerRecord) -> Result<Option<Scratch>> {
        let snapshotter = self.of(record.is_windows())?;
        snapshotter.scratch(&record.id).await.map_err(convert::snapshot)
    }

    /// The layer of a container that is stored under this key.
    pub(crate) async fn layer(
        &self,
        record: &ContainerRecord,
        key: &Digest,
    ) -> Result<Option<snapshot::LayerInfo>> {
        let snapshotter = self.of(record.is_windows())?;
        snapshotter.layer(key).await.map_err(convert::snapshot)
    }
}
