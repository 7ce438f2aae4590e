//! Directories of the host that a sandbox sees.
//!
//! A share appears at `shares/<name>`, a mount point that the sandbox follows: the guest binds it from there to its place. A share
//! restricted to some files is a directory with just these files bound into it. Links in a share lead where they lead
//! for the guest, never back to the host: only the mounts are passed on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hcs::{HResult, Plan9Share, plan9_flags};

use crate::failure::{ALREADY_EXISTS, Failure};
use crate::machine::check_share;
use crate::sandbox::mounts::{Mounted, mount_point, remove_mount_point};

/// The shares of one sandbox.
#[derive(Debug)]
pub(crate) struct Shares {
    directory: PathBuf,
    shares: BTreeMap<String, Share>,
}

#[derive(Debug)]
struct Share {
    // Unmounted before the mount points are removed.
    mounts: Vec<Mounted>,
    points: Vec<MountPoint>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.mounts.clear();
        while self.points.pop().is_some() {}
    }
}

#[derive(Debug)]
struct MountPoint {
    path: PathBuf,
    directory: bool,
}

impl MountPoint {
    fn make(path: PathBuf, directory: bool) -> Result<Self, Failure> {
        mount_point(&path, directory)
            .map_err(|error| Failure::io(format!("cannot create {}", path.display()), error))?;
        Ok(Self { path, directory })
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        remove_mount_point(&self.path, self.directory);
    }
}

impl Shares {
    /// No shares yet. `directory` is a mount point whose mounts reach the sandbox.
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            shares: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, share: &Plan9Share) -> Result<(), Failure> {
        check_share(share)?;
        if self.shares.contains_key(&share.name) {
            return Err(Failure::new(
                ALREADY_EXISTS,
                format!("share {} exists", share.name),
            ));
        }
        let made = self.make(share)?;
        tracing::debug!(share = share.name, path = share.path, "directory shared");
        self.shares.insert(share.name.clone(), made);
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<(), Failure> {
        match self.shares.remove(name) {
            Some(_) => Ok(()),
            None => Err(Failure::new(
                HResult::ELEMENT_NOT_FOUND,
                format!("there is no share {name:?}"),
            )),
        }
    }

    fn make(&self, share: &Plan9Share) -> Result<Share, Failure> {
        let source = Path::new(&share.path);
        let read_only = share.flags & plan9_flags::READ_ONLY != 0;
        let is_directory = |path: &Path| {
            let metadata = path.metadata();
            metadata
                .map(|metadata| metadata.is_dir())
                .map_err(|error| Failure::io(format!("cannot share {}", path.display()), error))
        };
        if !is_directory(source)? {
            return Err(Failure::invalid(format!(
                "{} is not a directory: share its directory with the file in AllowedFiles",
                source.display()
            )));
        }
        // Filled step by step: on failure the drop undoes the steps taken.
        let mut made = Share {
            mounts: Vec::new(),
            points: Vec::new(),
        };
        let target = self.directory.join(&share.name);
        made.points.push(MountPoint::make(target.clone(), true)?);
        if share.flags & plan9_flags::RESTRICT_FILE_ACCESS == 0 {
            made.mounts.push(Mounted::bind(source, &target, read_only)?);
            return Ok(made);
        }
        for name in &share.allowed_files {
            let file = source.join(name);
            let point = target.join(name);
            made.points
                .push(MountPoint::make(point.clone(), is_directory(&file)?)?);
            made.mounts.push(Mounted::bind(&file, &point, read_only)?);
        }
        Ok(made)
    }
}
