//! Layers on disk: `layers/<diff id>/layer.vhd` and `layer.json`. All functions block.
//!
//! A layer appears under its name only after everything in it was flushed, so what has the name is whole. `layer.json` holds
//! the length, which is compared every time the layer is used; a layer that does not agree counts as absent and is made
//! again from its blob.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use layer::{Compression, ConvertOptions, LayerError};
use serde::{Deserialize, Serialize};
use store::Digest;

use crate::disk::{self, DiskFormat, Unfinished};
use crate::error::{Result, SnapshotError, io_error};
use crate::incoming::Incoming;
use crate::snapshotter::{LayerInfo, MountType};

const DISK: &str = "layer.vhd";
const RECORD: &str = "layer.json";

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    size: u64,
    tar_bytes: u64,
    entries: u64,
    opaque_root: bool,
}

/// The directory of layers.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    dir: PathBuf,
    options: ConvertOptions,
}

impl Layers {
    /// Removes what a crash left behind, and layers that are damaged.
    pub(crate) fn open(dir: PathBuf, options: ConvertOptions) -> Result<Self> {
        disk::create_private_dir(&dir)?;
        disk::sweep(&dir)?;
        let layers = Self { dir, options };
        for name in disk::names(&layers.dir)? {
            if let Some(diff_id) = Digest::from_hex(&name)
                && layers.find(&diff_id)?.is_none()
            {
                disk::remove(&layers.path(&diff_id))?;
            }
        }
        Ok(layers)
    }

    fn path(&self, diff_id: &Digest) -> PathBuf {
        self.dir.join(diff_id.hex())
    }

    /// The layer, if it is there and whole.
    pub(crate) fn find(&self, diff_id: &Digest) -> Result<Option<LayerInfo>> {
        let dir = self.path(diff_id);
        let path = dir.join(DISK);
        let known: Option<Record> = fs::read(dir.join(RECORD))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let reason = match (disk::examine(&path, DiskFormat::Fixed)?, known) {
            (Some(Ok(disk)), Some(known)) if known.size == disk.metadata.len() => {
                return Ok(Some(LayerInfo {
                    key: diff_id.clone(),
                    diff_id: diff_id.clone(),
                    path,
                    size: disk.metadata.len(),
                    allocated_bytes: disk::allocated(&disk.metadata),
                    opaque_root: known.opaque_root,
                    mount_type: MountType::LcowLayer,
                }));
            }
            (Some(Ok(_)), _) => "its length is not the recorded one",
            (Some(Err(reason)), _) => reason,
            (None, _) if dir.symlink_metadata().is_err() => return Ok(None),
            (None, _) => "the file is missing",
        };
        tracing::warn!(%diff_id, reason, "a stored layer is damaged; it must be unpacked again");
        Ok(None)
    }

    pub(crate) fn list(&self) -> Result<Vec<LayerInfo>> {
        let mut list = Vec::new();
        for diff_id in disk::names(&self.dir)?
            .iter()
            .filter_map(|name| Digest::from_hex(name))
        {
            list.extend(self.find(&diff_id)?);
        }
        Ok(list)
    }

    pub(crate) fn remove(&self, diff_id: &Digest) -> Result<u64> {
        disk::remove(&self.path(diff_id))
    }

    /// Makes a layer of the bytes that come in, flushes it, and lets it appear when the sender approves. Whatever goes
    /// wrong, nothing is kept.
    pub(crate) fn convert(&self, mut incoming: Incoming, expected: Option<&Digest>) -> Result<LayerInfo> {
        let unfinished = Unfinished::create(&self.dir)?;
        let path = unfinished.path().join(DISK);
        let file = disk::create_file(&path)?;
        let failed = |source| SnapshotError::Layer {
            expected: expected.cloned(),
            source,
        };

        // The media type is not to be trusted in this: registries hold plain archives that are called compressed.
        let head = incoming
            .peek(8)
            .map_err(|source| failed(LayerError::Read { source }))?;
        let tar = layer::decompress(Compression::detect(&head), incoming.clone());
        let converted = layer::tar_to_vhd(tar, &file, &self.options).map_err(failed)?;
        // A decoder may stop before the end of its input. The end must have been said, or somebody gave up on us.
        incoming
            .drain()
            .map_err(|source| failed(LayerError::Read { source }))?;

        let diff_id = Digest::from_hash(converted.diff_id);
        if let Some(expected) = expected.filter(|expected| **expected != diff_id) {
            return Err(SnapshotError::DiffIdMismatch {
                expected: expected.clone(),
                actual: diff_id,
            });
        }
        file.sync_data().map_err(io_error("flush", &path))?;
        drop(file);
        let record = Record {
            size: converted.image_bytes,
            tar_bytes: converted.tar_bytes,
            entries: converted.entries,
            opaque_root: converted.opaque_root,
        };
        write_record(&unfinished.path().join(RECORD), &record)?;
        disk::sync_dir(unfinished.path())?;
        incoming
            .approval()
            .map_err(|source| failed(LayerError::Read { source }))?;
        self.publish(unfinished, &diff_id)
    }

    fn publish(&self, unfinished: Unfinished, diff_id: &Digest) -> Result<LayerInfo> {
        if self.find(diff_id)?.is_none() {
            // Nothing, or something damaged.
            self.remove(diff_id)?;
            // A name that is taken now was taken by somebody who made the same layer.
            unfinished.publish(&self.path(diff_id))?;
            disk::sync_dir(&self.dir)?;
        }
        self.find(diff_id)?.ok_or_else(|| SnapshotError::Io {
            operation: "find the new layer in",
            path: self.path(diff_id),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }
}

fn write_record(path: &Path, record: &Record) -> Result<()> {
    let text = serde_json::to_vec(record).expect("three numbers encode as JSON");
    let mut file = disk::create_file(path)?;
    file.write_all(&text)
        .and_then(|()| file.sync_data())
        .map_err(io_error("write", path))
}
