//! Deletion that follows no link.

use std::io;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_DISPOSITION_DELETE, FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE, FILE_DISPOSITION_POSIX_SEMANTICS,
    FileDispositionInformation, FileDispositionInformationEx,
};
use windows_sys::Win32::Foundation::{
    STATUS_INVALID_INFO_CLASS, STATUS_INVALID_PARAMETER, STATUS_NOT_IMPLEMENTED, STATUS_NOT_SUPPORTED,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_ACCESS_RIGHTS, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_REPARSE_POINT, FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FILE_TRAVERSE,
    FILE_WRITE_ATTRIBUTES, SYNCHRONIZE,
};

use super::call::{self, Status};
use super::directory::{Directory, existing};
use super::object::{Basic, Object};

/// The first set serves a walk, the last what cannot be listed anyway.
const RIGHTS: [FILE_ACCESS_RIGHTS; 2] = [
    DELETE | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | FILE_LIST_DIRECTORY | FILE_TRAVERSE | SYNCHRONIZE,
    DELETE | FILE_READ_ATTRIBUTES | SYNCHRONIZE,
];
/// Deepest tree that is removed. A path of Windows cannot have more components.
const MAX_DEPTH: usize = 16_384;

/// Why a tree could not be removed. What stands is as it was, apart from what was removed before.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove \"{}\"", .path.escape_debug())]
pub struct RemoveTreeError {
    /// What could not be removed, from the name that was given on, with backslashes.
    pub path: String,
    /// What the volume answered.
    #[source]
    pub source: io::Error,
}

impl From<RemoveTreeError> for io::Error {
    fn from(error: RemoveTreeError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// A directory whose content goes first.
struct Level {
    directory: Directory,
    name: String,
    /// What is still to be removed in it.
    names: Vec<String>,
}

impl Directory {
    /// Removes a file, a link or an empty directory, also one that is read-only. On NTFS the
    /// name is free when this returns, on other volumes when nobody has it open any more.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.object(name, &existing(&RIGHTS))?.delete()
    }

    /// Removes a file, a link, or a directory with all that is in it. Links are removed, not followed: what they lead
    /// to stays.
    pub fn remove_tree(&self, name: &str) -> Result<(), RemoveTreeError> {
        let mut levels: Vec<Level> = Vec::new();
        let mut next = Some(name.to_owned());
        while let Some(name) = next {
            let at = levels.last().map_or(self, |level| &level.directory);
            match at.removed_or_entered(&name) {
                Ok(None) => {}
                Ok(Some((directory, names))) if levels.len() < MAX_DEPTH => levels.push(Level {
                    directory,
                    name,
                    names,
                }),
                Ok(Some(_)) => return Err(failed(&levels, Some(&name), too_deep())),
                Err(source) => return Err(failed(&levels, Some(&name), source)),
            }
            next = loop {
                let Some(level) = levels.last_mut() else {
                    break None;
                };
                if let Some(name) = level.names.pop() {
                    break Some(name);
                }
                if let Err(source) = level.directory.delete() {
                    return Err(failed(&levels, None, source));
                }
                levels.pop();
            };
        }
        Ok(())
    }

    /// Removes what can be removed at once; a directory is opened and listed instead.
    fn removed_or_entered(&self, name: &str) -> io::Result<Option<(Self, Vec<String>)>> {
        let object = self.object(name, &existing(&RIGHTS))?;
        let (attributes, _) = object.tag()?;
        if attributes & FILE_ATTRIBUTE_DIRECTORY == 0 || attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
            object.delete()?;
            return Ok(None);
        }
        let directory = Self::proved(object)?;
        let names = directory.list()?;
        Ok(Some((directory, names)))
    }
}

impl Object {
    /// Removes the name that the object was opened by.
    fn delete(&self) -> io::Result<()> {
        let flags = FILE_DISPOSITION_DELETE
            | FILE_DISPOSITION_POSIX_SEMANTICS
            | FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE;
        match call::set(&self.0, FileDispositionInformationEx, &flags.to_le_bytes()) {
            // Volumes other than NTFS do not know it.
            Err(Status(
                STATUS_INVALID_INFO_CLASS
                | STATUS_INVALID_PARAMETER
                | STATUS_NOT_IMPLEMENTED
                | STATUS_NOT_SUPPORTED,
            )) => {}
            answer => return Ok(answer?),
        }
        let (attributes, _) = self.tag()?;
        if attributes & FILE_ATTRIBUTE_READONLY != 0 {
            let attributes = match attributes & !FILE_ATTRIBUTE_READONLY {
                0 => FILE_ATTRIBUTE_NORMAL,
                attributes => attributes,
            };
            self.set_basic(Basic {
                attributes,
                ..Basic::default()
            })?;
        }
        Ok(call::set(&self.0, FileDispositionInformation, &[1])?)
    }
}

fn failed(levels: &[Level], name: Option<&str>, source: io::Error) -> RemoveTreeError {
    let names: Vec<&str> = levels.iter().map(|level| &*level.name).chain(name).collect();
    RemoveTreeError {
        path: names.join("\\"),
        source,
    }
}

fn too_deep() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "directories are nested too deeply")
}
