//! Inode records.

use super::attributes::{INLINE, INLINE_OFFSET, Set};
use super::node::DiskTime;
use super::superblock::EXTRA_INODE;
use super::{INODE, Put, high16, high32, low16, low32};

/// Type bits of the mode.
pub(super) mod kind {
    pub(in super::super) const FIFO: u16 = 0x1000;
    pub(in super::super) const CHARACTER: u16 = 0x2000;
    pub(in super::super) const DIRECTORY: u16 = 0x4000;
    pub(in super::super) const BLOCK: u16 = 0x6000;
    pub(in super::super) const REGULAR: u16 = 0x8000;
    pub(in super::super) const SYMLINK: u16 = 0xa000;
}

/// The directory is indexed.
pub(super) const FLAG_INDEX: u32 = 0x1000;
/// The block field holds extents.
pub(super) const FLAG_EXTENTS: u32 = 0x8_0000;

/// Everything an inode record holds.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// Type and permission bits.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) links: u16,
    /// Blocks of 4096 bytes, those of extents and attributes included.
    pub(super) blocks: u64,
    pub(super) flags: u32,
    pub(super) mtime: DiskTime,
    pub(super) atime: DiskTime,
    pub(super) ctime: DiskTime,
    /// The block field: extents, a short target, or a device number.
    pub(super) field: [u8; 60],
    pub(super) attributes: Option<&'a Set>,
}

impl Record<'_> {
    pub(super) fn encode(&self) -> [u8; INODE] {
        let mut bytes = [0; INODE];
        let sectors = self.blocks * 8;
        bytes.put_u16(0x00, self.mode);
        bytes.put_u16(0x02, low16(self.uid));
        bytes.put_u32(0x04, low32(self.size));
        bytes.put_u32(0x08, self.atime.seconds);
        bytes.put_u32(0x0c, self.ctime.seconds);
        bytes.put_u32(0x10, self.mtime.seconds);
        bytes.put_u16(0x18, low16(self.gid));
        bytes.put_u16(0x1a, self.links);
        bytes.put_u32(0x1c, low32(sectors));
        bytes.put_u32(0x20, self.flags);
        bytes[0x28..0x64].copy_from_slice(&self.field);
        bytes.put_u32(0x6c, high32(self.size));
        bytes.put_u16(0x74, low16(high32(sectors)));
        bytes.put_u16(0x78, high16(self.uid));
        bytes.put_u16(0x7a, high16(self.gid));
        bytes.put_u16(0x80, EXTRA_INODE);
        bytes.put_u32(0x84, self.ctime.extra);
        bytes.put_u32(0x88, self.mtime.extra);
        bytes.put_u32(0x8c, self.atime.extra);
        // The creation time is that of the last modification: an archive knows no other.
        bytes.put_u32(0x90, self.mtime.seconds);
        bytes.put_u32(0x94, self.mtime.extra);
        if let Some(set) = self.attributes {
            bytes.put_u32(0x68, set.block);
            bytes[INLINE_OFFSET..INLINE_OFFSET + INLINE].copy_from_slice(&*set.inline);
        }
        bytes
    }
}
