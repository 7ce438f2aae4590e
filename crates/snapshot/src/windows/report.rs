//! What a comparison of a scratch with its layers says.

use serde::{Deserialize, Serialize};

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
