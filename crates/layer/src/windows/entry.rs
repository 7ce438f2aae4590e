//! What a Windows layer is made of: one model for archives, trees and Windows volumes.

use super::{Attributes, ExtendedAttributes, FileTime, Reparse, SecurityDescriptor, StreamName, WindowsPath};

/// The times of a file or directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Times {
    /// When it was made.
    pub created: FileTime,
    /// When its content was written last.
    pub modified: FileTime,
    /// When it was used last.
    pub accessed: FileTime,
    /// When its attributes were changed last.
    pub changed: FileTime,
}

impl Times {
    /// One moment for everything.
    pub fn all(time: FileTime) -> Self {
        Self {
            created: time,
            modified: time,
            accessed: time,
            changed: time,
        }
    }
}

/// What every file, directory and link has. Hard links share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// File attributes.
    pub attributes: Attributes,
    /// Times.
    pub times: Times,
    /// Owner and access.
    pub descriptor: SecurityDescriptor,
    /// Extended attributes.
    pub extended: ExtendedAttributes,
}

impl Metadata {
    /// What an object gets for which nothing is said.
    pub fn default_for(directory: bool, time: FileTime) -> Self {
        Self {
            attributes: if directory {
                Attributes::directory(0)
            } else {
                Attributes::file(Attributes::ARCHIVE)
            },
            times: Times::all(time),
            descriptor: SecurityDescriptor::default_for(directory),
            extended: ExtendedAttributes::default(),
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory(Metadata),
    /// A file; its content follows.
    File {
        /// Its metadata.
        metadata: Metadata,
        /// Length of the content with its holes.
        size: u64,
    },
    /// A symbolic link or junction. The directory attribute says what it stands for.
    Link {
        /// Its metadata.
        metadata: Metadata,
        /// Where it leads.
        reparse: Reparse,
    },
    /// An alternate data stream of the file at this path, which precedes it; its content follows.
    Stream {
        /// Its name.
        name: StreamName,
        /// Length of the content.
        size: u64,
    },
    /// Another name of a file.
    HardLink {
        /// The other name, in this layer or below.
        target: WindowsPath,
        /// The file lies in the layers below.
        lower: bool,
    },
    /// The layers below no longer have this name.
    Tombstone,
}

/// A thing at a path, or the absence of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies. A stream has the path of its file.
    pub path: WindowsPath,
    /// What it is.
    pub kind: Kind,
}

impl Entry {
    /// Length of the content that follows.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } | Kind::Stream { size, .. } => size,
            _ => 0,
        }
    }
}
