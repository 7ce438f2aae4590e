//! From objects of a file system to entries of an archive.

use std::collections::HashMap;
use std::io::Write;

use rustix::fs::FileType;

use super::error::{FilesError, shown};
use super::format::{Entry, Kind, Time, Writer};
use super::node::Node;
use super::{CHUNK, warn};

/// Most bytes of a path; what is deeper cannot be named by any program.
pub(super) const PATH: usize = 4096;

/// Writes objects, and remembers which of them have more names.
#[derive(Debug)]
pub(super) struct Packer<W> {
    writer: Writer<W>,
    links: HashMap<(u32, u32, u64), Vec<u8>>,
    upper: bool,
}

impl<W: Write> Packer<W> {
    pub(super) fn new(output: W) -> Self {
        Self {
            writer: Writer::new(output, CHUNK),
            links: HashMap::new(),
            upper: false,
        }
    }

    /// For objects of an overlay's upper side, which are complete only without certain marks.
    pub(super) fn of_upper(output: W) -> Self {
        Self {
            upper: true,
            ..Self::new(output)
        }
    }

    /// Writes one object without what is in it. A socket has no form in an archive and is left out.
    pub(super) fn add(&mut self, node: &Node, name: &[u8]) -> Result<(), FilesError> {
        let Some(mut entry) = entry(node, name) else {
            return Ok(());
        };
        if entry.kind != Kind::Directory && node.stat.stx_nlink > 1 {
            if let Some(first) = self.links.get(&node.identity()) {
                entry.kind = Kind::HardLink;
                entry.link.clone_from(first);
                entry.size = 0;
                return self.writer.entry(&entry).map_err(FilesError::output);
            }
            self.links.insert(node.identity(), name.to_vec());
        }
        entry.attributes = node
            .attributes()
            .map_err(|error| FilesError::system("read the attributes of", name, error))?;
        if self.upper
            && entry
                .attributes
                .iter()
                .any(|(attribute, _)| is_incomplete(attribute))
        {
            return Err(FilesError::refused(
                name,
                "the overlay keeps a part of it elsewhere; it was mounted with redirect_dir or metacopy",
            ));
        }
        entry.attributes.retain(|(attribute, _)| carried(name, attribute));
        let content = if entry.size > 0 {
            let content = node.content();
            Some(content.map_err(|error| FilesError::system("open", name, error))?)
        } else {
            None
        };
        self.writer.entry(&entry).map_err(FilesError::output)?;
        match content {
            Some(content) => self
                .writer
                .content(content, entry.size)
                .map_err(FilesError::output)?
                .map_err(|error| FilesError::system("read", name, error)),
            None => Ok(()),
        }
    }

    /// Writes a directory or an empty file in the place of one that something is mounted on.
    pub(super) fn place(&mut self, node: &Node, name: &[u8]) -> Result<(), FilesError> {
        let mut entry = if node.is_directory() {
            Entry::new(Kind::Directory, [name, b"/"].concat())
        } else {
            Entry::new(Kind::Regular, name.to_vec())
        };
        dress(&mut entry, node);
        self.writer.entry(&entry).map_err(FilesError::output)
    }

    /// Writes an empty file that is a mark. It is the same whenever it is written.
    pub(super) fn mark(&mut self, name: &[u8]) -> Result<(), FilesError> {
        let mut entry = Entry::new(Kind::Regular, name.to_vec());
        entry.mode = 0o600;
        self.writer.entry(&entry).map_err(FilesError::output)
    }

    /// Writes the end marker.
    pub(super) fn finish(self) -> Result<(), FilesError> {
        self.writer.finish().map_err(FilesError::output)
    }
}

/// The entry without attributes. `None` for what has no form in an archive.
fn entry(node: &Node, name: &[u8]) -> Option<Entry> {
    let kind = match node.kind() {
        FileType::RegularFile => Kind::Regular,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharacterDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket | FileType::Unknown => return None,
    };
    let mut entry = Entry::new(kind, name.to_vec());
    dress(&mut entry, node);
    match kind {
        Kind::Directory => entry.name.push(b'/'),
        Kind::Regular => entry.size = node.stat.stx_size,
        Kind::Symlink => entry.link = node.target().ok()?,
        Kind::CharacterDevice | Kind::BlockDevice => {
            entry.device = (node.stat.stx_rdev_major, node.stat.stx_rdev_minor);
        }
        Kind::Fifo | Kind::HardLink => {}
    }
    Some(entry)
}

fn dress(entry: &mut Entry, node: &Node) {
    entry.mode = node.permissions();
    entry.uid = node.stat.stx_uid.into();
    entry.gid = node.stat.stx_gid.into();
    entry.time = Time {
        seconds: node.stat.stx_mtime.tv_sec,
        nanoseconds: node.stat.stx_mtime.tv_nsec,
    };
}

/// True for attributes that belong to the file and not to this machine: not the overlay's own, not labels.
pub(super) fn is_portable(attribute: &[u8]) -> bool {
    !attribute.starts_with(b"trusted.overlay.")
        && !attribute.starts_with(b"user.overlay.")
        && attribute != b"security.selinux"
}

fn is_incomplete(attribute: &[u8]) -> bool {
    matches!(
        attribute,
        b"trusted.overlay.redirect" | b"trusted.overlay.metacopy"
    )
}

fn carried(name: &[u8], attribute: &[u8]) -> bool {
    // The equals sign ends the name in a record.
    let expressible = !attribute.contains(&b'=');
    if !expressible {
        let (name, attribute) = (shown(name), shown(attribute));
        warn(&format!(
            "{name}: attribute {attribute} has a name that no archive can carry; left out"
        ));
    }
    expressible && is_portable(attribute)
}

/// Makes `path` the path of an object in the directory `path`, for the length of a call.
pub(super) fn inside<T>(
    path: &mut Vec<u8>,
    name: &[u8],
    run: impl FnOnce(&mut Vec<u8>) -> Result<T, FilesError>,
) -> Result<T, FilesError> {
    let length = path.len();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    if path.len() > PATH {
        return Err(FilesError::refused(
            &path[..path.len().min(200)],
            "the path is longer than any program can name; remove what is in it",
        ));
    }
    let result = run(path);
    path.truncate(length);
    result
}
