//! How many groups an image has, and how large they are.

use super::{DESCRIPTOR_BLOCKS, DESCRIPTORS_PER_BLOCK, GROUP_BLOCKS, INODE_BYTES, low32};
use crate::LayerError;

/// Inodes in one block of an inode table.
const INODES_PER_BLOCK: u32 = low32(super::BLOCK_BYTES) / INODE_BYTES;
/// Most inodes of a group: the bits of one bitmap block.
const GROUP_INODES: u32 = 32_768;

/// The groups of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) groups: u32,
    pub(super) blocks_per_group: u32,
    pub(super) inodes_per_group: u32,
    /// Blocks of the image, inode tables and bitmaps included.
    pub(super) blocks: u32,
}

impl Geometry {
    /// Fits groups around `used` blocks and that many inodes. The inode tables of all groups follow the used blocks,
    /// then the bitmaps of each group.
    pub(super) fn new(used: u32, inodes: u32) -> Result<Self, LayerError> {
        let most = DESCRIPTOR_BLOCKS * DESCRIPTORS_PER_BLOCK;
        let mut groups = inodes
            .div_ceil(GROUP_INODES)
            .max(used.div_ceil(GROUP_BLOCKS))
            .max(1);
        loop {
            if groups > most {
                let (maximum, place) = (u64::from(super::MAX_BLOCKS) * super::BLOCK_BYTES, Box::default());
                return Err(LayerError::Limit {
                    what: "the size of the image",
                    maximum,
                    place,
                });
            }
            let inodes_per_group = inodes.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK);
            let blocks = u64::from(used) + u64::from(groups * (inodes_per_group / INODES_PER_BLOCK + 2));
            if blocks > u64::from(groups) * u64::from(GROUP_BLOCKS) {
                groups += 1;
                continue;
            }
            let blocks = u32::try_from(blocks).expect("the number of groups is limited");
            // Many empty files need groups for their inodes that no content fills: make them smaller.
            let blocks_per_group = if blocks > (groups - 1) * GROUP_BLOCKS {
                GROUP_BLOCKS
            } else {
                blocks.div_ceil(groups).next_multiple_of(8)
            };
            // Each group must exist.
            let blocks = blocks.max((groups - 1) * blocks_per_group + 1);
            return Ok(Self {
                groups,
                blocks_per_group,
                inodes_per_group,
                blocks,
            });
        }
    }

    /// Blocks of one group's inode table.
    pub(super) fn table_blocks(&self) -> u32 {
        self.inodes_per_group / INODES_PER_BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_image_is_one_group() {
        let geometry = Geometry::new(20, 12).unwrap();
        assert_eq!(
            geometry,
            Geometry {
                groups: 1,
                blocks_per_group: 32_768,
                inodes_per_group: 16,
                blocks: 23
            }
        );
    }

    #[test]
    fn every_group_has_blocks_and_every_inode_a_place() {
        for used in [9, 100, 32_000, 32_766, 32_767, 32_768, 65_530, 1 << 20, 30 << 20] {
            for inodes in [11, 16, 17, 32_768, 32_769, 1_000_000, 4_500_000] {
                let Ok(geometry) = Geometry::new(used, inodes) else {
                    continue;
                };
                let Geometry {
                    groups,
                    blocks_per_group,
                    inodes_per_group,
                    blocks,
                } = geometry;
                assert!(blocks > (groups - 1) * blocks_per_group && blocks <= groups * blocks_per_group);
                assert!(u64::from(groups) * u64::from(inodes_per_group) >= u64::from(inodes));
                assert!(inodes_per_group <= GROUP_INODES && blocks_per_group <= GROUP_BLOCKS);
                assert!(
                    blocks >= used + groups * (geometry.table_blocks() + 2),
                    "{used} {inodes} {geometry:?}"
                );
                assert_eq!(blocks_per_group % 8, 0);
            }
        }
    }

    #[test]
    fn a_million_empty_files_do_not_make_a_huge_image() {
        let geometry = Geometry::new(6000, 1_000_011).unwrap();
        assert!(geometry.blocks < 6000 + 62_501 + 1000, "{geometry:?}");
    }

    #[test]
    fn more_than_128_gib_is_refused() {
        assert!(Geometry::new(33_000_000, 11).is_ok());
        assert_eq!(Geometry::new(33_554_432, 11).unwrap_err().code(), "limit");
    }
}
