//! The transport form: how Windows' own layer store takes layers in and gives them out.
//!
//! A transport folder holds the objects below `Files` as ordinary files: four bytes of attributes, then the streams that
//! `BackupWrite` knows. A directory `d` is a directory `d` and a file `d.$wcidirs$` ([`DIRECTORY_SUFFIX`]) beside it.
//! Hives are stored as they are. An exported folder says in `tombstones.txt` what is deleted.
//!
//! Whoever imports walks an archive with a [`WindowsReader`](super::WindowsReader) and writes each object with a
//! [`TransportWriter`] to whatever it likes. Whoever exports opens each file as a [`TransportFile`], whose entries and
//! contents are what a [`WindowsWriter`](super::WindowsWriter) takes. Tombstones are read by [`read_tombstones`].
//!
//! Times are no part of the form: those of an object are the times of its file, which the caller sets and passes. Hard
//! links are none either: each name is a file of its own. Flags of extended attributes are lost.
//!
//! Files are read twice over, because what describes an object may follow its content: first past the contents, then
//! the contents. They are hostile: numbers are limited before they are believed, everything is proved to lie within
//! the file, and a refusal names the object and the byte. Contents never stand in memory.
//!
//! Not here: folders, hives, and which objects a layer consists of.

mod content;
mod header;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod tombstones;
mod write;

pub use content::TransportContent;
pub use read::TransportFile;
pub use tombstones::{read_tombstones, write_tombstones};
pub use write::TransportWriter;

/// What is appended to the name of a directory for the file that describes it.
pub const DIRECTORY_SUFFIX: &str = ".$wcidirs$";

/// The name of the list of deletions at the root of an exported folder.
pub const TOMBSTONES: &str = "tombstones.txt";
