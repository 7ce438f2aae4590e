//! The seam to whoever turns layer blobs into something mountable.
//!
//! [`Images`](crate::Images) feeds each layer's bytes, compressed as they are in the registry, to a [`LayerSink`] while
//! they arrive; the engine implements the traits over its differs. A sink sees the blob from its first byte exactly once:
//! when a transfer starts over, the old sink is dropped (which aborts it) before a new one is begun. `end` says that the
//! blob has come to its end; `finish` is called only after its size and digest are proved, and what the sink made must not
//! be visible before.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{error::BoxError, image::Layer, platform::Platform};

/// Makes layers usable.
#[async_trait]
pub trait LayerUnpacker: Send + Sync {
    /// Starts with one layer. `None`: nothing to do, it is unpacked already or this platform has no unpacker.
    async fn begin(&self, layer: &Layer, platform: &Platform)
    -> Result<Option<Box<dyn LayerSink>>, BoxError>;
}

/// Takes the bytes of one layer. Dropping it aborts and leaves nothing behind.
#[async_trait]
pub trait LayerSink: Send {
    /// The next bytes of the blob.
    async fn write(&mut self, bytes: Bytes) -> Result<(), BoxError>;
    /// There are no more bytes. Called once, before `finish`, and only where the proof of the blob takes time: work that
    /// does not depend on the proof can begin. Does not wait for that work.
    async fn end(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
    /// The blob is complete and verified; returns when the layer is committed.
    async fn finish(self: Box<Self>) -> Result<(), BoxError>;
}
