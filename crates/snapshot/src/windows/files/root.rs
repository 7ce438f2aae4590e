//! The directory that is C:, or a share, and the paths in it, resolved as Windows would.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::Path;

use layer::windows::folded;
use rustix::fs::FileType;

use super::path::Named;
use super::{FilesError, extract, pack, stat};
use crate::windows::object::Object;

/// Most links on a path.
const LINKS: usize = 40;

/// Files of a container: its C:, or a share.
#[derive(Debug)]
pub struct WindowsFiles {
    pub(super) root: Object,
    read_only: bool,
}

/// An object that was found.
#[derive(Debug)]
pub(super) struct Located {
    /// Its names from the root on, as the host spells them.
    pub(super) names: Vec<Vec<u8>>,
    /// The directories on the way, from below the root on, and the object itself as the last one.
    objects: Vec<Object>,
}

impl WindowsFiles {
    /// Opens a directory of the host: `Files` in a merged root, or the source of a share.
    ///
    /// # Errors
    /// It is no directory.
    pub fn open(directory: &Path, read_only: bool) -> Result<Self, FilesError> {
        let shown = directory.to_string_lossy();
        let root = Object::directory(directory).map_err(|error| FilesError::system("open", &shown, error))?;
        Ok(Self { root, read_only })
    }

    /// Writes a line of JSON about a path: `name`, `size`, `mode` (as Go's `FileMode`), `mtime`, `linkTarget`, `kind`.
    ///
    /// # Errors
    /// The path does not exist, or is none.
    pub fn stat(&self, path: &str, output: impl Write) -> Result<(), FilesError> {
        stat::run(self, &Named::new(path)?, output)
    }

    /// Writes a tar of a path, whose names begin with the last part of the path. With `follow`, that of the target if it
    /// is a link.
    ///
    /// # Errors
    /// The path does not exist, or is none; or the reader went away.
    pub fn archive(&self, path: &str, follow: bool, output: impl Write) -> Result<(), FilesError> {
        pack::archive(self, &Named::new(path)?, follow, output)
    }

    /// Writes a tar of everything, without what is mounted in it.
    ///
    /// # Errors
    /// Something cannot be read, or the reader went away.
    pub fn export(&self, output: impl Write) -> Result<(), FilesError> {
        pack::export(self, output)
    }

    /// Reads a tar into a directory that exists. With `replace`, a directory may take the place of something else, and the
    /// reverse.
    ///
    /// # Errors
    /// The directory does not exist or may not be written to, or the archive is not one or holds what Windows cannot.
    pub fn extract(&self, path: &str, replace: bool, input: impl Read) -> Result<(), FilesError> {
        let named = Named::new(path)?;
        if self.read_only {
            return Err(FilesError::refused(path, "it is mounted read-only"));
        }
        extract::run(self, &named, replace, input)
    }

    /// The object that a request names.
    pub(super) fn node(&self, path: &Named, follow: bool) -> Result<Located, FilesError> {
        let parts = path.parts.iter().map(|part| part.as_bytes().to_vec());
        let found = self.resolve(parts.collect(), follow || path.must_be_directory, &path.whole)?;
        let found = found.ok_or_else(|| FilesError::not_found(&path.whole))?;
        if path.must_be_directory && !found.object(self).is_directory() {
            return Err(FilesError::refused(&path.whole, "it is not a directory"));
        }
        Ok(found)
    }

    /// Finds what these names lead to. Links on the way are followed, that at the end if `follow` says so. `None` if
    /// something is missing.
    pub(super) fn resolve(
        &self,
        names: Vec<Vec<u8>>,
        follow: bool,
        shown: &str,
    ) -> Result<Option<Located>, FilesError> {
        let mut rest = VecDeque::from(names);
        let mut found = Located {
            names: Vec::new(),
            objects: Vec::new(),
        };
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == b".." {
                if found.names.pop().is_none() {
                    return Err(leads_out(shown));
                }
                found.objects.pop();
                continue;
            }
            let directory = found.object(self);
            if !directory.is_directory() {
                return Err(FilesError::refused(
                    shown,
                    "a part of the path is not a directory",
                ));
            }
            let Some((name, object)) = lookup(directory, &name, shown)? else {
                return Ok(None);
            };
            if object.kind() == FileType::Symlink && (follow || !rest.is_empty()) {
                links += 1;
                if links > LINKS {
                    return Err(FilesError::refused(shown, "too many links on the way"));
                }
                let target = object
                    .target()
                    .map_err(|error| FilesError::system("read the link", shown, error))?;
                if target.starts_with(b"/") {
                    return Err(leads_out(shown));
                }
                let parts = target.split(|byte| *byte == b'/');
                let parts = parts.filter(|part| !matches!(*part, b"" | b"."));
                for part in parts.rev() {
                    rest.push_front(part.to_vec());
                }
                continue;
            }
            found.names.push(name);
            found.objects.push(object);
        }
        Ok(Some(found))
    }
}

impl Located {
    /// The object itself.
    pub(super) fn object<'a>(&'a self, root: &'a WindowsFiles) -> &'a Object {
        self.objects.last().unwrap_or(&root.root)
    }

    /// The path as Windows shows it.
    pub(super) fn shown(&self) -> String {
        let names: Vec<_> = self
            .names
            .iter()
            .map(|name| String::from_utf8_lossy(name))
            .collect();
        format!("C:\\{}", names.join("\\"))
    }
}

fn leads_out(shown: &str) -> FilesError {
    FilesError::refused(shown, "a link on the way leads out of the drive")
}

/// What a directory has under a name, and how it spells it: the name itself, else the first that is the same on Windows.
pub(super) fn lookup(
    directory: &Object,
    name: &[u8],
    shown: &str,
) -> Result<Option<(Vec<u8>, Object)>, FilesError> {
    let failed = |error| FilesError::system("open", shown, error);
    if let Some(found) = Object::at(directory, name).map_err(failed)? {
        return Ok(Some((name.to_vec(), found)));
    }
    let wanted = folded(&String::from_utf8_lossy(name));
    for other in directory.names().map_err(failed)? {
        if std::str::from_utf8(&other).is_ok_and(|other| folded(other) == wanted)
            && let Some(found) = Object::at(directory, &other).map_err(failed)?
        {
            return Ok(Some((other, found)));
        }
    }
    Ok(None)
}
