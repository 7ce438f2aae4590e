//! Objects of an NTFS volume with everything that it keeps about them.
//!
//! Windows layers are written and read through this by `snapshot`. A [`Directory`] is opened once by its path; all else
//! is reached from its handle, one name at a time, and never through a reparse point: names that come from an archive
//! can lead nowhere but below. A name goes to the volume as it is: no device names, no short forms, no stripped dots.
//!
//! An [`Object`] is an open file, directory or link. It gets and sets attributes, times, security descriptor, extended
//! attributes, reparse data and streams. All goes in and out as plain bytes and numbers, which the volume judges.
//!
//! Objects are opened with all rights that the process gets: those to change audit lists need a privilege, those to
//! change anything an access list that grants it. With less, the call that lacks a right fails. With the privileges of
//! backup and restore enabled, access lists do not matter.
//!
//! Everything blocks. Errors have the Win32 code of what the volume answered; a name that is none is refused as invalid
//! input without a call. Not here: privileges, the form of layers, and volumes.

mod buffer;
mod call;
mod directory;
mod extended;
mod name;
mod object;
mod place;
mod remove;
mod streams;
#[cfg(test)]
mod tests;

pub use directory::Directory;
pub use extended::ExtendedAttribute;
pub use object::{Basic, Facts, Object};
pub use place::{is_too_many_links, link};
pub use remove::RemoveTreeError;
pub use streams::StreamFacts;
