//! Reads and writes files of Windows containers for the host: copying and exports.
//!
//! The owner of an [`super::Activation`] opens [`WindowsFiles`] on its files, or on a directory of the host that the container
//! has as a share. Paths are as Windows programs write them, with or without `C:`, with either slash, in any case. Archives
//! are plain tars.
//!
//! Neither the container nor the archive is trusted. Every component is opened below its directory, by a `Node` of the
//! host's kind; a link is followed by hand, and only if it stays inside. An existing file is never opened for writing, it is
//! replaced. Names that Windows cannot hold are refused.
//!
//! Everything blocks. Memory does not grow with the size of files, only with names in one directory, and hard links.

mod error;
mod extract;
mod node;
mod pack;
mod path;
mod remove;
mod root;
mod stat;

#[cfg(target_os = "linux")]
mod plain;

pub use error::{FilesError, FilesErrorKind};
#[cfg(windows)]
pub(super) use node::{Dress, NodeKind, Target};
pub use root::WindowsFiles;

#[cfg(target_os = "linux")]
use plain::{Identity, NewFile, Node, rights};

#[cfg(windows)]
use super::ntfs::{Identity, NewFile, Node, rights};

/// Bytes that are moved at once.
const CHUNK: usize = 256 << 10;
