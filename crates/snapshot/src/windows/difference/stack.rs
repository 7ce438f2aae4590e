//! Directories below a scratch, as the overlay merges them.

use std::collections::BTreeSet;
use std::io;

use crate::windows::object::Object;

const OPAQUE: &str = "trusted.overlay.opaque";

/// A directory as those below the scratch show it: the directories that are merged, topmost first.
#[derive(Debug)]
pub(super) struct Stack(Vec<Object>);

/// What they have under a name.
#[derive(Debug)]
pub(super) enum Below {
    Nothing,
    Directory(Stack),
    /// Something that is no directory.
    Other(Box<Object>),
}

impl Below {
    pub(super) fn exists(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

impl Stack {
    pub(super) fn new(directories: Vec<Object>) -> Self {
        Self(directories)
    }

    /// Looks a name up as the kernel does.
    pub(super) fn child(&self, name: &[u8]) -> io::Result<Below> {
        let mut merged = Vec::new();
        for directory in &self.0 {
            let Some(found) = Object::at(directory, name)? else {
                continue;
            };
            if !found.is_directory() {
                if merged.is_empty() && !found.is_whiteout() {
                    return Ok(Below::Other(Box::new(found)));
                }
                break;
            }
            let opaque = is_opaque(&found)?;
            merged.push(found);
            if opaque {
                break;
            }
        }
        Ok(if merged.is_empty() {
            Below::Nothing
        } else {
            Below::Directory(Self(merged))
        })
    }

    /// Sorted names of what is there.
    pub(super) fn names(&self) -> io::Result<BTreeSet<Vec<u8>>> {
        let mut names = BTreeSet::new();
        for directory in &self.0 {
            names.extend(directory.names()?);
        }
        let mut shown = BTreeSet::new();
        for name in names {
            if self.child(&name)?.exists() {
                shown.insert(name);
            }
        }
        Ok(shown)
    }

    /// The directory whose attributes count.
    pub(super) fn top(&self) -> Option<&Object> {
        self.0.first()
    }
}

/// True for a directory that shows nothing of those below.
pub(super) fn is_opaque(directory: &Object) -> io::Result<bool> {
    Ok(directory.attribute(OPAQUE)?.as_deref() == Some(b"y"))
}
