//! One layer on its way from bytes to a disk.
//!
//! Bytes go through a bounded channel to a blocking thread, which decompresses, hashes and converts them while they
//! arrive. [`Apply::end`] says that there are no more: the thread flushes what it made while the caller proves the blob.
//! [`Apply::finish`] lets it appear and waits for that. An `Apply` that is dropped before leaves nothing.

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::error::{Result, SnapshotError, finished};
use crate::incoming::{self, Incoming};
use crate::snapshotter::LayerInfo;

#[derive(Debug)]
enum State {
    Converting {
        sender: incoming::Sender,
        result: JoinHandle<Result<LayerInfo>>,
    },
    /// The layer is there already; bytes are not looked at.
    Present(LayerInfo),
    Failed,
}

/// A layer being unpacked.
#[derive(Debug)]
pub struct Apply {
    state: State,
}

impl Apply {
    /// An apply that needs no bytes, for a differ that has the layer already.
    #[must_use]
    pub fn present(layer: LayerInfo) -> Self {
        Self {
            state: State::Present(layer),
        }
    }

    /// An apply whose bytes `convert` reads, on a thread that may block.
    pub(crate) fn start(
        tasks: &tokio_util::task::TaskTracker,
        convert: impl FnOnce(Incoming) -> Result<LayerInfo> + Send + 'static,
    ) -> Self {
        let (sender, incoming) = incoming::channel();
        let result = tasks.spawn_blocking(move || convert(incoming));
        Self {
            state: State::Converting { sender, result },
        }
    }

    /// True if the layer is there already, so that writing can be skipped.
    #[must_use]
    pub fn is_present(&self) -> bool {
        matches!(self.state, State::Present(_))
    }

    /// Adds bytes of the blob, compressed as they are. Waits while the converter is behind. An error is final; it tells
    /// what the converter found wrong. Cancel-safe: a chunk whose future was dropped before it was ready was not taken.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let sent = match &mut self.state {
            State::Converting { sender, .. } => sender.send(chunk).await,
            State::Present(_) => return Ok(()),
            State::Failed => return Err(SnapshotError::Abandoned),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(incoming::ReaderGone) => Err(self.failure().await),
        }
    }

    /// Says that all bytes were written, so that the converter can verify and flush the layer. Does not wait for that; the
    /// layer does not appear before [`Apply::finish`].
    pub async fn end(&mut self) -> Result<()> {
        let ended = match &mut self.state {
            State::Converting { sender, .. } => sender.end().await,
            State::Present(_) => return Ok(()),
            State::Failed => return Err(SnapshotError::Abandoned),
        };
        match ended {
            Ok(()) => Ok(()),
            Err(incoming::ReaderGone) => Err(self.failure().await),
        }
    }

    /// Says that all bytes were written and are what was wanted, and waits until the layer is verified and safe on disk.
    /// When the future is dropped the layer is either made or not; nothing half done stays.
    pub async fn finish(self) -> Result<LayerInfo> {
        match self.state {
            State::Converting { sender, result } => {
                // If the reader has gone, its result says why.
                let _ = sender.approve().await;
                finished(result).await
            }
            State::Present(layer) => Ok(layer),
            State::Failed => Err(SnapshotError::Abandoned),
        }
    }

    async fn failure(&mut self) -> SnapshotError {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Converting { sender, result } => {
                drop(sender);
                finished(result).await.err().unwrap_or(SnapshotError::Abandoned)
            }
            State::Present(_) | State::Failed => SnapshotError::Abandoned,
        }
    }
}
