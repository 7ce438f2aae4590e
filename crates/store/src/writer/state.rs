//! What the writer thread owns, and what it does with each job.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::{Durability as DiskDurability, WriteTransaction};

use super::{Durability, Job, Run, Verdict};
use crate::database::{self, Metadata};
use crate::error::{Result, StoreError, db_error};
use crate::graph;
use crate::guard::Guard;
use crate::journal::{Change, Journal};
use crate::resource::Resource;
use crate::transaction::{RECORDS, Transaction};

/// A journal of this size is folded into the database.
const JOURNAL_LIMIT: u64 = 1 << 20;
/// Eventual changes reach the disk after this time at the latest.
const FLUSH_AFTER: Duration = Duration::from_secs(2);
/// How many transactions may share one commit.
const BATCH: usize = 128;

/// The thread's own: the open journal, and what is not on the disk yet.
pub(super) struct State {
    directory: PathBuf,
    metadata: Arc<Metadata>,
    guard: Arc<Guard>,
    journal: Journal,
    /// Number of the last journalled batch.
    sequence: u64,
    /// Since when there are changes that only the journal holds durably enough for a killed process.
    dirty_since: Option<Instant>,
    /// The database failed; it must be opened anew before the next write.
    broken: bool,
}

/// Commits that were decided but not told yet.
type Told = Vec<(Box<dyn FnOnce(Result<Vec<Resource>>) + Send>, Vec<Resource>)>;

impl State {
    /// Opens the database and applies the journal together with `first`.
    pub(super) fn open(
        directory: &Path,
        metadata: Arc<Metadata>,
        guard: Arc<Guard>,
        first: impl FnOnce(&mut Transaction<'_>) -> Result<()>,
    ) -> Result<Self> {
        let opened = metadata.open(directory)?;
        let mut state = Self {
            directory: directory.to_owned(),
            metadata,
            guard,
            journal: opened.journal,
            sequence: opened.sequence,
            dirty_since: Some(Instant::now()),
            broken: false,
        };
        state.start(&opened.changes, first)?;
        Ok(state)
    }

    /// The first commit: the journal, and `first` upon it.
    fn start(
        &mut self,
        journalled: &[Change],
        first: impl FnOnce(&mut Transaction<'_>) -> Result<()>,
    ) -> Result<()> {
        let txn = self.begin_write()?;
        {
            let mut table = txn.open_table(RECORDS).map_err(db_error("open the records of"))?;
            database::apply(&mut table, journalled)?;
            let mut transaction = Transaction::new(&table);
            database::put_format(&mut transaction);
            first(&mut transaction)?;
            let changes = transaction.into_changes();
            database::apply(&mut table, &changes)?;
            database::put_sequence(&mut table, self.sequence)?;
        }
        self.commit_durably(txn)
    }

    fn begin_write(&mut self) -> Result<WriteTransaction> {
        if !self.broken
            && let Ok(txn) = self.metadata.begin_write()
        {
            return Ok(txn);
        }
        self.heal()?;
        self.metadata.begin_write()
    }

    /// Opens database and journal anew. Nothing is made durable by it, so it works on a full disk and lets the others
    /// read meanwhile.
    fn heal(&mut self) -> Result<()> {
        self.broken = true;
        let opened = self.metadata.open(&self.directory)?;
        self.journal = opened.journal;
        self.sequence = opened.sequence;
        if !opened.changes.is_empty() {
            let mut txn = self.metadata.begin_write()?;
            {
                let mut table = txn.open_table(RECORDS).map_err(db_error("open the records of"))?;
                database::apply(&mut table, &opened.changes)?;
            }
            commit_in_memory(&mut txn).and_then(|()| txn.commit().map_err(db_error("commit to")))?;
            self.dirty_since = Some(Instant::now());
        }
        self.broken = false;
        tracing::info!("metadata database opened anew after a failure");
        Ok(())
    }

    /// Does all jobs; returns when nobody can send one any more.
    pub(super) fn serve(mut self, jobs: &Receiver<Job>) {
        let mut next = None;
        loop {
            let job = match next.take().map_or_else(|| self.wait(jobs), Ok) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match job {
                Some(Job::Transaction(durability, run)) => {
                    let mut batch = vec![run];
                    while batch.len() < BATCH && next.is_none() {
                        match jobs.try_recv() {
                            Ok(Job::Transaction(wanted, run)) if wanted == durability => batch.push(run),
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.commit(durability, batch);
                }
                Some(Job::Between(run)) => drop(catch_unwind(AssertUnwindSafe(run))),
                Some(Job::Flush(tell)) => tell(self.flush()),
                None => {}
            }
            if self.journal.len() > JOURNAL_LIMIT || self.patience().is_some_and(|left| left.is_zero()) {
                self.flush_or_warn();
            }
        }
        self.flush_or_warn();
    }

    fn wait(&self, jobs: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        match self.patience() {
            Some(left) => jobs.recv_timeout(left),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Time left until eventual changes must go to the disk.
    fn patience(&self) -> Option<Duration> {
        self.dirty_since
            .map(|since| FLUSH_AFTER.saturating_sub(since.elapsed()))
    }

    fn flush_or_warn(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!(error = &error as &dyn std::error::Error, "metadata not flushed");
            // The journal still has everything; the next attempt must not follow at once.
            self.dirty_since = Some(Instant::now());
        }
    }

    fn flush(&mut self) -> Result<()> {
        if self.dirty_since.is_none() {
            return Ok(());
        }
        let txn = self.begin_write()?;
        let prepared = txn
            .open_table(RECORDS)
            .map_err(db_error("open the records of"))
            .and_then(|mut table| database::put_sequence(&mut table, self.sequence));
        let flushed = prepared.and_then(|()| self.commit_durably(txn));
        self.broken |= flushed.is_err();
        flushed
    }

    /// Runs the functions of a batch, commits once, and tells all of them.
    fn commit(&mut self, durability: Durability, batch: Vec<Run>) {
        let txn = match self.begin_write() {
            Ok(txn) => txn,
            Err(error) => {
                for run in batch {
                    run(Err(copy(&error)));
                }
                return;
            }
        };
        let mut told = Told::new();
        let result = self.run_batch(txn, durability, batch, &mut told);
        self.broken |= result.is_err();
        for (tell, wait) in told {
            tell(match &result {
                Ok(()) => Ok(wait),
                Err(error) => Err(copy(error)),
            });
        }
    }

    fn run_batch(
        &mut self,
        mut txn: WriteTransaction,
        durability: Durability,
        batch: Vec<Run>,
        told: &mut Told,
    ) -> Result<()> {
        let mut all = Vec::new();
        let mut table = match txn.open_table(RECORDS) {
            Ok(table) => table,
            Err(error) => {
                let error = db_error("open the records of")(error);
                for run in batch {
                    run(Err(copy(&error)));
                }
                return Err(error);
            }
        };
        for run in batch {
            let mut transaction = Transaction::new(&table);
            // A panicking function must not take the store down: its changes are dropped, and so is its sender,
            // which tells its caller.
            let verdict = catch_unwind(AssertUnwindSafe(|| run(Ok(&mut transaction))));
            if let Ok(Verdict::Commit(tell)) = verdict {
                let mut changes = transaction.into_changes();
                told.push((tell, self.note_edges(&changes)));
                database::apply(&mut table, &changes)?;
                all.append(&mut changes);
            }
        }
        if all.is_empty() {
            drop(table);
            return txn.abort().map_err(db_error("abort a transaction of"));
        }
        if durability == Durability::Eventual {
            let before = self.journal.len();
            match self.journal.append(self.sequence + 1, &all) {
                Ok(()) => {
                    drop(table);
                    self.sequence += 1;
                    self.dirty_since.get_or_insert_with(Instant::now);
                    let committed =
                        commit_in_memory(&mut txn).and_then(|()| txn.commit().map_err(db_error("commit to")));
                    if committed.is_err() {
                        self.sequence -= 1;
                        self.journal.cut(before);
                    }
                    return committed;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "journal refused a change"
                    );
                }
            }
        }
        if self.dirty_since.is_some() {
            database::put_sequence(&mut table, self.sequence)?;
        }
        drop(table);
        self.commit_durably(txn)
    }

    fn note_edges(&self, changes: &[Change]) -> Vec<Resource> {
        if !self.guard.is_watching() {
            return Vec::new();
        }
        self.guard.note(changes.iter().flat_map(graph::new_edges))
    }

    /// Commits `txn`, which must contain the current sequence number if the journal holds anything.
    fn commit_durably(&mut self, mut txn: WriteTransaction) -> Result<()> {
        txn.set_quick_repair(true);
        txn.commit().map_err(db_error("commit to"))?;
        self.dirty_since = None;
        if self.journal.len() > 0
            && let Err(error) = self.journal.clear()
        {
            // Harmless: its records are older than the database.
            tracing::warn!(error = &error as &dyn std::error::Error, "journal not cleared");
        }
        Ok(())
    }
}

/// Makes the commit of `txn` one that the journal alone secures.
fn commit_in_memory(txn: &mut WriteTransaction) -> Result<()> {
    txn.set_durability(DiskDurability::None)
        .map_err(db_error("set the durability of"))
}

/// One failure of a shared commit, told to each of its transactions.
fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::Metadata { operation, source } => StoreError::Metadata {
            operation,
            source: Arc::clone(source),
        },
        StoreError::Io {
            operation,
            path,
            source,
        } => {
            let source = source.raw_os_error().map_or_else(
                || io::Error::new(source.kind(), source.to_string()),
                io::Error::from_raw_os_error,
            );
            StoreError::Io {
                operation,
                path: path.clone(),
                source,
            }
        }
        _ => StoreError::Closed,
    }
}
