//! Further names, and other names, of what exists.

use std::io;
use std::mem::offset_of;
use std::os::windows::io::AsRawHandle;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_LINK_INFORMATION, FILE_NON_DIRECTORY_FILE, FILE_RENAME_INFORMATION, FileLinkInformation,
    FileRenameInformation,
};
use windows_sys::Win32::Foundation::ERROR_TOO_MANY_LINKS;
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_READ_ATTRIBUTES, FILE_WRITE_ATTRIBUTES, SYNCHRONIZE,
};

use super::call::{self, Opening};
use super::directory::{Directory, existing, is};
use super::name::Name;

/// Gives the file or link `existing.1` in `existing.0` another name `name` in `into`, on the same volume.
/// `ERROR_ALREADY_EXISTS` if anything has it. A file that has all names that a volume allows (1024) answers an error
/// that [`is_too_many_links`] knows: copy it then.
pub fn link(existing_name: (&Directory, &str), into: &Directory, name: &str) -> io::Result<()> {
    let (directory, old) = existing_name;
    let name = Name::new(name)?;
    let opening = Opening {
        options: FILE_NON_DIRECTORY_FILE,
        ..existing(&[FILE_WRITE_ATTRIBUTES | FILE_READ_ATTRIBUTES | SYNCHRONIZE])
    };
    let file = directory.object(old, &opening)?;
    let target = target(
        into,
        &name,
        offset_of!(FILE_LINK_INFORMATION, RootDirectory),
        offset_of!(FILE_LINK_INFORMATION, FileNameLength),
        offset_of!(FILE_LINK_INFORMATION, FileName),
    );
    Ok(call::set(file.as_file(), FileLinkInformation, &target)?)
}

/// Whether a hard link failed because the file can have no further name.
pub fn is_too_many_links(error: &io::Error) -> bool {
    is(error, ERROR_TOO_MANY_LINKS)
}

impl Directory {
    /// Moves a file, link or directory to `into`, on the same volume, under the name `new`. `ERROR_ALREADY_EXISTS` if
    /// anything has it.
    pub fn rename_below(&self, name: &str, into: &Self, new: &str) -> io::Result<()> {
        let new = Name::new(new)?;
        let object = self.object(name, &existing(&[DELETE | FILE_READ_ATTRIBUTES | SYNCHRONIZE]))?;
        let target = target(
            into,
            &new,
            offset_of!(FILE_RENAME_INFORMATION, RootDirectory),
            offset_of!(FILE_RENAME_INFORMATION, FileNameLength),
            offset_of!(FILE_RENAME_INFORMATION, FileName),
        );
        Ok(call::set(object.as_file(), FileRenameInformation, &target)?)
    }
}

/// The structure of both calls: replace nothing, a directory, and a name in it.
fn target(into: &Directory, name: &Name, root_at: usize, length_at: usize, name_at: usize) -> Vec<u8> {
    let units: Vec<u8> = name.units().iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let length = u32::try_from(units.len()).expect("the name was checked");
    let root = into.as_file().as_raw_handle().addr().to_le_bytes();
    // Never smaller than the structure, whose last field is the first unit of the name and is padded.
    let size = (name_at + units.len()).max(size_of::<FILE_LINK_INFORMATION>());
    let mut bytes = vec![0; size];
    bytes[root_at..root_at + root.len()].copy_from_slice(&root);
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    bytes[name_at..name_at + units.len()].copy_from_slice(&units);
    bytes
}
