//! Empty file systems for writable scratch disks.
//!
//! Almost nothing is written, so that a disk of any size is cheap to make and to copy: groups that hold no tables are
//! flagged as uninitialised, and the kernel knows their bitmaps; inode tables are holes, which read as the zeros they
//! must be. Sixteen groups keep their tables together. There is no journal and no copy of the superblock: a scratch
//! lives as long as its container.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use super::content::Run;
use super::directory::{Block, Child, FileType};
use super::inode::{FLAG_EXTENTS, Record, kind};
use super::superblock::{
    self, DESCRIPTOR, Descriptor, Superblock, clear_bits, compat, incompat, ro_compat, set_bits,
};
use super::tree::idx;
use super::{
    BLOCK, BLOCK_BYTES, DESCRIPTORS_PER_BLOCK, FIRST_INODE, GROUP_BLOCKS, INODE, INODE_BYTES, ROOT_INODE,
    extents, low32,
};
use crate::vhdx::{self, Piece};
use crate::{LayerError, vhd};

/// Smallest and largest disk.
const MINIMUM: u64 = 1 << 20;
const MAXIMUM: u64 = u32::MAX as u64 * BLOCK_BYTES;
/// Groups whose tables are together, as a power of two.
const LOG_FLEX: u8 = 4;
const FLEX: u32 = 1 << LOG_FLEX;
/// A last group smaller than this is left out: its tables could fill it.
const SMALLEST_GROUP: u32 = 1024;
/// One inode for each four blocks.
const BLOCKS_PER_INODE: u32 = 4;
const INODES_PER_BLOCK: u32 = low32(BLOCK_BYTES) / INODE_BYTES;

const INODES_UNUSED: u16 = 1;
const BLOCKS_UNUSED: u16 = 2;
const TABLE_ZEROED: u16 = 4;

/// Identifies disks that nobody gave an identity. They never meet in one file system namespace that cares.
const ID: [u8; 16] = *b"ctr-like\x80scratch";

/// Writes an empty writable ext4 disk of `size_bytes`, with a VHD footer behind it.
///
/// The file becomes sparse where the file system of the host can do that. Copies of one disk work side by side.
pub fn write_empty_scratch(out: &File, size_bytes: u64) -> Result<(), LayerError> {
    write_empty_scratch_with_id(out, size_bytes, ID)
}

/// The same with an identity of its own, from which every byte follows.
pub fn write_empty_scratch_with_id(out: &File, size_bytes: u64, id: [u8; 16]) -> Result<(), LayerError> {
    let (disk, pieces) = empty(size_bytes, id)?;
    out.set_len(0).map_err(LayerError::write)?;
    out.set_len(disk + vhd::FOOTER as u64)
        .map_err(LayerError::write)?;
    let mut file = out;
    let mut write = |offset: u64, bytes: &[u8]| {
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.write_all(bytes))
            .map_err(LayerError::write)
    };
    for piece in &pieces {
        write(piece.offset, &piece.bytes)?;
    }
    write(disk, &vhd::footer(disk, id))
}

/// Writes the same disk as a VHDX, which takes what is in it and grows, whatever the file system of the host can do.
///
/// The identity is the disk's, and should be nobody else's; that of the file system is the one of all scratches.
pub fn write_empty_growing_scratch(
    out: &File,
    size_bytes: u64,
    identity: [u8; 16],
) -> Result<(), LayerError> {
    let (disk, pieces) = empty(size_bytes, ID)?;
    vhdx::write(out, disk, identity, &pieces)
}

/// The size of the disk, in whole blocks, and what an empty file system has on it.
fn empty(size_bytes: u64, id: [u8; 16]) -> Result<(u64, Vec<Piece>), LayerError> {
    if !(MINIMUM..=MAXIMUM).contains(&size_bytes) {
        return Err(LayerError::DiskSize {
            size: size_bytes,
            minimum: MINIMUM,
            maximum: MAXIMUM,
        });
    }
    let disk = size_bytes - size_bytes % BLOCK_BYTES;
    let layout = Layout::new(u32::try_from(disk / BLOCK_BYTES).expect("the maximum fits"));
    let mut pieces = Vec::new();
    let mut put = |block: u32, bytes: Vec<u8>| {
        pieces.push(Piece {
            offset: u64::from(block) * BLOCK_BYTES,
            bytes,
        });
    };
    let mut descriptors = Vec::with_capacity(idx(layout.groups));
    for group in 0..layout.groups {
        let (descriptor, bitmap) = layout.group(group);
        if let Some(bitmap) = bitmap {
            put(descriptor.block_bitmap, bitmap.to_vec());
        }
        descriptors.push(descriptor);
    }
    let used = FIRST_INODE - 1;
    let mut bitmap = [0xff; BLOCK];
    clear_bits(&mut bitmap, used, layout.inodes_per_group);
    put(descriptors[0].inode_bitmap, bitmap.to_vec());
    put(descriptors[0].inode_table, root_inode(layout.root));
    put(layout.root, root_directory().to_vec());
    put(0, layout.front(&descriptors, id));
    Ok((disk, pieces))
}

/// Where everything is.
struct Layout {
    blocks: u32,
    groups: u32,
    inodes_per_group: u32,
    /// Blocks of the descriptors.
    descriptors: u32,
    /// The block of the root directory.
    root: u32,
}

impl Layout {
    fn new(mut blocks: u32) -> Self {
        let rest = blocks % GROUP_BLOCKS;
        if blocks > GROUP_BLOCKS && rest < SMALLEST_GROUP {
            blocks -= rest;
        }
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let inodes_per_group =
            (blocks.min(GROUP_BLOCKS) / BLOCKS_PER_INODE).next_multiple_of(INODES_PER_BLOCK);
        let descriptors = groups.div_ceil(DESCRIPTORS_PER_BLOCK);
        let mut layout = Self {
            blocks,
            groups,
            inodes_per_group,
            descriptors,
            root: 0,
        };
        layout.root = layout.tables_end(0);
        layout
    }

    fn table_blocks(&self) -> u32 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// The first block of the tables of the groups that keep theirs in `group`.
    fn tables_start(&self, group: u32) -> u32 {
        group * GROUP_BLOCKS + if group == 0 { 1 + self.descriptors } else { 0 }
    }

    /// The block behind those tables.
    fn tables_end(&self, group: u32) -> u32 {
        let members = FLEX.min(self.groups - group);
        self.tables_start(group) + members * (2 + self.table_blocks())
    }

    /// A group's descriptor, and its block bitmap where one must be written.
    fn group(&self, group: u32) -> (Descriptor, Option<[u8; BLOCK]>) {
        let home = group - group % FLEX;
        let (members, member) = (FLEX.min(self.groups - home), group - home);
        let start = self.tables_start(home);
        // The last group ends before its bitmap does.
        let size = GROUP_BLOCKS.min(self.blocks - group * GROUP_BLOCKS);
        let used = match group {
            0 => self.root + 1,
            _ if member == 0 => self.tables_end(group) - group * GROUP_BLOCKS,
            _ => 0,
        };
        let initialised = member == 0 || group + 1 == self.groups;
        let used_inodes = if group == 0 { FIRST_INODE - 1 } else { 0 };
        let mut flags = TABLE_ZEROED;
        if !initialised {
            flags |= BLOCKS_UNUSED;
        }
        if group > 0 {
            flags |= INODES_UNUSED;
        }
        let descriptor = Descriptor {
            block_bitmap: start + member,
            inode_bitmap: start + members + member,
            inode_table: start + 2 * members + member * self.table_blocks(),
            free_blocks: size - used,
            free_inodes: self.inodes_per_group - used_inodes,
            directories: u32::from(group == 0),
            flags,
            unused_inodes: self.inodes_per_group - used_inodes,
        };
        let bitmap = initialised.then(|| {
            let mut bitmap = [0; BLOCK];
            set_bits(&mut bitmap, 0, used);
            set_bits(&mut bitmap, size, GROUP_BLOCKS);
            bitmap
        });
        (descriptor, bitmap)
    }

    /// Superblock and descriptors with their checksums.
    fn front(&self, descriptors: &[Descriptor], id: [u8; 16]) -> Vec<u8> {
        let superblock = Superblock {
            blocks: self.blocks,
            free_blocks: descriptors.iter().map(|group| group.free_blocks).sum(),
            inodes: self.groups * self.inodes_per_group,
            free_inodes: descriptors.iter().map(|group| group.free_inodes).sum(),
            blocks_per_group: GROUP_BLOCKS,
            inodes_per_group: self.inodes_per_group,
            compat: compat::EXT_ATTR | compat::DIR_INDEX | compat::SPARSE_SUPER2,
            incompat: incompat::FILETYPE | incompat::EXTENTS | incompat::FLEX_BG,
            ro_compat: ro_compat::LARGE_FILE
                | ro_compat::HUGE_FILE
                | ro_compat::GDT_CSUM
                | ro_compat::DIR_NLINK
                | ro_compat::EXTRA_ISIZE,
            log_groups_per_flex: LOG_FLEX,
            lost_and_found: 0,
            uuid: id,
            hash_seed: id,
        };
        let mut front = vec![0; BLOCK];
        let encoded = superblock.encode();
        front[superblock::OFFSET..superblock::OFFSET + encoded.len()].copy_from_slice(&encoded);
        for (group, descriptor) in (0u32..).zip(descriptors) {
            let mut bytes = descriptor.encode();
            let checksum = [&id[..], &group.to_le_bytes(), &bytes[..DESCRIPTOR - 2]]
                .into_iter()
                .fold(0xffff, crc16);
            bytes[DESCRIPTOR - 2..].copy_from_slice(&checksum.to_le_bytes());
            front.extend_from_slice(&bytes);
        }
        front
    }
}

/// CRC-16 with the polynomial 0xa001, as descriptors use it.
fn crc16(start: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(start, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 }
        })
    })
}

/// The reserved inodes, of which only the root is in use.
fn root_inode(block: u32) -> Vec<u8> {
    let never = crate::tar::Timestamp::default().into();
    let record = Record {
        mode: kind::DIRECTORY | 0o755,
        uid: 0,
        gid: 0,
        size: BLOCK_BYTES,
        links: 2,
        blocks: 1,
        flags: FLAG_EXTENTS,
        mtime: never,
        atime: never,
        ctime: never,
        field: extents::build(
            &[Run {
                logical: 0,
                start: block,
                length: 1,
            }],
            0,
        )
        .root,
        attributes: None,
    };
    let mut table = vec![0; BLOCK];
    let offset = idx(ROOT_INODE - 1) * INODE;
    table[offset..offset + INODE].copy_from_slice(&record.encode());
    table
}

fn root_directory() -> [u8; BLOCK] {
    let mut block = Block::new();
    for name in [&b"."[..], b".."] {
        block.put(&Child {
            name,
            inode: ROOT_INODE,
            kind: FileType::Directory,
        });
    }
    *block.close()
}
