//! Images of disks that are open, checked and locked, as both back ends attach them.
//!
//! The lock is shared for reading and exclusive for writing, and belongs to the open file: a disk in use cannot be attached for
//! writing elsewhere, by any process, until the last user of that file is gone.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use hcs::HResult;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::failure::Failure;
use crate::patience::look_until;
use crate::vhd::{self, Inside};

/// How long the last user of an image may take to leave: a guest's mount that is being torn down, a process between fork and exec.
const PATIENCE: Duration = Duration::from_secs(5);

/// An image that is open, checked and locked.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) file: File,
    pub(crate) inside: Inside,
}

impl Image {
    /// Opens an image. Blocks for up to five seconds while somebody else has it.
    pub(crate) fn open(path: &Path, read_only: bool) -> Result<Self, Failure> {
        let cannot_open = |error| Failure::io(format!("cannot open disk {}", path.display()), error);
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(path)
            .map_err(cannot_open)?;
        if !file.metadata().map_err(cannot_open)?.is_file() {
            return Err(Failure::invalid(format!(
                "disk {} is not a regular file",
                path.display()
            )));
        }
        let inside = vhd::inspect(&file, path)?;
        let operation = match read_only {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        let locked = look_until(PATIENCE, || match flock(&file, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno.into()),
        });
        locked.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::new(
                HResult::SHARING_VIOLATION,
                format!("disk {} is attached elsewhere", path.display()),
            ),
            _ => Failure::io(format!("cannot lock disk {}", path.display()), error),
        })?;
        Ok(Self { file, inside })
    }
}
