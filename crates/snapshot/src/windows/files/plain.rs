//! Objects of a file system of Linux.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::path::Path;

use layer::tar::Timestamp;
use layer::windows::folded;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags, chmodat, linkat,
    mkdirat, openat, setxattr, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::FilesError;
use super::node::{Dress, NodeKind, Target};
use super::pack::DOS_ATTRIBUTES;
use crate::windows::object::{Object, link_in_proc};

/// An object that was found.
#[derive(Debug)]
pub(super) struct Node(Object);

/// What tells an object from all others.
pub(super) type Identity = (u32, u32, u64);

impl Deref for Node {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.0
    }
}

/// What a thread needs beyond its usual rights: nothing, the owner of this process has them all.
pub(super) struct Rights;

/// Gives them.
#[expect(clippy::unnecessary_wraps, reason = "other hosts may refuse")]
pub(super) fn rights() -> Result<Rights, FilesError> {
    Ok(Rights)
}

impl Node {
    /// A directory of the machine.
    pub(super) fn root(path: &Path) -> io::Result<Self> {
        Object::directory(path).map(Self)
    }

    /// What has exactly this name in a directory.
    pub(super) fn at(&self, name: &[u8]) -> io::Result<Option<Self>> {
        Ok(Object::at(&self.0, name)?.map(Self))
    }

    /// What a directory has under a name, and how it spells it: the name itself, else the first that is the same on Windows.
    pub(super) fn lookup(&self, name: &[u8]) -> io::Result<Option<(Vec<u8>, Self)>> {
        if let Some(found) = self.at(name)? {
            return Ok(Some((name.to_vec(), found)));
        }
        let wanted = folded(&String::from_utf8_lossy(name));
        for other in self.names()? {
            if std::str::from_utf8(&other).is_ok_and(|other| folded(other) == wanted)
                && let Some(found) = self.at(&other)?
            {
                return Ok(Some((other, found)));
            }
        }
        Ok(None)
    }

    /// How a directory spells a name that was looked up.
    #[expect(clippy::unnecessary_wraps, reason = "other hosts have to look")]
    pub(super) fn spelled(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(name.to_vec())
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub(super) fn kind(&self) -> NodeKind {
        match self.0.kind() {
            FileType::RegularFile => NodeKind::File,
            FileType::Directory => NodeKind::Directory,
            FileType::Symlink => NodeKind::Link,
            _ => NodeKind::Other,
        }
    }

    /// Length of its content.
    pub(super) fn size(&self) -> u64 {
        self.stat.stx_size
    }

    /// It has another name.
    pub(super) fn is_linked(&self) -> bool {
        self.stat.stx_nlink > 1
    }

    /// True when something is mounted here, seen from the directory that it is in.
    pub(super) fn is_mounted_in(&self, parent: &Self) -> bool {
        self.0.is_mounted_in(&parent.0)
    }

    /// True for what the volume keeps for itself in its root.
    pub(super) fn is_of_volume(_: &[u8]) -> bool {
        false
    }

    /// Where a link leads, as an archive says it.
    pub(super) fn link(&self) -> io::Result<Vec<u8>> {
        self.0.target()
    }

    /// Where a link leads.
    pub(super) fn target(&self) -> io::Result<Target> {
        let target = self.0.target()?;
        if target.starts_with(b"/") {
            return Ok(Target::Outside);
        }
        let parts = target.split(|byte| *byte == b'/');
        let parts = parts.filter(|part| !matches!(*part, b"" | b"."));
        Ok(Target::Relative(parts.map(<[u8]>::to_vec).collect()))
    }

    /// Attributes that an archive carries.
    pub(super) fn stored(&self) -> io::Result<Option<Vec<u8>>> {
        self.attribute(DOS_ATTRIBUTES)
    }

    /// Makes a directory in this one.
    pub(super) fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(mkdirat(&self.0, name, Mode::from_raw_mode(0o755))?)
    }

    /// Makes an empty file in this directory.
    pub(super) fn make_file(&self, name: &[u8]) -> io::Result<NewFile> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.0, name, flags, Mode::from_raw_mode(0o644))?;
        Ok(NewFile(file.into()))
    }

    /// Makes a link in this directory. What it leads to does not matter to a host of Linux.
    pub(super) fn make_link(&self, name: &[u8], target: &[u8], _: bool, time: Timestamp) -> io::Result<()> {
        symlinkat(target, &self.0, name)?;
        Ok(utimensat(&self.0, name, &times(time), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Gives a file another name in this directory.
    pub(super) fn make_hard_link(&self, name: &[u8], existing: &Self) -> io::Result<()> {
        Ok(linkat(
            CWD,
            existing.link_in_proc(),
            &self.0,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    /// Removes a name; a directory must be empty. One that is gone already is no failure.
    pub(super) fn remove(&self, name: &[u8], directory: bool) -> io::Result<()> {
        let flags = match directory {
            true => AtFlags::REMOVEDIR,
            false => AtFlags::empty(),
        };
        match unlinkat(&self.0, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets what an archive says about something new.
    pub(super) fn dress(&self, dress: &Dress<'_>, shown: &str) -> Result<(), FilesError> {
        put_on(&self.0, dress, shown)
    }

    /// Stores the attributes that an archive has, and leaves the rest.
    pub(super) fn keep_attributes(&self, stored: Option<&[u8]>, shown: &str) -> Result<(), FilesError> {
        keep_attributes(&self.0, stored, shown)
    }

    /// Sets when a directory was changed last.
    pub(super) fn set_modified(&self, time: Timestamp) -> io::Result<()> {
        Ok(utimensat(
            CWD,
            self.link_in_proc(),
            &times(time),
            AtFlags::empty(),
        )?)
    }
}

/// A file that is being written.
pub(super) struct NewFile(File);

impl NewFile {
    pub(super) fn content(&self) -> &File {
        &self.0
    }

    /// Sets what an archive says about it.
    pub(super) fn dress(&self, dress: &Dress<'_>, shown: &str) -> Result<(), FilesError> {
        put_on(&self.0, dress, shown)
    }
}

fn put_on(made: impl AsFd, dress: &Dress<'_>, shown: &str) -> Result<(), FilesError> {
    let failed = |action| move |error: Errno| FilesError::system(action, shown, error);
    keep_attributes(&made, dress.attributes, shown)?;
    let mode = match (dress.directory, dress.read_only) {
        (true, _) => 0o755,
        (false, true) => 0o444,
        (false, false) => 0o644,
    };
    let place = link_in_proc(&made);
    chmodat(CWD, &place, Mode::from_raw_mode(mode), AtFlags::empty())
        .map_err(failed("set the permissions of"))?;
    match dress.modified {
        Some(time) => {
            utimensat(CWD, place, &times(time), AtFlags::empty()).map_err(failed("set the time of"))
        }
        None => Ok(()),
    }
}

fn keep_attributes(object: impl AsFd, stored: Option<&[u8]>, shown: &str) -> Result<(), FilesError> {
    let Some(value) = stored else { return Ok(()) };
    match setxattr(link_in_proc(&object), DOS_ATTRIBUTES, value, XattrFlags::empty()) {
        Ok(()) => Ok(()),
        // The file matters more than that it is hidden.
        Err(Errno::OPNOTSUPP) => {
            tracing::warn!(path = shown, "attributes cannot be stored here, left out");
            Ok(())
        }
        Err(error) => Err(FilesError::system("set the attributes of", shown, error)),
    }
}

fn times(time: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: time.seconds,
            tv_nsec: time.nanoseconds.into(),
        },
    }
}
