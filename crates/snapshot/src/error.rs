//! What can go wrong with layers and scratches.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use layer::LayerError;
use store::{Digest, StoreError};

use crate::MountType;

/// The result of a snapshot operation.
pub type Result<T, E = SnapshotError> = std::result::Result<T, E>;

/// A failed operation on layers or scratches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The archive was refused or could not be converted; nothing of it was kept.
    #[error("cannot unpack layer{}", describe(expected.as_ref()))]
    Layer {
        /// The announced diff id.
        expected: Option<Digest>,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The archive is not the announced one; nothing of it was kept.
    #[error("diff id mismatch: expected {expected}, the layer has {actual}")]
    DiffIdMismatch {
        /// What was announced.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// No differ serves this kind of layer.
    #[error("layers of media type {media_type:?} cannot be unpacked for {mount_type} mounts")]
    NoDiffer {
        /// The wanted mount type.
        mount_type: MountType,
        /// The layer's media type.
        media_type: String,
    },
    /// A layer below is not there, or damaged; it must be unpacked first.
    #[error("cannot unpack layer{}: the layer below it, {parent}, is not there", describe(expected.as_ref()))]
    MissingParent {
        /// The announced diff id.
        expected: Option<Digest>,
        /// Chain id of the layer below.
        parent: Digest,
    },
    /// The key is not the one that follows from the layers below and the diff id.
    #[error("chain id mismatch: expected {expected}, the layer has {actual}")]
    ChainIdMismatch {
        /// What was announced.
        expected: Digest,
        /// What follows.
        actual: Digest,
    },
    /// The archive of a layer could not be written.
    #[error("cannot write the layer")]
    Export {
        /// Why.
        #[source]
        source: LayerError,
    },
    /// Whoever reads the answer has gone.
    #[error("cannot write the answer")]
    Output {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory of a layer is not one, or not as it was.
    #[error("layer {} is damaged; it must be unpacked again", path.display())]
    DamagedLayer {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// What this host cannot do.
    #[error("{what} is not possible on this host: {reason}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// Why, and what to do.
        reason: Cow<'static, str>,
    },
    /// Something a container has written has no form in a layer, or a layer below is not what it was.
    #[error("cannot make a layer of what the container has written: {path} {problem}")]
    NotALayer {
        /// The path in the container.
        path: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// An apply failed earlier, or the program is shutting down.
    #[error("unpacking was abandoned")]
    Abandoned,
    /// Not a name for a scratch.
    #[error(
        "invalid scratch id {id:?}: expected letters, digits, '_', '-' or '.', at most 128, no '.' first"
    )]
    InvalidId {
        /// The refused name.
        id: String,
    },
    /// A scratch of this size cannot be made.
    #[error("a scratch of {size} bytes is not possible: expected {minimum} to {maximum} bytes")]
    InvalidSize {
        /// The wanted size.
        size: u64,
        /// The smallest possible.
        minimum: u64,
        /// The largest possible.
        maximum: u64,
    },
    /// There is a scratch of this id already.
    #[error("scratch {id} exists already")]
    ScratchExists {
        /// The id.
        id: String,
    },
    /// A scratch's file is not a disk any more (its host lost power, perhaps).
    #[error("scratch {id} is damaged: {reason}")]
    ScratchDamaged {
        /// The id.
        id: String,
        /// What was found.
        reason: &'static str,
    },
    /// The operating system refused a file operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn describe(expected: Option<&Digest>) -> String {
    expected
        .map(|digest| format!(" with diff id {digest}"))
        .unwrap_or_default()
}

impl SnapshotError {
    /// True if the disk or a quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        let full = |e: &io::Error| {
            matches!(
                e.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        match self {
            Self::Io { source, .. } => full(source),
            Self::Output { source } => full(source),
            Self::Layer { source, .. } | Self::Export { source } => source.code() == "no-space",
            Self::Store(source) => source.is_no_space(),
            _ => false,
        }
    }

    /// True if the bytes that came are not the bytes announced.
    #[must_use]
    pub fn is_data_loss(&self) -> bool {
        match self {
            Self::DiffIdMismatch { .. }
            | Self::ChainIdMismatch { .. }
            | Self::DamagedLayer { .. }
            | Self::ScratchDamaged { .. } => true,
            Self::Store(source) => source.is_data_loss(),
            _ => false,
        }
    }
}

/// Adds operation and path to an I/O error.
pub(crate) fn io_error<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> SnapshotError + 'a {
    move |source| SnapshotError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Runs blocking work beside the asynchronous threads; it runs to completion when the caller is dropped.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    finished(tokio::task::spawn_blocking(work)).await
}

/// Waits for a task; its panic becomes the caller's.
pub(crate) async fn finished<R>(
    task: impl Future<Output = Result<Result<R>, tokio::task::JoinError>>,
) -> Result<R> {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(SnapshotError::Abandoned),
        },
    }
}
