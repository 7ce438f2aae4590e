//! The one thread that writes the metadata.
//!
//! Every change of metadata is a [`Job`] of this thread. Jobs that wait together and want the same durability share one
//! commit. Reads go to the database directly, from any thread.
//!
//! Durable commits use redb with `quick_repair` (which includes two-phase commit): an unclean file opens in no time.
//! Eventual ones go to the journal and to the database's memory; a durable commit follows on its own when the
//! journal has grown, when the thread has been idle for a while, and when the store is closed.
//!
//! The database refuses all writing after a failure (the disk was full, say). The next job then opens it anew and
//! applies the journal again, so the store goes on as soon as the disk does, with everything it acknowledged.
//!
//! All calls block, except that `Writer::send` only queues.

mod state;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use self::state::State;
use crate::database::Metadata;
use crate::error::{Result, StoreError, io_error};
use crate::guard::Guard;
use crate::resource::Resource;
use crate::transaction::Transaction;

/// What an acknowledged change survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Everything: the change is on the disk when the call returns.
    #[default]
    Immediate,
    /// The death of the process, at any instant. A power cut may undo the last seconds, never in part and never
    /// out of order. No disk flush is waited for, so it is much faster.
    Eventual,
}

/// How a transaction's function ended.
pub(crate) enum Verdict {
    /// Commit, then tell. On success the answer holds the resources whose removal must be awaited.
    Commit(Box<dyn FnOnce(Result<Vec<Resource>>) + Send>),
    /// Drop the changes; the caller has been told already.
    Abandon,
}

/// A transaction's function; given an error, it passes that on to its caller.
pub(crate) type Run = Box<dyn FnOnce(Result<&mut Transaction<'_>>) -> Verdict + Send>;

pub(crate) enum Job {
    /// A transaction.
    Transaction(Durability, Run),
    /// Something to do while no transaction is open and all earlier ones are visible to readers.
    Between(Box<dyn FnOnce() + Send>),
    /// Make everything durable, then tell.
    Flush(Box<dyn FnOnce(Result<()>) + Send>),
}

/// Handle of the thread; dropping it lets the thread finish its queue, flush, and end.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the database, applies the journal together with `first`, and starts the thread.
    pub(crate) fn open(
        directory: &Path,
        guard: Arc<Guard>,
        first: impl FnOnce(&mut Transaction<'_>) -> Result<()>,
    ) -> Result<(Arc<Metadata>, Self)> {
        let metadata = Arc::new(Metadata::default());
        let state = State::open(directory, Arc::clone(&metadata), guard, first)?;
        let (queue, jobs) = channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || state.serve(&jobs))
            .map_err(io_error("start the writer thread for", directory))?;
        Ok((
            metadata,
            Self {
                queue: Some(queue),
                thread: Some(thread),
            },
        ))
    }

    /// Queues a job.
    pub(crate) fn send(&self, job: Job) -> Result<()> {
        self.queue
            .as_ref()
            .and_then(|queue| queue.send(job).ok())
            .ok_or(StoreError::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // The last handle of a store may be dropped by a transaction's function, on the thread itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("the metadata writer panicked");
            }
        }
    }
}
