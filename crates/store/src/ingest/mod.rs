//! Bringing a blob into the store: resumable, verified, all or nothing.
//!
//! An ingest is known by a key of the caller's choice; one caller at a time has it, the next one waits. Its bytes are a
//! partial copy (see `partial`), which stays when the ingest is dropped or the process dies; the next ingest with the
//! same key continues at [`Ingest::offset`].
//!
//! Commit: check length and digest, flush the file, rename it into `blobs/`, flush the directory, then write the record
//! together with the protection by the lease. If the store has the blob already, the ingest starts at its end, and
//! committing merges the labels.
//!
//! Chunks are collected and written by a blocking thread while the caller fetches the next ones; at most two collections
//! (1 MiB and the chunk at hand) are in memory.

mod partial;

use std::fs::File;

use bytes::Bytes;
use tokio::task::JoinHandle;

pub(crate) use self::partial::safe_name;
use self::partial::{Announced, Partial};
use crate::error::{Result, StoreError, io_error};
use crate::keyed::KeyedGuard;
use crate::records::BlobInfo;
use crate::recover::ingest_dir;
use crate::resource::{Labels, Resource};
use crate::store::{Store, blocking, finished};
use crate::writer::Durability;
use crate::{Digest, LeaseId};

/// Chunks are written when this much has come together.
const COLLECT: usize = 512 << 10;

#[derive(Debug)]
enum State {
    Idle(Partial),
    Busy(JoinHandle<Result<Partial>>),
    /// The store has the blob; nothing need be written.
    Present(KeyedGuard, u64),
    Failed,
}

/// A blob on its way in. Dropping it keeps the partial copy for the next ingest with the same key.
#[derive(Debug)]
pub struct Ingest {
    store: Store,
    lease: LeaseId,
    announced: Announced,
    state: State,
    collected: Vec<Bytes>,
    collected_len: usize,
    offset: u64,
}

impl Store {
    /// Starts or resumes an ingest. Waits while another caller has the same key. `expected` and `size`, where given, are
    /// checked; a partial copy that was announced differently, or is longer than `size`, is discarded.
    pub async fn ingest(
        &self,
        lease: &LeaseId,
        key: &str,
        expected: Option<Digest>,
        size: Option<u64>,
    ) -> Result<Ingest> {
        let name = safe_name(key);
        let guard = self.inner.ingests.lock(&name).await;
        let present = self.protect_present(lease, expected.clone()).await?;
        let announced = Announced {
            key: key.to_owned(),
            expected,
            size,
        };
        let (state, offset, announced) = if let Some(info) = present {
            if size.is_some_and(|size| size != info.size) {
                return Err(announced.size_mismatch(info.size));
            }
            (State::Present(guard, info.size), info.size, announced)
        } else {
            let dir = ingest_dir(&self.inner.root).join(name);
            let (partial, announced) =
                blocking(move || Partial::open(dir, guard, &announced).map(|partial| (partial, announced)))
                    .await?;
            let len = partial.len;
            (State::Idle(partial), len, announced)
        };
        let (collected, collected_len) = (Vec::new(), 0);
        Ok(Ingest {
            store: self.clone(),
            lease: lease.clone(),
            announced,
            state,
            collected,
            collected_len,
            offset,
        })
    }

    /// Checks the lease, and lets it protect the blob if that is in the store.
    async fn protect_present(&self, lease: &LeaseId, expected: Option<Digest>) -> Result<Option<BlobInfo>> {
        let lease = lease.clone();
        self.transaction_with(Durability::Eventual, move |txn| {
            let Some(digest) = expected else {
                return txn.check_lease(&lease).map(|()| None);
            };
            let info = txn.blob(&digest)?;
            if info.is_some() {
                txn.protect(&lease, &Resource::content(&digest))?;
            } else {
                txn.check_lease(&lease)?;
            }
            Ok(info)
        })
        .await
    }
}

impl Ingest {
    /// How many bytes are there already: where the caller has to continue.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// True if the store has the blob, so that only the commit remains to be done.
    #[must_use]
    pub fn is_present(&self) -> bool {
        matches!(self.state, State::Present(..))
    }

    /// Opens what is there already, [`Ingest::offset`] bytes, for reading: whoever looks at the bytes on their way in needs
    /// those of an earlier attempt as well.
    pub async fn partial(&mut self) -> Result<File> {
        self.start_writing().await?;
        self.settle().await?;
        let path = match &self.state {
            State::Idle(partial) => partial.data(),
            State::Present(..) => {
                let digest = self
                    .announced
                    .expected
                    .as_ref()
                    .expect("only an expected blob is found present");
                return self.store.open_blob(digest).await;
            }
            State::Busy(_) | State::Failed => return Err(self.failed()),
        };
        blocking(move || File::open(&path).map_err(io_error("open", &path))).await
    }

    /// Adds bytes. More than announced is an error that discards everything. Cancel-safe: a chunk whose future was dropped
    /// before it was ready was not taken.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        if matches!(self.state, State::Failed) {
            return Err(self.failed());
        }
        if self.collected_len >= COLLECT {
            self.start_writing().await?;
        }
        let offset = self.offset + chunk.len() as u64;
        let announced = match self.state {
            State::Present(_, size) => Some(size),
            _ => self.announced.size,
        };
        if announced.is_some_and(|size| offset > size) {
            let error = self.announced.size_mismatch(offset);
            self.throw_away().await?;
            return Err(error);
        }
        self.offset = offset;
        self.collected_len += chunk.len();
        self.collected.push(chunk);
        Ok(())
    }

    /// Forgets all bytes, to start over at offset 0 (the server did not honour the range).
    pub async fn truncate(&mut self) -> Result<()> {
        self.collected.clear();
        self.collected_len = 0;
        let state = match self.settle().await {
            Ok(()) => std::mem::replace(&mut self.state, State::Failed),
            Err(error) => return Err(error),
        };
        let announced = self.announced.clone();
        let dir = ingest_dir(&self.store.inner.root).join(safe_name(&self.announced.key));
        let partial = blocking(move || {
            let mut partial = match state {
                State::Idle(partial) => partial,
                State::Present(guard, _) => Partial::open(dir, guard, &announced)?,
                State::Busy(_) | State::Failed => {
                    return Err(StoreError::IngestFailed { key: announced.key });
                }
            };
            partial.truncate()?;
            Ok(partial)
        })
        .await?;
        self.state = State::Idle(partial);
        self.offset = 0;
        Ok(())
    }

    /// Verifies the bytes and makes them a blob with these labels, protected by the lease. A blob that exists already
    /// is success; the labels are merged. Too few bytes: [`StoreError::SizeMismatch`], and the partial copy stays.
    /// Wrong bytes: [`StoreError::DigestMismatch`], and it goes. Runs to completion when the future is dropped.
    pub async fn commit(mut self, labels: Labels) -> Result<BlobInfo> {
        self.start_writing().await?;
        self.settle().await?;
        let Self {
            store,
            lease,
            announced,
            state,
            ..
        } = self;
        let tasks = store.inner.tasks.clone();
        let work = tasks.spawn(async move {
            match state {
                State::Idle(partial) => commit_partial(&store, lease, announced, partial, labels).await,
                State::Present(guard, size) => {
                    let digest = announced
                        .expected
                        .expect("only an expected blob is found present");
                    let info = add(&store, lease, digest, size, labels).await;
                    drop(guard);
                    info
                }
                State::Busy(_) | State::Failed => Err(StoreError::IngestFailed { key: announced.key }),
            }
        });
        finished(work).await
    }

    /// Gives up and removes the partial copy.
    pub async fn discard(mut self) -> Result<()> {
        self.throw_away().await
    }

    fn failed(&self) -> StoreError {
        StoreError::IngestFailed {
            key: self.announced.key.clone(),
        }
    }

    /// Waits for the write in progress.
    async fn settle(&mut self) -> Result<()> {
        if let State::Busy(write) = &mut self.state {
            let result = finished(write).await;
            self.state = State::Failed;
            self.state = State::Idle(result?);
        }
        Ok(())
    }

    /// Starts to write what was collected.
    async fn start_writing(&mut self) -> Result<()> {
        self.settle().await?;
        if self.collected.is_empty() {
            return Ok(());
        }
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Idle(partial) => {
                let chunks = std::mem::take(&mut self.collected);
                self.collected_len = 0;
                self.state = State::Busy(tokio::task::spawn_blocking(move || partial.append(&chunks)));
                Ok(())
            }
            // Nothing but empty chunks can have come: everything else would exceed the size.
            present @ State::Present(..) => {
                self.collected.clear();
                self.state = present;
                Ok(())
            }
            State::Busy(_) | State::Failed => Err(self.failed()),
        }
    }

    async fn throw_away(&mut self) -> Result<()> {
        self.collected.clear();
        self.collected_len = 0;
        // An error of the last write does not matter any more.
        drop(self.settle().await);
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Idle(partial) => blocking(move || partial.discard()).await,
            _ => Ok(()),
        }
    }
}

async fn commit_partial(
    store: &Store,
    lease: LeaseId,
    announced: Announced,
    partial: Partial,
    labels: Labels,
) -> Result<BlobInfo> {
    if announced.size.is_some_and(|size| partial.len != size) {
        return Err(announced.size_mismatch(partial.len));
    }
    let actual = partial.digest();
    if let Some(expected) = announced.expected.filter(|expected| *expected != actual) {
        let size = partial.len;
        blocking(move || {
            partial.discard_or_warn();
            Ok(())
        })
        .await?;
        return Err(StoreError::DigestMismatch {
            expected,
            actual,
            size,
        });
    }
    store.inner.guard.claim(&Resource::content(&actual)).await;
    let path = store.blob_path(&actual);
    let (len, guard) = blocking(move || partial.finish(&path)).await?;
    let info = add(store, lease, actual, len, labels).await;
    drop(guard);
    info
}

async fn add(store: &Store, lease: LeaseId, digest: Digest, size: u64, labels: Labels) -> Result<BlobInfo> {
    store
        .transaction(move |txn| txn.add_blob(&lease, &digest, size, labels))
        .await
}
