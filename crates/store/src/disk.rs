//! File operations that need more than `std::fs` offers portably. All of them block.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use crate::error::{Result, StoreError, io_error};

/// Creates a directory, and its missing parents, that only its owner may enter.
pub(crate) fn create_private_dir(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    restrict_dir(&mut builder);
    builder.create(path).map_err(io_error("create directory", path))
}

/// Refuses a directory that somebody else could have prepared or could change.
pub(crate) fn check_private_dir(path: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path).map_err(io_error("examine", path))?;
    let refuse = |reason| {
        Err(StoreError::UnsafeRoot {
            path: path.to_owned(),
            reason,
        })
    };
    if !metadata.is_dir() {
        return refuse("it is not a directory");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return refuse("it belongs to another user");
        }
        if metadata.mode() & 0o022 != 0 {
            return refuse("others may write to it; run chmod go-w on it");
        }
    }
    Ok(())
}

/// Options for a file that only its owner may read and write.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    restrict_file(&mut options);
    options
}

#[cfg(unix)]
fn restrict_dir(builder: &mut fs::DirBuilder) {
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
}

#[cfg(unix)]
fn restrict_file(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

// Elsewhere the access list is inherited from the store's directory.
#[cfg(not(unix))]
fn restrict_dir(_: &mut fs::DirBuilder) {}

#[cfg(not(unix))]
fn restrict_file(_: &mut OpenOptions) {}

/// Makes renames and removals inside a directory durable. Windows journals them with the file's own metadata and
/// offers no such call.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error("flush directory", path))?;
    }
    Ok(())
}

/// Asks the system to begin writing a range that was just filled. Linux does so when it hears that the range is not needed
/// soon; being dirty, the range stays in memory all the same. A refusal costs nothing but time later on.
#[cfg(target_os = "linux")]
pub(crate) fn begin_write_back(file: &File, offset: u64, length: u64) {
    let advice = rustix::fs::Advice::DontNeed;
    if let Err(error) = rustix::fs::fadvise(file, offset, std::num::NonZero::new(length), advice) {
        tracing::debug!(%error, "the system does not begin to write early");
    }
}

// Elsewhere the system's own write-back begins soon enough.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_write_back(_: &File, _: u64, _: u64) {}

/// Removes a file; a missing one is fine.
pub(crate) fn remove_file(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("remove", path)(error)),
    }
}

/// Removes a directory with its content, following no links; a missing one is fine.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove directory", path)(error))
        }
        _ => Ok(()),
    }
}

/// The entries of a directory whose names are UTF-8; everything in the store is named so.
pub(crate) fn entries(path: &Path) -> Result<Vec<(String, fs::DirEntry)>> {
    let mut list = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error("list", path))? {
        let entry = entry.map_err(io_error("list", path))?;
        if let Ok(name) = entry.file_name().into_string() {
            list.push((name, entry));
        }
    }
    Ok(list)
}
