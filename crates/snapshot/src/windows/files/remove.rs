//! Removing a tree that somebody else may change meanwhile.

use std::io;

use super::{FilesError, Node};

/// A directory that is being emptied.
struct Level {
    directory: Node,
    /// Its name in the one above.
    name: Vec<u8>,
    rest: Vec<Vec<u8>>,
}

/// Removes what has this name in a directory, whatever it is; nothing is followed. What is mounted is not entered: it
/// is not the container's to lose by a copy. Trees may be deeper than a thread's stack.
pub(super) fn remove(parent: &Node, name: &[u8], path: &str) -> Result<(), FilesError> {
    let failed = |error: io::Error| FilesError::system("remove", path, error);
    let mut open: Vec<Level> = Vec::new();
    let mut next = Some(name.to_vec());
    loop {
        let above = open.last().map_or(parent, |level| &level.directory);
        let Some(name) = next else {
            let Some(level) = open.pop() else { return Ok(()) };
            let above = open.last().map_or(parent, |level| &level.directory);
            above.remove(&level.name, true).map_err(failed)?;
            next = open.last_mut().and_then(|level| level.rest.pop());
            if open.is_empty() {
                return Ok(());
            }
            continue;
        };
        match above.at(&name).map_err(failed)? {
            Some(object) if object.is_mounted_in(above) => {
                return Err(FilesError::refused(
                    path,
                    "something is mounted there, it cannot be replaced",
                ));
            }
            Some(object) if object.is_directory() => {
                let rest = object.names().map_err(failed)?;
                open.push(Level {
                    directory: object,
                    name,
                    rest,
                });
            }
            Some(_) => above.remove(&name, false).map_err(failed)?,
            None => {}
        }
        next = open.last_mut().and_then(|level| level.rest.pop());
    }
}
