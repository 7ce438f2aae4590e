//! Directories that appear and disappear as a whole. All functions block.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Result, SnapshotError, io_error};

/// Names of unfinished and of removed directories; whatever bears one when the program starts is garbage.
const UNFINISHED: &str = ".tmp-";
const REMOVED: &str = ".rm-";

/// Length of the footer of a fixed VHD.
pub(crate) const FOOTER: u64 = 512;

/// Creates a directory, and its missing parents, that only its owner may enter.
pub(crate) fn create_private_dir(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    restrict_dir(&mut builder);
    builder.create(path).map_err(io_error("create directory", path))
}

#[cfg(unix)]
fn restrict_dir(builder: &mut fs::DirBuilder) {
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
}

#[cfg(not(unix))]
fn restrict_dir(_: &mut fs::DirBuilder) {}

#[cfg(unix)]
fn restrict_file(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn restrict_file(_: &mut OpenOptions) {}

/// Bytes that a file takes on the disk.
#[cfg(unix)]
pub(crate) fn allocated(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

/// Bytes that a file takes on the disk, or would take if it were not sparse.
#[cfg(not(unix))]
pub(crate) fn allocated(metadata: &Metadata) -> u64 {
    metadata.len()
}

/// Creates a file that only its owner may read and write.
pub(crate) fn create_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    restrict_file(&mut options);
    options.open(path).map_err(io_error("create", path))
}

/// Makes renames and removals inside a directory durable; Windows journals them with the files' own metadata.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error("flush directory", path))?;
    }
    Ok(())
}

/// A path for something unfinished in `dir`.
pub(crate) fn temporary(dir: &Path) -> PathBuf {
    dir.join(format!("{UNFINISHED}{}", random_name()))
}

fn random_name() -> String {
    hex::encode(rand::random::<[u8; 8]>())
}

/// A directory under a temporary name; it goes with this value unless it is published.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        let path = temporary(parent);
        create_private_dir(&path)?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory its final name; `false` if that is taken.
    pub(crate) fn publish(self, path: &Path) -> Result<bool> {
        match fs::rename(&self.path, path) {
            Ok(()) => {
                std::mem::forget(self);
                Ok(true)
            }
            Err(_) if path.symlink_metadata().is_ok() => Ok(false),
            Err(error) => Err(io_error("rename", &self.path)(error)),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished directory stays behind");
        }
    }
}

/// The name that something gets beside its own before it is removed.
pub(crate) fn doomed(path: &Path) -> PathBuf {
    let parent = path.parent().expect("what is removed lies in a directory");
    parent.join(format!("{REMOVED}{}", random_name()))
}

/// Removes a directory as a whole: it loses its name at once, its files follow. The answer is the bytes freed.
pub(crate) fn remove(path: &Path) -> Result<u64> {
    let doomed = doomed(path);
    match fs::rename(path, &doomed) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(io_error("rename", path)(error)),
    }
    let mut freed = 0;
    for entry in fs::read_dir(&doomed)
        .map_err(io_error("list", &doomed))?
        .flatten()
    {
        freed += entry.metadata().map(|metadata| allocated(&metadata)).unwrap_or(0);
    }
    fs::remove_dir_all(&doomed).map_err(io_error("remove directory", &doomed))?;
    Ok(freed)
}

/// Removes what a crash left in `dir`.
pub(crate) fn sweep(dir: &Path) -> Result<()> {
    for path in leftovers(dir)? {
        tracing::info!(path = %path.display(), "removing what a crash left behind");
        let removed = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        removed.map_err(io_error("remove", &path))?;
    }
    Ok(())
}

/// What a crash left in `dir`.
pub(crate) fn leftovers(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut names = names(dir)?;
    names.retain(|name| name.starts_with(UNFINISHED) || name.starts_with(REMOVED));
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// The names in a directory, sorted. Other than UTF-8 is not ours.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        names.extend(entry.map_err(io_error("list", dir))?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// How a file holds a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// A fixed VHD: the disk as it is and a footer. Takes little where the file system has sparse files that whoever attaches it
    /// accepts: on Linux, not on Windows.
    Fixed,
    /// A VHDX that grows, and takes on every file system what was written to it.
    Growing,
}

impl DiskFormat {
    /// Makes an empty file a disk with an empty file system. Blocks.
    ///
    /// # Errors
    /// The size is out of bounds, or the file cannot be written.
    pub fn write_empty(self, file: &File, size_bytes: u64) -> Result<()> {
        let made = match self {
            Self::Fixed => layer::write_empty_scratch(file, size_bytes),
            Self::Growing => layer::write_empty_growing_scratch(file, size_bytes, rand::random()),
        };
        made.map_err(|source| SnapshotError::Layer {
            expected: None,
            source,
        })
    }

    /// What the name of such a file ends with.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Fixed => "vhd",
            Self::Growing => "vhdx",
        }
    }
}

/// A disk file that is one.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) metadata: Metadata,
    /// Bytes of the disk inside; `None` while whoever has attached it lets nobody read the file.
    pub(crate) size: Option<u64>,
}

/// Windows' answer for a file that somebody has open and does not share: `ERROR_SHARING_VIOLATION`.
const SHARING_VIOLATION: i32 = 32;

/// Opens a disk file and checks that it is one. `None` if there is none; the inner error says what is wrong with it.
pub(crate) fn examine(path: &Path, format: DiskFormat) -> Result<Option<Result<Disk, &'static str>>> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Ok(Some(Err("it is not a file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("examine", path)(error)),
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if cfg!(windows) && error.raw_os_error() == Some(SHARING_VIOLATION) => {
            return Ok(Some(Ok(Disk { metadata, size: None })));
        }
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let size = match format {
        DiskFormat::Fixed => fixed_size(&mut file, metadata.len()),
        DiskFormat::Growing => layer::vhdx_size(&file),
    };
    let size = size.map_err(io_error("read", path))?;
    Ok(Some(size.map(|size| Disk {
        metadata,
        size: Some(size),
    })))
}

/// The size of the disk in a file of this length.
fn fixed_size(file: &mut File, length: u64) -> io::Result<Result<u64, &'static str>> {
    if length <= FOOTER || !length.is_multiple_of(FOOTER) {
        return Ok(Err("it has an impossible length"));
    }
    let mut cookie = [0; 8];
    file.seek(SeekFrom::Start(length - FOOTER))
        .and_then(|_| file.read_exact(&mut cookie))?;
    Ok(match &cookie {
        b"conectix" => Ok(length - FOOTER),
        _ => Err("it has no footer"),
    })
}
