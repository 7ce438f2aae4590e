//! Writing ext4 file systems: layer images from entries, and empty scratch disks.
//!
//! [`crate::tar_to_vhd`] feeds a [`tree::Tree`] and an [`output::Output`]; [`image::finish`] turns both into a file
//! system. File content goes to its final place as it arrives, one file after the other behind the reserved front;
//! everything else follows at the end: extent blocks, directories, inode tables, bitmaps, and last, in the front, the
//! group descriptors and the superblock.
//!
//! Blocks are 4096 bytes, numbers little-endian, descriptors 32 bytes, inodes 256. An image depends on the archive and
//! nothing else. It has no journal, no backups of the superblock and the feature `readonly`.
//!
//! Not here: reading file systems.

pub(crate) mod attributes;
pub(crate) mod content;
mod directory;
mod extents;
mod geometry;
mod groups;
mod hash;
pub(crate) mod image;
mod inode;
pub(crate) mod node;
mod numbers;
pub(crate) mod output;
mod resolve;
mod scratch;
mod superblock;
pub(crate) mod tree;

pub(crate) use resolve::PathError;
pub use scratch::{write_empty_growing_scratch, write_empty_scratch, write_empty_scratch_with_id};

/// Bytes per block.
pub(crate) const BLOCK: usize = 4096;
/// [`BLOCK`], for file offsets.
pub(crate) const BLOCK_BYTES: u64 = BLOCK as u64;
/// Most blocks of a group: the bits of one bitmap block.
const GROUP_BLOCKS: u32 = 32_768;
/// Group descriptors in one block.
const DESCRIPTORS_PER_BLOCK: u32 = 128;
/// Blocks reserved for group descriptors in an image: enough for [`MAX_BLOCKS`].
const DESCRIPTOR_BLOCKS: u32 = 8;
/// Most blocks of an image, 128 GiB.
pub(crate) const MAX_BLOCKS: u32 = DESCRIPTOR_BLOCKS * DESCRIPTORS_PER_BLOCK * GROUP_BLOCKS;
/// Bytes per inode.
const INODE_BYTES: u32 = 256;
/// [`INODE_BYTES`], as a length.
const INODE: usize = INODE_BYTES as usize;
/// The root directory.
const ROOT_INODE: u32 = 2;
/// The first inode that is not reserved.
const FIRST_INODE: u32 = 11;

/// Writes little-endian numbers into a record.
trait Put {
    fn put_u16(&mut self, offset: usize, value: u16);
    fn put_u32(&mut self, offset: usize, value: u32);
}

impl Put for [u8] {
    fn put_u16(&mut self, offset: usize, value: u16) {
        self[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn put_u32(&mut self, offset: usize, value: u32) {
        self[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// The low 16 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the upper half is stored elsewhere"
)]
const fn low16(value: u32) -> u16 {
    value as u16
}

/// The high 16 bits.
const fn high16(value: u32) -> u16 {
    low16(value >> 16)
}

/// The low 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the upper half is stored elsewhere"
)]
const fn low32(value: u64) -> u32 {
    value as u32
}

/// The high 32 bits.
const fn high32(value: u64) -> u32 {
    low32(value >> 32)
}
