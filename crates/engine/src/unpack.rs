//! The bridge between a pull and the layer stores: bytes of a layer go to the differ that serves its platform.
//!
//! `image` offers each layer's compressed bytes while they arrive; [`Unpacker`] passes them to the first differ that serves
//! the mount type of the image's platform. A layer that is stored already costs nothing. A layer of Windows stands on those
//! below it: one that arrives before them is only stored, and unpacked once they are ([`crate::Engine::pull`] sees to it).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use image::{BoxError, Layer, LayerSink, LayerUnpacker, Platform};
use snapshot::{Apply, ApplyRequest, Differs, Snapshotter};

use crate::snapshots::mount_type;

/// Unpacks the layers of images for which there is a snapshotter; others are only stored.
pub(crate) struct Unpacker {
    pub(crate) differs: Arc<Differs>,
    pub(crate) snapshotters: Vec<Arc<dyn Snapshotter>>,
}

#[async_trait]
impl LayerUnpacker for Unpacker {
    async fn begin(
        &self,
        layer: &Layer,
        platform: &Platform,
    ) -> Result<Option<Box<dyn LayerSink>>, BoxError> {
        let windows = platform.is_windows();
        if !windows && platform.os != "linux" {
            return Ok(None);
        }
        let mount_type = mount_type(windows);
        let snapshotter = self
            .snapshotters
            .iter()
            .find(|one| one.mount_type() == mount_type);
        let Some(snapshotter) = snapshotter else {
            return Ok(None);
        };
        let key = layer.key(platform);
        if snapshotter.layer(key).await?.is_some() {
            return Ok(None);
        }
        let parents = match windows {
            true => layer.parents.clone(),
            false => Vec::new(),
        };
        if let Some(below) = parents.last()
            && snapshotter.layer(below).await?.is_none()
        {
            return Ok(None);
        }
        let request = ApplyRequest {
            mount_type,
            media_type: layer.media_type.clone(),
            expected_diff_id: Some(layer.diff_id.clone()),
            size_hint: Some(layer.size),
            parents,
            chain_id: windows.then(|| layer.chain_id.clone()),
        };
        let apply = self.differs.apply(request).await?;
        Ok(Some(Box::new(Sink(apply))))
    }
}

struct Sink(Apply);

#[async_trait]
impl LayerSink for Sink {
    async fn write(&mut self, chunk: Bytes) -> Result<(), BoxError> {
        Ok(self.0.write(chunk).await?)
    }

    async fn end(&mut self) -> Result<(), BoxError> {
        Ok(self.0.end().await?)
    }

    async fn finish(self: Box<Self>) -> Result<(), BoxError> {
        self.0.finish().await?;
        Ok(())
    }
}
