//! Goes through an exported folder.
//!
//! Of what the list of deletions names, only that is a deletion which the layers have and nothing took the place of. A
//! directory that was deleted and made again has a deletion for each name that it lost: one of itself would, on Windows, also
//! delete the new one. The directories that lead to a deletion are found as well.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use layer::windows::transport::{DIRECTORY_SUFFIX, TOMBSTONES, read_tombstones};
use layer::windows::{LowerKind, LowerTables, Metadata, WindowsPath, folded};
use win32::file::Directory;

use super::super::store::privileges;
use super::{Difference, FILES, written};
use crate::error::{Result, SnapshotError};
use crate::windows::DEPTH;
use crate::windows::report::shown;

/// Deleted files of users; names in it are none that a layer can hold.
const RECYCLED: &str = "$Recycle.Bin";

/// Something that differs.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: WindowsPath,
    pub(super) what: What,
    /// The layers have something there.
    pub(super) existed: bool,
}

#[derive(Debug)]
pub(super) enum What {
    /// A directory, or a link that stands for one.
    Directory,
    /// A directory as the layers have it, which was not exported and leads to a deletion.
    Kept(Box<Metadata>),
    File,
    Deleted,
}

/// What was found so far.
struct Walk<'a> {
    lower: LowerTables<'a>,
    found: Vec<Found>,
    /// Where in that list a path is, as Windows compares paths.
    known: HashMap<Box<[u16]>, usize>,
}

/// A directory that is being read.
struct Level {
    directory: Directory,
    path: WindowsPath,
    /// The directories in it, the last one first.
    rest: Vec<String>,
}

impl Difference {
    /// Everything that differs below C:, in the order of an archive.
    pub(super) fn walk(&self) -> Result<Vec<Found>> {
        let folder = self.folder.path();
        let _privileges = privileges(folder)?;
        let root = Directory::open(folder).map_err(failed("open", folder))?;
        let mut walk = Walk {
            lower: self.lower(),
            found: Vec::new(),
            known: HashMap::new(),
        };
        match root.open_below(FILES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            files => walk.tree(files.map_err(failed("open", &folder.join(FILES)))?)?,
        }
        let list = folder.join(TOMBSTONES);
        let deleted = match root.open_file(TOMBSTONES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            file => {
                let file = file.map_err(failed("open", &list))?;
                read_tombstones(file.as_file(), &self.limits).map_err(written)?
            }
        };
        walk.deletions(&deleted);
        walk.found.sort_by(|one, other| one.path.order(&other.path));
        Ok(walk.found)
    }
}

impl Walk<'_> {
    /// Everything below `Files`. Trees may be deeper than a thread's stack.
    fn tree(&mut self, files: Directory) -> Result<()> {
        let path = WindowsPath::new(FILES).expect("a part of layers");
        let mut open = vec![self.level(files, path)?];
        while let Some(level) = open.last_mut() {
            let Some(name) = level.rest.pop() else {
                open.pop();
                continue;
            };
            let path = inner(&level.path, &name)?;
            let directory = level.directory.open_below(&name);
            let directory = directory.map_err(failed("open", Path::new(path.as_str())))?;
            if open.len() >= DEPTH {
                return Err(refused(&path, "is deeper than any program can name; remove it"));
            }
            open.push(self.level(directory, path)?);
        }
        Ok(())
    }

    /// Notes what is in a directory.
    fn level(&mut self, directory: Directory, path: WindowsPath) -> Result<Level> {
        let failed = || failed("list", Path::new(path.as_str()));
        let is_root = path.parent().is_none();
        let (mut described, mut directories) = (BTreeSet::new(), BTreeSet::new());
        for name in directory.list().map_err(failed())? {
            if is_root
                && description_of(&name)
                    .unwrap_or(&name)
                    .eq_ignore_ascii_case(RECYCLED)
            {
                continue;
            }
            let is_directory = directory.query(&name).map_err(failed())?.is_directory();
            match description_of(&name) {
                _ if is_directory => drop(directories.insert(name)),
                Some(described_name) => drop(described.insert(described_name.to_owned())),
                None => self.add(inner(&path, &name)?, What::File),
            }
        }
        if let Some(name) = directories.difference(&described).next() {
            return Err(refused(
                &inner(&path, name)?,
                "was exported by the system without a description",
            ));
        }
        for name in described {
            self.add(inner(&path, &name)?, What::Directory);
        }
        Ok(Level {
            directory,
            path,
            rest: directories.into_iter().rev().collect(),
        })
    }

    fn add(&mut self, path: WindowsPath, what: What) {
        self.known.insert(folded(path.as_str()), self.found.len());
        self.found.push(Found {
            existed: self.lower.object(&path).is_some(),
            path,
            what,
        });
    }

    fn at(&self, path: &WindowsPath) -> Option<&Found> {
        self.found.get(*self.known.get(&folded(path.as_str()))?)
    }

    fn deletions(&mut self, deleted: &[WindowsPath]) {
        for path in deleted {
            let second = path.components().nth(1).unwrap_or_default();
            if second.eq_ignore_ascii_case(RECYCLED) {
                continue;
            }
            match self.at(path).map(|found| &found.what) {
                Some(What::Directory) => self.emptied(path),
                Some(_) => {}
                None => self.deletion(path),
            }
        }
    }

    /// Deletes what the layers have in a directory that is a new one.
    fn emptied(&mut self, path: &WindowsPath) {
        let mut rest = vec![path.clone()];
        while let Some(path) = rest.pop() {
            for child in self.lower.children(&path) {
                match self.at(&child).map(|found| &found.what) {
                    Some(What::Directory) => rest.push(child),
                    Some(_) => {}
                    None => self.deletion(&child),
                }
            }
        }
    }

    fn deletion(&mut self, path: &WindowsPath) {
        let Some(lower) = self.lower.object(path) else {
            return;
        };
        let above = path.parent().and_then(|above| self.directory(&above));
        // What is above may be gone as well, or be no directory any more.
        if let Some(path) = above.and_then(|above| above.join(lower.path.name()).ok()) {
            self.add(path, What::Deleted);
        }
    }

    /// A directory as it is spelled in what was found, where it is put if it is missing. `None` if there is no such one.
    fn directory(&mut self, path: &WindowsPath) -> Option<WindowsPath> {
        if let Some(found) = self.at(path) {
            let is_directory = matches!(found.what, What::Directory | What::Kept(_));
            return is_directory.then(|| found.path.clone());
        }
        let Some(above) = path.parent() else {
            return Some(path.clone());
        };
        let above = self.directory(&above)?;
        let lower = self.lower.object(path)?;
        if lower.kind != LowerKind::Directory {
            return None;
        }
        let path = above.join(lower.path.name()).ok()?;
        self.add(path.clone(), What::Kept(Box::new(lower.metadata)));
        Some(path)
    }
}

/// The name of the directory that a file of this name describes.
fn description_of(name: &str) -> Option<&str> {
    let (stem, suffix) = name.split_at_checked(name.len().checked_sub(DIRECTORY_SUFFIX.len())?)?;
    (!stem.is_empty() && suffix.eq_ignore_ascii_case(DIRECTORY_SUFFIX)).then_some(stem)
}

fn inner(path: &WindowsPath, name: &str) -> Result<WindowsPath> {
    path.join(name).map_err(|problem| SnapshotError::NotALayer {
        path: shown(&format!("{path}/{name}")),
        problem: format!("has a name that layers cannot hold ({problem}); rename or remove it"),
    })
}

fn refused(path: &WindowsPath, problem: &str) -> SnapshotError {
    SnapshotError::NotALayer {
        path: shown(path.as_str()),
        problem: problem.to_owned(),
    }
}

pub(super) fn failed(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> SnapshotError + use<> {
    let path = PathBuf::from(path);
    move |source| SnapshotError::Io {
        operation,
        path,
        source,
    }
}
