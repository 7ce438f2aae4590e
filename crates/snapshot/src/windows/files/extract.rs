//! From an archive to files.
//!
//! Links that are already there are followed, so a name may end up elsewhere on the drive but never outside. What an
//! entry makes is always new; of what was there only directories stay, and names keep the spelling that they had. Times of
//! directories come last, because what is put into them would change them.

use std::io::{self, BufReader, Read, Seek as _, Write as _};

use layer::LayerError;
use layer::tar::{Entry, Kind, Piece, Reader, Timestamp};

use super::node::{Dress, NodeKind};
use super::pack::DOS_ATTRIBUTES;
use super::path::{Named, inner};
use super::remove::remove;
use super::root::WindowsFiles;
use super::{CHUNK, FilesError, Identity, NewFile, Node};

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
    identity: Identity,
    time: Timestamp,
}

struct Extraction<'a> {
    files: &'a WindowsFiles,
    /// Names of the directory, from the root on.
    base: Vec<Vec<u8>>,
    replace: bool,
    /// Where the last entry was put; the next one mostly belongs there too.
    parent: Option<(Vec<String>, Node)>,
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
        let result = self.put(&parent, &held, &name, &shown, entry, reader);
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
        parent: &Node,
        above: &[String],
        name: &str,
        shown: &str,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<Option<Identity>, FilesError> {
        let failed = |action| move |error: io::Error| FilesError::system(action, shown, error);
        let link = match entry.kind {
            Kind::HardLink => Some(self.linked(shown, &entry.link)?),
            _ => None,
        };
        let mut name = name.as_bytes().to_vec();
        if let Some((spelled, existing)) = parent.lookup(&name).map_err(failed("open"))? {
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
                existing.keep_attributes(stored(entry), shown)?;
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
            name = parent.spelled(&name).map_err(failed("list the directory of"))?;
            remove(parent, &name, shown)?;
        }
        match entry.kind {
            Kind::Regular => file(parent, &name, shown, entry, reader)?,
            Kind::HardLink => {
                if let Some(link) = link {
                    parent.make_hard_link(&name, &link).map_err(failed("link"))?;
                }
            }
            Kind::Directory => {
                parent.make_directory(&name).map_err(failed("create"))?;
                let made = parent.at(&name).map_err(failed("open"))?;
                let made = made.filter(|made| made.is_directory());
                let made =
                    made.ok_or_else(|| FilesError::refused(shown, "it was exchanged while it was made"))?;
                made.dress(&dress(entry, None), shown)?;
                return Ok(Some(made.identity()));
            }
            Kind::Symlink => {
                let target = self.target(entry, above.len(), shown)?;
                let directory = self.leads_to_directory(above, &target, shown);
                parent
                    .make_link(&name, &target, directory, entry.mtime)
                    .map_err(failed("create"))?;
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
        if self.files.drive && on_drive(&target).is_some() {
            (depth, inside) = (0, true);
        }
        for part in target.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." | b"C:" | b"c:" => {}
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

    /// Whether a link that is about to be made leads to a directory, which Windows wants to know.
    fn leads_to_directory(&self, above: &[String], target: &[u8], shown: &str) -> bool {
        if !cfg!(windows) {
            return false;
        }
        let (mut names, rest) = match on_drive(target) {
            Some(rest) => (Vec::new(), rest),
            None => (self.absolute(above), target),
        };
        let parts = rest.split(|byte| *byte == b'/');
        names.extend(
            parts
                .filter(|part| !matches!(*part, b"" | b"."))
                .map(<[u8]>::to_vec),
        );
        // One that leads to nothing is taken for one of a file.
        let found = self.files.resolve(names, true, shown);
        matches!(found, Ok(Some(found)) if found.object(self.files).is_directory())
    }

    /// Finds the file that a hard link gives another name, which is named as entries are.
    fn linked(&self, shown: &str, target: &[u8]) -> Result<Node, FilesError> {
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
        if object.kind() != NodeKind::File {
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
    fn enter(&self, parts: &[String]) -> Result<Node, FilesError> {
        let shown = parts.join("\\");
        let failed = |error: io::Error| FilesError::system("open", &shown, error);
        let mut found = self.files.resolve(self.absolute(parts), true, &shown)?;
        if let (None, Some((name, above))) = (&found, parts.split_last()) {
            let parent = self.enter(above)?;
            match parent.make_directory(name.as_bytes()) {
                // A link that leads to nothing has the name.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(FilesError::system("create", &shown, error));
                }
                _ => {}
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
            directory
                .set_modified(finish.time)
                .map_err(|error| FilesError::system("set the time of", &shown, error))?;
        }
        Ok(())
    }
}

fn file<R: io::BufRead>(
    parent: &Node,
    name: &[u8],
    shown: &str,
    entry: &Entry,
    reader: &mut Reader<R>,
) -> Result<(), FilesError> {
    let made = parent.make_file(name);
    let file = made.map_err(|error| FilesError::system("create", shown, error))?;
    let filled =
        fill(&file, shown, reader).and_then(|()| file.dress(&dress(entry, Some(entry.mtime)), shown));
    if filled.is_err() {
        drop(file);
        // A part of a file must not be taken for the file; the error of the content is the one to report.
        let _ = parent.remove(name, false);
    }
    filled
}

fn fill<R: io::BufRead>(file: &NewFile, shown: &str, reader: &mut Reader<R>) -> Result<(), FilesError> {
    let failed = |error| FilesError::system("write", shown, error);
    let mut file = file.content();
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

/// What Windows has of the permissions and attributes of an entry.
fn dress(entry: &Entry, modified: Option<Timestamp>) -> Dress<'_> {
    Dress {
        directory: entry.kind == Kind::Directory,
        read_only: entry.mode & 0o222 == 0,
        attributes: stored(entry),
        modified,
    }
}

/// The attributes that the archive has, in Wine's form.
fn stored(entry: &Entry) -> Option<&[u8]> {
    let name = DOS_ATTRIBUTES.as_bytes();
    let stored = entry.xattrs.iter().find(|(known, _)| known == name);
    stored.map(|(_, value)| &value[..])
}

/// The rest of a target, with slashes, that begins at the root of the drive.
fn on_drive(target: &[u8]) -> Option<&[u8]> {
    match target {
        [b'c' | b'C', b':', b'/', rest @ ..] => Some(rest),
        [b'/', rest @ ..] if !rest.starts_with(b"/") => Some(rest),
        _ => None,
    }
}
