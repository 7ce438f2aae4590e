//! An archive of a path of this host.
//!
//! Names begin with what the copy is to be called. Links are packed as they are; only the path itself is followed, where
//! asked. A file that has several names is packed once. Sockets are left out, as docker does, and named.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// What to pack.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The path.
    pub(crate) path: PathBuf,
    /// The name of the first entry; `None`: what is in the directory, without an entry for it.
    pub(crate) name: Option<String>,
    /// Owners as they are here; else everything is root's.
    pub(crate) owners: bool,
}

/// Writes the archive; answers the sockets that are not in it.
pub(crate) fn pack(source: &Source, output: impl Write) -> io::Result<Vec<PathBuf>> {
    let mut packer = Packer {
        builder: Builder::new(output),
        owners: source.owners,
        known: HashMap::new(),
        left_out: Vec::new(),
    };
    match &source.name {
        Some(name) => packer.add(&source.path, Path::new(name))?,
        None => packer.add_contents(&source.path, Path::new(""))?,
    }
    let Packer {
        builder, left_out, ..
    } = packer;
    builder.into_inner()?.flush()?;
    Ok(left_out)
}

struct Packer<W: Write> {
    builder: Builder<W>,
    owners: bool,
    /// Files with several names, and the first of them.
    known: HashMap<(u64, u64), PathBuf>,
    left_out: Vec<PathBuf>,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let found = fs::symlink_metadata(path).map_err(about)?;
        let mut header = Header::new_gnu();
        header.set_metadata(&found);
        if !self.owners {
            header.set_uid(0);
            header.set_gid(0);
        }
        let kind = found.file_type();
        if kind.is_dir() {
            header.set_size(0);
            self.builder.append_data(&mut header, name, io::empty())?;
            return self.add_contents(path, name);
        }
        if kind.is_symlink() {
            header.set_size(0);
            let target = fs::read_link(path).map_err(about)?;
            return self.builder.append_link(&mut header, name, target);
        }
        if let Some(first) = self.first_name(&found, name) {
            header.set_entry_type(EntryType::Link);
            header.set_size(0);
            return self.builder.append_link(&mut header, name, first);
        }
        if kind.is_file() {
            let file = fs::File::open(path).map_err(about)?;
            // Exactly as many bytes as the header says, whatever becomes of the file meanwhile.
            let content = Exact {
                file,
                left: found.len(),
            };
            return self
                .builder
                .append_data(&mut header, name, content)
                .map_err(about);
        }
        if header.entry_type() == EntryType::Regular || is_socket(&found) {
            self.left_out.push(path.to_owned());
            return Ok(());
        }
        header.set_size(0);
        self.builder.append_data(&mut header, name, io::empty())
    }

    fn add_contents(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(about)? {
            entries.push(entry.map_err(about)?.file_name());
        }
        // The same files give the same archive.
        entries.sort();
        for entry in entries {
            self.add(&path.join(&entry), &name.join(&entry))?;
        }
        Ok(())
    }

    /// The name under which this file is in the archive already.
    fn first_name(&mut self, found: &Metadata, name: &Path) -> Option<PathBuf> {
        match self.known.entry(identity(found)?) {
            std::collections::hash_map::Entry::Occupied(first) => Some(first.get().clone()),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(name.to_owned());
                None
            }
        }
    }
}

/// What a file with several names is recognised by.
#[cfg(unix)]
fn identity(found: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let several = !found.is_dir() && found.nlink() > 1;
    several.then(|| (found.dev(), found.ino()))
}

/// Names are not counted here: each is packed as a file of its own.
#[cfg(windows)]
fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}

#[cfg(unix)]
fn is_socket(found: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_socket()
}

#[cfg(windows)]
fn is_socket(_: &Metadata) -> bool {
    false
}

/// As many bytes as a header announced: a file that shrinks is filled up with zeroes, one that grows is cut.
struct Exact {
    file: fs::File,
    left: u64,
}

impl io::Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        let mut count = self.file.read(buffer)?;
        if count == 0 {
            buffer.fill(0);
            count = wanted;
        }
        self.left -= count as u64;
        Ok(count)
    }
}
