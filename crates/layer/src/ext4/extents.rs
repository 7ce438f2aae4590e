//! Extent trees: from runs of blocks to what an inode and its index blocks hold.

use super::content::Run;
use super::{BLOCK, Put, low16};

const MAGIC: u16 = 0xf30a;
/// Bytes of a node's header, of an extent and of an index entry.
const RECORD: usize = 12;
/// Most blocks of one extent.
const MAX_LENGTH: u32 = 32_768;
/// Records of the node in the inode.
const IN_INODE: usize = 4;
/// Records of a node of its own.
const IN_BLOCK: usize = (BLOCK - RECORD) / RECORD;

/// Where the tree's blocks go, the node in the inode, and the blocks.
pub(super) struct Extents {
    pub(super) root: [u8; 60],
    pub(super) blocks: Vec<u8>,
}

/// Number of extents that the runs need.
fn count(runs: &[Run]) -> usize {
    runs.iter()
        .map(|run| run.length.div_ceil(MAX_LENGTH) as usize)
        .sum()
}

/// Number of blocks of the tree, beside the inode.
pub(super) fn block_count(runs: &[Run]) -> u32 {
    let (mut nodes, mut total) = (count(runs), 0);
    while nodes > IN_INODE {
        nodes = nodes.div_ceil(IN_BLOCK);
        total += nodes;
    }
    u32::try_from(total).expect("there are fewer extents than blocks")
}

/// Builds the tree; its blocks will be written from `first` on, leaves first.
pub(super) fn build(runs: &[Run], first: u32) -> Extents {
    let mut records: Vec<[u8; RECORD]> = Vec::with_capacity(count(runs));
    for run in runs {
        for offset in (0..run.length).step_by(MAX_LENGTH as usize) {
            let length = (run.length - offset).min(MAX_LENGTH);
            let mut record = [0; RECORD];
            record.put_u32(0, run.logical + offset);
            record.put_u16(4, low16(length));
            record.put_u32(8, run.start + offset);
            records.push(record);
        }
    }
    let mut blocks = Vec::new();
    let mut next = first;
    let mut depth = 0;
    while records.len() > IN_INODE {
        let mut parents = Vec::with_capacity(records.len().div_ceil(IN_BLOCK));
        for node in records.chunks(IN_BLOCK) {
            let mut block = [0; BLOCK];
            fill(&mut block, node, IN_BLOCK, depth);
            blocks.extend_from_slice(&block);
            let mut parent = [0; RECORD];
            parent[..4].copy_from_slice(&node[0][..4]);
            parent.put_u32(4, next);
            parents.push(parent);
            next += 1;
        }
        records = parents;
        depth += 1;
    }
    let mut root = [0; 60];
    fill(&mut root, &records, IN_INODE, depth);
    Extents { root, blocks }
}

/// Fills in a node.
fn fill(node: &mut [u8], records: &[[u8; RECORD]], room: usize, depth: u16) {
    let number = |count: usize| u16::try_from(count).expect("a block holds few records");
    node.put_u16(0, MAGIC);
    node.put_u16(2, number(records.len()));
    node.put_u16(4, number(room));
    node.put_u16(6, depth);
    for (record, place) in records.iter().zip(node[RECORD..].chunks_exact_mut(RECORD)) {
        place.copy_from_slice(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scattered(count: u32) -> Vec<Run> {
        (0..count)
            .map(|n| Run {
                logical: n * 20,
                start: 100 + n,
                length: 1,
            })
            .collect()
    }

    #[test]
    fn four_extents_fit_the_inode() {
        assert_eq!(block_count(&scattered(4)), 0);
        assert_eq!(
            block_count(&[Run {
                logical: 0,
                start: 9,
                length: 4 * MAX_LENGTH
            }]),
            0
        );
        assert_eq!(
            block_count(&[Run {
                logical: 0,
                start: 9,
                length: 4 * MAX_LENGTH + 1
            }]),
            1
        );
    }

    #[test]
    fn levels_are_added_as_needed() {
        for (extents, blocks, depth) in [(4, 0, 0), (5, 1, 1), (340, 1, 1), (1360, 4, 1), (1361, 5 + 1, 2)] {
            let runs = scattered(extents);
            let tree = build(&runs, 1000);
            assert_eq!(block_count(&runs), blocks, "{extents}");
            assert_eq!(tree.blocks.len(), blocks as usize * BLOCK, "{extents}");
            assert_eq!(tree.root[6], depth, "{extents}");
        }
    }
}
