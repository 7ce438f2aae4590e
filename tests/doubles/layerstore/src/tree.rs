//! Folders: walking, copying, removing. Links are never followed; names are taken as they are.

use std::fs::{self, FileTimes, Metadata, OpenOptions};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::fs::{FileTimesExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_NOT_CONTENT_INDEXED, FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_ATTRIBUTE_SYSTEM, FILE_FLAG_BACKUP_SEMANTICS, FILE_WRITE_ATTRIBUTES, SetFileAttributesW,
};

/// The attributes that a program can set.
pub(crate) const SETTABLE: u32 = FILE_ATTRIBUTE_READONLY
    | FILE_ATTRIBUTE_HIDDEN
    | FILE_ATTRIBUTE_SYSTEM
    | FILE_ATTRIBUTE_ARCHIVE
    | FILE_ATTRIBUTE_NOT_CONTENT_INDEXED;

/// A path that Windows takes as it is: of any length, with names such as `aux` and `a.`.
pub(crate) fn verbatim(path: &Path) -> PathBuf {
    if path.as_os_str().as_encoded_bytes().starts_with(br"\\?\") {
        return path.to_owned();
    }
    let units: Vec<u16> = r"\\?\"
        .encode_utf16()
        .chain(path.as_os_str().encode_wide())
        .collect();
    PathBuf::from(std::ffi::OsString::from_wide(&units))
}

/// An object below a folder.
pub(crate) struct Found {
    /// The path below the folder.
    pub(crate) relative: PathBuf,
    pub(crate) metadata: Metadata,
}

impl Found {
    pub(crate) fn is_directory(&self) -> bool {
        self.metadata.file_attributes() & FILE_ATTRIBUTE_DIRECTORY != 0
    }

    /// What Windows takes for the same name.
    pub(crate) fn key(&self) -> String {
        key(&self.relative)
    }
}

pub(crate) fn key(relative: &Path) -> String {
    relative.to_string_lossy().to_lowercase()
}

/// Everything below a folder: parents before children, in the order of names.
pub(crate) fn walk(root: &Path) -> io::Result<Vec<Found>> {
    let root = verbatim(root);
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let object = Found {
                relative: folder.join(entry.file_name()),
                metadata: fs::symlink_metadata(entry.path())?,
            };
            let link = object.metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0;
            if object.is_directory() && !link {
                folders.push(object.relative.clone());
            }
            found.push(object);
        }
    }
    found.sort_by(|one, other| one.relative.cmp(&other.relative));
    Ok(found)
}

/// Copies what is below a folder into one that exists, with attributes and times.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (verbatim(from), verbatim(to));
    let objects = walk(&from)?;
    for object in &objects {
        let place = to.join(&object.relative);
        if object.is_directory() {
            fs::create_dir(&place)?;
        } else {
            fs::copy(from.join(&object.relative), &place)?;
            finish(&place, &object.metadata, object.metadata.file_attributes())?;
        }
    }
    // What was made in a directory changed its times.
    for object in objects.iter().rev().filter(|object| object.is_directory()) {
        let place = to.join(&object.relative);
        finish(&place, &object.metadata, object.metadata.file_attributes())?;
    }
    Ok(())
}

/// Gives an object times of another, and attributes.
pub(crate) fn finish(path: &Path, times: &Metadata, attributes: u32) -> io::Result<()> {
    let file = OpenOptions::new()
        .access_mode(FILE_WRITE_ATTRIBUTES)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)?;
    file.set_times(
        FileTimes::new()
            .set_created(times.created()?)
            .set_accessed(times.accessed()?)
            .set_modified(times.modified()?),
    )?;
    drop(file);
    set_attributes(path, attributes)
}

/// Sets those attributes that can be set.
pub(crate) fn set_attributes(path: &Path, attributes: u32) -> io::Result<()> {
    let units: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    let attributes = match attributes & SETTABLE {
        0 => FILE_ATTRIBUTE_NORMAL,
        some => some,
    };
    // SAFETY: the path is NUL-terminated.
    if unsafe { SetFileAttributesW(units.as_ptr(), attributes) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Removes an object and what is below it, also when it may only be read.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let path = verbatim(path);
    let metadata = fs::symlink_metadata(&path)?;
    let attributes = metadata.file_attributes();
    if attributes & FILE_ATTRIBUTE_READONLY != 0 {
        set_attributes(&path, 0)?;
    }
    if attributes & FILE_ATTRIBUTE_DIRECTORY == 0 {
        return fs::remove_file(&path);
    }
    if attributes & FILE_ATTRIBUTE_REPARSE_POINT == 0 {
        for entry in fs::read_dir(&path)? {
            remove(&entry?.path())?;
        }
    }
    fs::remove_dir(&path)
}
