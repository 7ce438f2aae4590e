//! What describes the groups of an image: bitmaps, descriptors and the superblock.

use super::geometry::Geometry;
use super::numbers::{Numbers, live_directories};
use super::output::Output;
use super::superblock::{self, DESCRIPTOR, Descriptor, Superblock, compat, incompat, ro_compat};
use super::tree::{Tree, idx};
use super::{BLOCK, BLOCK_BYTES};
use crate::LayerError;

/// Counts who uses each block of attributes: unused ones are free, shared ones say so.
pub(super) fn settle_sets(
    tree: &Tree,
    numbers: &Numbers,
    free: &mut Vec<(u32, u32)>,
    patches: &mut Vec<(u64, [u8; 4])>,
) {
    let sets = &tree.sets;
    let mut users = vec![0u32; sets.iter().count() + 1];
    for (number, inode) in (0u32..).zip(&tree.inodes) {
        if numbers.of(number) != 0 {
            users[idx(inode.attributes)] += 1;
        }
    }
    for (id, set) in sets.iter().filter(|(_, set)| set.block != 0) {
        match users[idx(id)] {
            0 => free.push((set.block, set.block + 1)),
            1 => {}
            count => patches.push((u64::from(set.block) * BLOCK_BYTES + 4, count.to_le_bytes())),
        }
    }
}

/// Writes both bitmaps of each group; the descriptors.
pub(super) fn write_bitmaps(
    tree: &Tree,
    numbers: &Numbers,
    geometry: Geometry,
    table: u32,
    free: &[(u32, u32)],
    out: &mut Output<'_>,
) -> Result<Vec<Descriptor>, LayerError> {
    let Geometry {
        groups,
        blocks_per_group,
        inodes_per_group,
        blocks,
    } = geometry;
    let mut descriptors = vec![Descriptor::default(); idx(groups)];
    for (_, directory) in live_directories(tree, numbers) {
        descriptors[idx((numbers.of(directory.inode) - 1) / inodes_per_group)].directories += 1;
    }
    let mut free = free.iter().filter(|(from, to)| from < to).copied().peekable();
    let last = numbers.last();
    for (group, descriptor) in (0..groups).zip(&mut descriptors) {
        let (first, end) = (
            group * blocks_per_group,
            ((group + 1) * blocks_per_group).min(blocks),
        );
        // What lies behind the end of a group counts as used.
        let mut bitmap = [0xff; BLOCK];
        while let Some((from, to)) = free.peek_mut() {
            let until = end.min(*to);
            if *from < until {
                superblock::clear_bits(&mut bitmap, *from - first, until - first);
                descriptor.free_blocks += until - *from;
                *from = until;
            }
            if *from < *to {
                break;
            }
            free.next();
        }
        descriptor.block_bitmap = out.next_block();
        out.append(&bitmap)?;

        let used = last
            .saturating_sub(group * inodes_per_group)
            .min(inodes_per_group);
        let mut bitmap = [0xff; BLOCK];
        superblock::clear_bits(&mut bitmap, used, inodes_per_group);
        descriptor.free_inodes = inodes_per_group - used;
        descriptor.inode_bitmap = out.next_block();
        descriptor.inode_table = table + group * geometry.table_blocks();
        out.append(&bitmap)?;
    }
    Ok(descriptors)
}

/// The first blocks: superblock and group descriptors.
pub(super) fn front(groups: &[Descriptor], geometry: Geometry, uuid: [u8; 16]) -> Vec<u8> {
    let superblock = Superblock {
        blocks: geometry.blocks,
        free_blocks: groups.iter().map(|group| group.free_blocks).sum(),
        inodes: geometry.groups * geometry.inodes_per_group,
        free_inodes: groups.iter().map(|group| group.free_inodes).sum(),
        blocks_per_group: geometry.blocks_per_group,
        inodes_per_group: geometry.inodes_per_group,
        compat: compat::EXT_ATTR | compat::DIR_INDEX | compat::SPARSE_SUPER2,
        incompat: incompat::FILETYPE | incompat::EXTENTS | incompat::FLEX_BG,
        ro_compat: ro_compat::LARGE_FILE
            | ro_compat::HUGE_FILE
            | ro_compat::DIR_NLINK
            | ro_compat::EXTRA_ISIZE
            | ro_compat::READONLY,
        // All groups are one: their tables and bitmaps are together.
        log_groups_per_flex: 31,
        lost_and_found: 0,
        uuid,
        hash_seed: uuid,
    };
    let mut front = vec![0; BLOCK];
    let encoded = superblock.encode();
    front[superblock::OFFSET..superblock::OFFSET + encoded.len()].copy_from_slice(&encoded);
    front.reserve(groups.len() * DESCRIPTOR);
    front.extend(groups.iter().flat_map(Descriptor::encode));
    front.resize(front.len().next_multiple_of(BLOCK), 0);
    front
}
