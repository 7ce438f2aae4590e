//! The directory that is C:, or a share, and the paths in it, resolved as Windows would.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::Path;

use super::node::{NodeKind, Target};
use super::path::Named;
use super::{FilesError, Node, extract, pack, rights, stat};

/// Most links on a path.
const LINKS: usize = 40;

/// Files of a container: its C:, or a share.
#[derive(Debug)]
pub struct WindowsFiles {
    pub(super) root: Node,
    read_only: bool,
    /// It is C:, so that links to C: lead to its root.
    pub(super) drive: bool,
}

/// An object that was found.
#[derive(Debug)]
pub(super) struct Located {
    /// Its names from the root on, as the host spells them.
    pub(super) names: Vec<Vec<u8>>,
    /// The directories on the way, from below the root on, and the object itself as the last one.
    objects: Vec<Node>,
}

impl WindowsFiles {
    /// Opens a directory of the host: `Files` in a merged root, or the source of a share. Links of it that begin with a
    /// drive lead out.
    ///
    /// # Errors
    /// It is no directory.
    pub fn open(directory: &Path, read_only: bool) -> Result<Self, FilesError> {
        let _rights = rights()?;
        let shown = directory.to_string_lossy();
        let root = Node::root(directory).map_err(|error| FilesError::system("open", &shown, error))?;
        Ok(Self {
            root,
            read_only,
            drive: false,
        })
    }

    /// Opens the container's C:. Where links say so, `C:` is this directory.
    ///
    /// # Errors
    /// It is no directory.
    pub fn drive(directory: &Path) -> Result<Self, FilesError> {
        Ok(Self {
            drive: cfg!(windows),
            ..Self::open(directory, false)?
        })
    }

    /// Writes a line of JSON about a path: `name`, `size`, `mode` (as Go's `FileMode`), `mtime`, `linkTarget`, `kind`.
    ///
    /// # Errors
    /// The path does not exist, or is none.
    pub fn stat(&self, path: &str, output: impl Write) -> Result<(), FilesError> {
        let _rights = rights()?;
        stat::run(self, &Named::new(path)?, output)
    }

    /// Writes a tar of a path, whose names begin with the last part of the path. With `follow`, that of the target if it
    /// is a link.
    ///
    /// # Errors
    /// The path does not exist, or is none; or the reader went away.
    pub fn archive(&self, path: &str, follow: bool, output: impl Write) -> Result<(), FilesError> {
        let _rights = rights()?;
        pack::archive(self, &Named::new(path)?, follow, output)
    }

    /// Writes a tar of everything, without what is mounted in it.
    ///
    /// # Errors
    /// Something cannot be read, or the reader went away.
    pub fn export(&self, output: impl Write) -> Result<(), FilesError> {
        let _rights = rights()?;
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
        let _rights = rights()?;
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
            let looked = directory.lookup(&name);
            let looked = looked.map_err(|error| FilesError::system("open", shown, error))?;
            let Some((name, object)) = looked else {
                return Ok(None);
            };
            if object.kind() == NodeKind::Link && (follow || !rest.is_empty()) {
                links += 1;
                if links > LINKS {
                    return Err(FilesError::refused(shown, "too many links on the way"));
                }
                let target = object
                    .target()
                    .map_err(|error| FilesError::system("read the link", shown, error))?;
                let parts = match target {
                    Target::Relative(parts) => parts,
                    Target::Drive(parts) if self.drive => {
                        found.names.clear();
                        found.objects.clear();
                        parts
                    }
                    Target::Drive(_) | Target::Outside => return Err(leads_out(shown)),
                };
                for part in parts.into_iter().rev() {
                    rest.push_front(part);
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
    pub(super) fn object<'a>(&'a self, root: &'a WindowsFiles) -> &'a Node {
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
