//! Layers on disk: `windows/layers/<hex of the chain id>/`. All functions block.
//!
//! A layer appears under its name only after everything in it was flushed, so what has the name is whole. `layer.json` holds
//! the length of the side file, which is compared every time the layer is used; a layer that does not agree counts as
//! absent and is made again from its blob.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use layer::windows::WindowsLimits;
use serde::{Deserialize, Serialize};
use store::Digest;

use super::{chain_id, dispose};
use crate::disk;
use crate::error::{Result, io_error};
use crate::snapshotter::{LayerInfo, MountType};

/// The side file, whose name the codec decides.
pub(super) const SIDE: &str = "ntfs.meta";
pub(super) const RECORD: &str = "layer.json";

/// What is known of a layer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) diff_id: Digest,
    pub(super) parent: Option<Digest>,
    pub(super) side_bytes: u64,
    pub(super) tar_bytes: u64,
    pub(super) entries: u64,
    pub(super) size: u64,
    pub(super) allocated_bytes: u64,
}

/// What is going to be unpacked.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) diff_id: Option<Digest>,
    pub(super) chain_id: Option<Digest>,
    /// The base first.
    pub(super) parents: Vec<Digest>,
}

impl Wanted {
    /// The key that follows from the layers below and the announced diff id.
    pub(super) fn key(&self) -> Option<Digest> {
        let diff_id = self.diff_id.as_ref()?;
        Some(chain_id(self.parents.last(), diff_id))
    }
}

/// A layer and the key of the one below.
pub(super) struct Found {
    pub(super) info: LayerInfo,
    pub(super) parent: Option<Digest>,
}

/// The directory of layers.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    dir: PathBuf,
    pub(super) limits: WindowsLimits,
}

impl Layers {
    /// Removes what a crash left behind, and layers that are damaged.
    pub(super) fn open(dir: PathBuf, limits: WindowsLimits) -> Result<Self> {
        disk::create_private_dir(&dir)?;
        dispose::sweep(&dir)?;
        let layers = Self { dir, limits };
        for name in disk::names(&layers.dir)? {
            if let Some(key) = Digest::from_hex(&name)
                && layers.find(&key)?.is_none()
            {
                dispose::leftover(&layers.path(&key))?;
            }
        }
        Ok(layers)
    }

    #[cfg(windows)]
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, key: &Digest) -> PathBuf {
        self.dir.join(key.hex())
    }

    /// The layer, if it is there and whole.
    pub(super) fn find(&self, key: &Digest) -> Result<Option<Found>> {
        let path = self.path(key);
        let known: Option<Record> = fs::read(path.join(RECORD))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let side = path.join(SIDE).symlink_metadata().ok();
        let reason = match (known, side) {
            (Some(known), Some(side)) if side.is_file() && side.len() == known.side_bytes => {
                return Ok(Some(Found {
                    info: LayerInfo {
                        key: key.clone(),
                        diff_id: known.diff_id,
                        path,
                        size: known.size,
                        allocated_bytes: known.allocated_bytes,
                        opaque_root: false,
                        mount_type: MountType::WindowsLayer,
                    },
                    parent: known.parent,
                }));
            }
            (None, _) if path.symlink_metadata().is_err() => return Ok(None),
            // Where layers are made in their place, one without a record is on its way.
            (None, _) if cfg!(windows) && path.join(RECORD).symlink_metadata().is_err() => return Ok(None),
            (None, _) => "its record is missing or unreadable",
            (Some(_), None) => "its side file is missing",
            (Some(_), Some(_)) => "its side file has another length",
        };
        tracing::warn!(chain_id = %key, reason, "a stored layer is damaged; it must be unpacked again");
        Ok(None)
    }

    pub(super) fn list(&self) -> Result<Vec<Found>> {
        let mut list = Vec::new();
        for key in disk::names(&self.dir)?
            .iter()
            .filter_map(|name| Digest::from_hex(name))
        {
            list.extend(self.find(&key)?);
        }
        Ok(list)
    }

    /// Removes a layer as a whole; the answer is the bytes that it took.
    pub(super) fn remove(&self, key: &Digest) -> Result<u64> {
        let known = self.find(key)?.map_or(0, |found| found.info.allocated_bytes);
        dispose::remove(&self.path(key))?;
        Ok(known)
    }
}

/// Bytes of the files below a directory, and bytes that they take on the disk. Files with several names count once.
pub(super) fn measure(directory: &Path) -> Result<(u64, u64)> {
    let (mut size, mut allocated) = (0, 0);
    let mut seen = HashSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let listed = match fs::read_dir(&directory) {
            // A container may remove what is being counted.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            listed => listed.map_err(io_error("list", &directory))?,
        };
        for entry in listed {
            let entry = entry.map_err(io_error("list", &directory))?;
            let Ok(metadata) = entry.metadata() else { continue };
            if identity(&metadata).is_some_and(|identity| !seen.insert(identity)) {
                continue;
            }
            allocated += disk::allocated(&metadata);
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file() {
                size += metadata.len();
            }
        }
    }
    Ok((size, allocated))
}

/// What tells a file with several names from others.
#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    (metadata.nlink() > 1 && !metadata.is_dir()).then(|| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Option<(u64, u64)> {
    None
}

/// Writes a record and flushes it.
pub(super) fn write_record(path: &Path, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(record).expect("numbers and digests encode as JSON");
    let mut file = disk::create_file(path)?;
    file.write_all(&text)
        .and_then(|()| file.sync_data())
        .map_err(io_error("write", path))
}

#[cfg(target_os = "linux")]
mod unpack {
    use std::fs::File;

    use layer::windows::{SIDE_FILE, Unpacked, WindowsTree, unpack_windows_spelled};
    use layer::{Compression, LayerError};
    use store::Digest;

    use super::{Layers, RECORD, Record, SIDE, Wanted, measure, write_record};
    use crate::disk::{self, Unfinished};
    use crate::error::{Result, SnapshotError, io_error};
    use crate::incoming::Incoming;
    use crate::snapshotter::LayerInfo;
    use crate::windows::chain_id;
    use crate::windows::spelling::spelling;

    impl Layers {
        /// Makes a layer of the bytes that come in, flushes it, and lets it appear when the sender approves. Whatever goes
        /// wrong, nothing is kept.
        pub(in crate::windows) fn unpack(
            &self,
            mut incoming: Incoming,
            wanted: &Wanted,
        ) -> Result<LayerInfo> {
            let failed = |source| SnapshotError::Layer {
                expected: wanted.diff_id.clone(),
                source,
            };
            let read = |source| failed(LayerError::Read { source });
            let trees = self.parents(wanted)?;
            let parents: Vec<&WindowsTree> = trees.iter().collect();
            let parents = Some(&parents[..]).filter(|parents| !parents.is_empty());
            let unfinished = Unfinished::create(&self.dir)?;

            // The media type is not to be trusted in this: registries hold plain archives that are called compressed.
            let head = incoming.peek(8).map_err(read)?;
            let tar = layer::decompress(Compression::detect(&head), incoming.clone());
            let unpacked = unpack_windows_spelled(tar, unfinished.path(), parents, &self.limits, spelling)
                .map_err(failed)?;
            // A decoder may stop before the end of its input. The end must have been said, or somebody gave up on us.
            incoming.drain().map_err(read)?;

            let diff_id = Digest::from_hash(unpacked.diff_id);
            if let Some(expected) = wanted.diff_id.as_ref().filter(|expected| **expected != diff_id) {
                return Err(SnapshotError::DiffIdMismatch {
                    expected: expected.clone(),
                    actual: diff_id,
                });
            }
            let key = chain_id(wanted.parents.last(), &diff_id);
            if let Some(expected) = wanted.chain_id.as_ref().filter(|expected| **expected != key) {
                return Err(SnapshotError::ChainIdMismatch {
                    expected: expected.clone(),
                    actual: key,
                });
            }
            self.seal(&unfinished, &unpacked, diff_id, wanted.parents.last().cloned())?;
            incoming.approval().map_err(read)?;
            self.publish(unfinished, &key)
        }

        /// The layers below, the nearest first.
        fn parents(&self, wanted: &Wanted) -> Result<Vec<WindowsTree>> {
            let open = |parent: &Digest| {
                let missing = || SnapshotError::MissingParent {
                    expected: wanted.diff_id.clone(),
                    parent: parent.clone(),
                };
                let found = self.find(parent)?.ok_or_else(missing)?;
                WindowsTree::open(&found.info.path, &self.limits).map_err(|error| {
                    tracing::warn!(chain_id = %parent, %error, "a stored layer is damaged");
                    missing()
                })
            };
            wanted.parents.iter().rev().map(open).collect()
        }

        /// Writes the record and flushes everything.
        fn seal(
            &self,
            unfinished: &Unfinished,
            unpacked: &Unpacked,
            diff_id: Digest,
            parent: Option<Digest>,
        ) -> Result<()> {
            debug_assert_eq!(SIDE, SIDE_FILE);
            let side = unfinished.path().join(SIDE);
            let side_bytes = side.symlink_metadata().map_err(io_error("examine", &side))?.len();
            let (size, allocated_bytes) = measure(unfinished.path())?;
            let record = Record {
                diff_id,
                parent,
                side_bytes,
                tar_bytes: unpacked.tar_bytes,
                entries: unpacked.entries,
                size,
                allocated_bytes,
            };
            write_record(&unfinished.path().join(RECORD), &record)?;
            // One flush of the file system costs less than one for each file.
            File::open(unfinished.path())
                .and_then(|directory| Ok(rustix::fs::syncfs(&directory)?))
                .map_err(io_error("flush", unfinished.path()))
        }

        fn publish(&self, unfinished: Unfinished, key: &Digest) -> Result<LayerInfo> {
            if self.find(key)?.is_none() {
                // Nothing, or something damaged.
                self.remove(key)?;
                // A name that is taken now was taken by somebody who made the same layer.
                unfinished.publish(&self.path(key))?;
                disk::sync_dir(&self.dir)?;
            }
            let found = self.find(key)?.ok_or_else(|| SnapshotError::Io {
                operation: "find the new layer in",
                path: self.path(key),
                source: std::io::ErrorKind::NotFound.into(),
            })?;
            Ok(found.info)
        }
    }
}
