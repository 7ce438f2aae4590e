//! From the entries of a layer archive to the tree of its image: the acceptance rules for Linux layers.
//!
//! [`tar_to_vhd`] reads entry after entry on the caller's thread, hashes on another, and writes content as it comes.
//! Names never reach a file system: they become names inside the image and nothing else.
//!
//! The first broken rule ends the conversion with one error that names the entry. What was written to the file until
//! then is of no use; removing it is up to the caller.

use std::fs::File;
use std::io::Read;
use std::thread;

use crate::error::escape;
use crate::ext4::attributes::{Attributes, SetId};
use crate::ext4::content::Content;
use crate::ext4::image;
use crate::ext4::node::{Metadata, Node};
use crate::ext4::output::Output;
use crate::ext4::tree::{DirectoryId, Found, ROOT, Tree, TreeLimits};
use crate::hashing::HashedInput;
use crate::name::{self, Name};
use crate::tar::{Entry, Kind, Piece, Reader, Timestamp};
use crate::{LayerError, Place};

use crate::ext4::PathError;

/// No limit on entries is higher: they have 32-bit numbers, and no image could hold more inodes.
const MOST_ENTRIES: u64 = 1 << 28;
/// Longest target of a symbolic link.
const MAX_TARGET: usize = 4095;

/// Limits of one conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertOptions {
    /// Largest image, without its footer; at most 128 GiB.
    pub max_image_bytes: u64,
    /// Most entries of the archive, and most names in the image.
    pub max_entries: u64,
    /// Most bytes of the archive.
    pub max_tar_bytes: u64,
    /// Most bytes of all files together, holes included.
    pub max_content_bytes: u64,
    /// Most bytes of memory for names, link targets and attributes.
    pub max_metadata_bytes: u64,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            max_image_bytes: 128 << 30,
            max_entries: 4_000_000,
            max_tar_bytes: 128 << 30,
            max_content_bytes: 128 << 30,
            max_metadata_bytes: 1 << 30,
        }
    }
}

/// What a conversion produced.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Converted {
    /// SHA-256 of every byte of the archive up to the end of the stream.
    pub diff_id: [u8; 32],
    /// Length of the archive.
    pub tar_bytes: u64,
    /// Length of the image with its footer.
    pub image_bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// The layer hides everything below it. Overlay mounts merge roots whatever the attributes say: whoever stacks
    /// the layers must leave out the lower ones.
    pub opaque_root: bool,
}

/// Converts an uncompressed layer archive to an ext4 image with a VHD footer, in one pass.
///
/// The image depends on the archive alone. The archive is read to the end of the stream, also behind its end marker.
/// `out` is overwritten; it is neither synced nor removed on failure.
pub fn tar_to_vhd(tar: impl Read, out: &File, options: &ConvertOptions) -> Result<Converted, LayerError> {
    let (input, hasher) = HashedInput::new(tar, options.max_tar_bytes);
    thread::scope(|scope| {
        let hashing = thread::Builder::new()
            .name("layer-hash".to_owned())
            .spawn_scoped(scope, || hasher.run())
            .map_err(|source| LayerError::Read { source })?;
        let mut conversion = Conversion::new(input, Output::new(out, options.max_image_bytes)?, options);
        while conversion.entry()? {}
        let Conversion {
            reader, out, tree, ..
        } = conversion;
        let entries = reader.entries();
        let tar_bytes = reader.into_inner().drain().map_err(LayerError::read)?;
        let diff_id = hashing.join().expect("hashing does not panic");
        let opaque_root = image::root_is_opaque(&tree);
        let image_bytes = image::finish(tree, out, &diff_id)?;
        Ok(Converted {
            diff_id,
            tar_bytes,
            image_bytes,
            entries,
            opaque_root,
        })
    })
}

struct Conversion<'a, R> {
    reader: Reader<HashedInput<R>>,
    out: Output<'a>,
    tree: Tree,
    content: Content,
    options: &'a ConvertOptions,
    content_bytes: u64,
}

impl<'a, R: Read> Conversion<'a, R> {
    fn new(input: HashedInput<R>, out: Output<'a>, options: &'a ConvertOptions) -> Self {
        let entries = options.max_entries.min(MOST_ENTRIES);
        Self {
            reader: Reader::new(input, entries),
            out,
            tree: Tree::new(TreeLimits {
                names: entries,
                bytes: options.max_metadata_bytes,
            }),
            content: Content::default(),
            options,
            content_bytes: 0,
        }
    }

    /// Takes the next entry; whether there was one.
    fn entry(&mut self) -> Result<bool, LayerError> {
        let Some(entry) = self.reader.next_entry()? else {
            return Ok(false);
        };
        self.content_bytes = self.content_bytes.saturating_add(entry.size);
        if self.content_bytes > self.options.max_content_bytes {
            let (maximum, place) = (self.options.max_content_bytes, entry.place);
            return Err(LayerError::Limit {
                what: "the content of all files",
                maximum,
                place,
            });
        }
        self.place(&entry).map_err(|error| error.at(&entry.place))?;
        Ok(true)
    }

    fn place(&mut self, entry: &Entry) -> Result<(), LayerError> {
        match name::parse(entry)? {
            Name::Root if entry.kind == Kind::Directory => {
                let metadata = metadata(entry)?;
                let attributes = directory_attributes(entry)?;
                self.tree.describe(ROOT, &metadata, attributes)
            }
            Name::Root => Err(bad_name(entry, "only a directory can be the root")),
            Name::Residue => Ok(()),
            Name::Opaque { parent } => {
                let parent = self.parent(entry, parent)?;
                self.tree.set_opaque(parent);
                Ok(())
            }
            Name::Whiteout { parent, name } => {
                let parent = self.parent(entry, parent)?;
                self.tree.whiteout(parent, name)
            }
            Name::Plain { parent, name } => self.plain(entry, parent, name),
        }
    }

    fn plain(&mut self, entry: &Entry, parent: &[u8], name: &[u8]) -> Result<(), LayerError> {
        if entry.kind == Kind::HardLink {
            return self.hard_link(entry, parent, name);
        }
        let metadata = metadata(entry)?;
        let parent = self.parent(entry, parent)?;
        if entry.kind == Kind::Directory {
            let attributes = directory_attributes(entry)?;
            return self.tree.directory(parent, name, &metadata, attributes);
        }
        let (node, size) = match entry.kind {
            Kind::Symlink => (self.symlink(entry)?, entry.link.len() as u64),
            Kind::CharacterDevice => (Node::Character(device(entry)?), 0),
            Kind::BlockDevice => (Node::Block(device(entry)?), 0),
            Kind::Fifo => (Node::Fifo, 0),
            Kind::Regular | Kind::Directory | Kind::HardLink => {
                (Node::File { start: 0, blocks: 0 }, entry.size)
            }
        };
        let attributes = self.attributes(entry)?;
        let node = if entry.kind == Kind::Regular {
            self.file()?
        } else {
            node
        };
        let inode = self.tree.add(node, size, &metadata, attributes);
        self.tree.link(parent, name, inode)
    }

    /// Writes the content of a regular file.
    fn file(&mut self) -> Result<Node, LayerError> {
        self.content.begin();
        while let Some(piece) = self.reader.next_piece()? {
            match piece {
                Piece::Data(bytes) => self.content.data(bytes, &mut self.out)?,
                Piece::Hole(length) => self.content.hole(length, &mut self.out)?,
            }
        }
        let runs = self.content.end(&mut self.out)?;
        self.tree.content(runs)
    }

    fn symlink(&mut self, entry: &Entry) -> Result<Node, LayerError> {
        match entry.link.len() {
            0 => Err(bad_link(entry, "the target is empty")),
            1..=MAX_TARGET => self.tree.target(&entry.link),
            _ => Err(bad_link(entry, "the target is too long")),
        }
    }

    fn attributes(&mut self, entry: &Entry) -> Result<SetId, LayerError> {
        if entry.xattrs.is_empty() {
            return Ok(0);
        }
        let lists = entry.kind != Kind::Symlink;
        let attributes = Attributes::new(&entry.xattrs, false, lists, &entry.place)?;
        self.tree.intern(&attributes, &mut self.out, &entry.place)
    }

    fn hard_link(&mut self, entry: &Entry, parent: &[u8], name: &[u8]) -> Result<(), LayerError> {
        let (target_parent, target_name) =
            name::link_target(&entry.link).map_err(|problem| bad_link(entry, problem))?;
        let missing = "the target is not in this layer, where it must stand before the link";
        let target_parent = match self.tree.resolve(target_parent, None) {
            Ok(directory) => directory,
            Err(PathError::Missing) => return Err(bad_link(entry, missing)),
            Err(PathError::Bad(problem)) => return Err(bad_link(entry, problem)),
            Err(PathError::Layer(error)) => return Err(error),
        };
        match self.tree.lookup(target_parent, target_name) {
            None => return Err(bad_link(entry, missing)),
            Some(Found::Whiteout) => return Err(bad_link(entry, "the target is a whiteout")),
            Some(Found::Directory(_)) => return Err(bad_link(entry, "the target is a directory")),
            Some(Found::Symlink(..) | Found::Other) => {}
        }
        let Some(inode) = self.tree.linkable(target_parent, target_name) else {
            return Err(bad_link(entry, missing));
        };
        let parent = self.parent(entry, parent)?;
        if (parent, name) == (target_parent, target_name) {
            return Err(bad_link(entry, "the target is the link itself"));
        }
        self.tree.link(parent, name, inode)
    }

    /// The directory in which an entry goes, made where it is missing.
    fn parent(&mut self, entry: &Entry, parent: &[u8]) -> Result<DirectoryId, LayerError> {
        match self.tree.resolve(parent, Some(entry.mtime)) {
            Ok(directory) => Ok(directory),
            Err(PathError::Bad(problem)) => Err(LayerError::BadParent {
                problem,
                place: entry.place.clone(),
            }),
            Err(PathError::Missing) => Err(LayerError::BadParent {
                problem: "a component does not exist",
                place: entry.place.clone(),
            }),
            Err(PathError::Layer(error)) => Err(error),
        }
    }
}

fn metadata(entry: &Entry) -> Result<Metadata, LayerError> {
    let time = |time: Option<Timestamp>| time.unwrap_or(entry.mtime);
    Ok(Metadata {
        mode: entry.mode,
        uid: owner(entry, entry.uid, "uid")?,
        gid: owner(entry, entry.gid, "gid")?,
        mtime: entry.mtime,
        atime: time(entry.atime),
        ctime: time(entry.ctime),
    })
}

fn owner(entry: &Entry, id: i64, attribute: &str) -> Result<u32, LayerError> {
    // The largest number stands for "no owner" in system calls.
    u32::try_from(id)
        .ok()
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| bad_attribute(attribute, "the number is out of range", &entry.place))
}

/// The attributes of a directory, with room to mark it opaque.
fn directory_attributes(entry: &Entry) -> Result<Attributes, LayerError> {
    let attributes = Attributes::new(&entry.xattrs, true, true, &entry.place)?;
    if !attributes.is_empty() {
        attributes.clone().with_opaque().check(&entry.place)?;
    }
    Ok(attributes)
}

/// A device number in the kernel's encoding.
fn device(entry: &Entry) -> Result<u32, LayerError> {
    let (major, minor) = entry.device;
    let bad = |problem| bad_attribute("device", problem, &entry.place);
    let part = |number: i64, limit: u32| {
        u32::try_from(number)
            .ok()
            .filter(|&number| number < limit)
            .ok_or_else(|| bad("the number is out of range"))
    };
    let (major, minor) = (part(major, 1 << 12)?, part(minor, 1 << 20)?);
    if entry.kind == Kind::CharacterDevice && (major, minor) == (0, 0) {
        return Err(bad("0/0 is reserved for whiteouts"));
    }
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

fn bad_attribute(attribute: &str, problem: &'static str, place: &Place) -> LayerError {
    LayerError::BadAttribute {
        attribute: attribute.to_owned(),
        problem,
        place: Box::new(place.clone()),
    }
}

fn bad_name(entry: &Entry, problem: &'static str) -> LayerError {
    LayerError::BadName {
        problem,
        place: entry.place.clone(),
    }
}

fn bad_link(entry: &Entry, problem: &'static str) -> LayerError {
    LayerError::BadLink {
        problem,
        target: escape(&entry.link),
        place: entry.place.clone(),
    }
}
