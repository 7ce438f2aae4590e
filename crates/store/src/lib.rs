//! Content and metadata of the engine: blobs by digest, references, leases, roots, typed records, garbage collection.
//!
//! Called by `image`, `snapshot` and `engine`. Knows nothing of image formats: what points to what is said by labels
//! (`ctr.ref.<kind>`), and resources of other kinds (layers, scratch disks) are listed and removed by their own
//! [`Collector`].
//!
//! A [`Store`] is one directory, locked against other processes: `blobs/sha256/<hex>`, `ingest/` (partial downloads),
//! `metadata.redb` and `metadata.journal`. Bytes become a blob when length and digest are right; a record becomes visible
//! when its transaction commits. Every change is atomic: after a crash at any instant there is the old state or the
//! new, plus garbage that the next [`Store::open`] removes. [`Durability`] says what a change survives.
//!
//! A resource is kept alive by references, roots and leases. Protect first, then look or make: then no collection can
//! take it away, however the two interleave.
//!
//! Errors are [`StoreError`], with facts in fields. Asynchronous functions are cancel-safe unless they say otherwise;
//! transactions and commits run to completion once begun. File and database work happens on threads that may block.
//!
//! Not here: documents and platforms (see `image`), disks (see `snapshot`), what records mean (see `engine`).

mod blob;
mod collect;
mod database;
mod digest;
mod disk;
mod error;
mod graph;
mod guard;
mod ingest;
mod journal;
mod keyed;
mod lease;
mod lock;
mod records;
mod recover;
mod resource;
mod store;
mod table;
mod transaction;
mod writer;

pub use collect::{CollectedResource, Collector, GcReport};
pub use digest::{Digest, DigestError, Hasher};
pub use error::{BoxError, Result, StoreError};
pub use ingest::Ingest;
pub use keyed::{KeyedGuard, KeyedLocks};
pub use lease::{Lease, LeaseId, LeaseInfo};
pub use records::{BlobInfo, Reference, Root};
pub use resource::{CONTENT, LAYER, Labels, Resource, WINDOWS_LAYER};
pub use store::Store;
pub use table::{Table, Upgrade};
pub use transaction::Transaction;
pub use writer::Durability;
