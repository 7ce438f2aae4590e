//! The bridge between a pull and the layer stores: bytes of a layer go to the differ that serves its platform.
//!
//! `image` offers each layer's compressed bytes while they arrive; [`Unpacker`] passes them to the first differ that serves
//! the mount type of the image's platform. A layer that is stored already costs nothing.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use image::{BoxError, Layer, LayerSink, LayerUnpacker, Platform};
use snapshot::{Apply, ApplyRequest, Differs, MountType, Snapshotter};

/// Unpacks the layers of Linux images; layers of other systems are only stored.
pub(crate) struct Unpacker {
    pub(crate) differs: Arc<Differs>,
    pub(crate) snapshotter: Arc<dyn Snapshotter>,
}

#[async_trait]
impl LayerUnpacker for Unpacker {
    async fn begin(
        &self,
        layer: &Layer,
        platform: &Platform,
    ) -> Result<Option<Box<dyn LayerSink>>, BoxError> {
        if platform.os != "linux" || self.snapshotter.layer(&layer.diff_id).await?.is_some() {
            return Ok(None);
        }
        let request = ApplyRequest {
            mount_type: MountType::LcowLayer,
            media_type: layer.media_type.clone(),
            expected_diff_id: Some(layer.diff_id.clone()),
            size_hint: Some(layer.size),
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
