//! What a comparison of a scratch with its layers says.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::error::{Result, SnapshotError};

/// How a path differs from the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It was not there.
    #[serde(rename = "A")]
    Added,
    /// It is another one, or has changed.
    #[serde(rename = "C")]
    Changed,
    /// It is no longer there.
    #[serde(rename = "D")]
    Deleted,
}

/// A path that differs, like `C:\Users\x`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Which.
    pub path: String,
}

/// What was written as a layer, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerReport {
    /// Length of the archive.
    pub tar_bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Files of the registry that the container has changed, like `system.reg`. Layers carry the registry in another
    /// form, so the changes are not part of the layer.
    pub registry: Vec<String>,
    /// What else could not be kept, as sentences.
    pub warnings: Vec<String>,
}

/// How Windows shows a path of a layer: `C:\Users\x`.
pub(super) fn shown(path: &str) -> String {
    let inner = path.strip_prefix("Files").unwrap_or(path);
    let inner = inner.strip_prefix('/').unwrap_or(inner);
    format!("C:\\{}", inner.replace('/', "\\"))
}

/// Writes a line of JSON for each change.
pub(super) fn write_lines(changes: &[Change], mut output: impl Write) -> Result<()> {
    let failed = |source| SnapshotError::Output { source };
    for change in changes {
        let mut line = serde_json::to_vec(change).expect("two texts encode as JSON");
        line.push(b'\n');
        output.write_all(&line).map_err(failed)?;
    }
    output.flush().map_err(failed)
}
