//! File attributes, and which of them a layer may carry.

/// Attributes of a file or directory, as Windows numbers them. Holds only those that mean something in a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Attributes(u32);

impl Attributes {
    /// The file may not be written.
    pub const READ_ONLY: u32 = 0x1;
    /// The object is not listed.
    pub const HIDDEN: u32 = 0x2;
    /// The object belongs to the system.
    pub const SYSTEM: u32 = 0x4;
    /// The object is a directory, or a link that stands for one.
    pub const DIRECTORY: u32 = 0x10;
    /// The file is to be archived.
    pub const ARCHIVE: u32 = 0x20;
    /// The file has no other attribute.
    pub const NORMAL: u32 = 0x80;
    /// The file has holes.
    pub const SPARSE: u32 = 0x200;
    /// The object is a link.
    pub const REPARSE_POINT: u32 = 0x400;

    /// What survives: of the rest, some say how the bytes were stored on another volume (encrypted, compressed), some
    /// ask the volume to fetch content from elsewhere (offline, recall), and some nobody knows.
    const KNOWN: u32 = Self::READ_ONLY
        | Self::HIDDEN
        | Self::SYSTEM
        | Self::DIRECTORY
        | Self::ARCHIVE
        | Self::NORMAL
        | 0x100 // temporary
        | Self::SPARSE
        | Self::REPARSE_POINT
        | 0x2000 // not indexed
        | 0x8000 // integrity stream
        | 0x2_0000; // no scrub

    /// The attributes of a plain file.
    pub fn file(bits: u32) -> Self {
        Self::known(bits & !(Self::DIRECTORY | Self::REPARSE_POINT))
    }

    /// The attributes of a directory.
    pub fn directory(bits: u32) -> Self {
        Self::known(bits & !Self::REPARSE_POINT | Self::DIRECTORY)
    }

    /// The attributes of a link; the directory bit says what it stands for.
    pub fn link(bits: u32) -> Self {
        Self::known(bits | Self::REPARSE_POINT)
    }

    fn known(bits: u32) -> Self {
        let bits = bits & Self::KNOWN;
        let others = bits & !Self::NORMAL;
        Self(if others == 0 { bits } else { others })
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether it has all of these bits.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_volume_did_is_cleared() {
        // Encrypted, offline, compressed, recall, and a bit that nobody knows.
        let bits = 0x4000 | 0x1000 | 0x800 | 0x40_0000 | 0x8000_0000;
        assert_eq!(
            Attributes::file(bits | Attributes::HIDDEN).bits(),
            Attributes::HIDDEN
        );
        assert_eq!(Attributes::directory(bits).bits(), Attributes::DIRECTORY);
    }

    #[test]
    fn kinds_own_their_bits() {
        assert_eq!(Attributes::file(0x430).bits(), Attributes::ARCHIVE);
        assert_eq!(Attributes::directory(0x420).bits(), 0x30);
        assert_eq!(Attributes::link(0x10).bits(), 0x410);
        assert_eq!(Attributes::file(0x80).bits(), 0x80);
        assert_eq!(Attributes::file(0xa0).bits(), 0x20);
    }
}
