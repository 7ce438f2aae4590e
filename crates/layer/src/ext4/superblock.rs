//! The superblock and group descriptors.

use super::{BLOCK, FIRST_INODE, INODE, Put};

/// Offset of the superblock in block 0.
pub(super) const OFFSET: usize = 1024;
/// Its length.
const LENGTH: usize = 1024;
/// Bytes of a group descriptor.
pub(super) const DESCRIPTOR: usize = 32;
/// Bytes of extra fields in each inode.
pub(super) const EXTRA_INODE: u16 = 24;

/// Features that a system may ignore.
pub(super) mod compat {
    pub(in super::super) const EXT_ATTR: u32 = 0x8;
    pub(in super::super) const DIR_INDEX: u32 = 0x20;
    pub(in super::super) const SPARSE_SUPER2: u32 = 0x200;
}

/// Features that a system must know.
pub(super) mod incompat {
    pub(in super::super) const FILETYPE: u32 = 0x2;
    pub(in super::super) const EXTENTS: u32 = 0x40;
    pub(in super::super) const FLEX_BG: u32 = 0x200;
}

/// Features that a system must know to write.
pub(super) mod ro_compat {
    pub(in super::super) const LARGE_FILE: u32 = 0x2;
    pub(in super::super) const HUGE_FILE: u32 = 0x8;
    pub(in super::super) const GDT_CSUM: u32 = 0x10;
    pub(in super::super) const DIR_NLINK: u32 = 0x20;
    pub(in super::super) const EXTRA_ISIZE: u32 = 0x40;
    pub(in super::super) const READONLY: u32 = 0x1000;
}

/// What differs between file systems.
#[derive(Debug)]
pub(super) struct Superblock {
    pub(super) blocks: u32,
    pub(super) free_blocks: u32,
    pub(super) inodes: u32,
    pub(super) free_inodes: u32,
    pub(super) blocks_per_group: u32,
    pub(super) inodes_per_group: u32,
    pub(super) compat: u32,
    pub(super) incompat: u32,
    pub(super) ro_compat: u32,
    pub(super) log_groups_per_flex: u8,
    pub(super) lost_and_found: u32,
    pub(super) uuid: [u8; 16],
    pub(super) hash_seed: [u8; 16],
}

impl Superblock {
    pub(super) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes.put_u32(0x00, self.inodes);
        bytes.put_u32(0x04, self.blocks);
        bytes.put_u32(0x0c, self.free_blocks);
        bytes.put_u32(0x10, self.free_inodes);
        // Block and cluster size: 1024 << 2.
        bytes.put_u32(0x18, 2);
        bytes.put_u32(0x1c, 2);
        bytes.put_u32(0x20, self.blocks_per_group);
        bytes.put_u32(0x24, self.blocks_per_group);
        bytes.put_u32(0x28, self.inodes_per_group);
        // No number of mounts asks for a check.
        bytes.put_u16(0x36, 0xffff);
        bytes.put_u16(0x38, 0xef53);
        // Clean; continue on errors.
        bytes.put_u16(0x3a, 1);
        bytes.put_u16(0x3c, 1);
        // Dynamic revision: the fields from here on exist.
        bytes.put_u32(0x4c, 1);
        bytes.put_u32(0x54, FIRST_INODE);
        bytes.put_u16(0x58, u16::try_from(INODE).expect("a small constant"));
        bytes.put_u32(0x5c, self.compat);
        bytes.put_u32(0x60, self.incompat);
        bytes.put_u32(0x64, self.ro_compat);
        bytes[0x68..0x78].copy_from_slice(&self.uuid);
        bytes[0xec..0xfc].copy_from_slice(&self.hash_seed);
        // Directories are indexed by half MD4 with unsigned characters.
        bytes[0xfc] = 1;
        bytes.put_u32(0x160, 2);
        // Mounted with extended attributes and access lists.
        bytes.put_u32(0x100, 0xc);
        bytes.put_u16(0x15c, EXTRA_INODE);
        bytes.put_u16(0x15e, EXTRA_INODE);
        bytes[0x174] = self.log_groups_per_flex;
        bytes.put_u32(0x268, self.lost_and_found);
        bytes
    }
}

/// One group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Descriptor {
    pub(super) block_bitmap: u32,
    pub(super) inode_bitmap: u32,
    pub(super) inode_table: u32,
    pub(super) free_blocks: u32,
    pub(super) free_inodes: u32,
    pub(super) directories: u32,
    pub(super) flags: u16,
    pub(super) unused_inodes: u32,
}

impl Descriptor {
    pub(super) fn encode(&self) -> [u8; DESCRIPTOR] {
        let number = |value: u32| u16::try_from(value).expect("a group has at most 32768 blocks and inodes");
        let mut bytes = [0; DESCRIPTOR];
        bytes.put_u32(0x00, self.block_bitmap);
        bytes.put_u32(0x04, self.inode_bitmap);
        bytes.put_u32(0x08, self.inode_table);
        bytes.put_u16(0x0c, number(self.free_blocks));
        bytes.put_u16(0x0e, number(self.free_inodes));
        bytes.put_u16(0x10, number(self.directories));
        bytes.put_u16(0x12, self.flags);
        bytes.put_u16(0x1c, number(self.unused_inodes));
        bytes
    }
}

/// Marks bits `from..to` of a bitmap block.
pub(super) fn set_bits(bitmap: &mut [u8; BLOCK], from: u32, to: u32) {
    change_bits(bitmap, from, to, |byte, mask| *byte |= mask);
}

/// Clears bits `from..to` of a bitmap block.
pub(super) fn clear_bits(bitmap: &mut [u8; BLOCK], from: u32, to: u32) {
    change_bits(bitmap, from, to, |byte, mask| *byte &= !mask);
}

fn change_bits(bitmap: &mut [u8; BLOCK], from: u32, to: u32, change: impl Fn(&mut u8, u8)) {
    let mut bit = from as usize;
    let to = to as usize;
    while bit < to {
        if bit.is_multiple_of(8) && to - bit >= 8 {
            change(&mut bitmap[bit / 8], 0xff);
            bit += 8;
        } else {
            change(&mut bitmap[bit / 8], 1 << (bit % 8));
            bit += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_change_in_their_range_only() {
        for (from, to) in [(0, 0), (0, 8), (3, 5), (7, 9), (1, 100), (32_760, 32_768)] {
            let mut bitmap = [0; BLOCK];
            set_bits(&mut bitmap, from, to);
            let ones: u32 = bitmap.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(ones, to - from, "{from}..{to}");
            clear_bits(&mut bitmap, from, to);
            assert_eq!(bitmap, [0; BLOCK]);
        }
    }
}
