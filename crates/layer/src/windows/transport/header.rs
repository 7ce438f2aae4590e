//! The header of a stream (`WIN32_STREAM_ID`): little-endian, without padding.

/// Bytes of a header without its name.
pub(super) const LENGTH: usize = 20;
/// Bytes of the offset that begins a sparse block and counts to its size.
pub(super) const OFFSET: u64 = 8;
/// Most bytes of a name: a colon, 255 units, and the type of a stream.
pub(super) const MAX_NAME: u32 = 2 * (1 + 255 + 6);
/// `STREAM_SPARSE_ATTRIBUTE`: the content has holes.
pub(super) const SPARSE: u32 = 8;

/// Kinds of streams (`BACKUP_*`).
pub(super) mod id {
    /// The content of a file.
    pub(in super::super) const DATA: u32 = 1;
    /// Extended attributes.
    pub(in super::super) const EXTENDED: u32 = 2;
    /// The security descriptor.
    pub(in super::super) const SECURITY: u32 = 3;
    /// An alternate data stream.
    pub(in super::super) const ALTERNATE: u32 = 4;
    /// Another name of the file.
    pub(in super::super) const LINK: u32 = 5;
    /// Properties, which no volume has any more.
    pub(in super::super) const PROPERTY: u32 = 6;
    /// The identity that a volume gave the file.
    pub(in super::super) const OBJECT: u32 = 7;
    /// Reparse data.
    pub(in super::super) const REPARSE: u32 = 8;
    /// A part of a content that has holes.
    pub(in super::super) const SPARSE_BLOCK: u32 = 9;
    /// What transactions left.
    pub(in super::super) const TRANSACTION: u32 = 10;
}

/// The header of a stream, without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u32,
    pub(super) attributes: u32,
    pub(super) size: i64,
    pub(super) name_bytes: u32,
}

impl Header {
    pub(super) fn encode(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..4].copy_from_slice(&self.id.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.attributes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..].copy_from_slice(&self.name_bytes.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; LENGTH]) -> Self {
        let four = |at: usize| {
            let four = bytes[at..].first_chunk().expect("the header is long enough");
            u32::from_le_bytes(*four)
        };
        let size = bytes[8..].first_chunk().expect("the header is long enough");
        Self {
            id: four(0),
            attributes: four(4),
            size: i64::from_le_bytes(*size),
            name_bytes: four(16),
        }
    }
}
