//! Removing a tree that somebody else may change meanwhile.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::error::FilesError;
use super::node::{Node, is_gone};
use super::pack::inside;

/// Removes what has this name in a directory, whatever it is; nothing is followed. What is mounted is not entered: it
/// is not the container's to lose by a copy.
pub(super) fn remove(parent: &Node, name: &[u8], path: &mut Vec<u8>) -> Result<(), FilesError> {
    let failed = |path: &[u8], error: io::Error| FilesError::system("remove", path, error);
    let Some(node) = Node::at(parent, name).map_err(|error| failed(path, error))? else {
        return Ok(());
    };
    if node.is_mounted_in(parent) {
        return Err(FilesError::refused(
            path,
            "something is mounted there, it cannot be replaced",
        ));
    }
    if !node.is_directory() {
        return unlink(parent, name, AtFlags::empty()).map_err(|error| failed(path, error));
    }
    for child in node.names().map_err(|error| failed(path, error))? {
        inside(path, &child, |path| remove(&node, &child, path))?;
    }
    unlink(parent, name, AtFlags::REMOVEDIR).map_err(|error| failed(path, error))
}

fn unlink(parent: impl AsFd, name: &[u8], flags: AtFlags) -> io::Result<()> {
    match unlinkat(parent, name, flags).map_err(|error: Errno| io::Error::from(error)) {
        Err(error) if is_gone(&error) => Ok(()),
        other => other,
    }
}
