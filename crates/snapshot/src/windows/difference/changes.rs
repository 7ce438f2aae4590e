//! What a container has added, changed and deleted, as `docker diff` says it.

use std::io::Write;

use super::Difference;
use super::walk::What;
use crate::error::Result;
use crate::windows::report::{shown, write_lines};
use crate::windows::{Change, ChangeKind};

impl Difference {
    /// All changes, sorted by path. Of a deleted tree only the top is named.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let mut changes: Vec<Change> = self
            .walk()?
            .into_iter()
            .map(|found| Change {
                kind: match found.what {
                    What::Deleted => ChangeKind::Deleted,
                    _ if found.existed => ChangeKind::Changed,
                    _ => ChangeKind::Added,
                },
                path: shown(&found.path),
            })
            .collect();
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(changes)
    }

    /// Writes a line of JSON for each change.
    ///
    /// # Errors
    /// A directory cannot be read, or the reader has gone.
    pub fn write_changes(&self, output: impl Write) -> Result<()> {
        write_lines(&self.changes()?, output)
    }
}
