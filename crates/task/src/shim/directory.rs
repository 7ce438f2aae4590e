//! The files that a shim has in its sandbox's directory.
//!
//! The directory is shared with the compute service, which has mounts of host directories in it. So nothing here ever
//! removes recursively: what is ours goes by name, and then the directory if nothing else is left in it.

use std::io;
use std::path::{Path, PathBuf};

/// The spec of the sandbox.
pub(crate) fn spec(dir: &Path) -> PathBuf {
    dir.join("shim.json")
}

/// What the shim logs.
pub(crate) fn log(dir: &Path) -> PathBuf {
    dir.join("shim.log")
}

/// The socket, where it is a file.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("shim.sock")
}

/// Which process the shim is, where that takes a file.
pub(crate) fn process(dir: &Path) -> PathBuf {
    dir.join("shim.pid")
}

/// Removes what is ours, and says what cannot be.
pub(crate) fn remove(dir: &Path) {
    for (path, error) in try_remove(dir) {
        tracing::warn!(path = %path.display(), %error, "not removed with its sandbox");
    }
}

/// Removes what is ours; what could not be, and why.
pub(crate) fn try_remove(dir: &Path) -> Vec<(PathBuf, io::Error)> {
    crate::local::remove_records(dir);
    let mut left = Vec::new();
    for file in [spec(dir), log(dir), socket(dir), process(dir)] {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => left.push((file, error)),
            _ => {}
        }
    }
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => left.push((dir.to_owned(), error)),
        _ => {}
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_removed() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("s1");
        let foreign = dir.join("shares/0/data");
        std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
        for file in [spec(&dir), log(&dir), process(&dir), foreign.clone()] {
            std::fs::write(file, "x").unwrap();
        }
        remove(&dir);
        assert!(foreign.exists());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        std::fs::remove_dir_all(dir.join("shares")).unwrap();
        remove(&dir);
        assert!(!dir.exists());
        remove(&dir);
    }
}
