//! Files of a share, for a guest that is not trusted.
//!
//! A file is held by a descriptor that gives no access (`O_PATH`), reached entry by entry from the root of the share and never
//! through a link: so no name and no race leads out of it. Only regular files and directories are ever opened; devices and pipes
//! mean something in the guest only. New files belong to the guest's user; devices cannot be made.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use rustix::{fs, io};

use super::wire::Qid;

/// Nothing below may lead elsewhere.
const WITHIN: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);
/// Kinds of a [`Qid`].
const DIRECTORY: u8 = 0x80;
const LINK: u8 = 0x02;
/// The one name space of attributes that a guest may use: the others have a meaning on the host.
const ATTRIBUTES: &[u8] = b"user.";
/// Flags of an open that the guest may give besides the kind of access.
const OPEN_FLAGS: OFlags = OFlags::TRUNC
    .union(OFlags::APPEND)
    .union(OFlags::SYNC)
    .union(OFlags::DSYNC);

/// A file, held without access.
#[derive(Debug, Clone)]
pub(super) struct Node(Arc<OwnedFd>);

/// Who makes a file in the guest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Changes of the attributes of a file.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    /// When it was read and written; `None` in a time is now.
    pub(super) read: Option<Option<Timespec>>,
    pub(super) written: Option<Option<Timespec>>,
}

impl Node {
    /// The root of a share.
    pub(super) fn root(path: &std::path::Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::open(path, flags, Mode::empty()).map(Self::from)
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        fs::fstat(&*self.0)
    }

    pub(super) fn kind(&self) -> io::Result<FileType> {
        Ok(FileType::from_raw_mode(self.stat()?.st_mode))
    }

    /// An entry of this directory, itself and not what it leads to.
    pub(super) fn entry(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        fs::openat2(&*self.0, name, flags, Mode::empty(), within).map(Self::from)
    }

    /// Opens a regular file or a directory.
    pub(super) fn open(&self, flags: u32) -> io::Result<OwnedFd> {
        match self.kind()? {
            FileType::RegularFile | FileType::Directory => {}
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::ACCESS),
        }
        let access = OFlags::from_bits_retain(flags) & (OFlags::RWMODE | OPEN_FLAGS);
        fs::open(
            self.path(),
            access | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
        )
    }

    /// Makes, or opens, a regular file in this directory.
    pub(super) fn create(&self, name: &[u8], flags: u32, mode: u32, owner: Owner) -> io::Result<OwnedFd> {
        let given = OFlags::from_bits_retain(flags) & (OFlags::RWMODE | OPEN_FLAGS | OFlags::EXCL);
        let flags = given | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let existing = if given.contains(OFlags::EXCL) {
            Err(Errno::NOENT)
        } else {
            self.entry(name)
        };
        match existing {
            Ok(node) => node.open(flags.bits()),
            Err(Errno::NOENT) => {
                let new = flags | OFlags::CREATE | OFlags::EXCL;
                let file = fs::openat2(&*self.0, name, new, Mode::RUSR | Mode::WUSR, WITHIN)?;
                own(&file, mode, owner)?;
                Ok(file)
            }
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn make_directory(&self, name: &[u8], mode: u32, owner: Owner) -> io::Result<Self> {
        fs::mkdirat(&*self.0, name, Mode::RWXU)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = fs::openat2(&*self.0, name, flags, Mode::empty(), WITHIN)?;
        own(&directory, mode, owner)?;
        self.entry(name)
    }

    pub(super) fn make_link(&self, name: &[u8], target: &[u8], owner: Owner) -> io::Result<Self> {
        fs::symlinkat(target, &*self.0, name)?;
        let link = self.entry(name)?;
        link.give(owner)?;
        Ok(link)
    }

    /// Makes a pipe, a socket or an empty file; devices of a guest have no place on the host.
    pub(super) fn make_special(&self, name: &[u8], mode: u32, owner: Owner) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(mode);
        if !matches!(kind, FileType::Fifo | FileType::Socket | FileType::RegularFile) {
            return Err(Errno::PERM);
        }
        fs::mknodat(&*self.0, name, kind, Mode::RUSR | Mode::WUSR, 0)?;
        let node = self.entry(name)?;
        node.give(owner)?;
        fs::chmod(node.path(), Mode::from_bits_truncate(mode))?;
        Ok(node)
    }

    fn give(&self, owner: Owner) -> io::Result<()> {
        let (uid, gid) = identity(owner)?;
        fs::chownat(&*self.0, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
    }

    /// Makes another name for a file in this directory.
    pub(super) fn link(&self, name: &[u8], file: &Self) -> io::Result<()> {
        fs::linkat(CWD, file.path(), &*self.0, name, AtFlags::SYMLINK_FOLLOW)
    }

    pub(super) fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> io::Result<()> {
        fs::renameat(&*self.0, name, &*to.0, new)
    }

    pub(super) fn unlink(&self, name: &[u8], directory: bool) -> io::Result<()> {
        let flags = if directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        fs::unlinkat(&*self.0, name, flags)
    }

    pub(super) fn target(&self) -> io::Result<Vec<u8>> {
        Ok(fs::readlinkat(&*self.0, "", Vec::new())?.into_bytes())
    }

    pub(super) fn statfs(&self) -> io::Result<fs::StatFs> {
        fs::fstatfs(&*self.0)
    }

    pub(super) fn change(&self, changes: &Changes) -> io::Result<()> {
        // First the owner: giving a file away takes mode bits with it.
        if changes.uid.is_some() || changes.gid.is_some() {
            let valid = |id: Option<u32>| id != Some(u32::MAX);
            if !valid(changes.uid) || !valid(changes.gid) {
                return Err(Errno::INVAL);
            }
            let (uid, gid) = (changes.uid.map(Uid::from_raw), changes.gid.map(Gid::from_raw));
            fs::chownat(&*self.0, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(mode) = changes.mode {
            fs::chmod(self.path(), Mode::from_bits_truncate(mode))?;
        }
        if let Some(size) = changes.size {
            fs::ftruncate(self.open(OFlags::WRONLY.bits())?, size)?;
        }
        if changes.read.is_some() || changes.written.is_some() {
            let time = |change: Option<Option<Timespec>>| match change {
                Some(Some(time)) => time,
                Some(None) => special(fs::UTIME_NOW),
                None => special(fs::UTIME_OMIT),
            };
            let times = Timestamps {
                last_access: time(changes.read),
                last_modification: time(changes.written),
            };
            fs::utimensat(CWD, self.path(), &times, AtFlags::empty())?;
        }
        Ok(())
    }

    /// The value of an attribute, or with an empty name the list of names.
    pub(super) fn attribute(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        let mut value = vec![0; 64 * 1024];
        if !name.is_empty() {
            let length = fs::getxattr(self.path(), allowed(name, Errno::NODATA)?, &mut value)?;
            value.truncate(length);
            return Ok(value);
        }
        let length = fs::listxattr(self.path(), &mut value)?;
        let names = value[..length].split_inclusive(|byte| *byte == 0);
        Ok(names
            .filter(|name| name.starts_with(ATTRIBUTES))
            .flatten()
            .copied()
            .collect())
    }

    /// Sets an attribute; an empty value with the flag for replacing removes it, as the protocol has it.
    pub(super) fn set_attribute(&self, name: &[u8], value: &[u8], flags: u32) -> io::Result<()> {
        let name = allowed(name, Errno::OPNOTSUPP)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        if value.is_empty() && flags.contains(XattrFlags::REPLACE) {
            return fs::removexattr(self.path(), name);
        }
        fs::setxattr(self.path(), name, value, flags)
    }
}

impl From<OwnedFd> for Node {
    fn from(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor))
    }
}

fn allowed(name: &[u8], otherwise: Errno) -> io::Result<CString> {
    if !name.starts_with(ATTRIBUTES) {
        return Err(otherwise);
    }
    CString::new(name).map_err(|_| Errno::INVAL)
}

fn special(nanoseconds: i64) -> Timespec {
    Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    }
}

fn identity(owner: Owner) -> io::Result<(Uid, Gid)> {
    if owner.uid == u32::MAX || owner.gid == u32::MAX {
        return Err(Errno::INVAL);
    }
    Ok((Uid::from_raw(owner.uid), Gid::from_raw(owner.gid)))
}

/// Gives a new file to its owner, and then its mode: the umask of this process is not the guest's.
fn own(file: &OwnedFd, mode: u32, owner: Owner) -> io::Result<()> {
    let (uid, gid) = identity(owner)?;
    fs::fchown(file, Some(uid), Some(gid))?;
    fs::fchmod(file, Mode::from_bits_truncate(mode))
}

/// What a file is, to the guest. Files of another file system in the share get numbers of their own.
pub(super) fn qid(stat: &Stat, device: u64) -> Qid {
    let path = if stat.st_dev == device {
        stat.st_ino
    } else {
        (stat.st_ino ^ stat.st_dev.rotate_left(40)) | 1 << 63
    };
    Qid {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        path,
    }
}

/// The kind in a [`Qid`].
pub(super) fn kind_of(kind: FileType) -> u8 {
    match kind {
        FileType::Directory => DIRECTORY,
        FileType::Symlink => LINK,
        _ => 0,
    }
}
