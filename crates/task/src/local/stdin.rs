//! The standard input of a process: a short queue between clients and the guest's socket.
//!
//! [`Stdin`] belongs to the process and lives as long as it does, so input stays open while nobody is attached.
//! What clients write before the process starts waits in the queue.

use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::stream::InputWriter;

/// How many pieces wait.
const QUEUE: usize = 4;

/// The standard input of a process.
pub(crate) struct Stdin {
    sender: mpsc::Sender<Bytes>,
    receiver: Mutex<Option<mpsc::Receiver<Bytes>>>,
    /// A client's end of input is the process's.
    once: bool,
}

impl Stdin {
    pub(crate) fn new(once: bool) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            once,
        }
    }

    /// A client's end.
    pub(crate) fn writer(&self) -> InputWriter {
        InputWriter::new(self.sender.clone(), self.once)
    }

    /// Feeds the guest until the process has exited. The socket stays open after the end of input: closing it would
    /// be more than a half-close.
    pub(crate) async fn feed(&self, mut stream: impl AsyncWrite + Send + Unpin, exited: &CancellationToken) {
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut receiver) = receiver else { return };
        let work = async {
            while let Some(piece) = receiver.recv().await {
                if piece.is_empty() {
                    stream.shutdown().await?;
                    break;
                }
                stream.write_all(&piece).await?;
            }
            Ok::<_, io::Error>(())
        };
        if let Some(Err(error)) = exited.run_until_cancelled(work).await {
            tracing::debug!(%error, "process takes no more input");
        }
        // Writers learn that nothing is taken any more.
        drop(receiver);
        exited.cancelled().await;
    }
}
