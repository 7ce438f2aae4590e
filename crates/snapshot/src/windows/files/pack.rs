//! From files to archives.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

use super::node::NodeKind;
use super::path::Named;
use super::{CHUNK, FilesError, Identity, Node, WindowsFiles};
use crate::windows::DEPTH;

/// Most bytes of a path; what is deeper cannot be named by any program of Linux, Wine included, nor by most of Windows.
const PATH: usize = 4096;
/// Where Wine keeps attributes, and the record that carries them, from Windows too.
pub(super) const DOS_ATTRIBUTES: &str = "user.DOSATTRIB";
const RECORD: &str = "SCHILY.xattr.user.DOSATTRIB";

/// What is done where another file system is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mounts {
    /// Its files belong to the tree.
    Enter,
    /// Only the place belongs to the tree.
    Leave,
}

/// Writes the archive of a path.
pub(super) fn archive(
    files: &WindowsFiles,
    named: &Named,
    follow: bool,
    output: impl Write,
) -> Result<(), FilesError> {
    let found = files.node(named, follow)?;
    let mut packer = Packer::new(output, Mounts::Enter);
    packer.tree(found.object(files), named.in_archive().as_bytes())?;
    packer.finish()
}

/// Writes the archive of the root. The root itself has no entry.
pub(super) fn export(files: &WindowsFiles, output: impl Write) -> Result<(), FilesError> {
    let mut packer = Packer::new(output, Mounts::Leave);
    let root = files
        .root
        .try_clone()
        .map_err(|error| FilesError::system("open", "the root", error))?;
    packer.content(root, b"")?;
    packer.finish()
}

struct Packer<W: Write> {
    builder: Builder<io::BufWriter<W>>,
    mounts: Mounts,
    /// The first names of files that have several.
    links: HashMap<Identity, Vec<u8>>,
}

/// A directory that is being written.
struct Level {
    directory: Node,
    name: Vec<u8>,
    /// What is in it and was not yet written, the last name first.
    rest: Vec<Vec<u8>>,
}

impl Level {
    fn new(directory: Node, name: Vec<u8>) -> Result<Self, FilesError> {
        let names = directory.names();
        let mut rest = names.map_err(|error| FilesError::system("list", &shown(&name), error))?;
        rest.reverse();
        Ok(Self {
            directory,
            name,
            rest,
        })
    }
}

impl<W: Write> Packer<W> {
    fn new(output: W, mounts: Mounts) -> Self {
        Self {
            builder: Builder::new(io::BufWriter::with_capacity(CHUNK, output)),
            mounts,
            links: HashMap::new(),
        }
    }

    fn finish(self) -> Result<(), FilesError> {
        let mut output = self.builder.into_inner().map_err(FilesError::output)?;
        output.flush().map_err(FilesError::output)
    }

    /// Writes an object with everything in it. Trees may be deeper than a thread's stack.
    fn tree(&mut self, object: &Node, name: &[u8]) -> Result<(), FilesError> {
        self.add(object, name)?;
        if object.is_directory() {
            let object = object
                .try_clone()
                .map_err(|error| FilesError::system("open", &shown(name), error))?;
            self.content(object, name)?;
        }
        Ok(())
    }

    fn content(&mut self, directory: Node, name: &[u8]) -> Result<(), FilesError> {
        let mut open = vec![Level::new(directory, name.to_vec())?];
        while let Some(level) = open.last_mut() {
            let Some(child) = level.rest.pop() else {
                open.pop();
                continue;
            };
            if self.mounts == Mounts::Leave && level.name.is_empty() && Node::is_of_volume(&child) {
                continue;
            }
            let inner = match &level.name[..] {
                b"" => child.clone(),
                name => [name, b"/", &child].concat(),
            };
            if inner.len() > PATH {
                return Err(too_deep(&inner));
            }
            let found = level.directory.at(&child);
            let found = found.map_err(|error| FilesError::system("open", &shown(&inner), error))?;
            // A file that goes away meanwhile is none.
            let Some(found) = found else { continue };
            if self.mounts == Mounts::Leave && found.is_mounted_in(&level.directory) {
                self.place(&found, &inner)?;
                continue;
            }
            self.add(&found, &inner)?;
            if found.is_directory() {
                if open.len() >= DEPTH {
                    return Err(too_deep(&inner));
                }
                open.push(Level::new(found, inner)?);
            }
        }
        Ok(())
    }

    /// Writes a directory or an empty file in the place of one that something is mounted on.
    fn place(&mut self, object: &Node, name: &[u8]) -> Result<(), FilesError> {
        let kind = if object.is_directory() {
            EntryType::Directory
        } else {
            EntryType::Regular
        };
        self.entry(object, kind, name, b"", 0, io::empty())
    }

    /// Writes one object without what is in it. What Windows does not have is left out.
    fn add(&mut self, object: &Node, name: &[u8]) -> Result<(), FilesError> {
        let failed = |action, error| FilesError::system(action, &shown(name), error);
        match object.kind() {
            NodeKind::Directory => self.entry(object, EntryType::Directory, name, b"", 0, io::empty()),
            NodeKind::Link => {
                let target = object.link().map_err(|error| failed("read the link", error))?;
                self.entry(object, EntryType::Symlink, name, &target, 0, io::empty())
            }
            NodeKind::File => {
                if object.is_linked() {
                    if let Some(first) = self.links.get(&object.identity()).cloned() {
                        return self.entry(object, EntryType::Link, name, &first, 0, io::empty());
                    }
                    self.links.insert(object.identity(), name.to_vec());
                }
                let content = object.content().map_err(|error| failed("open", error))?;
                let size = content.metadata().map_err(|error| failed("stat", error))?.len();
                self.entry(object, EntryType::Regular, name, b"", size, content)
            }
            NodeKind::Other => {
                tracing::warn!(
                    name = shown(name),
                    "neither file nor link, left out of an archive"
                );
                Ok(())
            }
        }
    }

    fn entry(
        &mut self,
        object: &Node,
        kind: EntryType,
        name: &[u8],
        link: &[u8],
        size: u64,
        content: impl Read,
    ) -> Result<(), FilesError> {
        let mut name = name.to_vec();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        let (seconds, nanoseconds) = object.modified();
        let mut records: Vec<(&str, Vec<u8>)> = Vec::new();
        if seconds < 0 || nanoseconds > 0 {
            records.push(("mtime", decimal(seconds, nanoseconds).into_bytes()));
        }
        for (key, value) in [("path", &name[..]), ("linkpath", link)] {
            if value.len() > 100 || !value.is_ascii() {
                records.push((key, value.to_vec()));
            }
        }
        if !matches!(kind, EntryType::Symlink | EntryType::Link) {
            let stored = object.stored();
            let stored =
                stored.map_err(|error| FilesError::system("read the attributes of", &shown(&name), error))?;
            records.extend(stored.map(|stored| (RECORD, stored)));
        }
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (*key, &value[..]));
            self.builder
                .append_pax_extensions(records)
                .map_err(FilesError::output)?;
        }
        let mut header = Header::new_ustar();
        fill(&mut header.as_old_mut().name, &name);
        fill(&mut header.as_old_mut().linkname, link);
        header.set_entry_type(kind);
        header.set_mode(object.permissions() & 0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(seconds).unwrap_or(0));
        header.set_size(size);
        header.set_cksum();
        let mut content = Exactly {
            content,
            left: size,
            broken: None,
        };
        let appended = self.builder.append(&header, &mut content);
        match content.broken {
            Some(error) => Err(FilesError::system("read", &shown(&name), error)),
            None => appended.map_err(FilesError::output),
        }
    }
}

/// As much content as its header says; keeps errors of reading apart from those of writing.
struct Exactly<R> {
    content: R,
    left: u64,
    broken: Option<io::Error>,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if count == 0 {
            return Ok(0);
        }
        match self.content.read(&mut out[..count]) {
            Ok(0) => {
                self.broken = Some(io::Error::other("it became shorter while it was read"));
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.broken = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

/// Puts text into a field, cut to its length: a record says it whole.
fn fill(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// Seconds with their fraction; before 1970 the fraction counts forward, in text it counts from zero.
fn decimal(seconds: i64, nanoseconds: u32) -> String {
    if seconds >= 0 || nanoseconds == 0 {
        return format!("{seconds}.{nanoseconds:09}");
    }
    format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
}

fn too_deep(name: &[u8]) -> FilesError {
    FilesError::refused(
        &shown(&name[..name.len().min(200)]),
        "it is nested deeper than programs of Windows can name; remove what is in it",
    )
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
