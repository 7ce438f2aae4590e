//! The directory of one sandbox on the host, and who owns it.
//!
//! ```text
//! <run>/<id>/emulator.lock   held by the owning process for as long as it lives
//!            vsock/<port>    sockets the guest connects to
//!            devices/<c>/<l> block device nodes (a tmpfs while the sandbox runs)
//!            shares/<name>   shared directories (a tmpfs that passes mounts on)
//!            root/           where the sandbox mounts its root, empty for the host
//! ```
//!
//! Other files in the directory are other people's and are left alone. The lock tells a directory in use from what a killed
//! process left: only the latter may be cleaned, by the next owner of the same id or by [`reap`].

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use hcs::HResult;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::failure::Failure;
use crate::sandbox::mounts::unmount_below;

const LOCK: &str = "emulator.lock";
const PARTS: [&str; 4] = ["vsock", "devices", "shares", "root"];

/// The directory of one sandbox. Dropping it removes our part of it.
#[derive(Debug)]
pub(crate) struct Workspace {
    directory: PathBuf,
    _lock: File,
}

impl Workspace {
    /// Takes the directory of a new sandbox. What a killed owner left is removed first.
    pub(crate) fn claim(run_dir: &Path, id: &str) -> Result<Self, Failure> {
        let directory = run_dir.join(id);
        let failed = |error| Failure::io(format!("cannot prepare {}", directory.display()), error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed)?;
        let lock = lock(&directory).map_err(failed)?.ok_or_else(|| {
            Failure::new(
                HResult::SYSTEM_ALREADY_EXISTS,
                format!("{} belongs to a process that is running", directory.display()),
            )
        })?;
        clean(&directory, id).map_err(failed)?;
        let workspace = Self {
            directory,
            _lock: lock,
        };
        for part in PARTS {
            let path = workspace.directory.join(part);
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .map_err(|error| Failure::io(format!("cannot create {}", path.display()), error))?;
        }
        Ok(workspace)
    }

    pub(crate) fn vsock(&self) -> PathBuf {
        self.directory.join("vsock")
    }

    pub(crate) fn devices(&self) -> PathBuf {
        self.directory.join("devices")
    }

    pub(crate) fn shares(&self) -> PathBuf {
        self.directory.join("shares")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove the sandbox directory");
        }
    }
}

/// Takes the lock of a directory; `None` when its owner lives.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let path = directory.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    // The last owner may have removed the file after we opened it; then the lock protects nothing.
    let (ours, current) = (file.metadata()?, fs::metadata(&path));
    let same = current.is_ok_and(|current| (current.dev(), current.ino()) == (ours.dev(), ours.ino()));
    Ok(same.then_some(file))
}

/// Removes everything of a sandbox but the directory and its lock.
fn clean(directory: &Path, id: &str) -> io::Result<()> {
    if PARTS.iter().any(|part| directory.join(part).exists()) {
        tracing::info!(sandbox = id, "cleaning up after a process that was killed");
        let cgroup = Cgroup::at(id).map_err(io::Error::other)?;
        cgroup.remove()?;
    }
    remove_parts(directory)
}

fn remove_parts(directory: &Path) -> io::Result<()> {
    // Nothing below may lead into a mounted tree when files are removed.
    unmount_below(&std::path::absolute(directory)?)?;
    for part in PARTS {
        match fs::remove_dir_all(directory.join(part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn remove(directory: &Path) -> io::Result<()> {
    remove_parts(directory)?;
    match fs::remove_file(directory.join(LOCK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::remove_dir(directory) {
        // Somebody else keeps files there.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes what killed processes left below a run directory: processes, mounts, cgroups, device nodes, directories.
///
/// Sandboxes whose owner lives are not touched. Returns the ids that were cleaned. Goes on after a failure and reports the
/// first one at the end. Blocks.
///
/// # Errors
/// When the directory cannot be read, or a rest cannot be removed.
pub fn reap(run_dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(run_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut cleaned = Vec::new();
    let mut first_error = None;
    for entry in entries.flatten() {
        let directory = entry.path();
        let Ok(id) = entry.file_name().into_string() else {
            continue;
        };
        // Not a directory of ours, or nothing of ours left in it.
        if !directory.join(LOCK).is_file() {
            continue;
        }
        match reap_one(&directory, &id) {
            Ok(true) => cleaned.push(id),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(sandbox = id, %error, "cannot clean up after a killed process");
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => Ok(cleaned),
    }
}

fn reap_one(directory: &Path, id: &str) -> io::Result<bool> {
    let Some(_lock) = lock(directory)? else {
        return Ok(false);
    };
    clean(directory, id)?;
    remove(directory)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_neither_taken_nor_reaped() {
        let run = tempfile::tempdir().unwrap();
        let held = Workspace::claim(run.path(), "one").unwrap();
        let code = Workspace::claim(run.path(), "one").unwrap_err().code;
        assert_eq!(code, HResult::SYSTEM_ALREADY_EXISTS);
        assert!(reap(run.path()).unwrap().is_empty());
        assert!(held.vsock().is_dir());
        drop(held);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_owner_left_is_removed_and_other_files_stay() {
        let run = tempfile::tempdir().unwrap();
        let directory = run.path().join("two");
        fs::create_dir_all(directory.join("vsock")).unwrap();
        fs::write(directory.join("vsock/1"), "").unwrap();
        fs::write(directory.join(LOCK), "").unwrap();
        fs::write(directory.join("shim.json"), "{}").unwrap();
        fs::create_dir(run.path().join("not-ours")).unwrap();
        assert_eq!(reap(run.path()).unwrap(), ["two"]);
        assert!(directory.join("shim.json").exists());
        assert!(!directory.join("vsock").exists() && !directory.join(LOCK).exists());
        assert!(run.path().join("not-ours").exists());
    }

    #[test]
    fn a_missing_run_directory_has_nothing_to_reap() {
        assert!(reap(Path::new("/no/such/directory")).unwrap().is_empty());
    }
}
