//! What a container has written, as the system exports it, beside the layers.
//!
//! [`super::Activation::difference`] has the system write a scratch into a temporary folder in the transport form; this reads
//! that folder for `diff` and `commit`. The folder says what is new or other and what is deleted, the side files of the layers
//! what was there before. The folder goes with the [`Difference`].
//!
//! Everything below `Files` with the directories that lead to it is listed and becomes a layer ([`walk`], [`archive`]); the
//! hives of the registry are part of the layer only. What the system adds by itself whenever a container runs (event logs,
//! the registry) is in both, as it is with other tools on Windows.

mod archive;
#[cfg(test)]
mod tests;
mod walk;

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use layer::LayerError;
use layer::windows::{LowerTables, Table, WindowsLimits, read_side_file};

use self::walk::What;
use crate::disk::Unfinished;
use crate::error::{Result, SnapshotError, io_error};
use crate::windows::layers::SIDE;
use crate::windows::report::{shown, write_lines};
use crate::windows::{Change, ChangeKind};

/// What C: is in a layer.
const FILES: &str = "Files";
const HIVES: &str = "Hives";

/// An exported scratch beside its layers.
#[derive(Debug)]
pub struct Difference {
    folder: Unfinished,
    /// The nearest first.
    tables: Vec<Table>,
    limits: WindowsLimits,
}

impl Difference {
    /// Whether a container can run while it is compared.
    pub const WHILE_RUNNING: bool = false;

    /// Takes an exported folder. `layers` are the directories of those below it, the nearest first.
    pub(super) fn of<'a>(folder: Unfinished, layers: impl Iterator<Item = &'a Path>) -> Result<Self> {
        let limits = WindowsLimits::default();
        let table = |layer: &Path| {
            let side = layer.join(SIDE);
            let file = File::open(&side).map_err(io_error("open", &side))?;
            read_side_file(BufReader::new(file), &limits).map_err(|source| SnapshotError::DamagedLayer {
                path: layer.to_owned(),
                source,
            })
        };
        Ok(Self {
            folder,
            tables: layers.map(table).collect::<Result<_>>()?,
            limits,
        })
    }

    fn lower(&self) -> LowerTables<'_> {
        LowerTables::new(&self.tables)
    }

    /// All changes, sorted by path. Of a deleted tree only the top is named.
    ///
    /// # Errors
    /// What was exported cannot be read or has not the form that it should have.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let change = |found: walk::Found| Change {
            kind: match found.what {
                What::Deleted => ChangeKind::Deleted,
                _ if found.existed => ChangeKind::Changed,
                _ => ChangeKind::Added,
            },
            path: shown(found.path.as_str()),
        };
        let mut changes: Vec<Change> = self.walk()?.into_iter().map(change).collect();
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(changes)
    }

    /// Writes a line of JSON for each change.
    ///
    /// # Errors
    /// As [`Self::changes`], or the reader has gone.
    pub fn write_changes(&self, output: impl Write) -> Result<()> {
        write_lines(&self.changes()?, output)
    }
}

fn written(source: LayerError) -> SnapshotError {
    SnapshotError::Export { source }
}
