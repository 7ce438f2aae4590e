//! The end of an image: everything behind the file content, and the front.

use super::content::Run;
use super::directory::{self, Child, FileType, Written};
use super::geometry::Geometry;
use super::groups;
use super::hash::NameHash;
use super::inode::{FLAG_EXTENTS, FLAG_INDEX, Record, kind};
use super::node::{Inode, Node};
use super::numbers::{Numbers, WHITEOUT_LINKS, live_directories};
use super::output::Output;
use super::tree::{DirectoryId, ROOT, Tree, idx};
use super::{
    BLOCK, BLOCK_BYTES, DESCRIPTOR_BLOCKS, DESCRIPTORS_PER_BLOCK, FIRST_INODE, INODE, Put, ROOT_INODE,
    extents, low16,
};
use crate::{LayerError, Place, vhd};

/// Longest target inside an inode.
const FAST_SYMLINK: u16 = 59;
/// Most links of a directory before its count says "many".
const MAX_DIRECTORY_LINKS: u32 = 65_000;

/// Completes the image; its length with the footer.
///
/// `identity` is the digest of the archive. The identifiers of the disk and the seed of its hashes derive from it.
pub(crate) fn finish(mut tree: Tree, mut out: Output<'_>, identity: &[u8; 32]) -> Result<u64, LayerError> {
    intern_directories(&mut tree, &mut out)?;
    let mut uuid: [u8; 16] = *identity.first_chunk().expect("a digest has 32 bytes");
    // A UUID of the kind whose content is up to the maker.
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;

    let numbers = Numbers::new(&tree);
    let first_extra = out.next_block();
    write_extra(&tree, &mut out)?;
    let directories = write_directories(&tree, &numbers, &NameHash::new(&uuid), &mut out)?;
    let geometry = Geometry::new(out.next_block(), numbers.last())?;
    let table = out.next_block();
    write_table(&tree, &numbers, &directories, geometry, first_extra, &mut out)?;

    let descriptor_blocks = geometry.groups.div_ceil(DESCRIPTORS_PER_BLOCK);
    let mut free: Vec<(u32, u32)> = vec![(1 + descriptor_blocks, 1 + DESCRIPTOR_BLOCKS)];
    free.extend(tree.freed.iter().map(|run| (run.start, run.start + run.length)));
    let mut patches = Vec::new();
    groups::settle_sets(&tree, &numbers, &mut free, &mut patches);
    free.push((out.next_block() + 2 * geometry.groups, geometry.blocks));
    free.sort_unstable();

    let descriptors = groups::write_bitmaps(&tree, &numbers, geometry, table, &free, &mut out)?;
    let front = groups::front(&descriptors, geometry, uuid);
    let length = u64::from(geometry.blocks) * BLOCK_BYTES;
    out.reserve(length.saturating_sub(u64::from(out.next_block()) * BLOCK_BYTES))?;
    let mut id = [0; 16];
    id.copy_from_slice(&identity[16..]);
    let footer = vhd::footer(length, id);
    let mut writes: Vec<(u64, &[u8])> = vec![(0, &front), (length, &footer)];
    writes.extend(patches.iter().map(|(offset, bytes)| (*offset, &bytes[..])));
    let total = length + vhd::FOOTER as u64;
    out.finish(total, &writes)?;
    Ok(total)
}

/// Stores the attributes of directories, now that it is known which are opaque.
fn intern_directories(tree: &mut Tree, out: &mut Output<'_>) -> Result<(), LayerError> {
    for index in 0u32.. {
        let Some(directory) = tree.directories.get(idx(index)) else {
            break;
        };
        let (inode, opaque) = (idx(directory.inode), directory.opaque);
        let mut attributes = tree.directory_attributes.remove(&index).unwrap_or_default();
        if tree.inodes[inode].links == 0 {
            continue;
        }
        if opaque {
            attributes = attributes.with_opaque();
        }
        tree.inodes[inode].attributes = tree.sets.intern(&attributes, out, &Place::default())?;
    }
    Ok(())
}

/// The runs of a file.
fn runs<'a>(tree: &'a Tree, inode: &Inode, single: &'a mut [Run; 1]) -> &'a [Run] {
    match inode.node {
        Node::File { blocks: 0, .. } => &[],
        Node::File { start, blocks } => {
            single[0] = Run {
                logical: 0,
                start,
                length: blocks,
            };
            &single[..]
        }
        Node::Runs(index) => &tree.runs[idx(index)],
        _ => &[],
    }
}

const NO_RUN: [Run; 1] = [Run {
    logical: 0,
    start: 0,
    length: 0,
}];

/// Writes what inodes need beside their content: index blocks of extents, and long link targets.
fn write_extra(tree: &Tree, out: &mut Output<'_>) -> Result<(), LayerError> {
    for inode in tree.inodes.iter().filter(|inode| inode.links > 0) {
        match inode.node {
            Node::Symlink { offset, length } if length > FAST_SYMLINK => {
                let target = &tree.targets[idx(offset)..][..usize::from(length)];
                out.append(target)?;
                out.append_zeros(BLOCK - target.len())?;
            }
            _ => {
                let mut single = NO_RUN;
                let runs = runs(tree, inode, &mut single);
                if extents::block_count(runs) > 0 {
                    out.append(&extents::build(runs, out.next_block()).blocks)?;
                }
            }
        }
    }
    Ok(())
}

/// Writes all directories; what was written, by directory.
fn write_directories(
    tree: &Tree,
    numbers: &Numbers,
    hash: &NameHash,
    out: &mut Output<'_>,
) -> Result<Vec<Written>, LayerError> {
    let mut written = vec![Written::default(); tree.directories.len()];
    let mut whiteouts = 0;
    let mut children = Vec::new();
    for (index, directory) in live_directories(tree, numbers) {
        children.clear();
        for (name, inode) in tree.children(index) {
            children.push(match inode {
                Some(inode) => Child {
                    name,
                    inode: numbers.of(inode),
                    kind: file_type(tree.inodes[idx(inode)].node),
                },
                None => {
                    whiteouts += 1;
                    Child {
                        name,
                        inode: numbers.whiteout(whiteouts - 1),
                        kind: FileType::Character,
                    }
                }
            });
        }
        let own = numbers.of(directory.inode);
        let parent = numbers.of(tree.directories[idx(directory.parent)].inode);
        let result = directory::write(own, parent, &children, hash, out)?;
        let run = [Run {
            logical: 0,
            start: result.start,
            length: result.blocks,
        }];
        if extents::block_count(&run) > 0 {
            out.append(&extents::build(&run, result.start + result.blocks).blocks)?;
        }
        written[idx(index)] = result;
    }
    Ok(written)
}

fn file_type(node: Node) -> FileType {
    match node {
        Node::File { .. } | Node::Runs(_) => FileType::Regular,
        Node::Symlink { .. } => FileType::Symlink,
        Node::Directory(_) => FileType::Directory,
        Node::Character(_) => FileType::Character,
        Node::Block(_) => FileType::Block,
        Node::Fifo => FileType::Fifo,
    }
}

/// Writes the inode tables of all groups, which are one behind the other.
fn write_table(
    tree: &Tree,
    numbers: &Numbers,
    directories: &[Written],
    geometry: Geometry,
    first_extra: u32,
    out: &mut Output<'_>,
) -> Result<(), LayerError> {
    let mut extra = first_extra;
    // The root is the first inode; it has the second number, and those up to the first free one are reserved.
    out.append_zeros(INODE)?;
    for (index, inode) in tree.inodes.iter().enumerate() {
        if inode.links == 0 {
            continue;
        }
        out.append(&record(tree, inode, directories, &mut extra).encode())?;
        if index == 0 {
            out.append_zeros(idx(FIRST_INODE - 1 - ROOT_INODE) * INODE)?;
        }
    }
    let mut left = numbers.whiteouts;
    while left > 0 {
        let links = left.min(WHITEOUT_LINKS);
        out.append(&whiteout(links).encode())?;
        left -= links;
    }
    let unused = geometry.groups * geometry.inodes_per_group - numbers.last();
    out.append_zeros(idx(unused) * INODE)
}

/// One inode. `extra` is the first of its blocks among those of [`write_extra`].
fn record<'a>(tree: &'a Tree, inode: &Inode, directories: &[Written], extra: &mut u32) -> Record<'a> {
    let set = tree.sets.get(inode.attributes);
    let mut record = Record {
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        size: inode.size,
        links: low16(inode.links),
        blocks: u64::from(set.is_some_and(|set| set.block != 0)),
        flags: 0,
        mtime: inode.mtime,
        atime: inode.atime,
        ctime: inode.ctime,
        field: [0; 60],
        attributes: set,
    };
    let mut single = NO_RUN;
    match inode.node {
        Node::File { .. } | Node::Runs(_) => {
            record.mode |= kind::REGULAR;
            let runs = runs(tree, inode, &mut single);
            *extra += put_extents(&mut record, runs, *extra);
        }
        Node::Symlink { offset, length } => {
            record.mode = kind::SYMLINK | 0o777;
            if length > FAST_SYMLINK {
                single[0] = Run {
                    logical: 0,
                    start: *extra,
                    length: 1,
                };
                *extra += 1;
                put_extents(&mut record, &single, 0);
            } else {
                let length = usize::from(length);
                record.field[..length].copy_from_slice(&tree.targets[idx(offset)..][..length]);
            }
        }
        Node::Directory(DirectoryId(index)) => {
            let written = &directories[idx(index)];
            record.mode |= kind::DIRECTORY;
            let links = 2 + tree.directories[idx(index)].subdirectories;
            record.links = if links >= MAX_DIRECTORY_LINKS {
                1
            } else {
                low16(links)
            };
            record.size = u64::from(written.blocks) * BLOCK_BYTES;
            record.flags |= if written.indexed { FLAG_INDEX } else { 0 };
            single[0] = Run {
                logical: 0,
                start: written.start,
                length: written.blocks,
            };
            put_extents(&mut record, &single, written.start + written.blocks);
        }
        Node::Character(device) => {
            record.mode |= kind::CHARACTER;
            record.field.put_u32(4, device);
        }
        Node::Block(device) => {
            record.mode |= kind::BLOCK;
            record.field.put_u32(4, device);
        }
        Node::Fifo => record.mode |= kind::FIFO,
    }
    record
}

/// Puts the extents of `runs` into an inode; the number of index blocks, which start at `first`.
fn put_extents(record: &mut Record<'_>, runs: &[Run], first: u32) -> u32 {
    let index_blocks = extents::block_count(runs);
    record.flags |= FLAG_EXTENTS;
    record.field = extents::build(runs, first).root;
    record.blocks += runs.iter().map(|run| u64::from(run.length)).sum::<u64>() + u64::from(index_blocks);
    index_blocks
}

/// An inode for whiteouts: a character device 0/0.
fn whiteout(links: u32) -> Record<'static> {
    let never = crate::tar::Timestamp::default().into();
    Record {
        mode: kind::CHARACTER,
        uid: 0,
        gid: 0,
        size: 0,
        links: low16(links),
        blocks: 0,
        flags: 0,
        mtime: never,
        atime: never,
        ctime: never,
        field: [0; 60],
        attributes: None,
    }
}

/// Whether the root hides lower layers.
pub(crate) fn root_is_opaque(tree: &Tree) -> bool {
    tree.is_opaque(ROOT)
}
