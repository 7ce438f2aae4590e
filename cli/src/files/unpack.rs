//! Files of an archive that came out of a container.
//!
//! The archive may be hostile. Its names are only ever put together from plain parts below the destination, and no part on
//! the way is followed if it is a link, whoever made it: nothing is read or written outside of the destination. What is
//! in the way is removed and made anew, never written through. Links are made as they are and not looked at.
//!
//! A directory does not take the place of something else, nor the reverse, as with docker.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use tar::{Archive, Entry, EntryType};

use super::names::{self, Destination};
use crate::failure::Failure;

/// How a container's archive becomes files.
#[derive(Debug, Clone)]
pub(crate) struct Unpacking {
    /// The last part of the path that was asked for; `None` when its contents were.
    pub(crate) name: Option<String>,
    /// Where to.
    pub(crate) destination: Destination,
    /// Owners as in the archive; else everything is this user's.
    pub(crate) owners: bool,
}

/// What separates the parts of a path here.
pub(crate) fn slash(letter: char) -> bool {
    std::path::is_separator(letter)
}

impl Unpacking {
    /// Unpacks to the end and answers the bytes of all files.
    pub(crate) fn run(self, archive: impl Read) -> Result<u64, Failure> {
        let mut archive = Archive::new(archive);
        let broken = |error: &io::Error| Failure::io("cannot read the archive", error);
        let mut target = None;
        let (mut bytes, mut directories) = (0, Vec::new());
        for entry in archive.entries().map_err(|error| broken(&error))? {
            let mut entry = entry.map_err(|error| broken(&error))?;
            if matches!(entry.header().entry_type(), EntryType::XGlobalHeader) {
                continue;
            }
            let target = match &target {
                Some(target) => target,
                // What the first entry is, the whole copy is.
                None => target.insert(self.target(&entry)?),
            };
            bytes += target.place(&mut entry, &mut directories)?;
        }
        if target.is_none() {
            return Err(Failure::new("the archive is empty"));
        }
        // Last, because what is put into a directory changes its time, and it may be read-only.
        for (path, about) in directories.into_iter().rev() {
            about
                .apply(&path)
                .map_err(|error| Failure::io(format!("cannot finish {}", path.display()), &error))?;
        }
        Ok(bytes)
    }

    fn target(&self, first: &Entry<'_, impl Read>) -> Result<Target, Failure> {
        let name = first
            .path()
            .map_err(|error| Failure::io("cannot read the archive", &error))?;
        let is_directory = first.header().entry_type().is_dir();
        let plan = names::plan(self.name.as_deref(), is_directory, &self.destination, slash)?;
        Ok(Target {
            root: plan.directory.into(),
            name: plan.name,
            // Contents come as `./x`, a path as `name/x`.
            contents: name.components().next() == Some(Component::CurDir),
            owners: self.owners,
        })
    }
}

/// Where entries go.
struct Target {
    root: PathBuf,
    /// Takes the place of the first part of every name.
    name: Option<String>,
    /// Names have no such first part.
    contents: bool,
    owners: bool,
}

/// What is set on a directory at the end.
struct About {
    mode: Option<u32>,
    modified: Option<SystemTime>,
}

fn refused(name: &Path, why: &str) -> Failure {
    Failure::new(format!("the archive has an entry that {why}: {}", name.display()))
        .hint("copy to '-' and look at the archive")
}

impl Target {
    /// The parts of an entry's name below the destination; empty for the destination itself.
    fn parts(&self, name: &Path) -> Result<PathBuf, Failure> {
        let mut parts = Vec::new();
        for part in name.components() {
            match part {
                Component::Normal(part) => parts.push(part),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(refused(name, "leaves the destination"));
                }
            }
        }
        let rest = match parts.split_first() {
            Some((_, rest)) if !self.contents => rest,
            _ => &parts[..],
        };
        let mut below = PathBuf::new();
        below.extend(self.name.as_deref());
        below.extend(rest);
        Ok(below)
    }

    /// A path below the destination, of whose parents none is a link.
    fn reach(&self, name: &Path, below: &Path) -> Result<PathBuf, Failure> {
        let mut path = self.root.clone();
        let mut parts = below.components().peekable();
        while let Some(part) = parts.next() {
            path.push(part);
            if parts.peek().is_some() {
                match fs::symlink_metadata(&path) {
                    Ok(found) if found.is_dir() => {}
                    Ok(_) => return Err(refused(name, "leads through something that is no directory")),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        fs::create_dir(&path).map_err(|error| {
                            Failure::io(format!("cannot make {}", path.display()), &error)
                        })?;
                    }
                    Err(error) => {
                        return Err(Failure::io(format!("cannot look at {}", path.display()), &error));
                    }
                }
            }
        }
        Ok(path)
    }

    /// Makes one entry and answers its bytes.
    fn place(
        &self,
        entry: &mut Entry<'_, impl Read>,
        directories: &mut Vec<(PathBuf, About)>,
    ) -> Result<u64, Failure> {
        let read = |error: io::Error| Failure::io("cannot read the archive", &error);
        let name = entry.path().map_err(read)?.into_owned();
        let below = self.parts(&name)?;
        let kind = entry.header().entry_type();
        let about = About::of(entry, self.owners);
        let path = self.reach(&name, &below)?;
        let failed = |error: io::Error| Failure::io(format!("cannot make {}", path.display()), &error);
        if kind.is_dir() {
            if !below.as_os_str().is_empty() {
                directory(&path)?;
                self.own(entry, &path).map_err(failed)?;
            }
            directories.push((path, about));
            return Ok(0);
        }
        if below.as_os_str().is_empty() {
            return Err(refused(&name, "has no name"));
        }
        clear(&path, &self.root)?;
        let mut bytes = 0;
        match kind {
            EntryType::Symlink => {
                let target = entry
                    .link_name()
                    .map_err(read)?
                    .ok_or_else(|| refused(&name, "leads nowhere"))?;
                symlink(&target, &path).map_err(failed)?;
            }
            EntryType::Link => {
                let target = entry
                    .link_name()
                    .map_err(read)?
                    .ok_or_else(|| refused(&name, "leads nowhere"))?;
                let first = self.reach(&name, &self.parts(&target)?)?;
                let found = fs::symlink_metadata(&first).map_err(failed)?;
                if found.is_dir() {
                    return Err(refused(&name, "is a second name of a directory"));
                }
                fs::hard_link(&first, &path).map_err(failed)?;
                return Ok(0);
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => device(entry, &path).map_err(failed)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut file = File::options()
                    .write(true)
                    .create_new(true)
                    .open(&path)
                    .map_err(failed)?;
                bytes = io::copy(entry, &mut file).map_err(failed)?;
                self.own(entry, &path).map_err(failed)?;
                about.apply_to(&file).map_err(failed)?;
                return Ok(bytes);
            }
            _ => return Err(refused(&name, "is of an unknown kind")),
        }
        self.own(entry, &path).map_err(failed)?;
        Ok(bytes)
    }

    #[cfg(unix)]
    fn own(&self, entry: &Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
        if !self.owners {
            return Ok(());
        }
        let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
        let header = entry.header();
        std::os::unix::fs::lchown(path, Some(id(header.uid()?)?), Some(id(header.gid()?)?))
    }

    #[cfg(windows)]
    fn own(&self, _: &Entry<'_, impl Read>, _: &Path) -> io::Result<()> {
        // Numbers of users mean nothing here.
        Ok(())
    }
}

impl About {
    /// Who gets somebody else's program must not get it with the rights of its new owner.
    fn of(entry: &Entry<'_, impl Read>, owners: bool) -> Self {
        let kept = if owners { 0o7777 } else { 0o1777 };
        let header = entry.header();
        let seconds = header.mtime().ok().map(Duration::from_secs);
        Self {
            mode: header.mode().ok().map(|mode| mode & kept),
            modified: seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(seconds)),
        }
    }

    fn apply_to(&self, file: &File) -> io::Result<()> {
        if let Some(mode) = self.mode {
            chmod(file, mode)?;
        }
        match self.modified {
            Some(modified) => file.set_modified(modified),
            None => Ok(()),
        }
    }

    #[cfg(unix)]
    fn apply(&self, directory: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = File::options().read(true).custom_flags(flags).open(directory)?;
        self.apply_to(&file)
    }

    #[cfg(windows)]
    fn apply(&self, _: &Path) -> io::Result<()> {
        // Directories have no such mode here, and their times are not worth a handle.
        Ok(())
    }
}

#[cfg(unix)]
fn chmod(file: &File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(windows)]
fn chmod(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

/// A directory is there, whether it was before or not.
fn directory(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Failure::new(format!(
            "cannot overwrite non-directory {path:?} with directory {path:?}"
        ))),
        Err(_) => fs::create_dir(path)
            .map_err(|error| Failure::io(format!("cannot make {}", path.display()), &error)),
    }
}

/// Nothing is in the way.
fn clear(path: &Path, root: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Err(Failure::new(format!(
            "cannot overwrite directory {path:?} with non-directory {root:?}"
        ))),
        Ok(_) => fs::remove_file(path)
            .map_err(|error| Failure::io(format!("cannot replace {}", path.display()), &error)),
        Err(_) => Ok(()),
    }
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    // Which of the two kinds it must be depends on what it leads to, which may come later.
    let leads_to = path.parent().unwrap_or(path).join(target);
    if leads_to.is_dir() {
        std::os::windows::fs::symlink_dir(target, path)
    } else {
        std::os::windows::fs::symlink_file(target, path)
    }
}

#[cfg(unix)]
fn device(entry: &Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let header = entry.header();
    let kind = match header.entry_type() {
        EntryType::Char => FileType::CharacterDevice,
        EntryType::Block => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let number = match kind {
        FileType::Fifo => 0,
        _ => makedev(
            header.device_major()?.unwrap_or(0),
            header.device_minor()?.unwrap_or(0),
        ),
    };
    let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
    Ok(mknodat(CWD, path, kind, mode, number)?)
}

#[cfg(windows)]
fn device(_: &Entry<'_, impl Read>, _: &Path) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "there are no such files on Windows",
    ))
}

#[cfg(test)]
mod tests;
