//! One object of a file system, held by a descriptor that follows nothing.
//!
//! The descriptor is opened with `O_PATH`, which has no effect on what it names: no device is opened, no pipe waited
//! for. What such a descriptor cannot do itself goes through its link in `/proc/self/fd`, which leads to the very same
//! object even if that is a symbolic link.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags, getxattr,
    openat, openat2, readlinkat, statx,
};
use rustix::io::Errno;

/// Values of attributes that matter are not longer.
const ATTRIBUTE: usize = 64 << 10;
/// A rename elsewhere makes the kernel start over; who renames all the time does not keep us busy for ever.
const ATTEMPTS: usize = 64;

/// An object and what it was when it was opened.
#[derive(Debug)]
pub(super) struct Object {
    fd: OwnedFd,
    /// The facts.
    pub(super) stat: Statx,
}

impl AsFd for Object {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Object {
    /// Takes a descriptor opened with `O_PATH`.
    pub(super) fn of(fd: OwnedFd) -> io::Result<Self> {
        let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let stat = statx(&fd, "", AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, flags)?;
        Ok(Self { fd, stat })
    }

    /// A directory of the machine.
    pub(super) fn directory(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::of(openat(CWD, path, flags, Mode::empty())?)
    }

    /// The object with this name in a directory. `None` when there is none.
    pub(super) fn at(directory: impl AsFd, name: &[u8]) -> io::Result<Option<Self>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(directory, name, flags, Mode::empty()) {
            Ok(fd) => Self::of(fd).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The object at a relative path that has no links in it.
    pub(super) fn below(directory: impl AsFd, path: &[u8]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        for _ in 0..ATTEMPTS {
            match openat2(directory.as_fd(), path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                found => return Self::of(found?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            stat: self.stat,
        })
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.stx_mode.into())
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Permission bits.
    pub(super) fn permissions(&self) -> u32 {
        u32::from(self.stat.stx_mode) & 0o7777
    }

    /// What tells it from all others.
    pub(super) fn identity(&self) -> (u32, u32, u64) {
        (
            self.stat.stx_dev_major,
            self.stat.stx_dev_minor,
            self.stat.stx_ino,
        )
    }

    /// Seconds and nanoseconds of the last modification.
    pub(super) fn modified(&self) -> (i64, u32) {
        (self.stat.stx_mtime.tv_sec, self.stat.stx_mtime.tv_nsec)
    }

    /// What overlay leaves where something was deleted.
    pub(super) fn is_whiteout(&self) -> bool {
        self.kind() == FileType::CharacterDevice
            && (self.stat.stx_rdev_major, self.stat.stx_rdev_minor) == (0, 0)
    }

    /// True when something is mounted here, seen from the directory that it is in.
    pub(super) fn is_mounted_in(&self, parent: &Self) -> bool {
        if self
            .stat
            .stx_attributes_mask
            .contains(StatxAttributes::MOUNT_ROOT)
        {
            return self.stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        }
        self.stat.stx_mnt_id != parent.stat.stx_mnt_id
    }

    /// The sorted names in a directory.
    pub(super) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&self.fd, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::new(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Where the `/proc` link of the descriptor is.
    pub(super) fn link_in_proc(&self) -> String {
        link_in_proc(&self.fd)
    }

    /// Opens the content of a regular file.
    pub(super) fn content(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(openat(CWD, self.link_in_proc(), flags, Mode::empty())?.into())
    }

    /// Where a symbolic link leads.
    pub(super) fn target(&self) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.fd, "", Vec::new())?.into_bytes())
    }

    /// One extended attribute.
    pub(super) fn attribute(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut value = Vec::with_capacity(ATTRIBUTE);
        match getxattr(self.link_in_proc(), name, spare_capacity(&mut value)) {
            Ok(_) => {
                value.shrink_to_fit();
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where the `/proc` link of a descriptor is.
pub(super) fn link_in_proc(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}
