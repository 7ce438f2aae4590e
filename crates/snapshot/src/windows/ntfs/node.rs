//! Objects of a mounted volume, or of a share, for tools that read and write files of containers.
//!
//! A [`Node`] remembers its directory and its name and what the volume said about it. It keeps a handle only if it is a
//! directory: one of a file would keep programs from opening that as they like. So a file is opened again when its content
//! is wanted, below the same directory, and must still be the one that was found. Nothing is opened with rights that it does
//! not need: under a scratch, the right to change a directory makes a copy of it.

mod dress;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use layer::tar::Timestamp;
use layer::windows::{Attributes, FileTime, LinkKind, Reparse, folded};
use win32::file::{self, Basic, Directory, Facts};
use win32::privilege::LayerPrivileges;

pub(in crate::windows) use self::dress::NewFile;
use self::dress::{parsed, put_on, some, ticks};
use crate::windows::FilesError;
use crate::windows::files::{Dress, NodeKind, Target};

/// `IO_REPARSE_TAG_SYMLINK` and `IO_REPARSE_TAG_MOUNT_POINT`.
const LINKS: [u32; 2] = [0xA000_000C, 0xA000_0003];
/// `ERROR_INVALID_NAME`: the volume can have no such name.
const NO_NAME: i32 = 123;
/// `ERROR_SHARING_VIOLATION` and `ERROR_LOCK_VIOLATION`.
const IN_USE: [i32; 2] = [32, 33];
/// What of an object's attributes an archive carries, apart from read-only.
const STORED: u32 = Attributes::HIDDEN | Attributes::SYSTEM;
/// What a program can set and an archive does not say.
const OTHERS: u32 = Attributes::ARCHIVE | NOT_CONTENT_INDEXED;
/// `FILE_ATTRIBUTE_NOT_CONTENT_INDEXED`.
const NOT_CONTENT_INDEXED: u32 = 0x2000;
/// What the system keeps in the root of a volume, and of the volume of a scratch.
const OF_VOLUME: [&str; 3] = ["$Recycle.Bin", "System Volume Information", "WcSandboxState"];

/// What tells an object from all others: its volume and its number there.
pub(in crate::windows) type Identity = (u64, [u8; 16]);

/// An object that was found.
#[derive(Debug)]
pub(in crate::windows) struct Node {
    /// The directory that it is in, and its name there; none for the root.
    place: Option<(Arc<Directory>, String)>,
    /// The object, if it is a directory.
    directory: Option<Arc<Directory>>,
    facts: Facts,
}

/// Lets this thread work on files of other owners until the answer is dropped.
pub(in crate::windows) fn rights() -> Result<LayerPrivileges, FilesError> {
    LayerPrivileges::hold().map_err(|failure| {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, failure);
        FilesError::system(
            "get the privileges to work on",
            "the files of a container",
            source,
        )
    })
}

impl Node {
    /// A directory of the machine.
    pub(in crate::windows) fn root(path: &Path) -> io::Result<Self> {
        let directory = Directory::open_to_list(path)?;
        Ok(Self {
            facts: directory.facts()?,
            directory: Some(Arc::new(directory)),
            place: None,
        })
    }

    /// What has a name in a directory. A name that nothing can have is one that nothing has.
    pub(in crate::windows) fn at(&self, name: &[u8]) -> io::Result<Option<Self>> {
        let (above, name) = match (&self.directory, std::str::from_utf8(name)) {
            (Some(above), Ok(name)) => (above, name),
            _ => return Ok(None),
        };
        let facts = match above.query(name) {
            Err(error) if is_nothing(&error) => return Ok(None),
            facts => facts.map_err(in_use)?,
        };
        let mut node = Self {
            place: Some((Arc::clone(above), name.to_owned())),
            directory: None,
            facts,
        };
        if facts.is_directory() && !facts.is_reparse_point() {
            let directory = above.list_below(name)?;
            // What counts is what was opened.
            node.facts = directory.facts()?;
            node.directory = Some(Arc::new(directory));
        }
        Ok(Some(node))
    }

    /// What a directory has under a name in any case, and a name that it has.
    pub(in crate::windows) fn lookup(&self, name: &[u8]) -> io::Result<Option<(Vec<u8>, Self)>> {
        Ok(self.at(name)?.map(|found| (name.to_vec(), found)))
    }

    /// How a directory spells a name that it has.
    pub(in crate::windows) fn spelled(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        let wanted = folded(&String::from_utf8_lossy(name));
        let names = self.names()?;
        let mut same = names
            .into_iter()
            .filter(|other| folded(&String::from_utf8_lossy(other)) == wanted);
        // It is not listed under a short name.
        Ok(same.next().unwrap_or_else(|| name.to_vec()))
    }

    pub(in crate::windows) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            place: self.place.clone(),
            directory: self.directory.clone(),
            facts: self.facts,
        })
    }

    pub(in crate::windows) fn kind(&self) -> NodeKind {
        match &self.facts {
            facts if LINKS.contains(&facts.reparse_tag) => NodeKind::Link,
            facts if facts.is_reparse_point() => NodeKind::Other,
            facts if facts.is_directory() => NodeKind::Directory,
            _ => NodeKind::File,
        }
    }

    pub(in crate::windows) fn is_directory(&self) -> bool {
        self.kind() == NodeKind::Directory
    }

    /// Length of its content.
    pub(in crate::windows) fn size(&self) -> u64 {
        self.facts.size
    }

    /// It has another name.
    pub(in crate::windows) fn is_linked(&self) -> bool {
        self.facts.links > 1
    }

    /// Permissions as Linux hosts give files of containers.
    pub(in crate::windows) fn permissions(&self) -> u32 {
        match self.kind() {
            NodeKind::Directory => 0o755,
            NodeKind::Link => 0o777,
            _ if self.facts.basic.attributes & Attributes::READ_ONLY != 0 => 0o444,
            _ => 0o644,
        }
    }

    pub(in crate::windows) fn identity(&self) -> Identity {
        (self.facts.volume, self.facts.id)
    }

    /// Seconds and nanoseconds of the last modification.
    pub(in crate::windows) fn modified(&self) -> (i64, u32) {
        let ticks = u64::try_from(self.facts.basic.modified).unwrap_or(0);
        let time = Timestamp::from(FileTime::from_ticks(ticks));
        (time.seconds, time.nanoseconds)
    }

    /// The sorted names in a directory.
    pub(in crate::windows) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names: Vec<Vec<u8>> = match &self.directory {
            Some(directory) => directory.list()?.into_iter().map(String::into_bytes).collect(),
            None => return Err(io::ErrorKind::NotADirectory.into()),
        };
        names.sort_unstable();
        Ok(names)
    }

    /// True when something is mounted here: shares are mounted inside the container only.
    pub(in crate::windows) fn is_mounted_in(&self, _: &Self) -> bool {
        false
    }

    /// True for what the volume keeps for itself in its root.
    pub(in crate::windows) fn is_of_volume(name: &[u8]) -> bool {
        OF_VOLUME
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    }

    /// Opens the content of a file.
    pub(in crate::windows) fn content(&self) -> io::Result<File> {
        let object = self.reopened()?;
        object.as_file().try_clone()
    }

    /// Where a link leads, as an archive says it: with slashes if that is relative.
    pub(in crate::windows) fn link(&self) -> io::Result<Vec<u8>> {
        let target = self.text()?;
        Ok(match target_of(&target) {
            Target::Relative(_) => target.replace('\\', "/").into_bytes(),
            _ => target.into_bytes(),
        })
    }

    /// Where a link leads.
    pub(in crate::windows) fn target(&self) -> io::Result<Target> {
        Ok(target_of(&self.text()?))
    }

    fn text(&self) -> io::Result<String> {
        let data = self.reopened()?.reparse()?;
        let reparse = Reparse::from_buffer(&data);
        let reparse = reparse.map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))?;
        Ok(reparse.target().to_owned())
    }

    /// Attributes that an archive carries, in the form of Wine.
    pub(in crate::windows) fn stored(&self) -> io::Result<Option<Vec<u8>>> {
        let stored = self.facts.basic.attributes & STORED;
        Ok((stored != 0).then(|| format!("0x{stored:x}").into_bytes()))
    }

    /// Makes a directory in this one.
    pub(in crate::windows) fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        self.above()?.create_directory(text_of(name)?).map(drop)
    }

    /// Makes an empty file in this directory.
    pub(in crate::windows) fn make_file(&self, name: &[u8]) -> io::Result<NewFile> {
        self.above()?.create_file(text_of(name)?).map(NewFile::new)
    }

    /// Makes a symbolic link in this directory, to a directory or to something else.
    pub(in crate::windows) fn make_link(
        &self,
        name: &[u8],
        target: &[u8],
        directory: bool,
        time: Timestamp,
    ) -> io::Result<()> {
        let (above, name) = (self.above()?, text_of(name)?);
        let reparse = Reparse::new(LinkKind::Symlink, text_of(target)?)
            .map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))?;
        let make = |object: &file::Object| {
            object.set_reparse(&reparse.buffer())?;
            object.set_basic(Basic {
                modified: ticks(time),
                ..Basic::default()
            })
        };
        let made = match directory {
            true => make(&*above.create_directory(name)?),
            false => make(&above.create_file(name)?),
        };
        if made.is_err() {
            // An empty file must not be taken for the link; why there is none is what to report.
            let _ = above.remove(name);
        }
        made
    }

    /// Gives a file another name in this directory.
    pub(in crate::windows) fn make_hard_link(&self, name: &[u8], existing: &Self) -> io::Result<()> {
        let place = existing.place.as_ref().ok_or(io::ErrorKind::IsADirectory)?;
        file::link((&*place.0, &*place.1), self.above()?, text_of(name)?).map_err(in_use)
    }

    /// Removes a name; a directory must be empty. One that is gone already is no failure.
    pub(in crate::windows) fn remove(&self, name: &[u8], _: bool) -> io::Result<()> {
        match self.above()?.remove(text_of(name)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(in_use),
        }
    }

    /// Sets what an archive says about something new.
    pub(in crate::windows) fn dress(&self, dress: &Dress<'_>, shown: &str) -> Result<(), FilesError> {
        let opened = self.opened_for_change();
        let object = opened.map_err(|error| FilesError::system("open", shown, error))?;
        put_on(&object, dress, shown)
    }

    /// Stores the attributes that an archive has, and leaves the rest.
    pub(in crate::windows) fn keep_attributes(
        &self,
        stored: Option<&[u8]>,
        shown: &str,
    ) -> Result<(), FilesError> {
        let Some(stored) = stored.and_then(parsed) else {
            return Ok(());
        };
        let kept = self.facts.basic.attributes & (OTHERS | Attributes::READ_ONLY);
        let changed = self.opened_for_change().and_then(|object| {
            object.set_basic(Basic {
                attributes: some(kept | stored),
                ..Basic::default()
            })
        });
        changed.map_err(|error| FilesError::system("set the attributes of", shown, error))
    }

    /// Sets when a directory was changed last.
    pub(in crate::windows) fn set_modified(&self, time: Timestamp) -> io::Result<()> {
        self.opened_for_change()?.set_basic(Basic {
            modified: ticks(time),
            ..Basic::default()
        })
    }

    fn above(&self) -> io::Result<&Directory> {
        self.directory
            .as_deref()
            .ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    /// The object with a handle for reading.
    fn reopened(&self) -> io::Result<file::Object> {
        let (above, name) = self.place.as_ref().ok_or(io::ErrorKind::IsADirectory)?;
        self.proved(above.open_file(name).map_err(in_use)?)
    }

    /// The object with a handle for changing what is known about it.
    fn opened_for_change(&self) -> io::Result<file::Object> {
        let (above, name) = self.place.as_ref().ok_or(io::ErrorKind::IsADirectory)?;
        self.proved(above.open_for_change(name).map_err(in_use)?)
    }

    /// Takes what was opened if it is what was found.
    fn proved(&self, object: file::Object) -> io::Result<file::Object> {
        let facts = object.facts()?;
        if (facts.volume, facts.id, facts.reparse_tag)
            == (self.facts.volume, self.facts.id, self.facts.reparse_tag)
        {
            return Ok(object);
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "it was exchanged while it was looked at",
        ))
    }
}

/// Where a target of Windows leads, as programs in a container see it.
fn target_of(text: &str) -> Target {
    let parts = |rest: &str| -> Vec<Vec<u8>> {
        let parts = rest.split(['\\', '/']).filter(|part| !matches!(*part, "" | "."));
        parts.map(|part| part.as_bytes().to_vec()).collect()
    };
    let verbatim = [r"\\?\", r"\??\"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let rest = verbatim.unwrap_or(text);
    match rest.as_bytes() {
        [b'c' | b'C', b':'] => Target::Drive(Vec::new()),
        [b'c' | b'C', b':', b'\\' | b'/', ..] => Target::Drive(parts(&rest[3..])),
        [_, b':', ..] => Target::Outside,
        _ if verbatim.is_some() => Target::Outside,
        [b'\\' | b'/', b'\\' | b'/', ..] => Target::Outside,
        [b'\\' | b'/', ..] => Target::Drive(parts(rest)),
        _ => Target::Relative(parts(rest)),
    }
}

fn text_of(name: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(name)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a name that is no text"))
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
    ) || error.raw_os_error() == Some(NO_NAME)
}

/// Says why a file that a program keeps to itself cannot be had.
fn in_use(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) if IN_USE.contains(&code) => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "a program of the container keeps it to itself; stop the container first",
        ),
        _ => error,
    }
}
