//! Mounts on the host that a sandbox needs: small tmpfs trees and bind mounts of shared directories.
//!
//! Each type unmounts on drop. Unmounting is lazy: a guest that still uses a share keeps it until it lets go. A killed process
//! cannot drop anything; [`unmount_below`] is for the one that cleans up after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
    move_mount, open_tree, unmount,
};

use crate::failure::Failure;
use crate::kernel;

/// A mount point of ours.
#[derive(Debug)]
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// A new tmpfs for a few small files or mount points. `devices` allows device nodes on it; `shared` passes later mounts
    /// below it on to the sandbox.
    pub(crate) fn tmpfs(at: &Path, devices: bool, shared: bool) -> Result<Self, Failure> {
        let failed = |error| Failure::io(format!("cannot mount a tmpfs at {}", at.display()), error);
        fs::create_dir_all(at).map_err(failed)?;
        let mut flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        if !devices {
            flags |= MountFlags::NODEV;
        }
        mount("ctr-like", at, "tmpfs", flags, Some(c"mode=0700,size=1m")).map_err(|e| failed(e.into()))?;
        let mounted = Self(at.to_owned());
        let propagation = if shared {
            MountPropagationFlags::SHARED
        } else {
            MountPropagationFlags::PRIVATE
        };
        mount_change(at, propagation).map_err(|e| failed(e.into()))?;
        Ok(mounted)
    }

    /// Shows `source` (a directory with everything mounted in it, or a file) at `at`, which must exist and be of the same kind.
    pub(crate) fn bind(source: &Path, at: &Path, read_only: bool) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::io(
                format!("cannot share {} at {}", source.display(), at.display()),
                error,
            )
        };
        let clone =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, source, clone).map_err(|e| failed(e.into()))?;
        // Read-only before it is visible: changing it later would not reach the copy inside the sandbox.
        kernel::seal_mount_tree(&tree, read_only).map_err(failed)?;
        move_mount(&tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|e| failed(e.into()))?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            tracing::warn!(at = %self.0.display(), %error, "cannot unmount");
        }
    }
}

/// Makes an empty file or directory to mount something of the same kind on.
pub(crate) fn mount_point(at: &Path, directory: bool) -> io::Result<()> {
    if directory {
        fs::create_dir(at)
    } else {
        rustix::fs::mknodat(CWD, at, rustix::fs::FileType::RegularFile, Mode::RUSR, 0).map_err(Into::into)
    }
}

/// Removes a mount point made by [`mount_point`].
pub(crate) fn remove_mount_point(at: &Path, directory: bool) {
    let flags = if directory {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    if let Err(error) = rustix::fs::unlinkat(CWD, at, flags) {
        tracing::debug!(at = %at.display(), %error, "cannot remove a mount point");
    }
}

/// Unmounts everything below a directory, deepest first.
pub(crate) fn unmount_below(directory: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table
        .lines()
        .filter_map(mount_point_of)
        .filter(|point| point.starts_with(directory));
    // Later entries lie on top of earlier ones.
    let points: Vec<PathBuf> = points.collect();
    for point in points.iter().rev() {
        match unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Gone with a mount above it, or through propagation.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The mount point in a line of mountinfo, with the kernel's escapes undone.
pub(crate) fn mount_point_of(line: &str) -> Option<PathBuf> {
    line.split(' ').nth(4).map(|field| PathBuf::from(unescape(field)))
}

/// Undoes the octal escapes of mountinfo (blank, tab, line feed, back-slash).
pub(crate) fn unescape(field: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\'
            && let Some(digits) = tail.get(..3)
            && let Ok(text) = std::str::from_utf8(digits)
            && let Ok(byte) = u8::from_str_radix(text, 8)
        {
            out.push(byte);
            rest = &tail[3..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    std::ffi::OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read() {
        let line = r"36 35 98:0 /mnt1 /a\040b\134c rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(mount_point_of(line), Some(PathBuf::from(r"/a b\c")));
        assert_eq!(mount_point_of(""), None);
    }
}
