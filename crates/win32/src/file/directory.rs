//! Directories, and what is opened and made in them.

use std::fs::OpenOptions;
use std::io;
use std::ops::Deref;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::ptr::{null, null_mut};

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_NAMES_INFORMATION, FILE_NON_DIRECTORY_FILE, FILE_OPEN,
    FILE_OPEN_IF, FileNamesInformation, NTCREATEFILE_CREATE_DISPOSITION, NtQueryDirectoryFile,
};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DIRECTORY, ERROR_PRIVILEGE_NOT_HELD, ERROR_REPARSE_POINT_ENCOUNTERED,
    ERROR_WRITE_PROTECT, GENERIC_READ, GENERIC_WRITE, STATUS_NO_MORE_FILES,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ACCESS_RIGHTS, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FILE_READ_EA, FILE_SHARE_DELETE,
    FILE_SHARE_MODE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_TRAVERSE, FILE_WRITE_ATTRIBUTES, FILE_WRITE_EA,
    READ_CONTROL, SYNCHRONIZE, WRITE_DAC, WRITE_OWNER,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;
use windows_sys::Win32::System::SystemServices::ACCESS_SYSTEM_SECURITY;

use super::buffer::{Buffer, chain, text_at, u32_at};
use super::call::{self, Opening, Status};
use super::name::Name;
use super::object::{Facts, Object};

/// Everybody may do everything: handles of ours must not keep the system from working on the same tree.
pub(super) const SHARE_ALL: FILE_SHARE_MODE = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

const LIST: FILE_ACCESS_RIGHTS =
    FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES | FILE_READ_EA | READ_CONTROL | SYNCHRONIZE;
/// Not the right to add or to delete: those count against what others who open the directory are ready to share, and
/// making something in it asks for its access list instead of the handle.
const LIST_AND_CHANGE: FILE_ACCESS_RIGHTS =
    LIST | FILE_WRITE_ATTRIBUTES | FILE_WRITE_EA | WRITE_DAC | WRITE_OWNER;
const DIRECTORY_RIGHTS: [FILE_ACCESS_RIGHTS; 4] = [
    LIST_AND_CHANGE | ACCESS_SYSTEM_SECURITY,
    LIST_AND_CHANGE,
    LIST | ACCESS_SYSTEM_SECURITY,
    LIST,
];

const LIST_RIGHTS: [FILE_ACCESS_RIGHTS; 1] = [LIST];

const WRITE: FILE_ACCESS_RIGHTS = GENERIC_READ | GENERIC_WRITE | WRITE_DAC | WRITE_OWNER | SYNCHRONIZE;
const WRITE_RIGHTS: [FILE_ACCESS_RIGHTS; 2] = [WRITE | ACCESS_SYSTEM_SECURITY, WRITE];
const READ: FILE_ACCESS_RIGHTS = GENERIC_READ | SYNCHRONIZE;
const READ_RIGHTS: [FILE_ACCESS_RIGHTS; 2] = [READ | ACCESS_SYSTEM_SECURITY, READ];
const CHANGE: FILE_ACCESS_RIGHTS =
    GENERIC_READ | FILE_WRITE_ATTRIBUTES | FILE_WRITE_EA | WRITE_DAC | WRITE_OWNER | SYNCHRONIZE;
const CHANGE_RIGHTS: [FILE_ACCESS_RIGHTS; 2] = [CHANGE | ACCESS_SYSTEM_SECURITY, CHANGE];
const QUERY_RIGHTS: [FILE_ACCESS_RIGHTS; 1] = [FILE_READ_ATTRIBUTES | SYNCHRONIZE];

/// Bytes of names that are fetched at once.
const LISTING: usize = 64 << 10;

/// An open directory that is no reparse point. It is an [`Object`] too, with metadata of its own.
#[derive(Debug)]
pub struct Directory(Object);

impl Deref for Directory {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.0
    }
}

impl Directory {
    /// Opens a directory of the host. Components before the last may be links: the path is the operator's.
    /// `ERROR_REPARSE_POINT_ENCOUNTERED` if the last is one, `ERROR_DIRECTORY` if it is a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::opened(path, &DIRECTORY_RIGHTS)
    }

    /// Opens a directory of the host without any right to change it itself, for what only looks: filter drivers take the
    /// mere right for a change. Things can be made in it and removed. Errors as [`Self::open`].
    pub fn open_to_list(path: &Path) -> io::Result<Self> {
        Self::opened(path, &LIST_RIGHTS)
    }

    fn opened(path: &Path, sets: &[FILE_ACCESS_RIGHTS]) -> io::Result<Self> {
        let mut denied = None;
        for rights in sets {
            let opened = OpenOptions::new()
                .access_mode(*rights)
                .share_mode(SHARE_ALL)
                .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
                .open(path);
            match opened {
                Err(error)
                    if [ERROR_ACCESS_DENIED, ERROR_PRIVILEGE_NOT_HELD, ERROR_WRITE_PROTECT]
                        .iter()
                        .any(|code| is(&error, *code)) =>
                {
                    denied = Some(error);
                }
                opened => return Self::proved(Object(opened?)),
            }
        }
        Err(denied.unwrap_or_else(|| io::ErrorKind::PermissionDenied.into()))
    }

    /// Opens a directory in this one without any right to change it itself. As [`Self::open_to_list`].
    pub fn list_below(&self, name: &str) -> io::Result<Self> {
        Self::proved(self.directory(name, &LIST_RIGHTS, FILE_OPEN)?)
    }

    /// Opens a directory in this one. Errors as [`Self::open`].
    pub fn open_below(&self, name: &str) -> io::Result<Self> {
        Self::proved(self.directory(name, &DIRECTORY_RIGHTS, FILE_OPEN)?)
    }

    /// Opens a directory in this one and makes it before, if nothing has the name. Errors as [`Self::open`].
    pub fn create_below(&self, name: &str) -> io::Result<Self> {
        Self::proved(self.directory(name, &DIRECTORY_RIGHTS, FILE_OPEN_IF)?)
    }

    /// Makes a directory. `ERROR_ALREADY_EXISTS` if anything has the name.
    pub fn create_directory(&self, name: &str) -> io::Result<Self> {
        Self::proved(self.directory(name, &DIRECTORY_RIGHTS, FILE_CREATE)?)
    }

    /// The same directory, open a second time.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(Object(self.0.0.try_clone()?)))
    }

    /// Makes an empty file, with the rights to write it and all that the volume keeps about it.
    /// `ERROR_ALREADY_EXISTS` if anything has the name. Others may only read it until the object is dropped.
    pub fn create_file(&self, name: &str) -> io::Result<Object> {
        let opening = Opening {
            rights: &WRITE_RIGHTS,
            share: FILE_SHARE_READ,
            disposition: FILE_CREATE,
            options: FILE_NON_DIRECTORY_FILE,
        };
        self.object(name, &opening)
    }

    /// Opens a file, link or directory for reading content and metadata.
    pub fn open_file(&self, name: &str) -> io::Result<Object> {
        self.object(name, &existing(&READ_RIGHTS))
    }

    /// Opens a file, link or directory for changing its metadata; its content can be read.
    pub fn open_for_change(&self, name: &str) -> io::Result<Object> {
        self.object(name, &existing(&CHANGE_RIGHTS))
    }

    /// Attributes, times, size and identity of a file, link or directory.
    pub fn query(&self, name: &str) -> io::Result<Facts> {
        self.object(name, &existing(&QUERY_RIGHTS))?.facts()
    }

    /// The names in it, in the order of the volume, without `.` and `..`. A name that is no text, which only programs
    /// with evil intent make, is invalid data.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let listed = self.0.reopened_for_listing()?;
        let mut buffer = Buffer::zeroed(LISTING);
        let mut names = Vec::new();
        loop {
            let mut done = IO_STATUS_BLOCK::default();
            let size = buffer.size();
            // SAFETY: the handle is open and synchronous, so the call ends before it returns; the buffer has the size
            // that is passed; there is no event, no pattern and nothing to be called.
            let status = call::check(unsafe {
                NtQueryDirectoryFile(
                    listed.as_raw_handle(),
                    null_mut(),
                    None,
                    null(),
                    &mut done,
                    buffer.as_mut_ptr(),
                    size,
                    FileNamesInformation,
                    false,
                    null(),
                    false,
                )
            });
            match status {
                Err(Status(STATUS_NO_MORE_FILES)) => return Ok(names),
                status => status?,
            }
            for entry in chain(&buffer.bytes(done.Information)) {
                let at = std::mem::offset_of!(FILE_NAMES_INFORMATION, FileName);
                let name = u32_at(entry, 8).and_then(|length| text_at(entry, at, length));
                let name = name.ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidData, "a name in the directory is no text")
                })?;
                if name != "." && name != ".." {
                    names.push(name);
                }
            }
        }
    }

    fn directory(
        &self,
        name: &str,
        rights: &[FILE_ACCESS_RIGHTS],
        disposition: NTCREATEFILE_CREATE_DISPOSITION,
    ) -> io::Result<Object> {
        let opening = Opening {
            rights,
            share: SHARE_ALL,
            disposition,
            options: FILE_DIRECTORY_FILE,
        };
        self.object(name, &opening)
    }

    /// Opens what has this name here.
    pub(super) fn object(&self, name: &str, opening: &Opening<'_>) -> io::Result<Object> {
        let name = Name::new(name)?;
        Ok(Object(opening.below(&self.0.0, &name)?))
    }

    /// Takes an object that is a directory and no reparse point.
    pub(super) fn proved(object: Object) -> io::Result<Self> {
        let (attributes, _) = object.tag()?;
        let code = if attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
            ERROR_REPARSE_POINT_ENCOUNTERED
        } else if attributes & FILE_ATTRIBUTE_DIRECTORY == 0 {
            ERROR_DIRECTORY
        } else {
            return Ok(Self(object));
        };
        Err(io::Error::from_raw_os_error(code.cast_signed()))
    }
}

/// Opens what exists, whatever it is.
pub(super) fn existing(rights: &[FILE_ACCESS_RIGHTS]) -> Opening<'_> {
    Opening {
        rights,
        share: SHARE_ALL,
        disposition: FILE_OPEN,
        options: 0,
    }
}

/// Whether an error has this Win32 code.
pub(super) fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}
