//! From an archive to files.
//!
//! Links that are already there are followed, so a name may end up elsewhere on the drive but never outside. What an
//! entry makes is always new; of what was there only directories stay, and names keep the spelling that they had. Times of
//! directories come last, because what is put into them would change them.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;

use layer::LayerError;
use layer::tar::{Entry, Kind, Piece, Reader, Timestamp};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags, chmodat, linkat,
    mkdirat, openat, setxattr, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::pack::DOS_ATTRIBUTES;
use super::path::{Named, inner};
use super::remove::remove;
use super::root::{WindowsFiles, lookup};
use super::{CHUNK, FilesError};
use crate::windows::object::{Object, link_in_proc};

/// Most entries of an archive.
const ENTRIES: u64 = 16 << 20;

/// Reads the archive and makes what is in it.
pub(super) fn run(
    files: &WindowsFiles,
    named: &Named,
    replace: bool,
    input: impl Read,
) -> Result<(), FilesError> {
    let found = files.node(named, true)?;
    if !found.object(files).is_directory() {
        let text = format!("{} is not a directory, nothing can be put into it", named.whole);
        return Err(FilesError::invalid(text));
    }
    let mut extraction = Extraction {
        files,
        base: found.names.clone(),
        replace,
        parent: None,
        directories: Vec::new(),
    };
    let mut reader = Reader::new(BufReader::with_capacity(CHUNK, input), ENTRIES);
    while let Some(entry) = reader.next_entry().map_err(refuse)? {
        extraction.make(&entry, &mut reader)?;
    }
    extraction.finish()?;
    let read = io::copy(&mut reader.into_inner(), &mut io::sink());
    read.map_err(|error| FilesError::system("read", "the archive", error))?;
    Ok(())
}

fn refuse(error: LayerError) -> FilesError {
    match error {
        LayerError::Read { source } => FilesError::system("read", "the archive", source),
        error => FilesError::invalid(format!("the archive: {error}")),
    }
}

/// A directory that is finished at the end.
struct Finish {
    parts: Vec<String>,
    identity: (u32, u32, u64),
    time: Timestamp,
}

struct Extraction<'a> {
    files: &'a WindowsFiles,
    /// Names of the directory, from the root on.
    base: Vec<Vec<u8>>,
    replace: bool,
    /// Where the last entry was put; the next one mostly belongs there too.
    parent: Option<(Vec<String>, Object)>,
    /// Directories that get their times at the end.
    directories: Vec<Finish>,
}

impl Extraction<'_> {
    fn make<R: io::BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), FilesError> {
        let mut parts = inner(entry.path())?;
        let shown = parts.join("\\");
        let Some(name) = parts.pop() else {
            // The directory itself stays as it is.
            return match entry.kind {
                Kind::Directory => Ok(()),
                _ => Err(FilesError::invalid(format!(
                    "the archive: {:?} is not a name",
                    String::from_utf8_lossy(entry.path())
                ))),
            };
        };
        let (held, parent) = match self.parent.take() {
            Some((held, parent)) if held == parts => (held, parent),
            _ => {
                let parent = self.enter(&parts)?;
                (parts, parent)
            }
        };
        let result = self.put(&parent, held.len(), &name, &shown, entry, reader);
        if let Ok(Some(identity)) = result {
            let mut parts = held.clone();
            parts.push(name);
            self.directories.push(Finish {
                parts,
                identity,
                time: entry.mtime,
            });
        }
        self.parent = Some((held, parent));
        result.map(drop)
    }

    /// Makes what the entry says; if that is a directory, what tells it from others.
    fn put<R: io::BufRead>(
        &self,
        parent: &Object,
        depth: usize,
        name: &str,
        shown: &str,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<Option<(u32, u32, u64)>, FilesError> {
        let failed = |action| move |error: Errno| FilesError::system(action, shown, error);
        let link = match entry.kind {
            Kind::HardLink => Some(self.linked(shown, &entry.link)?),
            _ => None,
        };
        let mut name = name.as_bytes().to_vec();
        if let Some((spelled, existing)) = lookup(parent, &name, shown)? {
            name = spelled;
            if link
                .as_ref()
                .is_some_and(|link| link.identity() == existing.identity())
            {
                return Ok(None);
            }
            let directory = entry.kind == Kind::Directory;
            if existing.is_directory() && directory {
                // Its permissions are none that Windows knows of, and a share's are the host's.
                keep_attributes(&existing, entry, shown)?;
                return Ok(Some(existing.identity()));
            }
            if !self.replace && existing.is_directory() != directory {
                return Err(FilesError::refused(
                    shown,
                    if directory {
                        "cannot overwrite non-directory with directory"
                    } else {
                        "cannot overwrite directory with non-directory"
                    },
                ));
            }
            remove(parent, &name, shown)?;
        }
        match entry.kind {
            Kind::Regular => file(parent, &name, shown, entry, reader)?,
            Kind::HardLink => {
                if let Some(link) = link {
                    linkat(
                        CWD,
                        link.link_in_proc(),
                        parent,
                        &name[..],
                        AtFlags::SYMLINK_FOLLOW,
                    )
                    .map_err(failed("link"))?;
                }
            }
            Kind::Directory => {
                mkdirat(parent, &name[..], Mode::from_raw_mode(0o755)).map_err(failed("create"))?;
                let made =
                    Object::at(parent, &name).map_err(|error| FilesError::system("open", shown, error))?;
                let made = made.filter(Object::is_directory);
                let made =
                    made.ok_or_else(|| FilesError::refused(shown, "it was exchanged while it was made"))?;
                dress(&made, entry, shown)?;
                return Ok(Some(made.identity()));
            }
            Kind::Symlink => {
                let target = self.target(entry, depth, shown)?;
                symlinkat(&target[..], parent, &name[..]).map_err(failed("create"))?;
                let times = times(entry.mtime);
                utimensat(parent, &name[..], &times, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed("set the time of"))?;
            }
            Kind::Fifo | Kind::CharacterDevice | Kind::BlockDevice => {
                return Err(FilesError::invalid(format!(
                    "the archive: {shown} is a device or pipe of Linux, which Windows does not have"
                )));
            }
        }
        Ok(None)
    }

    /// The target of a link, which must stay on the drive.
    fn target(&self, entry: &Entry, depth: usize, shown: &str) -> Result<Vec<u8>, FilesError> {
        let target: Vec<u8> = entry
            .link
            .iter()
            .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
            .collect();
        let mut depth = self.base.len() + depth;
        let mut inside = !target.starts_with(b"/") && !target.contains(&b':');
        for part in target.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." if depth == 0 => inside = false,
                b".." => depth -= 1,
                _ => depth += 1,
            }
        }
        if inside {
            return Ok(target);
        }
        let target = String::from_utf8_lossy(&entry.link);
        Err(FilesError::invalid(format!(
            "the archive: {shown} is a link to {target:?}, which leads out of the drive"
        )))
    }

    /// Finds the file that a hard link gives another name, which is named as entries are.
    fn linked(&self, shown: &str, target: &[u8]) -> Result<Object, FilesError> {
        let parts = inner(target)?;
        let missing = || {
            let target = String::from_utf8_lossy(target);
            FilesError::refused(
                shown,
                format!("the target {target} of this hard link does not exist"),
            )
        };
        let found = self.files.resolve(self.absolute(&parts), false, shown)?;
        let found = found.ok_or_else(missing)?;
        let object = found.object(self.files);
        if object.kind() != FileType::RegularFile {
            return Err(missing());
        }
        object
            .try_clone()
            .map_err(|error| FilesError::system("open", shown, error))
    }

    fn absolute(&self, parts: &[String]) -> Vec<Vec<u8>> {
        let parts = parts.iter().map(|part| part.as_bytes().to_vec());
        self.base.iter().cloned().chain(parts).collect()
    }

    /// Opens a directory in which an entry is made, and makes it if need be.
    fn enter(&self, parts: &[String]) -> Result<Object, FilesError> {
        let shown = parts.join("\\");
        let failed = |error: io::Error| FilesError::system("open", &shown, error);
        let mut found = self.files.resolve(self.absolute(parts), true, &shown)?;
        if let (None, Some((name, above))) = (&found, parts.split_last()) {
            let parent = self.enter(above)?;
            match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                // A link that leads to nothing has the name.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(FilesError::system("create", &shown, error)),
            }
            found = self.files.resolve(self.absolute(parts), true, &shown)?;
        }
        let found = found.ok_or_else(|| FilesError::refused(&shown, "it leads to nothing"))?;
        let object = found.object(self.files);
        if !object.is_directory() {
            return Err(FilesError::refused(&shown, "it is not a directory"));
        }
        object.try_clone().map_err(failed)
    }

    fn finish(&mut self) -> Result<(), FilesError> {
        self.parent = None;
        for finish in std::mem::take(&mut self.directories).into_iter().rev() {
            let shown = finish.parts.join("\\");
            let found = self.files.resolve(self.absolute(&finish.parts), false, &shown);
            // The archive itself, or the container, may have put something else there.
            let Ok(Some(found)) = found else { continue };
            let directory = found.object(self.files);
            if directory.identity() != finish.identity {
                continue;
            }
            utimensat(
                CWD,
                directory.link_in_proc(),
                &times(finish.time),
                AtFlags::empty(),
            )
            .map_err(|error| FilesError::system("set the time of", &shown, error))?;
        }
        Ok(())
    }
}

fn file<R: io::BufRead>(
    parent: &Object,
    name: &[u8],
    shown: &str,
    entry: &Entry,
    reader: &mut Reader<R>,
) -> Result<(), FilesError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::from_raw_mode(0o644))
        .map_err(|error| FilesError::system("create", shown, error))?;
    let mut file = File::from(file);
    let filled = fill(&mut file, shown, reader).and_then(|()| {
        dress(&file, entry, shown)?;
        utimensat(CWD, link_in_proc(&file), &times(entry.mtime), AtFlags::empty())
            .map_err(|error| FilesError::system("set the time of", shown, error))
    });
    if filled.is_err() {
        // A part of a file must not be taken for the file; the error of the content is the one to report.
        let _ = unlinkat(parent, name, AtFlags::empty());
    }
    filled
}

fn fill<R: io::BufRead>(file: &mut File, shown: &str, reader: &mut Reader<R>) -> Result<(), FilesError> {
    use std::io::Seek;
    let failed = |error| FilesError::system("write", shown, error);
    let mut length = 0;
    while let Some(piece) = reader.next_piece().map_err(refuse)? {
        match piece {
            Piece::Data(bytes) => {
                file.write_all(bytes).map_err(failed)?;
                length += bytes.len() as u64;
            }
            Piece::Hole(hole) => {
                length += hole;
                file.seek(io::SeekFrom::Start(length)).map_err(failed)?;
            }
        }
    }
    file.set_len(length).map_err(failed)
}

/// Sets what Windows has of permissions and attributes on something new.
fn dress(made: impl AsFd, entry: &Entry, shown: &str) -> Result<(), FilesError> {
    keep_attributes(&made, entry, shown)?;
    let mode = match entry.kind {
        Kind::Directory => 0o755,
        _ if entry.mode & 0o222 == 0 => 0o444,
        _ => 0o644,
    };
    chmodat(
        CWD,
        link_in_proc(&made),
        Mode::from_raw_mode(mode),
        AtFlags::empty(),
    )
    .map_err(|error| FilesError::system("set the permissions of", shown, error))
}

/// Stores the attributes that the archive has for Wine.
fn keep_attributes(object: impl AsFd, entry: &Entry, shown: &str) -> Result<(), FilesError> {
    let stored = entry
        .xattrs
        .iter()
        .find(|(name, _)| name == DOS_ATTRIBUTES.as_bytes());
    let Some((_, value)) = stored else { return Ok(()) };
    match setxattr(link_in_proc(&object), DOS_ATTRIBUTES, value, XattrFlags::empty()) {
        Ok(()) => Ok(()),
        // The file matters more than that it is hidden.
        Err(Errno::OPNOTSUPP) => {
            tracing::warn!(path = shown, "attributes cannot be stored here, left out");
            Ok(())
        }
        Err(error) => Err(FilesError::system("set the attributes of", shown, error)),
    }
}

fn times(time: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: time.seconds,
            tv_nsec: time.nanoseconds.into(),
        },
    }
}
