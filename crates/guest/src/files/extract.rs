//! The verb `extract`: an archive into a directory of the container.
//!
//! Names are taken apart here: absolute ones begin at the directory, and one that leads out of it ends the work. Links
//! that are already there are followed as the container would follow them, so a name may end up elsewhere in the
//! container but never outside. What an entry makes is always new; of what was there only directories stay.
//!
//! Owner, permissions and attributes are set on the descriptor of what was made. Times and default access lists of
//! directories come last, because what is put into them would change or inherit them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat,
    chownat, linkat, makedev, mkdirat, mknodat, openat, setxattr, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use serde::Deserialize;

use super::error::{FilesError, shown};
use super::format::{Entry, Kind, ReadError, Reader, Time};
use super::node::{Node, link_in_proc};
use super::pack::is_portable;
use super::remove::remove;
use super::root::{Named, Root, Target};
use super::{CHUNK, warn};

/// The request.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    #[serde(flatten)]
    target: Target,
    path: String,
    #[serde(default)]
    owner: Option<Owner>,
    #[serde(default)]
    overwrite_dir_with_file: bool,
}

/// Who owns everything, whatever the archive says.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// The access list that files in a directory inherit.
const DEFAULT_LIST: &[u8] = b"system.posix_acl_default";

/// Reads the archive and makes what is in it.
pub(super) fn run(request: &Request, input: impl Read) -> Result<(), FilesError> {
    let root = Root::open(&request.target)?;
    let named = Named::new(&request.path)?;
    let node = root.node(&named, true)?;
    if !node.is_directory() {
        return Err(FilesError::invalid(format!(
            "{} is not a directory, nothing can be put into it",
            request.path
        )));
    }
    let mut extraction = Extraction {
        root: &root,
        base: named.whole.clone(),
        owner: request.owner,
        overwrite: request.overwrite_dir_with_file,
        parent: None,
        directories: Vec::new(),
        buffer: vec![0; CHUNK],
    };
    let mut reader = Reader::new(input);
    while let Some(entry) = reader.next_entry().map_err(refuse)? {
        extraction.make(entry, &mut reader)?;
    }
    extraction.finish()?;
    reader.drain().map_err(refuse)
}

fn refuse(error: ReadError) -> FilesError {
    match error {
        ReadError::Input(source) => FilesError::system("read", b"standard input", source),
        ReadError::Malformed(_) => FilesError::invalid(error.to_string()),
    }
}

/// What a hard link gives another name.
struct Linked {
    directory: Node,
    name: Vec<u8>,
    node: Node,
}

/// A directory that is finished at the end.
struct Finish {
    path: Vec<u8>,
    identity: (u32, u32, u64),
    time: Time,
    default_list: Option<Vec<u8>>,
}

struct Extraction<'a> {
    root: &'a Root,
    /// The directory, as the request names it.
    base: Vec<u8>,
    owner: Option<Owner>,
    overwrite: bool,
    /// Where the last entry was put; the next one mostly belongs there too.
    parent: Option<(Vec<u8>, Node)>,
    directories: Vec<Finish>,
    buffer: Vec<u8>,
}

impl Extraction<'_> {
    fn make<R: Read>(&mut self, entry: Entry, reader: &mut Reader<R>) -> Result<(), FilesError> {
        let path = inner(&entry.name)?;
        if path.is_empty() {
            // The directory itself stays as it is.
            return if entry.kind == Kind::Directory {
                Ok(())
            } else {
                Err(FilesError::invalid(format!(
                    "the archive: {:?} is not a name",
                    shown(&entry.name)
                )))
            };
        }
        let (above, name) = divide(&path);
        let (held, parent) = match self.parent.take() {
            Some((held, parent)) if held == above => (held, parent),
            _ => (above.to_vec(), self.enter(above)?),
        };
        let result = self.put(&parent, &path, name, entry, reader);
        self.parent = Some((held, parent));
        result
    }

    fn put<R: Read>(
        &mut self,
        parent: &Node,
        path: &[u8],
        name: &[u8],
        mut entry: Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), FilesError> {
        let failed = |action| move |error: Errno| FilesError::system(action, path, error);
        let link = match entry.kind {
            Kind::HardLink => Some(self.linked(path, &entry.link)?),
            _ => None,
        };
        let existing = Node::at(parent, name).map_err(|error| FilesError::system("open", path, error))?;
        if let Some(existing) = existing {
            if let Some(link) = &link
                && link.node.identity() == existing.identity()
            {
                return Ok(());
            }
            let directory = entry.kind == Kind::Directory;
            if existing.is_directory() && directory {
                self.dress(&existing, path, &mut entry)?;
                self.finish_later(&existing, path, entry);
                return Ok(());
            }
            if !self.overwrite && existing.is_directory() != directory {
                return Err(FilesError::refused(
                    path,
                    if directory {
                        "cannot overwrite non-directory with directory"
                    } else {
                        "cannot overwrite directory with non-directory"
                    },
                ));
            }
            remove(parent, name, &mut path.to_vec())?;
        }
        match entry.kind {
            Kind::Regular => return self.file(parent, path, name, &mut entry, reader),
            Kind::HardLink => {
                if let Some(link) = link {
                    linkat(&link.directory, &link.name[..], parent, name, AtFlags::empty())
                        .map_err(failed("link"))?;
                }
                return Ok(());
            }
            Kind::Directory => {
                mkdirat(parent, name, Mode::from_raw_mode(0o700)).map_err(failed("create"))?;
            }
            Kind::Symlink => symlinkat(&entry.link[..], parent, name).map_err(failed("create"))?,
            Kind::Fifo | Kind::CharacterDevice | Kind::BlockDevice => {
                node(parent, name, &entry).map_err(failed("create"))?;
            }
        }
        let made = Node::at(parent, name).map_err(|error| FilesError::system("open", path, error))?;
        let own = |made: &Node| {
            // A directory cannot have a second name, and who can move one here could write to it before.
            made.kind() == kind(entry.kind) && (made.is_directory() || made.stat.stx_nlink == 1)
        };
        let Some(made) = made.filter(own) else {
            return Err(FilesError::refused(path, "it was exchanged while it was made"));
        };
        self.dress(&made, path, &mut entry)?;
        if entry.kind == Kind::Directory {
            self.finish_later(&made, path, entry);
        } else {
            set_time(&made, entry.time).map_err(failed("set the time of"))?;
        }
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        parent: &Node,
        path: &[u8],
        name: &[u8],
        entry: &mut Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), FilesError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| FilesError::system("create", path, error))?;
        let mut file = File::from(file);
        let filled = self.fill(&mut file, path, reader).and_then(|()| {
            self.dress(&file, path, entry)?;
            set_time(&file, entry.time).map_err(|error| FilesError::system("set the time of", path, error))
        });
        if filled.is_err() {
            // A part of a file must not be taken for the file; the error of the content is the one to report.
            let _ = unlinkat(parent, name, AtFlags::empty());
        }
        filled
    }

    fn fill<R: Read>(
        &mut self,
        file: &mut File,
        path: &[u8],
        reader: &mut Reader<R>,
    ) -> Result<(), FilesError> {
        loop {
            let count = reader.content(&mut self.buffer).map_err(refuse)?;
            if count == 0 {
                return Ok(());
            }
            file.write_all(&self.buffer[..count])
                .map_err(|error| FilesError::system("write", path, error))?;
        }
    }

    /// Finds the target of a hard link, which is named as entries are.
    fn linked(&self, path: &[u8], target: &[u8]) -> Result<Linked, FilesError> {
        let target = inner(target)?;
        let (above, name) = divide(&target);
        let missing = || {
            FilesError::refused(
                path,
                format!("the target {} of this hard link does not exist", shown(&target)),
            )
        };
        let directory = self
            .root
            .find(&self.absolute(above), OFlags::DIRECTORY)
            .map_err(|_| missing())?;
        let failed = |error: io::Error| FilesError::system("open", &target, error);
        let directory = Node::of(directory).map_err(failed)?;
        let node = Node::at(&directory, name).map_err(failed)?.ok_or_else(missing)?;
        Ok(Linked {
            directory,
            name: name.to_vec(),
            node,
        })
    }

    fn absolute(&self, path: &[u8]) -> Vec<u8> {
        if path.is_empty() {
            return self.base.clone();
        }
        [&self.base[..], b"/", path].concat()
    }

    /// Opens a directory in which an entry is made, and makes it if need be.
    fn enter(&self, path: &[u8]) -> Result<Node, FilesError> {
        let failed = |error: Errno| FilesError::system("open", path, error);
        let find = |path: &[u8]| self.root.find(&self.absolute(path), OFlags::DIRECTORY);
        let found = match find(path) {
            Err(Errno::NOENT) if !path.is_empty() => {
                let (above, name) = divide(path);
                let parent = self.enter(above)?;
                match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => {
                        if let (Some(owner), Ok(Some(made))) = (self.owner, Node::at(&parent, name))
                            && made.is_directory()
                        {
                            chown(&made, owner.uid, owner.gid).map_err(failed)?;
                        }
                    }
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(FilesError::system("create", path, error)),
                }
                find(path)
            }
            other => other,
        };
        let node = found
            .map_err(io::Error::from)
            .and_then(Node::of)
            .map_err(|error| FilesError::system("open", path, error))?;
        if node
            .is_of_the_kernel()
            .map_err(|error| FilesError::system("stat", path, error))?
        {
            return Err(FilesError::refused(
                path,
                "a file system in which the kernel shows itself keeps no files",
            ));
        }
        Ok(node)
    }

    /// Sets owner, permissions and attributes. The default access list of a directory stays in the entry.
    fn dress(&self, made: impl AsFd, path: &[u8], entry: &mut Entry) -> Result<(), FilesError> {
        let link = link_in_proc(&made);
        let (uid, gid) = match self.owner {
            Some(owner) => (owner.uid, owner.gid),
            None => (id(entry.uid)?, id(entry.gid)?),
        };
        chown(&made, uid, gid).map_err(|error| FilesError::system("set the owner of", path, error))?;
        if entry.kind != Kind::Symlink {
            let mode = Mode::from_raw_mode(entry.mode);
            chmodat(CWD, &link[..], mode, AtFlags::empty())
                .map_err(|error| FilesError::system("set the permissions of", path, error))?;
        }
        for (name, value) in &entry.attributes {
            if name == DEFAULT_LIST || !is_portable(name) {
                continue;
            }
            set_attribute(&link, path, name, value)?;
        }
        Ok(())
    }

    fn finish_later(&mut self, made: &Node, path: &[u8], entry: Entry) {
        self.directories.push(Finish {
            path: path.to_vec(),
            identity: made.identity(),
            time: entry.time,
            default_list: entry
                .attributes
                .into_iter()
                .find(|(name, _)| name == DEFAULT_LIST)
                .map(|(_, value)| value),
        });
    }

    fn finish(&mut self) -> Result<(), FilesError> {
        self.parent = None;
        for finish in std::mem::take(&mut self.directories).into_iter().rev() {
            let path = &finish.path;
            let found = self
                .root
                .find(&self.absolute(path), OFlags::DIRECTORY | OFlags::NOFOLLOW);
            // The archive itself, or the container, may have put something else there.
            let Ok(found) = found else { continue };
            let node = Node::of(found).map_err(|error| FilesError::system("stat", path, error))?;
            if node.identity() != finish.identity {
                continue;
            }
            if let Some(list) = &finish.default_list {
                set_attribute(&node.link_in_proc(), path, DEFAULT_LIST, list)?;
            }
            set_time(&node, finish.time)
                .map_err(|error| FilesError::system("set the time of", path, error))?;
        }
        Ok(())
    }
}

/// The name of an entry as a path below the directory, without `.` and `..`.
fn inner(name: &[u8]) -> Result<Vec<u8>, FilesError> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return Err(FilesError::invalid(format!(
                        "the archive: {:?} leads out of the directory",
                        shown(name)
                    )));
                }
            }
            _ => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

/// The directory and the name in it.
fn divide(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn id(number: u64) -> Result<u32, FilesError> {
    u32::try_from(number)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| FilesError::invalid(format!("the archive: {number} is not a user or group id")))
}

fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::Regular | Kind::HardLink => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::CharacterDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Directory => FileType::Directory,
        Kind::Fifo => FileType::Fifo,
    }
}

fn node(parent: &Node, name: &[u8], entry: &Entry) -> Result<(), Errno> {
    let (major, minor) = entry.device;
    if entry.kind == Kind::CharacterDevice && entry.device == (0, 0) {
        // It would delete what is below.
        return Err(Errno::PERM);
    }
    let device = if entry.kind == Kind::Fifo {
        0
    } else {
        makedev(major, minor)
    };
    mknodat(parent, name, kind(entry.kind), Mode::from_raw_mode(0o600), device)
}

fn chown(made: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

fn set_time(made: impl AsFd, time: Time) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: time.seconds,
            tv_nsec: time.nanoseconds.into(),
        },
    };
    utimensat(CWD, link_in_proc(made), &times, AtFlags::empty())
}

/// Sets an attribute. A file system that has none of its kind is no reason to keep the file from the container.
fn set_attribute(link: &str, path: &[u8], name: &[u8], value: &[u8]) -> Result<(), FilesError> {
    match setxattr(link, name, value, XattrFlags::empty()) {
        Ok(()) => Ok(()),
        Err(error @ (Errno::OPNOTSUPP | Errno::PERM)) => {
            let (path, name) = (shown(path), shown(name));
            warn(&format!(
                "{path}: attribute {name} cannot be set here, left out: {error}"
            ));
            Ok(())
        }
        Err(Errno::INVAL | Errno::RANGE | Errno::NAMETOOLONG | Errno::TOOBIG) => {
            Err(FilesError::invalid(format!(
                "the archive: {} has an invalid attribute {}",
                shown(path),
                shown(name)
            )))
        }
        Err(error) => Err(FilesError::system("set an attribute of", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_at_the_directory_and_stay_in_it() {
        for (name, expected) in [
            ("a/b", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("./a//b/", "a/b"),
            ("a/../b", "b"),
            ("a/..", ""),
            ("./", ""),
            ("...", "..."),
        ] {
            assert_eq!(inner(name.as_bytes()).unwrap(), expected.as_bytes(), "{name}");
        }
        for name in ["..", "../a", "a/../../b", "/..", "./../a"] {
            assert_eq!(
                inner(name.as_bytes()).unwrap_err().code(),
                "INVALID_ARGUMENT",
                "{name}"
            );
        }
        assert_eq!(divide(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(divide(b"a"), (&b""[..], &b"a"[..]));
    }
}
