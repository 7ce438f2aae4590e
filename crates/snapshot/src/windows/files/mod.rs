//! Reads and writes files of Windows containers for the host: copying and exports.
//!
//! The owner of an [`super::Activation`] opens [`WindowsFiles`] on `Files` in the merged root, or on a directory of the host
//! that the container has as a share. Paths are as Windows programs write them, with or without `C:`, with either slash,
//! in any case. Archives are plain tars.
//!
//! Neither the container nor the archive is trusted. Every component is opened below the descriptor of its directory; a
//! link is followed by hand, and only if it is relative and stays inside. An existing file is never opened for writing,
//! it is replaced. Names that Windows cannot hold are refused.
//!
//! Everything blocks. Memory does not grow with the size of files, only with names in one directory, and hard links.

mod error;
mod path;

#[cfg(target_os = "linux")]
mod extract;
#[cfg(target_os = "linux")]
mod pack;
#[cfg(target_os = "linux")]
mod remove;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
mod stat;

pub use error::{FilesError, FilesErrorKind};
#[cfg(target_os = "linux")]
pub use root::WindowsFiles;

/// Bytes that are moved at once.
#[cfg(target_os = "linux")]
const CHUNK: usize = 256 << 10;
