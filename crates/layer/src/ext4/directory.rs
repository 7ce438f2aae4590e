//! Directory blocks: plain lists for small directories, hashed trees for large ones.

use super::hash::NameHash;
use super::output::Output;
use super::{BLOCK, Put, low16};
use crate::LayerError;

/// Type of an entry as directories record it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FileType {
    Regular = 1,
    Directory = 2,
    Character = 3,
    Block = 4,
    Fifo = 5,
    Symlink = 7,
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    pub(super) kind: FileType,
}

impl Child<'_> {
    fn size(&self) -> usize {
        (8 + self.name.len()).next_multiple_of(4)
    }
}

/// A written directory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) start: u32,
    pub(super) blocks: u32,
    pub(super) indexed: bool,
}

/// Most blocks of a directory that is searched from end to end.
const MAX_LINEAR: usize = 4;
/// Entries in the root of an index, and in another index block.
const ROOT_ENTRIES: usize = (BLOCK - 32) / 8;
const NODE_ENTRIES: usize = (BLOCK - 8) / 8;
/// Hash version: half MD4. The superblock says that characters are unsigned.
const HALF_MD4: u8 = 1;

/// Writes a directory.
pub(super) fn write(
    inode: u32,
    parent: u32,
    children: &[Child<'_>],
    hash: &NameHash,
    out: &mut Output<'_>,
) -> Result<Written, LayerError> {
    let start = out.next_block();
    let dots = [
        Child {
            name: b".",
            inode,
            kind: FileType::Directory,
        },
        Child {
            name: b"..",
            inode: parent,
            kind: FileType::Directory,
        },
    ];
    let bytes: usize = children.iter().map(Child::size).sum();
    let indexed = bytes > MAX_LINEAR * BLOCK;
    if indexed {
        write_indexed(&dots, children, hash, out)?;
    } else {
        let mut block = Block::new();
        for child in dots.iter().chain(children) {
            if !block.fits(child) {
                out.append(block.close())?;
                block = Block::new();
            }
            block.put(child);
        }
        out.append(block.close())?;
    }
    Ok(Written {
        start,
        blocks: out.next_block() - start,
        indexed,
    })
}

/// A leaf: the range of its entries and the hash they start at.
struct Leaf {
    start: usize,
    end: usize,
    hash: u32,
}

fn write_indexed(
    dots: &[Child<'_>; 2],
    children: &[Child<'_>],
    hash: &NameHash,
    out: &mut Output<'_>,
) -> Result<(), LayerError> {
    let mut order: Vec<(u32, u32, u32)> = (0u32..)
        .zip(children)
        .map(|(index, child)| {
            let (major, minor) = hash.hash(child.name);
            (major, minor, index)
        })
        .collect();
    order.sort_unstable();
    let child = |position: usize| &children[order[position].2 as usize];
    let leaves = leaves(&order, |position| child(position).size());

    let nodes = if leaves.len() <= ROOT_ENTRIES {
        0
    } else {
        leaves.len().div_ceil(NODE_ENTRIES)
    };
    // The index comes first, so that the position of each leaf is known.
    let leaf_block = |index: usize| number(1 + nodes + index);
    let all: Vec<(u32, u32)> = (0..)
        .zip(&leaves)
        .map(|(index, leaf)| (leaf.hash, leaf_block(index)))
        .collect();
    let mut block = vec![0; BLOCK];
    put(&mut block, 0, &dots[0], 12);
    put(&mut block, 12, &dots[1], BLOCK - 12);
    block[28] = HALF_MD4;
    block[29] = 8;
    block[30] = u8::from(nodes > 0);
    if nodes == 0 {
        put_index(&mut block[32..], &all, ROOT_ENTRIES);
        out.append(&block)?;
    } else {
        let parts: Vec<&[(u32, u32)]> = all.chunks(NODE_ENTRIES).collect();
        let top: Vec<(u32, u32)> = (0..)
            .zip(&parts)
            .map(|(index, part)| (part[0].0, number(1 + index)))
            .collect();
        put_index(&mut block[32..], &top, ROOT_ENTRIES);
        out.append(&block)?;
        for part in parts {
            let mut block = vec![0; BLOCK];
            block.put_u16(4, low16(number(BLOCK)));
            put_index(&mut block[8..], part, NODE_ENTRIES);
            out.append(&block)?;
        }
    }
    for leaf in &leaves {
        let mut block = Block::new();
        for position in leaf.start..leaf.end {
            block.put(child(position));
        }
        out.append(block.close())?;
    }
    Ok(())
}

/// Cuts the sorted entries into full blocks. A block that starts with the hash the one before ends with says so in
/// the lowest bit.
fn leaves(order: &[(u32, u32, u32)], size: impl Fn(usize) -> usize) -> Vec<Leaf> {
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut used = BLOCK;
    for position in 0..order.len() {
        let size = size(position);
        if used + size > BLOCK {
            let hash = order[position].0;
            let continues = position > 0 && order[position - 1].0 == hash;
            leaves.push(Leaf {
                start: position,
                end: position,
                hash: hash | u32::from(continues),
            });
            used = 0;
        }
        used += size;
        if let Some(leaf) = leaves.last_mut() {
            leaf.end = position + 1;
        }
    }
    leaves
}

/// Writes index entries. The place of the first one's hash holds the limit and the count.
fn put_index(area: &mut [u8], entries: &[(u32, u32)], limit: usize) {
    for (index, (hash, block)) in entries.iter().enumerate() {
        area.put_u32(index * 8, *hash);
        area.put_u32(index * 8 + 4, *block);
    }
    area.put_u16(0, low16(number(limit)));
    area.put_u16(2, low16(number(entries.len())));
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("directories have fewer than 2^32 blocks")
}

/// Writes one entry of a given length.
fn put(block: &mut [u8], offset: usize, child: &Child<'_>, length: usize) {
    block.put_u32(offset, child.inode);
    block.put_u16(offset + 4, low16(number(length)));
    block[offset + 6] = u8::try_from(child.name.len()).expect("names were checked");
    block[offset + 7] = child.kind as u8;
    block[offset + 8..offset + 8 + child.name.len()].copy_from_slice(child.name);
}

/// A block of entries being filled.
pub(super) struct Block {
    bytes: [u8; BLOCK],
    used: usize,
    last: usize,
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; BLOCK],
            used: 0,
            last: 0,
        }
    }

    fn fits(&self, child: &Child<'_>) -> bool {
        self.used + child.size() <= BLOCK
    }

    pub(super) fn put(&mut self, child: &Child<'_>) {
        put(&mut self.bytes, self.used, child, child.size());
        self.last = self.used;
        self.used += child.size();
    }

    /// Stretches the last entry to the end.
    pub(super) fn close(&mut self) -> &[u8; BLOCK] {
        let rest = BLOCK - self.last;
        self.bytes.put_u16(self.last + 4, low16(number(rest)));
        &self.bytes
    }
}
