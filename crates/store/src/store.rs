//! The store itself: opening, reading, transactions, dump.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio_util::task::TaskTracker;

use crate::collect::Collector;
use crate::database::Metadata;
use crate::error::{Result, StoreError, db_error};
use crate::guard::Guard;
use crate::keyed::KeyedLocks;
use crate::lock::RootLock;
use crate::records::{self, Reference, Root};
use crate::resource::{Labels, Resource};
use crate::transaction::{RECORDS, Rows, Transaction};
use crate::writer::{Durability, Job, Verdict, Writer};
use crate::{Digest, disk, recover};

/// The content and metadata of one root directory. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    // Declared first, hence dropped first: its thread flushes the database before the lock is given up.
    writer: Writer,
    metadata: Arc<Metadata>,
    pub(crate) root: PathBuf,
    owner: String,
    pub(crate) guard: Arc<Guard>,
    pub(crate) collectors: Mutex<BTreeMap<&'static str, Arc<dyn Collector>>>,
    pub(crate) ingests: KeyedLocks,
    pub(crate) collecting: tokio::sync::Mutex<()>,
    pub(crate) tasks: TaskTracker,
    _lock: RootLock,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("root", &self.inner.root)
            .finish_non_exhaustive()
    }
}

/// 128 random bits in hexadecimal.
pub(crate) fn random_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Runs blocking work beside the asynchronous threads; it runs to completion when the caller is dropped.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    finished(tokio::task::spawn_blocking(work)).await
}

/// Waits for a task; its panic becomes the caller's.
pub(crate) async fn finished<R>(task: impl Future<Output = Result<Result<R>, JoinError>>) -> Result<R> {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down.
            Err(_) => Err(StoreError::Closed),
        },
    }
}

impl Store {
    /// Opens the store at `root`, creating it if needed.
    ///
    /// Takes the lock ([`StoreError::Locked`] if another process has it), applies the journal, drops the leases of dead
    /// processes, and removes what a crash left behind: blobs without a record, records without their blob,
    /// partial downloads that nobody resumed for a week.
    pub async fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|source| StoreError::Io {
            operation: "resolve",
            path: root.to_owned(),
            source,
        })?;
        blocking(move || Self::open_blocking(root)).await
    }

    fn open_blocking(root: PathBuf) -> Result<Self> {
        Digest::check_hashing()?;
        disk::create_private_dir(&root)?;
        disk::check_private_dir(&root)?;
        let lock = RootLock::acquire(&root)?;
        recover::create_tree(&root)?;
        let guard = Arc::new(Guard::default());
        let owner = random_id();
        let (metadata, writer) = Writer::open(&root, Arc::clone(&guard), |txn| {
            let dropped = txn.drop_foreign_leases(&owner)?;
            if dropped > 0 {
                tracing::info!(leases = dropped, "dropped leases of a dead process");
            }
            recover::sweep_blobs(&root, txn)?;
            recover::sweep_ingests(&root)
        })?;
        let inner = Inner {
            writer,
            metadata,
            root,
            owner,
            guard,
            collectors: Mutex::default(),
            ingests: KeyedLocks::default(),
            collecting: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Waits for work in the background and makes everything durable. The lock is given up when the last clone is gone.
    pub async fn close(self) -> Result<()> {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.tasks.reopen();
        self.flush().await
    }

    /// Makes every acknowledged change durable, [`Durability::Eventual`] ones included.
    pub async fn flush(&self) -> Result<()> {
        let (sender, answer) = oneshot::channel();
        self.inner
            .writer
            .send(Job::Flush(Box::new(move |result| drop(sender.send(result)))))?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The store's directory, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The id of this opening of the store.
    pub(crate) fn owner(&self) -> &str {
        &self.inner.owner
    }

    /// Reads from one consistent snapshot.
    pub(crate) async fn read<R: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Rows) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let store = self.clone();
        blocking(move || {
            store
                .inner
                .metadata
                .with(|database| read_snapshot(&database.begin_read().map_err(db_error("read"))?, work))
        })
        .await
    }

    /// Changes metadata atomically, durably. See [`Transaction`] for the rules. Once begun it runs to completion when
    /// the returned future is dropped.
    pub async fn transaction<R, E, F>(&self, run: F) -> Result<R, E>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.transaction_with(Durability::Immediate, run).await
    }

    /// Changes metadata atomically with the given durability.
    pub async fn transaction_with<R, E, F>(&self, durability: Durability, run: F) -> Result<R, E>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        self.queue(durability, run, move |result| drop(sender.send(result)))?;
        let (value, leaving) = answer.await.map_err(|_| StoreError::Closed)??;
        if !leaving.is_empty() {
            self.inner.guard.wait_gone(&leaving).await;
        }
        Ok(value)
    }

    /// Queues a transaction whose end nobody waits for.
    pub(crate) fn transaction_unwatched<F>(&self, durability: Durability, run: F)
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<()> + Send + 'static,
    {
        let queued = self.queue::<_, StoreError, _>(durability, run, |result| {
            if let Err(error) = result {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "background change of metadata failed"
                );
            }
        });
        if queued.is_err() {
            tracing::debug!("store closed before a background change of metadata");
        }
    }

    fn queue<R, E, F>(
        &self,
        durability: Durability,
        run: F,
        tell: impl FnOnce(Result<(R, Vec<Resource>), E>) + Send + 'static,
    ) -> Result<()>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let run = Box::new(move |transaction: Result<&mut Transaction<'_>>| {
            match transaction.map_err(E::from).and_then(run) {
                Ok(value) => Verdict::Commit(Box::new(move |committed| {
                    tell(committed.map(|leaving| (value, leaving)).map_err(E::from));
                })),
                Err(error) => {
                    tell(Err(error));
                    Verdict::Abandon
                }
            }
        });
        self.inner.writer.send(Job::Transaction(durability, run))
    }

    /// Runs `prepare` when no transaction is open, and returns a snapshot of that instant.
    pub(crate) async fn snapshot_between(
        &self,
        prepare: impl FnOnce() + Send + 'static,
    ) -> Result<ReadTransaction> {
        let (sender, answer) = oneshot::channel();
        let metadata = Arc::clone(&self.inner.metadata);
        self.inner.writer.send(Job::Between(Box::new(move || {
            prepare();
            drop(sender.send(metadata.with(|database| database.begin_read().map_err(db_error("read")))));
        })))?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Creates or replaces a reference; the target must be in the store.
    pub async fn put_reference(&self, name: &str, target: &Digest, labels: Labels) -> Result<Reference> {
        let (name, target) = (name.to_owned(), target.clone());
        self.transaction(move |txn| txn.put_reference(&name, &target, labels))
            .await
    }

    /// The reference of this name.
    pub async fn get_reference(&self, name: &str) -> Result<Option<Reference>> {
        let name = name.to_owned();
        self.read(move |rows| records::reference(rows, &name)).await
    }

    /// All references, by name.
    pub async fn references(&self) -> Result<Vec<Reference>> {
        self.read(records::references).await
    }

    /// Removes a reference; true if there was one.
    pub async fn remove_reference(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.transaction(move |txn| txn.remove_reference(&name)).await
    }

    /// Creates or replaces a root: its resources, existing or not, are kept from now on.
    pub async fn put_root(&self, name: &str, resources: Vec<Resource>) -> Result<()> {
        let name = name.to_owned();
        self.transaction(move |txn| txn.put_root(&name, resources)).await
    }

    /// Removes a root; true if there was one.
    pub async fn remove_root(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.transaction(move |txn| txn.remove_root(&name)).await
    }

    /// All roots, by name.
    pub async fn roots(&self) -> Result<Vec<Root>> {
        self.read(records::roots).await
    }

    /// All metadata as one JSON object, table by table, for debugging. Records are shown whole: what must not be seen
    /// is the caller's to hide.
    pub async fn dump(&self) -> Result<Value> {
        let mut dump = Map::from_iter([("tables".to_owned(), Value::Object(self.read_tables().await?))]);
        let condemned = self
            .inner
            .guard
            .condemned()
            .iter()
            .map(Resource::to_string)
            .map(Value::from)
            .collect();
        let kinds = self.collectors().into_keys().map(Value::from).collect();
        dump.insert("condemned".into(), Value::Array(condemned));
        dump.insert("collectors".into(), Value::Array(kinds));
        Ok(Value::Object(dump))
    }

    async fn read_tables(&self) -> Result<Map<String, Value>> {
        let store = self.clone();
        blocking(move || {
            store.inner.metadata.with(|database| {
                let snapshot = database.begin_read().map_err(db_error("read"))?;
                tables(&snapshot.open_table(RECORDS).map_err(db_error("read"))?)
            })
        })
        .await
    }
}

/// Every record of every table.
fn tables(records: &ReadOnlyTable<(&'static str, &'static str), &'static str>) -> Result<Map<String, Value>> {
    let mut tables = Map::new();
    for entry in records.iter().map_err(db_error("read"))? {
        let (key, value) = entry.map_err(db_error("read"))?;
        let (name, key) = key.value();
        // A dump must also show what cannot be parsed.
        let value = serde_json::from_str(value.value()).unwrap_or_else(|_| value.value().into());
        if let Value::Object(table) = tables.entry(name).or_insert_with(|| Map::new().into()) {
            table.insert(key.to_owned(), value);
        }
    }
    Ok(tables)
}

/// Runs `work` on the records of a snapshot.
pub(crate) fn read_snapshot<R>(
    snapshot: &ReadTransaction,
    work: impl FnOnce(&dyn Rows) -> Result<R>,
) -> Result<R> {
    let table = snapshot.open_table(RECORDS).map_err(db_error("read"))?;
    work(&table)
}
