//! Numbers of inodes on disk.

use super::tree::{Directory, Tree, idx};
use super::{FIRST_INODE, ROOT_INODE};

/// Names that share one whiteout inode.
pub(super) const WHITEOUT_LINKS: u32 = 60_000;

/// The number of each inode on disk: those that still have a name, in the order of arrival, then the whiteouts.
pub(super) struct Numbers {
    numbers: Vec<u32>,
    files: u32,
    /// Number of whiteouts, not of their inodes.
    pub(super) whiteouts: u32,
}

impl Numbers {
    pub(super) fn new(tree: &Tree) -> Self {
        let mut next = FIRST_INODE;
        let numbers = tree
            .inodes
            .iter()
            .enumerate()
            .map(|(index, inode)| match (index, inode.links) {
                (0, _) => ROOT_INODE,
                (_, 0) => 0,
                _ => {
                    next += 1;
                    next - 1
                }
            })
            .collect();
        let live = |directory: &&Directory| tree.inodes[idx(directory.inode)].links > 0;
        let whiteouts: usize = (0u32..)
            .zip(&tree.directories)
            .filter(|(_, directory)| live(directory))
            .map(|(index, _)| tree.children(index).filter(|(_, inode)| inode.is_none()).count())
            .sum();
        let whiteouts = u32::try_from(whiteouts).expect("the number of names is limited");
        Self {
            numbers,
            files: next - 1,
            whiteouts,
        }
    }

    pub(super) fn of(&self, inode: u32) -> u32 {
        self.numbers[idx(inode)]
    }

    /// The inode of the n-th whiteout.
    pub(super) fn whiteout(&self, index: u32) -> u32 {
        self.files + 1 + index / WHITEOUT_LINKS
    }

    /// The last inode in use.
    pub(super) fn last(&self) -> u32 {
        self.files + self.whiteouts.div_ceil(WHITEOUT_LINKS)
    }
}

/// Directories which still exist, with their place among all.
pub(super) fn live_directories<'a>(
    tree: &'a Tree,
    numbers: &'a Numbers,
) -> impl Iterator<Item = (u32, &'a Directory)> {
    (0u32..)
        .zip(&tree.directories)
        .filter(|(_, directory)| numbers.of(directory.inode) != 0)
}
