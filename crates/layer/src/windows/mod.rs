//! Windows layers: between the archives of registries and trees that keep what only NTFS can hold.
//!
//! Differs read archives with [`WindowsReader`] and write them with [`WindowsWriter`]; both speak in [`Entry`]s, the
//! one model of files, links, streams, hard links and deletions with security descriptors, attributes, times and
//! extended attributes. On hosts without NTFS, [`unpack_windows`] makes a tree of plain files and directories with a
//! side file beside it, [`WindowsTree`] reads that pair, and exporting it gives the same archive every time.
//!
//! Archive, tree and side file obey the rules of [`WindowsPath`] and [`Table`]: names that Windows can hold, no two
//! that it takes for one, nothing below a link, hard links to files that exist here or in [`Parents`]. Links are data:
//! none is followed, and none becomes a link of the host.
//!
//! Everything blocks, is one pass, and keeps metadata in memory and content never. A refusal names entry and rule.
//! After a failure what was written is of no use; removing it is up to the caller.
//!
//! Trees can be stacked by an overlay mount: deletions, links and directories made anew hide what is below them.
//!
//! [`transport`] has the files that Windows' own layer store takes and gives.
//!
//! Not here: the calls of that store, mounting, and comparing trees.

mod attributes;
mod descriptor;
mod entry;
mod extended;
mod import;
mod lower;
mod path;
mod reader;
mod records;
mod reparse;
mod sddl;
mod side;
mod table;
mod time;
pub mod transport;
#[cfg(target_os = "linux")]
mod tree;
mod upcase;
mod writer;

pub use attributes::Attributes;
pub use descriptor::SecurityDescriptor;
pub use entry::{Entry, Kind, Metadata, Times};
pub use extended::ExtendedAttributes;
pub use import::{ImportTarget, Imported, import_windows};
pub use lower::{Lower, LowerKind, LowerObject, LowerTables, Parents};
pub use path::{Area, StreamName, WindowsPath};
pub use reader::{WindowsLimits, WindowsReader};
pub use reparse::{LinkKind, Reparse};
pub use side::{read_side_file, write_side_file};
pub use table::{Spelling, Table};
pub use time::FileTime;
#[cfg(target_os = "linux")]
pub use tree::{SIDE_FILE, Unpacked, WindowsTree, unpack_windows, unpack_windows_spelled};
pub use upcase::folded;
pub use writer::WindowsWriter;
