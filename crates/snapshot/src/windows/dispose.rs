//! Removal of layers and scratches as a whole: they lose their name at once, their files follow.

#[cfg(not(windows))]
pub(super) use plain::{leftover, remove, sweep};
#[cfg(windows)]
pub(super) use system::{leftover, remove, sweep};

#[cfg(not(windows))]
mod plain {
    use std::path::Path;

    use crate::disk;
    use crate::error::Result;

    /// Removes a directory; a missing one is success.
    pub(in crate::windows) fn remove(path: &Path) -> Result<()> {
        disk::remove(path).map(drop)
    }

    /// Removes something damaged when the program starts.
    pub(in crate::windows) fn leftover(path: &Path) -> Result<()> {
        remove(path)
    }

    /// Removes what a crash left in a directory.
    pub(in crate::windows) fn sweep(dir: &Path) -> Result<()> {
        disk::sweep(dir)
    }
}

#[cfg(windows)]
mod system {
    use std::io;
    use std::path::Path;

    use crate::disk;
    use crate::error::{Result, io_error};
    use crate::windows::ntfs::HostStore;

    /// Removes a directory; a missing one is success. Files of layers have other owners and long names, so Windows removes
    /// them. One that a killed process left mounted is unmounted first.
    pub(in crate::windows) fn remove(path: &Path) -> Result<()> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let host = HostStore::load()?;
        let doomed = disk::doomed(path);
        let renamed = std::fs::rename(path, &doomed).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Err(error),
            _ => {
                host.unmount(path);
                std::fs::rename(path, &doomed)
            }
        });
        match renamed {
            Ok(()) => host.destroy(&doomed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("rename", path)(error)),
        }
    }

    /// Removes something damaged when the program starts. What cannot be removed is tried again at the next start: it must
    /// not keep the program from working.
    pub(in crate::windows) fn leftover(path: &Path) -> Result<()> {
        if let Err(error) = remove(path) {
            tracing::warn!(path = %path.display(), %error, "a damaged layer or scratch stays behind");
        }
        Ok(())
    }

    /// Removes what a crash left in a directory, as far as that is possible.
    pub(in crate::windows) fn sweep(dir: &Path) -> Result<()> {
        for path in disk::leftovers(dir)? {
            tracing::info!(path = %path.display(), "removing what a crash left behind");
            let removed = match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => HostStore::load().and_then(|host| host.destroy(&path)),
                _ => std::fs::remove_file(&path).map_err(io_error("remove", &path)),
            };
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "what a crash left stays behind");
            }
        }
        Ok(())
    }
}
