//! The metadata database as a file: opening, its own bookkeeping, and sharing it with readers.
//!
//! Used by the writer thread (`writer`), which alone writes, and by everybody who reads. All calls block.

use std::path::Path;
use std::sync::{PoisonError, RwLock};

use redb::{Database, ReadableDatabase, Table, TableError, WriteTransaction};

use crate::error::{Result, StoreError, db_error};
use crate::journal::{Change, Journal};
use crate::transaction::{RECORDS, Transaction, get_json};

/// Table of the store's own bookkeeping.
const META: &str = "meta";
const META_FORMAT: &str = "format";
const META_SEQUENCE: &str = "sequence";
/// The format this program writes; a file with a higher one is refused before anything is written.
const FORMAT: u32 = 1;

/// Metadata are small; a cache of the default size (1 GiB) would let the daemon grow without need.
const CACHE_BYTES: usize = 1 << 20;

/// The open table of all records.
pub(crate) type Records<'txn> = Table<'txn, (&'static str, &'static str), &'static str>;

/// The database, or nothing while it cannot be opened.
#[derive(Debug, Default)]
pub(crate) struct Metadata(RwLock<Option<Database>>);

/// What opening found.
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    /// What the journal has and the database lacks.
    pub(crate) changes: Vec<Change>,
    /// Number of the last journalled batch.
    pub(crate) sequence: u64,
}

impl Metadata {
    /// Opens the database and its journal, anew if they were open.
    pub(crate) fn open(&self, directory: &Path) -> Result<Opened> {
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // An open one has a lock on the file.
        drop(slot.take());
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(directory.join("metadata.redb"))
            .map_err(db_error("open"))?;
        let (format, sequence) = read_meta(&database)?;
        if let Some(found) = format.filter(|format| *format > FORMAT) {
            return Err(StoreError::NewerFormat {
                found,
                supported: FORMAT,
            });
        }
        let (journal, batches, sequence) = Journal::open(&directory.join("metadata.journal"), sequence)?;
        if !batches.is_empty() {
            tracing::info!(batches = batches.len(), "applying journalled metadata changes");
        }
        *slot = Some(database);
        Ok(Opened {
            journal,
            changes: batches.concat(),
            sequence,
        })
    }

    /// Gives the database to `work`; it stays open until that returns.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&Database) -> Result<R>) -> Result<R> {
        let slot = self.0.read().unwrap_or_else(PoisonError::into_inner);
        work(slot.as_ref().ok_or(StoreError::Unavailable)?)
    }

    pub(crate) fn begin_write(&self) -> Result<WriteTransaction> {
        self.with(|database| database.begin_write().map_err(db_error("begin a transaction of")))
    }
}

/// Reads format and journal sequence; `None` for a file that was never committed to.
fn read_meta(database: &Database) -> Result<(Option<u32>, u64)> {
    let txn = database.begin_read().map_err(db_error("read"))?;
    let table = match txn.open_table(RECORDS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok((None, 0)),
        Err(error) => return Err(db_error("read")(error)),
    };
    let format = get_json(&table, META, META_FORMAT)?;
    let sequence = get_json(&table, META, META_SEQUENCE)?.unwrap_or(0);
    Ok((format, sequence))
}

/// Writes changes into the table.
pub(crate) fn apply(table: &mut Records<'_>, changes: &[Change]) -> Result<()> {
    for (name, key, value) in changes {
        let key = (name.as_str(), key.as_str());
        match value {
            Some(value) => drop(table.insert(key, value.as_str()).map_err(db_error("write"))?),
            None => drop(table.remove(key).map_err(db_error("write"))?),
        }
    }
    Ok(())
}

/// Notes the format.
pub(crate) fn put_format(transaction: &mut Transaction<'_>) {
    transaction.put_row(META, META_FORMAT, FORMAT.to_string());
}

/// Notes up to which batch the journal is contained.
pub(crate) fn put_sequence(table: &mut Records<'_>, sequence: u64) -> Result<()> {
    let sequence = sequence.to_string();
    table
        .insert((META, META_SEQUENCE), sequence.as_str())
        .map(drop)
        .map_err(db_error("write"))
}
