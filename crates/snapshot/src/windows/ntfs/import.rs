//! A layer from its archive to the system's store.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use layer::windows::{Area, Imported, Table, WindowsPath, import_windows, read_side_file, write_side_file};
use layer::{Compression, LayerError};
use store::Digest;

use super::base::Base;
use super::store::{HostStore, layer_data, privileges, refused};
use super::transport::Transport;
use super::{finish, utility};
use crate::disk::{self, Unfinished};
use crate::error::{Result, SnapshotError, io_error};
use crate::incoming::Incoming;
use crate::snapshotter::LayerInfo;
use crate::windows::layers::{Layers, RECORD, Record, SIDE, Wanted, measure, write_record};

/// A layer in its place that is not whole yet; it goes with this value.
struct Growing<'a> {
    host: HostStore,
    path: &'a Path,
    whole: bool,
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        if !self.whole
            && let Err(error) = self.host.destroy(self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished layer stays behind");
        }
    }
}

impl Layers {
    /// Makes a layer of the bytes that come in, flushes it, and lets it count when the sender approves. Whatever goes wrong,
    /// nothing is kept.
    pub(in crate::windows) fn unpack(&self, mut incoming: Incoming, wanted: &Wanted) -> Result<LayerInfo> {
        let read = |source| SnapshotError::Layer {
            expected: wanted.diff_id.clone(),
            source: LayerError::Read { source },
        };
        let Some((expected, key)) = wanted.diff_id.as_ref().zip(wanted.key()) else {
            return Err(SnapshotError::Unsupported {
                what: "unpacking a layer of a Windows image without its diff id",
                reason: Cow::Borrowed("the place of a layer depends on it"),
            });
        };
        let host = HostStore::load()?;
        let path = self.path(&key);
        // What is there was not finished.
        host.destroy(&path)?;
        disk::create_private_dir(&path)?;
        let mut growing = Growing {
            host,
            path: &path,
            whole: false,
        };
        let parents = self.below(wanted)?;
        let head = incoming.peek(8).map_err(read)?;
        let tar = layer::decompress(Compression::detect(&head), incoming.clone());
        let made = self.make(host, tar, &path, &parents, wanted)?;
        incoming.drain().map_err(read)?;
        let diff_id = Digest::from_hash(made.diff_id);
        if *expected != diff_id {
            return Err(SnapshotError::DiffIdMismatch {
                expected: expected.clone(),
                actual: diff_id,
            });
        }
        incoming.approval().map_err(read)?;
        let side = path.join(SIDE);
        let (size, allocated_bytes) = measure(&path)?;
        let record = Record {
            diff_id,
            parent: wanted.parents.last().cloned(),
            side_bytes: side.symlink_metadata().map_err(io_error("examine", &side))?.len(),
            tar_bytes: made.tar_bytes,
            entries: made.entries,
            size,
            allocated_bytes,
        };
        write_record(&path.join(RECORD), &record)?;
        growing.whole = true;
        let found = self.find(&key)?.ok_or_else(|| SnapshotError::Io {
            operation: "find the new layer in",
            path: path.clone(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        Ok(found.info)
    }

    /// Writes everything but the record.
    fn make(
        &self,
        host: HostStore,
        tar: impl std::io::Read,
        path: &Path,
        parents: &[(PathBuf, Table)],
        wanted: &Wanted,
    ) -> Result<Imported> {
        let failed = |source| SnapshotError::Layer {
            expected: wanted.diff_id.clone(),
            source,
        };
        let _privileges = privileges(path)?;
        let spool = disk::temporary(self.dir());
        let mut streams = Spool::create(&spool)?;
        let tables: Vec<&Table> = parents.iter().map(|(_, table)| table).collect();
        let imported = if parents.is_empty() {
            let mut base = Base::new(path).map_err(failed)?;
            let imported =
                import_windows(tar, None, &self.limits, &mut base, &mut streams.file).map_err(failed)?;
            finish::complete(&mut base.into_tree(), &imported.table, &[]).map_err(failed)?;
            host.calls()
                .process_base_image(path)
                .map_err(refused("prepare the base layer"))?;
            imported
        } else {
            let references = host.references(parents.iter().map(|(path, _)| path.as_path()))?;
            let unfinished = Unfinished::create(self.dir())?;
            let mut transport = Transport::new(
                unfinished.path(),
                path,
                parents.first().map(|(path, _)| path.as_path()),
            )
            .map_err(failed)?;
            let imported = import_windows(
                tar,
                Some(&tables),
                &self.limits,
                &mut transport,
                &mut streams.file,
            )
            .map_err(failed)?;
            let mut tree = transport.finish(&imported.table).map_err(failed)?;
            host.calls()
                .import(path, unfinished.path(), &layer_data(&references))
                .map_err(refused("import the layer"))?;
            finish::complete(&mut tree, &imported.table, parents).map_err(failed)?;
            imported
        };
        if has_utility(&imported.table) {
            utility::keep_boot_store(path)?;
            host.calls()
                .process_utility_image(&path.join(Area::UtilityVm.name()))
                .map_err(refused("prepare the utility VM of"))?;
        }
        let side = disk::create_file(&path.join(SIDE))?;
        write_side_file(&imported.table, &mut streams.file, BufWriter::new(&side)).map_err(failed)?;
        side.sync_data().map_err(io_error("flush", path))?;
        Ok(imported)
    }

    /// The layers below and what they hold, the nearest first.
    fn below(&self, wanted: &Wanted) -> Result<Vec<(PathBuf, Table)>> {
        let open = |parent: &Digest| {
            let missing = || SnapshotError::MissingParent {
                expected: wanted.diff_id.clone(),
                parent: parent.clone(),
            };
            let path = self.find(parent)?.ok_or_else(missing)?.info.path;
            let side = path.join(SIDE);
            let file = File::open(&side).map_err(io_error("open", &side))?;
            let table = read_side_file(std::io::BufReader::new(file), &self.limits).map_err(|error| {
                tracing::warn!(chain_id = %parent, %error, "a stored layer is damaged");
                missing()
            })?;
            Ok((path, table))
        };
        wanted.parents.iter().rev().map(open).collect()
    }
}

fn has_utility(table: &Table) -> bool {
    WindowsPath::new("UtilityVM/Files").is_ok_and(|path| table.host_path(&path).is_some())
}

/// A file for the contents of streams, gone with this value.
struct Spool {
    path: PathBuf,
    file: File,
}

impl Spool {
    fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: disk::create_file(path)?,
        })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a temporary file stays until the next start");
        }
    }
}
