//! The names and inodes of one layer, in memory while its archive is read.
//!
//! Everything is an index into a few large arrays, because layers have millions of entries. A *name* is an entry of a
//! directory, an *inode* what names refer to. Names are found through one table for all directories. A directory lists
//! its names in the order of their arrival.
//!
//! The rules for what replaces what are here: a later entry replaces an earlier one of the same name with everything
//! below it, two directories merge, and an entry always wins over a whiteout of its own layer.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::attributes::{Attributes, INLINE, SetId, Sets};
use super::content::Run;
use super::node::{Inode, Metadata, Node};
use super::output::Output;
use crate::tar::Timestamp;
use crate::{LayerError, Place};

/// Ends a list of names.
const NONE: u32 = u32::MAX;
/// Stands for the inode of a name that is gone.
const GONE: u32 = u32::MAX;
/// Stands for the inode of a whiteout.
const WHITEOUT: u32 = u32::MAX - 1;

/// Most names of one file.
const MAX_LINKS: u32 = 64_000;

/// Number of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DirectoryId(pub(super) u32);

/// The root directory.
pub(crate) const ROOT: DirectoryId = DirectoryId(0);

/// Number of an inode in the order of arrival; not the number it gets on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InodeId(pub(super) u32);

#[derive(Debug)]
struct Name {
    directory: u32,
    inode: u32,
    /// Where the bytes are among the names.
    offset: u32,
    /// The next name of the directory.
    next: u32,
    length: u8,
    /// The archive also has a whiteout of this name.
    whited_out: bool,
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) inode: u32,
    pub(super) parent: u32,
    first: u32,
    last: u32,
    pub(super) subdirectories: u32,
    pub(super) opaque: bool,
}

/// What an existing name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Whiteout,
    Directory(DirectoryId),
    /// The target's place among the targets.
    Symlink(usize, usize),
    Other,
}

/// Limits of a tree.
#[derive(Debug, Clone)]
pub(crate) struct TreeLimits {
    /// Most names.
    pub(crate) names: u64,
    /// Most bytes of names, targets and attributes together.
    pub(crate) bytes: u64,
}

/// The tree.
pub(crate) struct Tree {
    pub(super) inodes: Vec<Inode>,
    pub(super) directories: Vec<Directory>,
    names: Vec<Name>,
    name_bytes: Vec<u8>,
    table: HashTable<u32>,
    hasher: RandomState,
    pub(super) targets: Vec<u8>,
    pub(super) runs: Vec<Box<[Run]>>,
    /// Attributes of directories, which may still become opaque.
    pub(super) directory_attributes: HashMap<u32, Attributes>,
    pub(super) sets: Sets,
    /// Blocks that lost their file.
    pub(super) freed: Vec<Run>,
    limits: TreeLimits,
    cost: u64,
    pub(super) steps: u64,
}

impl Tree {
    /// A tree with nothing but a root.
    pub(crate) fn new(limits: TreeLimits) -> Self {
        // Places of names and targets are 32-bit numbers.
        let limits = TreeLimits {
            bytes: limits.bytes.min(u64::from(u32::MAX)),
            ..limits
        };
        let mut tree = Self {
            inodes: Vec::new(),
            directories: Vec::new(),
            names: Vec::new(),
            name_bytes: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::new(),
            targets: Vec::new(),
            runs: Vec::new(),
            directory_attributes: HashMap::new(),
            sets: Sets::default(),
            freed: Vec::new(),
            limits,
            cost: 0,
            steps: 0,
        };
        let root = tree.new_directory(0, &Metadata::implied(Timestamp::default()));
        debug_assert_eq!(root, ROOT);
        tree
    }

    /// What a name refers to, if it exists.
    pub(crate) fn lookup(&self, directory: DirectoryId, name: &[u8]) -> Option<Found> {
        self.find(directory.0, name).map(|index| self.found(index))
    }

    /// The inode behind a name, where hard links can share it.
    pub(crate) fn linkable(&self, directory: DirectoryId, name: &[u8]) -> Option<InodeId> {
        let index = self.find(directory.0, name)?;
        match self.found(index) {
            Found::Whiteout | Found::Directory(_) => None,
            Found::Symlink(..) | Found::Other => Some(InodeId(self.names[idx(index)].inode)),
        }
    }

    /// Adds an inode that has no name yet.
    pub(crate) fn add(&mut self, node: Node, size: u64, metadata: &Metadata, attributes: SetId) -> InodeId {
        let id = u32::try_from(self.inodes.len()).expect("the number of names is limited");
        self.inodes.push(Inode {
            size,
            mtime: metadata.mtime.into(),
            atime: metadata.atime.into(),
            ctime: metadata.ctime.into(),
            node,
            uid: metadata.uid,
            gid: metadata.gid,
            links: 0,
            attributes,
            mode: metadata.mode,
        });
        InodeId(id)
    }

    /// Keeps the content of a file.
    pub(crate) fn content(&mut self, runs: &[Run]) -> Result<Node, LayerError> {
        match runs {
            [] => Ok(Node::File { start: 0, blocks: 0 }),
            [
                Run {
                    logical: 0,
                    start,
                    length,
                },
            ] => Ok(Node::File {
                start: *start,
                blocks: *length,
            }),
            runs => {
                self.charge(size_of_val(runs) as u64 + 32)?;
                let index = u32::try_from(self.runs.len()).expect("the number of names is limited");
                self.runs.push(runs.into());
                Ok(Node::Runs(index))
            }
        }
    }

    /// Keeps the target of a symbolic link.
    pub(crate) fn target(&mut self, target: &[u8]) -> Result<Node, LayerError> {
        self.charge(target.len() as u64)?;
        let offset = u32::try_from(self.targets.len()).expect("the bytes of targets are limited");
        self.targets.extend_from_slice(target);
        Ok(Node::Symlink {
            offset,
            length: u16::try_from(target.len()).expect("the caller checks the length"),
        })
    }

    /// Stores the attributes of an inode.
    pub(crate) fn intern(
        &mut self,
        attributes: &Attributes,
        out: &mut Output<'_>,
        place: &Place,
    ) -> Result<SetId, LayerError> {
        if !attributes.is_empty() {
            self.charge(INLINE as u64)?;
        }
        self.sets.intern(attributes, out, place)
    }

    /// Gives an inode a name, replacing what had it.
    pub(crate) fn link(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        inode: InodeId,
    ) -> Result<(), LayerError> {
        let links = &mut self.inodes[idx(inode.0)].links;
        if *links >= MAX_LINKS {
            let (maximum, place) = (u64::from(MAX_LINKS), Box::default());
            return Err(LayerError::Limit {
                what: "the number of links of one file",
                maximum,
                place,
            });
        }
        // Counted first: replacing a name of the same inode must not end it.
        *links += 1;
        self.set(directory.0, name, inode.0)
    }

    /// Makes a directory, or gives an existing one new metadata.
    pub(crate) fn directory(
        &mut self,
        parent: DirectoryId,
        name: &[u8],
        metadata: &Metadata,
        attributes: Attributes,
    ) -> Result<(), LayerError> {
        let directory = match self.lookup(parent, name) {
            Some(Found::Directory(directory)) => directory,
            _ => self.make_directory(parent, name, metadata)?,
        };
        self.describe(directory, metadata, attributes)
    }

    /// Gives a directory metadata and attributes.
    pub(crate) fn describe(
        &mut self,
        directory: DirectoryId,
        metadata: &Metadata,
        attributes: Attributes,
    ) -> Result<(), LayerError> {
        let inode = &mut self.inodes[idx(self.directories[idx(directory.0)].inode)];
        inode.mode = metadata.mode;
        inode.uid = metadata.uid;
        inode.gid = metadata.gid;
        inode.mtime = metadata.mtime.into();
        inode.atime = metadata.atime.into();
        inode.ctime = metadata.ctime.into();
        if attributes.is_empty() {
            self.directory_attributes.remove(&directory.0);
        } else {
            self.charge(attributes.cost())?;
            self.directory_attributes.insert(directory.0, attributes);
        }
        Ok(())
    }

    /// Makes a directory in the place of whatever had the name.
    pub(super) fn make_directory(
        &mut self,
        parent: DirectoryId,
        name: &[u8],
        metadata: &Metadata,
    ) -> Result<DirectoryId, LayerError> {
        let directory = self.new_directory(parent.0, metadata);
        let inode = self.directories[idx(directory.0)].inode;
        let index = self
            .set(parent.0, name, inode)
            .map(|()| self.find(parent.0, name));
        let index = index?.expect("it was just set");
        self.directories[idx(directory.0)].opaque = self.names[idx(index)].whited_out;
        self.directories[idx(parent.0)].subdirectories += 1;
        Ok(directory)
    }

    /// Records that a name of lower layers is deleted.
    pub(crate) fn whiteout(&mut self, directory: DirectoryId, name: &[u8]) -> Result<(), LayerError> {
        match self.find(directory.0, name) {
            Some(index) => {
                self.names[idx(index)].whited_out = true;
                if let Found::Directory(existing) = self.found(index) {
                    self.set_opaque(existing);
                }
                Ok(())
            }
            None => {
                self.set(directory.0, name, WHITEOUT)?;
                let index = self.find(directory.0, name).expect("it was just set");
                self.names[idx(index)].whited_out = true;
                Ok(())
            }
        }
    }

    /// Records that a directory hides those of lower layers.
    pub(crate) fn set_opaque(&mut self, directory: DirectoryId) {
        self.directories[idx(directory.0)].opaque = true;
    }

    /// Whether a directory hides those of lower layers.
    pub(crate) fn is_opaque(&self, directory: DirectoryId) -> bool {
        self.directories[idx(directory.0)].opaque
    }

    /// The names of a directory and their inodes; a whiteout has none.
    pub(super) fn children(&self, directory: u32) -> impl Iterator<Item = (&[u8], Option<u32>)> {
        self.list(directory).map(|index| {
            let inode = self.names[idx(index)].inode;
            (self.bytes(index), (inode != WHITEOUT).then_some(inode))
        })
    }

    fn list(&self, directory: u32) -> impl Iterator<Item = u32> {
        let first = self.directories[idx(directory)].first;
        std::iter::successors((first != NONE).then_some(first), |&index| {
            let next = self.names[idx(index)].next;
            (next != NONE).then_some(next)
        })
    }

    fn new_directory(&mut self, parent: u32, metadata: &Metadata) -> DirectoryId {
        let id = DirectoryId(u32::try_from(self.directories.len()).expect("the number of names is limited"));
        let InodeId(inode) = self.add(Node::Directory(id), 0, metadata, 0);
        self.inodes[idx(inode)].links = 1;
        self.directories.push(Directory {
            inode,
            parent,
            first: NONE,
            last: NONE,
            subdirectories: 0,
            opaque: false,
        });
        id
    }

    /// Lets a name refer to an inode. What it referred to before loses it.
    fn set(&mut self, directory: u32, name: &[u8], inode: u32) -> Result<(), LayerError> {
        if let Some(index) = self.find(directory, name) {
            let old = std::mem::replace(&mut self.names[idx(index)].inode, inode);
            self.release(directory, old);
            return Ok(());
        }
        if self.names.len() as u64 >= self.limits.names {
            let maximum = self.limits.names;
            return Err(LayerError::Limit {
                what: "the number of names",
                maximum,
                place: Box::default(),
            });
        }
        self.charge(name.len() as u64)?;
        let index = u32::try_from(self.names.len()).expect("the number of names is limited");
        let offset = u32::try_from(self.name_bytes.len()).expect("the bytes of names are limited");
        self.name_bytes.extend_from_slice(name);
        self.names.push(Name {
            directory,
            inode,
            offset,
            next: NONE,
            length: u8::try_from(name.len()).expect("the caller checks the length"),
            whited_out: false,
        });
        let list = &mut self.directories[idx(directory)];
        let last = std::mem::replace(&mut list.last, index);
        if last == NONE {
            list.first = index;
        } else {
            self.names[idx(last)].next = index;
        }
        let hash = self.hasher.hash_one((directory, name));
        let (names, bytes, hasher) = (&self.names, &self.name_bytes, &self.hasher);
        self.table.insert_unique(hash, index, |&other| {
            let other = &names[idx(other)];
            hasher.hash_one((
                other.directory,
                &bytes[idx(other.offset)..][..usize::from(other.length)],
            ))
        });
        Ok(())
    }

    /// Takes one name from an inode of `directory`, and with a directory everything below it.
    fn release(&mut self, directory: u32, inode: u32) {
        let mut pending = vec![(directory, inode)];
        while let Some((parent, inode)) = pending.pop() {
            if inode == WHITEOUT || inode == GONE {
                continue;
            }
            let Inode { node, links, .. } = &mut self.inodes[idx(inode)];
            *links -= 1;
            if *links > 0 {
                continue;
            }
            match *node {
                Node::Directory(DirectoryId(gone)) => {
                    self.directories[idx(parent)].subdirectories -= 1;
                    self.directory_attributes.remove(&gone);
                    let mut next = std::mem::replace(&mut self.directories[idx(gone)].first, NONE);
                    while next != NONE {
                        let index = next;
                        self.forget(index);
                        let name = &mut self.names[idx(index)];
                        next = name.next;
                        pending.push((gone, std::mem::replace(&mut name.inode, GONE)));
                    }
                }
                Node::File { start, blocks } if blocks > 0 => {
                    self.freed.push(Run {
                        logical: 0,
                        start,
                        length: blocks,
                    });
                }
                Node::Runs(index) => {
                    let runs = std::mem::take(&mut self.runs[idx(index)]);
                    self.freed.extend_from_slice(&runs);
                }
                _ => {}
            }
        }
    }

    /// Takes a name out of the table.
    fn forget(&mut self, index: u32) {
        let hash = self
            .hasher
            .hash_one((self.names[idx(index)].directory, self.bytes(index)));
        if let Ok(entry) = self.table.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
    }

    fn find(&self, directory: u32, name: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one((directory, name));
        self.table
            .find(hash, |&index| {
                self.names[idx(index)].directory == directory && self.bytes(index) == name
            })
            .copied()
    }

    fn found(&self, index: u32) -> Found {
        match self.names[idx(index)].inode {
            WHITEOUT => Found::Whiteout,
            inode => match self.inodes[idx(inode)].node {
                Node::Directory(directory) => Found::Directory(directory),
                Node::Symlink { offset, length } => {
                    Found::Symlink(idx(offset), idx(offset) + usize::from(length))
                }
                _ => Found::Other,
            },
        }
    }

    fn bytes(&self, index: u32) -> &[u8] {
        let name = &self.names[idx(index)];
        &self.name_bytes[idx(name.offset)..][..usize::from(name.length)]
    }

    /// Counts memory against the limit.
    fn charge(&mut self, bytes: u64) -> Result<(), LayerError> {
        self.cost += bytes;
        if self.cost > self.limits.bytes {
            let (maximum, place) = (self.limits.bytes, Box::default());
            return Err(LayerError::Limit {
                what: "the bytes of names, links and attributes",
                maximum,
                place,
            });
        }
        Ok(())
    }
}

/// An index.
pub(super) fn idx(index: u32) -> usize {
    index as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_stays_small() {
        // A million of each must fit in memory.
        assert!(size_of::<Inode>() <= 72, "{}", size_of::<Inode>());
        assert!(size_of::<Name>() <= 20, "{}", size_of::<Name>());
    }
}
