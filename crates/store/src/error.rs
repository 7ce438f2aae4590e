//! What can go wrong in the store, with the facts a caller needs to decide.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Digest;

/// An error of a collector or of another crate's code called by the store.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the store open.
    #[error("the store at {} is in use by another process{}", root.display(), describe_pid(*pid))]
    Locked {
        /// The store's directory.
        root: PathBuf,
        /// The process that holds it, where it could be told.
        pid: Option<u32>,
    },
    /// The directory could be changed by somebody else, so its content cannot be trusted.
    #[error("the store directory {} is not safe to use: {reason}", path.display())]
    UnsafeRoot {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The metadata was written by a newer program; nothing was changed.
    #[error("the metadata has format {found}, this program understands up to {supported}")]
    NewerFormat {
        /// Version found on disk.
        found: u32,
        /// Highest version understood.
        supported: u32,
    },
    /// A record was written by a newer program.
    #[error(
        "record {key:?} of table {table:?} has version {found}, this program understands up to {supported}"
    )]
    NewerRecord {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// Version found.
        found: u32,
        /// Highest version understood.
        supported: u32,
    },
    /// A record does not hold what its table promises.
    #[error("record {key:?} of table {table:?} is malformed")]
    MalformedRecord {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The decoder's complaint.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such object.
    #[error("{kind} {id} not found")]
    NotFound {
        /// What was looked for: `blob`, `reference`, ...
        kind: &'static str,
        /// Its name.
        id: String,
    },
    /// A record with this key exists already.
    #[error("record {key:?} of table {table:?} exists already")]
    AlreadyExists {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// The bytes received are not the bytes announced. The partial copy is gone.
    #[error("digest mismatch: expected {expected}, received {actual} ({size} bytes)")]
    DigestMismatch {
        /// What was announced.
        expected: Digest,
        /// What the received bytes hash to.
        actual: Digest,
        /// How many bytes were received.
        size: u64,
    },
    /// More or fewer bytes than announced. Fewer: the partial copy is kept for resuming; more: it is gone.
    #[error("size mismatch for {key:?}: expected {expected} bytes, received {actual}")]
    SizeMismatch {
        /// The ingest key.
        key: String,
        /// Announced size.
        expected: u64,
        /// Received so far.
        actual: u64,
    },
    /// A blob is larger than the caller is willing to read.
    #[error("blob {digest} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The caller's limit.
        limit: u64,
    },
    /// The stored copy of a blob is damaged or missing. It was dropped, so that fetching it again heals the store.
    #[error("the stored copy of blob {digest} is damaged: {reason}")]
    Damaged {
        /// The blob.
        digest: Digest,
        /// What was found.
        reason: String,
    },
    /// The lease was released or never existed.
    #[error("lease {id} does not exist")]
    LeaseGone {
        /// The lease.
        id: String,
    },
    /// An ingest failed earlier and cannot be used any more.
    #[error("ingest {key:?} failed earlier")]
    IngestFailed {
        /// The ingest key.
        key: String,
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
    /// The metadata database failed. The next change opens it anew.
    #[error("metadata database: cannot {operation}")]
    Metadata {
        /// What was attempted.
        operation: &'static str,
        /// The database's complaint.
        #[source]
        source: Arc<redb::Error>,
    },
    /// A collector failed to list what it has, so nothing was collected.
    #[error("cannot list resources of kind {kind:?}")]
    Collector {
        /// The kind.
        kind: String,
        /// The collector's error.
        #[source]
        source: BoxError,
    },
    /// The metadata database failed and cannot be opened again; every change tries to.
    #[error("the metadata database is not available")]
    Unavailable,
    /// SHA-256 is computed wrongly on this machine.
    #[error("this processor or program computes wrong SHA-256 digests")]
    BrokenHash,
    /// The store is shut down, or the transaction's function panicked.
    #[error("the store is closed")]
    Closed,
}

fn describe_pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl StoreError {
    /// True for a missing object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// True if the bytes at hand are not the bytes announced or once stored.
    #[must_use]
    pub fn is_data_loss(&self) -> bool {
        matches!(
            self,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } | Self::Damaged { .. }
        )
    }

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
            Self::Metadata { source, .. } => matches!(&**source, redb::Error::Io(e) if full(e)),
            _ => false,
        }
    }

    pub(crate) fn not_found(kind: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { kind, id: id.into() }
    }
}

/// Adds operation and path to an I/O error.
pub(crate) fn io_error<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Adds the operation to a database error.
pub(crate) fn db_error<E: Into<redb::Error>>(operation: &'static str) -> impl FnOnce(E) -> StoreError {
    move |source| StoreError::Metadata {
        operation,
        source: Arc::new(source.into()),
    }
}
