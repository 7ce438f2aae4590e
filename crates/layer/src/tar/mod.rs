//! A strict, streaming tar reader: where entries begin, what they are called and how large they are.
//!
//! Reads POSIX (PAX), old GNU and seventh-edition archives from any [`BufRead`], in one pass and without seeking.
//! [`Reader::next_entry`] yields the entries in order, [`Reader::next_piece`] the content of the current one as borrowed
//! slices and holes; what is left unread is skipped.
//!
//! Archives which different readers take differently are refused, not guessed at. Names and attributes are bytes as
//! the archive has them: nothing is normalised, and no name ever reaches a file system here. Extension headers and
//! sparse maps are limited before they are read; sizes are for the caller to limit, before asking for pieces.
//!
//! After an error the reader must not be used further. After the end marker it reads nothing: draining what follows
//! is the caller's business.

mod header;
mod pax;
mod reader;
mod sparse;
mod timestamp;

pub use self::reader::Reader;
pub use self::timestamp::Timestamp;

use crate::Place;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file with content, maybe sparse.
    Regular,
    /// Another name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry, with everything its headers said.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it stands in the archive, and its name.
    pub place: Box<Place>,
    /// What it is.
    pub kind: Kind,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Permission bits, at most 07777.
    pub mode: u16,
    /// Owner.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// Size of the content with its holes.
    pub size: u64,
    /// Time of the last modification.
    pub mtime: Timestamp,
    /// Time of the last access, where the archive has it.
    pub atime: Option<Timestamp>,
    /// Time of the last change, where the archive has it.
    pub ctime: Option<Timestamp>,
    /// Major and minor number of a device.
    pub device: (i64, i64),
    /// Extended attributes, each name once.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Records for Windows, `MSWINDOWS.*` and `LIBARCHIVE.creationtime`, each key once.
    pub windows: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// The name, as the archive has it.
    pub fn path(&self) -> &[u8] {
        &self.place.name
    }
}

/// A part of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// That many zero bytes, not stored.
    Hole(u64),
}
