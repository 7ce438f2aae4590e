//! The host's file system: every object below the descriptor of its directory, no link followed.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fchmod, fstat, mkdirat, openat};
use rustix::io::Errno;

use crate::LayerError;
use crate::error::escape;
use crate::windows::table::{NodeId, ROOT, Table};

/// Most directories that are held open.
const MAX_OPEN: usize = 128;

/// The directories of a tree, the recent ones held open.
pub(super) struct Host {
    pub(super) root: OwnedFd,
    open: HashMap<NodeId, OwnedFd>,
}

impl Host {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            open: HashMap::new(),
        }
    }

    /// The directory of a name, made with those above it where they are missing.
    pub(super) fn directory(
        &mut self,
        table: &Table,
        node: NodeId,
        make: bool,
    ) -> io::Result<BorrowedFd<'_>> {
        let mut missing = Vec::new();
        let mut known = node;
        while known != ROOT && !self.open.contains_key(&known) {
            missing.push(known);
            known = table.parent(known);
        }
        let mut from = known;
        for next in missing.into_iter().rev() {
            let above = match from {
                ROOT => self.root.as_fd(),
                from => self.open[&from].as_fd(),
            };
            let name = table.host_name(next);
            if make {
                match mkdirat(above, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let directory = open_below(above, name)?;
            if make {
                fchmod(&directory, Mode::from_raw_mode(0o755))?;
            }
            if self.open.len() >= MAX_OPEN {
                self.open.clear();
            }
            self.open.insert(next, directory);
            from = next;
        }
        Ok(match node {
            ROOT => self.root.as_fd(),
            node => self.open[&node].as_fd(),
        })
    }
}

/// Opens the directory of a name without keeping those above.
pub(super) fn open_directory(root: BorrowedFd<'_>, table: &Table, node: NodeId) -> io::Result<OwnedFd> {
    let mut names = Vec::new();
    let mut above = node;
    while above != ROOT {
        names.push(table.host_name(above));
        above = table.parent(above);
    }
    let mut directory = root.try_clone_to_owned()?;
    for name in names.into_iter().rev() {
        directory = open_below(directory.as_fd(), name)?;
    }
    Ok(directory)
}

pub(super) fn open_below(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

pub(super) fn open_root(directory: &Path) -> Result<OwnedFd, LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, directory, flags, Mode::empty())
        .map_err(|error| failed("open the directory", &directory.to_string_lossy(), error.into()))
}

/// Opens a regular file that exists. A pipe in its place does not block.
pub(super) fn open_file(directory: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no regular file",
        ));
    }
    Ok(file.into())
}

/// Creates a file where nothing is.
pub(super) fn create(directory: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, Mode::from_raw_mode(0o644))?.into())
}

pub(super) fn failed(operation: &'static str, path: &str, source: io::Error) -> LayerError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LayerError::NoSpace { source },
        _ => LayerError::Tree {
            operation,
            path: escape(path.as_bytes()),
            source,
        },
    }
}
