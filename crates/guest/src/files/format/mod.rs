//! The archive format: POSIX tar with PAX records, as streams.
//!
//! The verbs write it with [`Writer`] and read it with [`Reader`]; both know entries and bytes, no files. Header fields
//! are the `tar` crate's; records and the order of blocks are ours, because a record is delimited by its length alone: a
//! value such as a capability may hold line feeds.

mod number;
mod pax;
mod reader;
mod writer;

pub(super) use self::reader::{ReadError, Reader};
pub(super) use self::writer::Writer;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    /// Another name of an earlier entry.
    HardLink,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// Seconds and nanoseconds since 1970; nanoseconds count forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Time {
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

/// Everything the headers of one entry say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) name: Vec<u8>,
    /// Where a link leads.
    pub(super) link: Vec<u8>,
    /// Permissions with set-id and sticky.
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Bytes of content that follow.
    pub(super) size: u64,
    pub(super) time: Time,
    /// Major and minor number.
    pub(super) device: (u32, u32),
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An empty entry that belongs to root.
    pub(super) fn new(kind: Kind, name: Vec<u8>) -> Self {
        Self {
            kind,
            name,
            link: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            time: Time::default(),
            device: (0, 0),
            attributes: Vec::new(),
        }
    }
}

/// Size of a block, the unit of the archive.
const BLOCK: usize = 512;
/// The prefix of records that carry an extended attribute.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// Bytes that fill the last block of a content.
fn padding(size: u64) -> usize {
    let rest = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    (BLOCK - rest) % BLOCK
}

#[cfg(test)]
mod tests;
