//! The bytes of an ingest that is not committed.
//!
//! They lie in `ingest/<hash of the key>/data`, beside `state`, which says what they are for. They carry no trust: the
//! hash is rebuilt by reading them, and a commit compares it with what was announced. Everything here blocks.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::blob::{hash_file, install};
use crate::error::{Result, StoreError, io_error};
use crate::keyed::KeyedGuard;
use crate::{Digest, Hasher, disk};

/// Bytes after which the system is asked to begin writing them to the disk.
const BEHIND: u64 = 8 << 20;

/// What an ingest is for, as its caller said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    pub(super) key: String,
    pub(super) expected: Option<Digest>,
    pub(super) size: Option<u64>,
}

impl Announced {
    pub(super) fn size_mismatch(&self, actual: u64) -> StoreError {
        StoreError::SizeMismatch {
            key: self.key.clone(),
            expected: self.size.unwrap_or_default(),
            actual,
        }
    }
}

/// The bytes received so far.
#[derive(Debug)]
pub(super) struct Partial {
    dir: PathBuf,
    file: File,
    hasher: Box<Hasher>,
    pub(super) len: u64,
    /// Up to here the system was asked to write to the disk.
    begun: u64,
    /// Here, and not in the ingest, so that the key stays locked until the last write has ended.
    guard: KeyedGuard,
}

impl Partial {
    pub(super) fn open(dir: PathBuf, guard: KeyedGuard, announced: &Announced) -> Result<Self> {
        let state = dir.join("state");
        let known = fs::read(&state)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Announced>(&bytes).ok());
        if known.as_ref() != Some(announced) {
            disk::remove_dir(&dir)?;
            disk::create_private_dir(&dir)?;
            // Torn by a crash it reads as unknown, which starts over; so it needs no flush.
            let text = serde_json::to_vec(announced).expect("an announcement encodes as JSON");
            fs::write(&state, text).map_err(io_error("write", &state))?;
        }
        let data = dir.join("data");
        let file = disk::private_file()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&data)
            .map_err(io_error("open", &data))?;
        let mut partial = Self {
            dir,
            file,
            hasher: Box::default(),
            len: 0,
            begun: 0,
            guard,
        };
        let len = partial.file.metadata().map_err(io_error("examine", &data))?.len();
        if announced.size.is_some_and(|size| len > size) {
            partial.truncate()?;
        } else {
            partial.len =
                hash_file(&mut partial.file, &mut partial.hasher).map_err(io_error("read", &data))?;
            partial.begun = partial.len;
        }
        Ok(partial)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(super) fn truncate(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(io_error("truncate", &self.data()))?;
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(io_error("rewind", &self.data()))?;
        *self.hasher = Hasher::new();
        self.len = 0;
        self.begun = 0;
        Ok(())
    }

    pub(super) fn append(mut self, chunks: &[Bytes]) -> Result<Self> {
        for chunk in chunks {
            if let Err(error) = self.file.write_all(chunk) {
                let error = io_error("write", &self.data())(error);
                if error.is_no_space() {
                    // Others need the space more than this download needs its progress.
                    self.discard_or_warn();
                }
                return Err(error);
            }
            self.hasher.update(chunk);
            self.len += chunk.len() as u64;
        }
        // The flush at the end finds less to do.
        if self.len - self.begun >= BEHIND {
            disk::begin_write_back(&self.file, self.begun, self.len - self.begun);
            self.begun = self.len;
        }
        Ok(self)
    }

    pub(super) fn digest(&self) -> Digest {
        Hasher::clone(&self.hasher).finish()
    }

    /// Removes what was written.
    pub(super) fn discard(self) -> Result<()> {
        let Self { dir, file, guard, .. } = self;
        // Where open files stay, the directory would not be empty.
        drop(file);
        let removed = disk::remove_dir(&dir);
        drop(guard);
        removed
    }

    pub(super) fn discard_or_warn(self) {
        if let Err(error) = self.discard() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a useless partial download stays behind"
            );
        }
    }

    /// Flushes the file and gives it its final name.
    pub(super) fn finish(self, path: &Path) -> Result<(u64, KeyedGuard)> {
        self.file.sync_data().map_err(io_error("flush", &self.data()))?;
        install(&self.data(), path)?;
        let Self {
            dir,
            file,
            len,
            guard,
            ..
        } = self;
        drop(file);
        if let Err(error) = disk::remove_dir(&dir) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the directory of a finished download stays behind"
            );
        }
        Ok((len, guard))
    }
}

/// Keys come from outside; only their hash becomes a file name.
pub(crate) fn safe_name(key: &str) -> String {
    Digest::of(key).hex()[..40].to_owned()
}
