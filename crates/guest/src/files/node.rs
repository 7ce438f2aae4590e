//! One object of a file system, held by a descriptor that follows nothing.
//!
//! The descriptor is opened with `O_PATH`, which has no effect on what it names: no device is opened, no pipe waited
//! for. What such a descriptor cannot do itself goes through its link in `/proc/self/fd`, which leads to the very same
//! object even if that is a symbolic link. `/proc` is the machine's here, never a container's.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags, fstatfs, getxattr,
    listxattr, openat, readlinkat, statx,
};
use rustix::io::Errno;

/// Names and values of attributes are not longer.
const ATTRIBUTE: usize = 64 << 10;

/// An extended attribute.
pub(super) type Attribute = (Vec<u8>, Vec<u8>);

/// An object and what it was when it was opened.
#[derive(Debug)]
pub(super) struct Node {
    fd: OwnedFd,
    /// The facts.
    pub(super) stat: Statx,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Node {
    /// Takes a descriptor opened with `O_PATH`.
    pub(super) fn of(fd: OwnedFd) -> io::Result<Self> {
        let flags = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let stat = statx(&fd, "", AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, flags)?;
        Ok(Self { fd, stat })
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

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.stx_mode.into())
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Permission bits with set-id and sticky.
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
            return self.stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
                && self.stat.stx_mnt_id != parent.stat.stx_mnt_id;
        }
        // Overlay gives files other device numbers than directories.
        self.is_directory()
            && (self.stat.stx_dev_major, self.stat.stx_dev_minor)
                != (parent.stat.stx_dev_major, parent.stat.stx_dev_minor)
    }

    /// True for a file system that shows the kernel instead of keeping files.
    pub(super) fn is_of_the_kernel(&self) -> io::Result<bool> {
        shows_the_kernel(&self.fd)
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
    pub(super) fn attribute(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
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

    /// The extended attributes, sorted by name.
    pub(super) fn attributes(&self) -> io::Result<Vec<Attribute>> {
        let mut list = Vec::with_capacity(ATTRIBUTE);
        match listxattr(self.link_in_proc(), spare_capacity(&mut list)) {
            Ok(_) => {}
            Err(Errno::OPNOTSUPP | Errno::NODATA) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let mut names: Vec<&[u8]> = list
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .collect();
        names.sort_unstable();
        let mut attributes = Vec::new();
        for name in names {
            if let Some(value) = self.attribute(name)? {
                attributes.push((name.to_vec(), value));
            }
        }
        Ok(attributes)
    }
}

/// Where the `/proc` link of a descriptor is.
pub(super) fn link_in_proc(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// True for a descriptor on a file system that shows the kernel instead of keeping files.
pub(super) fn shows_the_kernel(fd: impl AsFd) -> io::Result<bool> {
    const KERNEL: [u32; 14] = [
        0x0000_9fa0, // proc
        0x6265_6572, // sysfs
        0x0000_1cd1, // devpts
        0x0027_e0eb, // cgroup
        0x6367_7270, // cgroup2
        0x1980_0202, // mqueue
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0x6265_6570, // configfs
        0x6573_5543, // fusectl
        0x4249_4e4d, // binfmt_misc
        0xcafe_4a11, // bpf
        0x6165_676c, // pstore
    ];
    let kind = fstatfs(fd)?.f_type;
    Ok(KERNEL.iter().any(|magic| i128::from(*magic) == i128::from(kind)))
}

/// True for the answers to a look-up of something that was there a moment ago.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::STALE.raw_os_error())
}
