//! Messages about the files of containers: `cp`, `diff`, `export`, `commit`.
//!
//! Archives are tar, uncompressed, on byte streams: what comes out is on channel 1, what goes in on channel 0. A path is
//! one of the container; a relative one begins at its root.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The request of `Containers/StatPath`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatPath {
    /// In which container.
    pub container: String,
    /// Which path. If it is a symbolic link, the link itself.
    pub path: String,
}

/// The answer of `Containers/StatPath`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PathStat {
    /// The last part of the path; `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Permissions, and in the upper bits the kind, as Go's `FileMode` has them: a directory has bit 31, a symbolic link
    /// bit 27.
    pub mode: u32,
    /// When it was changed last.
    pub mtime: String,
    /// Where a symbolic link leads, absolute in the container; empty for everything else.
    pub link_target: String,
}

impl PathStat {
    /// Go's bits.
    const DIRECTORY: u32 = 1 << 31;
    const LINK: u32 = 1 << 27;

    /// It is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.mode & Self::DIRECTORY != 0
    }

    /// It is a symbolic link.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.mode & Self::LINK != 0
    }
}

/// The request of `Containers/GetArchive`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GetArchive {
    /// From which container.
    pub container: String,
    /// Which path. The names in the archive begin with its last part; after a slash and a dot at its end, with a dot.
    pub path: String,
    /// If it is a symbolic link, what it leads to, under the link's name.
    pub follow: bool,
}

/// The request of `Containers/PutArchive`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PutArchive {
    /// Into which container.
    pub container: String,
    /// Into which directory; it must exist.
    pub path: String,
    /// Fail instead of replacing a directory by something else, or something else by a directory.
    pub keep_kinds: bool,
}

/// The request of `Containers/Changes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListChanges {
    /// Of which container.
    pub container: String,
}

/// A path that differs from the container's image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PathChange {
    /// `A` for added, `C` for changed, `D` for deleted.
    pub kind: String,
    /// The path.
    pub path: String,
}

/// The request of `Containers/Export`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportContainer {
    /// Which.
    pub container: String,
}

/// The request of `Containers/Commit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CommitContainer {
    /// Which container.
    pub container: String,
    /// The image's name; absent: it has none.
    pub reference: Option<String>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Instructions of a Dockerfile that change the image's configuration.
    pub changes: Vec<String>,
    /// Have the container's processes stand still meanwhile. Absent: where that is possible, and a warning says so where it is not. `true` for
    /// a Windows container that runs is `UNIMPLEMENTED`.
    pub pause: Option<bool>,
}

/// The answer of `Containers/Commit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CommittedImage {
    /// The image's id.
    pub id: String,
    /// For the user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
