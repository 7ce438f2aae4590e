//! Why a layer was refused.
//!
//! One variant per reason word of the acceptance rules; [`LayerError::code`] is that word and is stable. Each names
//! the entry: its number, the byte offset of its header in the uncompressed tar and its escaped name. The digest of
//! the layer is known to the caller only, who adds it.

use std::fmt;
use std::io;

/// Where in the archive something was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the entry, from one; zero outside an archive.
    pub entry: u64,
    /// Byte offset of the entry's first header in the uncompressed archive, or within the file of a transport folder.
    pub offset: u64,
    /// Name of the entry, as far as it was known. Bytes, not text: printed escaped.
    pub name: Vec<u8>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entry > 0 {
            write!(f, "entry {} ", self.entry)?;
        }
        if !self.name.is_empty() {
            write!(f, "\"{}\" ", escape(&self.name))?;
        }
        write!(f, "at byte {}", self.offset)
    }
}

/// Longest name printed in a message.
const SHOWN: usize = 256;

/// Makes a name safe to print: control characters, quotes and bytes outside ASCII become escapes, long names are cut.
pub(crate) fn escape(name: &[u8]) -> String {
    let cut = name.len() > SHOWN;
    let mut text = name[..name.len().min(SHOWN)].escape_ascii().to_string();
    if cut {
        text.push_str("...");
    }
    text
}

/// Why a layer was refused or could not be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// Structure of the archive, numbers, PAX records.
    #[error("bad tar header: {problem} ({place})")]
    BadHeader {
        /// What is wrong.
        problem: &'static str,
        /// Where.
        place: Box<Place>,
    },
    /// The name of an entry.
    #[error("bad entry name: {problem} ({place})")]
    BadName {
        /// What is wrong.
        problem: &'static str,
        /// Where.
        place: Box<Place>,
    },
    /// A parent of the entry is not, and does not lead to, a directory.
    #[error("bad parent directory: {problem} ({place})")]
    BadParent {
        /// What is wrong.
        problem: &'static str,
        /// Where.
        place: Box<Place>,
    },
    /// The target of a hard link or symbolic link.
    #[error("bad link to \"{target}\": {problem} ({place})")]
    BadLink {
        /// What is wrong.
        problem: &'static str,
        /// The escaped target.
        target: String,
        /// Where.
        place: Box<Place>,
    },
    /// A `.wh.` name.
    #[error("bad whiteout: {problem} ({place})")]
    BadWhiteout {
        /// What is wrong.
        problem: &'static str,
        /// Where.
        place: Box<Place>,
    },
    /// Owner, device number or extended attribute.
    #[error("bad attribute {attribute}: {problem} ({place})")]
    BadAttribute {
        /// Which attribute, escaped.
        attribute: String,
        /// What is wrong.
        problem: &'static str,
        /// Where.
        place: Box<Place>,
    },
    /// Two entries of a Windows layer claim one name.
    #[error("it collides with \"{other}\", which Windows takes for the same name ({place})")]
    Collision {
        /// The escaped name that was there first.
        other: String,
        /// Where.
        place: Box<Place>,
    },
    /// The side file of a Windows layer is damaged.
    #[error("bad side file of a Windows layer: {problem} (record {record})")]
    BadSideFile {
        /// What is wrong.
        problem: &'static str,
        /// Number of the record, from one; zero before the first.
        record: u64,
        /// The rule that a record breaks.
        #[source]
        source: Option<Box<Self>>,
    },
    /// A file of a transport folder is damaged, or does not fit what is written.
    #[error("bad transport file: {problem} ({place})")]
    BadTransport {
        /// What is wrong.
        problem: &'static str,
        /// Which object, and where in its file.
        place: Box<Place>,
    },
    /// The host's file system refused an object of a Windows layer, or holds something else than the side file says.
    #[error("cannot {operation} \"{path}\" of a Windows layer")]
    Tree {
        /// What was tried.
        operation: &'static str,
        /// The escaped path within the layer.
        path: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Something we know of and do not implement.
    #[error("{what} is not supported ({place})")]
    Unsupported {
        /// What it is.
        what: &'static str,
        /// Where.
        place: Box<Place>,
    },
    /// The archive ends too early.
    #[error("the archive ends inside {inside} ({place})")]
    Truncated {
        /// What was being read.
        inside: &'static str,
        /// Where.
        place: Box<Place>,
    },
    /// A limit was reached.
    #[error("{what} exceeds the limit of {maximum} ({place})")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The limit.
        maximum: u64,
        /// Where.
        place: Box<Place>,
    },
    /// The compressed stream around the archive.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The disk is full.
    #[error("no space left for the layer image")]
    NoSpace {
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Reading the archive failed.
    #[error("reading the layer archive failed")]
    Read {
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// Writing the image failed.
    #[error("writing the layer image failed")]
    Write {
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A size that no image can have.
    #[error("a disk of {size} bytes cannot be made: it must have between {minimum} and {maximum} bytes")]
    DiskSize {
        /// The size asked for.
        size: u64,
        /// The smallest size possible.
        minimum: u64,
        /// The largest size possible.
        maximum: u64,
    },
}

impl LayerError {
    /// The stable reason word of this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadHeader { .. } => "bad-header",
            Self::BadName { .. } => "bad-name",
            Self::BadParent { .. } => "bad-parent",
            Self::BadLink { .. } => "bad-link",
            Self::BadWhiteout { .. } => "bad-whiteout",
            Self::BadAttribute { .. } => "bad-attribute",
            Self::Collision { .. } => "collision",
            Self::BadSideFile { .. } => "bad-side-file",
            Self::BadTransport { .. } => "bad-transport",
            Self::Tree { .. } => "bad-tree",
            Self::Unsupported { .. } => "unsupported",
            Self::Truncated { .. } => "truncated",
            Self::Limit { .. } => "limit",
            Self::Compression(error) => error.code(),
            Self::NoSpace { .. } => "no-space",
            Self::Read { .. } => "read-failed",
            Self::Write { .. } => "write-failed",
            Self::DiskSize { .. } => "bad-size",
        }
    }

    /// Where in the archive it happened, for the kinds that have a place.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::BadHeader { place, .. }
            | Self::BadName { place, .. }
            | Self::BadParent { place, .. }
            | Self::BadLink { place, .. }
            | Self::BadWhiteout { place, .. }
            | Self::BadAttribute { place, .. }
            | Self::Collision { place, .. }
            | Self::BadTransport { place, .. }
            | Self::Unsupported { place, .. }
            | Self::Truncated { place, .. }
            | Self::Limit { place, .. } => Some(place),
            _ => None,
        }
    }

    /// Wraps a failed read; an error of our own decompressor is unwrapped again.
    pub(crate) fn read(source: io::Error) -> Self {
        match source.downcast::<CompressionError>() {
            Ok(error) => Self::Compression(error),
            Err(source) => Self::Read { source },
        }
    }

    /// Wraps a failed write.
    pub(crate) fn write(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { source },
            _ => Self::Write { source },
        }
    }
}

/// Why a compressed stream was refused. Travels inside [`io::Error`] through [`io::Read`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// The structure of the compressed stream.
    #[error("bad {format} stream: {problem}")]
    BadHeader {
        /// Which compression.
        format: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The content does not match its checksum, or cannot be decompressed at all.
    #[error("damaged {format} stream: {problem}")]
    BadChecksum {
        /// Which compression.
        format: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The stream ends too early.
    #[error("the {format} stream is cut short")]
    Truncated {
        /// Which compression.
        format: &'static str,
    },
    /// A limit was reached.
    #[error("{format} stream: {what} exceeds the limit of {maximum} bytes")]
    Limit {
        /// Which compression.
        format: &'static str,
        /// What is too large.
        what: &'static str,
        /// The limit.
        maximum: u64,
    },
}

impl CompressionError {
    /// The stable reason word of this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadHeader { .. } => "bad-header",
            Self::BadChecksum { .. } => "bad-checksum",
            Self::Truncated { .. } => "truncated",
            Self::Limit { .. } => "limit",
        }
    }
}

impl From<CompressionError> for io::Error {
    fn from(error: CompressionError) -> Self {
        let kind = match error {
            CompressionError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_entry_and_hides_control_characters() {
        let error = LayerError::BadName {
            problem: "it has a \"..\" component",
            place: Box::new(Place {
                entry: 3,
                offset: 1024,
                name: b"a\x1b[31m/..".to_vec(),
            }),
        };
        assert_eq!(
            error.to_string(),
            "bad entry name: it has a \"..\" component (entry 3 \"a\\x1b[31m/..\" at byte 1024)"
        );
        assert_eq!(error.code(), "bad-name");
    }

    #[test]
    fn a_decompression_error_survives_the_reader() {
        let inner = CompressionError::Truncated { format: "gzip" };
        let error = LayerError::read(inner.into());
        assert_eq!(error.code(), "truncated");
        assert!(matches!(error, LayerError::Compression(_)));
    }
}
