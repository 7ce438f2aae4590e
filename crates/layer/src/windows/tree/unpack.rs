//! From an archive to a tree.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::fs::{
    AtFlags, FileType, Mode, Timespec, Timestamps, XattrFlags, fchmod, fsetxattr, fstat, futimens, linkat,
    mknodat, unlinkat,
};
use rustix::io::Errno;

use super::host::{Host, create, failed, open_directory, open_file, open_root};
use super::{SIDE_FILE, WindowsTree};
use crate::LayerError;
use crate::hashing::HashedInput;
use crate::tar::{Piece, Timestamp};
use crate::windows::side::write_side_file;
use crate::windows::table::{NodeId, Table, What};
use crate::windows::{
    Attributes, Entry, Kind, LowerTables, Metadata, Parents, Spelling, WindowsLimits, WindowsPath,
    WindowsReader,
};

/// By this attribute a directory of an overlay shows nothing of those below.
const OPAQUE: &str = "trusted.overlay.opaque";
/// Where Wine keeps attributes.
const DOS_ATTRIBUTES: &str = "user.DOSATTRIB";
/// Where streams wait for the side file. The name is gone as soon as the file is open.
const SPOOL: &str = ".streams";

/// What unpacking produced.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpacked {
    /// SHA-256 of every byte of the archive up to the end of the stream.
    pub diff_id: [u8; 32],
    /// Length of the archive.
    pub tar_bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
}

/// Unpacks an uncompressed archive to an empty directory, in one pass. The archive is read to the end of the stream.
///
/// A layer without `parents` is a base layer; otherwise they are the layers below, the nearest first. Files there which
/// hard links name are linked, or copied where the host cannot link. Nothing is synced, nor removed on failure.
///
/// Where the layer hides something that the layers below have on the host, it gets the mark by which overlay mounts know
/// that: a character device 0/0, or an attribute of a directory that was made anew.
pub fn unpack_windows(
    tar: impl Read,
    directory: &Path,
    parents: Option<&[&WindowsTree]>,
    limits: &WindowsLimits,
) -> Result<Unpacked, LayerError> {
    unpack(tar, directory, parents, limits, None)
}

/// The same with a spelling that the host prefers.
pub fn unpack_windows_spelled(
    tar: impl Read,
    directory: &Path,
    parents: Option<&[&WindowsTree]>,
    limits: &WindowsLimits,
    spelling: Spelling,
) -> Result<Unpacked, LayerError> {
    unpack(tar, directory, parents, limits, Some(spelling))
}

fn unpack(
    tar: impl Read,
    directory: &Path,
    parents: Option<&[&WindowsTree]>,
    limits: &WindowsLimits,
    spelling: Option<Spelling>,
) -> Result<Unpacked, LayerError> {
    let root = open_root(directory)?;
    let (input, hasher) = HashedInput::new(tar, limits.max_tar_bytes);
    let trees = parents.unwrap_or_default();
    let lower = LowerTables::new(trees.iter().map(|tree| &tree.table));
    thread::scope(|scope| {
        let hashing = thread::Builder::new()
            .name("layer-hash".to_owned())
            .spawn_scoped(scope, || hasher.run())
            .map_err(|source| LayerError::Read { source })?;
        let known: Option<&dyn Parents> = parents.map(|_| &lower as &dyn Parents);
        let reader = WindowsReader::new(input, known, limits);
        let reader = match spelling {
            Some(spelling) => reader.spelled(spelling),
            None => reader,
        };
        let mut unpacking = Unpacking {
            reader,
            spool: spool(&root)?,
            spooled: 0,
            host: Host::new(root),
            lower: &lower,
            trees,
        };
        while unpacking.entry()? {}
        let Unpacking {
            reader,
            mut spool,
            mut host,
            ..
        } = unpacking;
        let entries = reader.entries();
        let (input, table) = reader.into_parts();
        let tar_bytes = input.drain().map_err(LayerError::read)?;
        let diff_id = hashing.join().expect("hashing does not panic");
        finish_directories(&mut host, &table, &lower)?;
        let side =
            create(host.root.as_fd(), SIDE_FILE).map_err(|source| failed("create", SIDE_FILE, source))?;
        write_side_file(&table, &mut spool, BufWriter::new(side))?;
        Ok(Unpacked {
            diff_id,
            tar_bytes,
            entries,
        })
    })
}

struct Unpacking<'a, R> {
    reader: WindowsReader<'a, HashedInput<R>>,
    spool: File,
    spooled: u64,
    host: Host,
    lower: &'a LowerTables<'a>,
    trees: &'a [&'a WindowsTree],
}

impl<R: Read> Unpacking<'_, R> {
    /// Takes the next entry; whether there was one.
    fn entry(&mut self) -> Result<bool, LayerError> {
        let Some(entry) = self.reader.next_entry()? else {
            return Ok(false);
        };
        let node = self.reader.node();
        match &entry.kind {
            Kind::Directory(_) => {
                let table = self.reader.table();
                self.host
                    .directory(table, node, true)
                    .map_err(|source| failed("create", entry.path.as_str(), source))?;
            }
            Kind::File { metadata, .. } => self.file(node, &entry, metadata)?,
            Kind::Stream { .. } => self.stream(&entry)?,
            Kind::HardLink { target, lower } => self.hard_link(node, &entry.path, target, *lower)?,
            // Links would lead whoever walks the tree out of it, and the absence of names is for the side file.
            Kind::Link { .. } | Kind::Tombstone => {}
        }
        Ok(true)
    }

    fn file(&mut self, node: NodeId, entry: &Entry, metadata: &Metadata) -> Result<(), LayerError> {
        let path = entry.path.as_str();
        let table = self.reader.table();
        let name = table.host_name(node).to_owned();
        let parent = table.parent(node);
        let directory = self.host.directory(table, parent, true);
        let directory = directory.map_err(|source| failed("create the directory of", path, source))?;
        let mut file = create(directory, &name).map_err(|source| failed("create", path, source))?;
        let write = |source| failed("write", path, source);
        while let Some(piece) = self.reader.next_piece()? {
            match piece {
                Piece::Data(bytes) => file.write_all(bytes).map_err(write)?,
                Piece::Hole(length) => {
                    let length = i64::try_from(length).map_err(|_| write(Errno::FBIG.into()))?;
                    file.seek(SeekFrom::Current(length)).map_err(write)?;
                }
            }
        }
        // A hole at the end has no bytes behind it.
        if file.stream_position().map_err(write)? > file.metadata().map_err(write)?.len() {
            file.set_len(entry.size()).map_err(write)?;
        }
        keep_attributes(&file, metadata).map_err(|error| write(error.into()))?;
        let read_only = metadata.attributes.has(Attributes::READ_ONLY);
        let mode = if read_only { 0o444 } else { 0o644 };
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(|error| write(error.into()))?;
        futimens(&file, &times(metadata)).map_err(|error| write(error.into()))
    }

    fn stream(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.reader.stream_begins(self.spooled);
        while let Some(piece) = self.reader.next_piece()? {
            let length = match piece {
                Piece::Data(bytes) => self.spool.write_all(bytes).map(|()| bytes.len() as u64),
                Piece::Hole(length) => {
                    io::copy(&mut io::repeat(0).take(length), &mut self.spool).map(|_| length)
                }
            };
            self.spooled +=
                length.map_err(|source| failed("keep a stream of", entry.path.as_str(), source))?;
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        node: NodeId,
        path: &WindowsPath,
        target: &WindowsPath,
        lower: bool,
    ) -> Result<(), LayerError> {
        let fail = |source| failed("link", path.as_str(), source);
        let table = self.reader.table();
        let name = table.host_name(node).to_owned();
        let (directory, other) = if lower {
            let (index, other) = self
                .lower
                .locate(target)
                .ok_or_else(|| fail(Errno::NOENT.into()))?;
            let tree = self.trees[index];
            let directory = open_directory(tree.root.as_fd(), &tree.table, tree.table.parent(other));
            (directory.map_err(fail)?, tree.table.host_name(other).to_owned())
        } else {
            let other = table.find(target).ok_or_else(|| fail(Errno::NOENT.into()))?;
            if table.reparse(other).is_some() {
                return Ok(());
            }
            let directory = self
                .host
                .directory(table, table.parent(other), true)
                .map_err(fail)?;
            let directory = directory.try_clone_to_owned().map_err(fail)?;
            (directory, table.host_name(other).to_owned())
        };
        let into = self
            .host
            .directory(table, table.parent(node), true)
            .map_err(fail)?;
        let mut source = open_file(directory.as_fd(), &other).map_err(fail)?;
        match linkat(&directory, &*other, into, &*name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            // Another file system, too many names already, or a host that lets only owners link.
            Err(Errno::XDEV | Errno::MLINK | Errno::PERM) => {
                let mut copy = create(into, &name).map_err(fail)?;
                io::copy(&mut source, &mut copy).map_err(fail)?;
                let mode = fstat(&source).map_err(|error| fail(error.into()))?.st_mode;
                let modified = source.metadata().and_then(|known| known.modified());
                copy.set_modified(modified.map_err(fail)?).map_err(fail)?;
                fchmod(&copy, Mode::from_raw_mode(mode & 0o777)).map_err(|error| fail(error.into()))
            }
            Err(error) => Err(fail(error.into())),
        }
    }
}

/// Makes the directories that only deletions and links name, hides what the layer hides, and gives all directories their
/// times, children first.
fn finish_directories(host: &mut Host, table: &Table, lower: &LowerTables<'_>) -> Result<(), LayerError> {
    let order = table.order();
    let directories = || {
        let directory = |node: &&(NodeId, usize)| matches!(table.what(node.0), What::Directory { .. });
        order.iter().filter(directory).map(|(node, _)| *node)
    };
    for node in directories() {
        let made = host.directory(table, node, true);
        made.map_err(|source| failed("create", table.path(node).as_str(), source))?;
    }
    for (node, _) in &order {
        hide(host, table, *node, lower)?;
    }
    for node in directories().rev() {
        let directory = host.directory(table, node, false);
        let directory = directory.map_err(|source| failed("open", table.path(node).as_str(), source))?;
        if let Some(metadata) = table.metadata(node) {
            keep_attributes(directory, metadata)
                .map_err(|error| failed("set the attributes of", table.path(node).as_str(), error.into()))?;
            futimens(directory, &times(metadata))
                .map_err(|error| failed("set the times of", table.path(node).as_str(), error.into()))?;
        }
    }
    Ok(())
}

/// Marks a name for overlay mounts, if it hides something that the layers below have.
fn hide(host: &mut Host, table: &Table, node: NodeId, lower: &LowerTables<'_>) -> Result<(), LayerError> {
    let opaque = match table.what(node) {
        What::Directory { .. } if table.is_tombstoned(node) => true,
        What::Gone => false,
        What::Object(_) if table.reparse(node).is_some() => false,
        What::Directory { .. } | What::Object(_) | What::Lower(_) => return Ok(()),
    };
    let path = table.path(node);
    let fail = |source| failed("hide what is below", path.as_str(), source);
    if lower.locate(&path).is_none() {
        return Ok(());
    }
    let marked = if opaque {
        let directory = host.directory(table, node, false).map_err(fail)?;
        fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())
    } else {
        let name = table.host_name(node).to_owned();
        let directory = host.directory(table, table.parent(node), true).map_err(fail)?;
        mknodat(directory, &*name, FileType::CharacterDevice, Mode::empty(), 0)
    };
    marked.map_err(|error| fail(error.into()))
}

/// Tells Wine, which keeps them as Samba does, of the attributes that the host has no permissions for.
fn keep_attributes(object: impl AsFd, metadata: &Metadata) -> Result<(), Errno> {
    let bits = metadata.attributes.bits() & (Attributes::HIDDEN | Attributes::SYSTEM);
    if bits == 0 {
        return Ok(());
    }
    let text = format!("{bits:#x}");
    match fsetxattr(object, DOS_ATTRIBUTES, text.as_bytes(), XattrFlags::empty()) {
        // The side file has them; a file system without such attributes only hides them from Wine.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A file without a name.
fn spool(root: &OwnedFd) -> Result<File, LayerError> {
    let fail = |source| failed("create", SPOOL, source);
    let file = create(root.as_fd(), SPOOL).map_err(fail)?;
    unlinkat(root, SPOOL, AtFlags::empty()).map_err(|error| fail(error.into()))?;
    Ok(file)
}

/// Times as the host keeps them.
fn times(metadata: &Metadata) -> Timestamps {
    let spec = |time| {
        let time = Timestamp::from(time);
        Timespec {
            tv_sec: time.seconds,
            tv_nsec: time.nanoseconds.into(),
        }
    };
    Timestamps {
        last_access: spec(metadata.times.accessed),
        last_modification: spec(metadata.times.modified),
    }
}
