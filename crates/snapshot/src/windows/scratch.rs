//! Scratches on disk: `windows/scratch/<id>/` with `scratch.json`. All functions block.
//!
//! Windows gives each container a disk of a certain size, in this directory, when it is mounted for the first time. On Linux a
//! scratch is the directories `upper` and `work`: the size that was asked for is recorded and shown, and nothing keeps a
//! container from writing more than that.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dispose;
use super::layers::{measure, write_record};
use crate::disk::{self, Unfinished};
use crate::error::{Result, SnapshotError, io_error};
use crate::scratch::check_id;
use crate::snapshotter::Scratch;

/// What the container has written.
#[cfg(not(windows))]
pub(super) const UPPER: &str = "upper";
/// What the overlay needs beside it.
#[cfg(not(windows))]
pub(super) const WORK: &str = "work";
/// What every scratch has. Windows makes the disk when the layers are known.
#[cfg(not(windows))]
const PARTS: &[&str] = &[UPPER, WORK];
#[cfg(windows)]
const PARTS: &[&str] = &[];
const RECORD: &str = "scratch.json";

/// What Windows' own tools accept.
const MINIMUM: u64 = 1 << 30;
/// The largest disk of the newer format.
const MAXIMUM: u64 = 64 << 40;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    size_bytes: u64,
}

/// The directory of scratches.
#[derive(Debug)]
pub(super) struct Scratches {
    dir: PathBuf,
    default_size: u64,
}

fn check_size(size: u64) -> Result<u64> {
    if (MINIMUM..=MAXIMUM).contains(&size) {
        return Ok(size);
    }
    Err(SnapshotError::InvalidSize {
        size,
        minimum: MINIMUM,
        maximum: MAXIMUM,
    })
}

impl Scratches {
    /// Removes what a crash left behind.
    pub(super) fn open(dir: PathBuf, default_size: u64) -> Result<Self> {
        let default_size = check_size(default_size)?;
        disk::create_private_dir(&dir)?;
        dispose::sweep(&dir)?;
        Ok(Self { dir, default_size })
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    pub(super) fn create(&self, id: &str, size: Option<u64>) -> Result<Scratch> {
        check_id(id)?;
        let size_bytes = size.map_or(Ok(self.default_size), check_size)?;
        let unfinished = Unfinished::create(&self.dir)?;
        for name in PARTS {
            let path = unfinished.path().join(name);
            fs::create_dir(&path).map_err(io_error("create directory", &path))?;
        }
        open_to_all(unfinished.path())?;
        write_record(&unfinished.path().join(RECORD), &Record { size_bytes })?;
        if !unfinished.publish(&self.path(id))? {
            return Err(SnapshotError::ScratchExists { id: id.to_owned() });
        }
        Ok(Scratch {
            id: id.to_owned(),
            path: self.path(id),
            size_bytes: Some(size_bytes),
            allocated_bytes: 0,
        })
    }

    pub(super) fn find(&self, id: &str) -> Result<Option<Scratch>> {
        check_id(id)?;
        let path = self.path(id);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let damaged = |reason| SnapshotError::ScratchDamaged {
            id: id.to_owned(),
            reason,
        };
        let record: Record = fs::read(path.join(RECORD))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| damaged("its record is missing or unreadable"))?;
        if !PARTS.iter().all(|name| path.join(name).is_dir()) {
            return Err(damaged("a part of it is missing"));
        }
        let (_, allocated_bytes) = measure(&written(&path))?;
        Ok(Some(Scratch {
            id: id.to_owned(),
            path,
            size_bytes: Some(record.size_bytes),
            allocated_bytes,
        }))
    }

    /// The ids of all scratches, damaged ones included: they have to be removable.
    pub(super) fn ids(&self) -> Result<Vec<String>> {
        let mut names = disk::names(&self.dir)?;
        names.retain(|name| check_id(name).is_ok());
        Ok(names)
    }

    pub(super) fn list(&self) -> Result<Vec<Scratch>> {
        let mut list = Vec::new();
        for id in self.ids()? {
            match self.find(&id) {
                Ok(found) => list.extend(found),
                Err(SnapshotError::ScratchDamaged { id, reason }) => {
                    tracing::warn!(scratch = id, reason, "a scratch is damaged");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    pub(super) fn remove(&self, id: &str) -> Result<u64> {
        check_id(id)?;
        let path = self.path(id);
        let written = written(&path);
        let freed = if written.is_dir() { measure(&written)?.1 } else { 0 };
        dispose::remove(&path)?;
        Ok(freed)
    }
}

/// Where what the container writes takes its place.
#[cfg(not(windows))]
fn written(scratch: &Path) -> PathBuf {
    scratch.join(UPPER)
}

#[cfg(windows)]
fn written(scratch: &Path) -> PathBuf {
    scratch.to_owned()
}

/// The container's root has the permissions of this directory, whatever the daemon's mask is.
#[cfg(not(windows))]
fn open_to_all(scratch: &Path) -> Result<()> {
    let path = scratch.join(UPPER);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).map_err(io_error("set the permissions of", &path))
}

#[cfg(windows)]
fn open_to_all(_: &Path) -> Result<()> {
    Ok(())
}

/// The size of a scratch's disk, where that is not the one that Windows gives it.
#[cfg(windows)]
pub(super) fn requested_size(scratch: &Path) -> Result<Option<u64>> {
    /// What a base layer's template has.
    const TEMPLATE: u64 = 20 << 30;
    let path = scratch.join(RECORD);
    let text = fs::read(&path).map_err(io_error("read", &path))?;
    let record: Record = serde_json::from_slice(&text).map_err(|_| SnapshotError::ScratchDamaged {
        id: scratch
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        reason: "its record is unreadable",
    })?;
    Ok(Some(record.size_bytes).filter(|size| *size > TEMPLATE))
}
