//! What a container has added, changed and deleted, as `docker diff` says it.

use std::io::Write;

use super::walk::What;
use super::{Difference, shown};
use crate::error::{Result, SnapshotError};
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
    pub fn write_changes(&self, mut output: impl Write) -> Result<()> {
        let failed = |source| SnapshotError::Output { source };
        for change in self.changes()? {
            let mut line = serde_json::to_vec(&change).expect("two texts encode as JSON");
            line.push(b'\n');
            output.write_all(&line).map_err(failed)?;
        }
        output.flush().map_err(failed)
    }
}
