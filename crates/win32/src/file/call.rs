//! The calls of the kernel, with their status as an error.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::ptr::{null, null_mut};

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_INFORMATION_CLASS, FILE_OPEN_FOR_BACKUP_INTENT, FILE_OPEN_REPARSE_POINT,
    FILE_SYNCHRONOUS_IO_NONALERT, NTCREATEFILE_CREATE_DISPOSITION, NTCREATEFILE_CREATE_OPTIONS, NtCreateFile,
    NtFsControlFile, NtQueryInformationFile, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{
    HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, OBJ_DONT_REPARSE, RtlNtStatusToDosError, STATUS_ACCESS_DENIED,
    STATUS_MEDIA_WRITE_PROTECTED, STATUS_PRIVILEGE_NOT_HELD,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_ACCESS_RIGHTS, FILE_ATTRIBUTE_NORMAL, FILE_SHARE_MODE};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use super::buffer::Buffer;
use super::name::Name;

/// A status that is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) NTSTATUS);

impl From<Status> for io::Error {
    fn from(status: Status) -> Self {
        // SAFETY: a function of plain values.
        let code = unsafe { RtlNtStatusToDosError(status.0) };
        Self::from_raw_os_error(code.cast_signed())
    }
}

/// Tells success and information from warnings and errors.
pub(super) fn check(status: NTSTATUS) -> Result<(), Status> {
    if status >= 0 { Ok(()) } else { Err(Status(status)) }
}

/// How an object is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening<'a> {
    /// Sets of rights, of which the first is taken that is granted.
    pub(super) rights: &'a [FILE_ACCESS_RIGHTS],
    /// What others may do to it meanwhile.
    pub(super) share: FILE_SHARE_MODE,
    /// Whether it must exist.
    pub(super) disposition: NTCREATEFILE_CREATE_DISPOSITION,
    /// Whether it must be a directory or none.
    pub(super) options: NTCREATEFILE_CREATE_OPTIONS,
}

impl Opening<'_> {
    /// Opens what has this name in the directory or, for a stream, on the object. Never follows a reparse point: neither
    /// the last component nor, should somebody turn it into one meanwhile, the directory.
    pub(super) fn below(&self, root: &File, name: &Name) -> Result<File, Status> {
        let mut denied = Status(STATUS_ACCESS_DENIED);
        for rights in self.rights {
            match self.once(*rights, root, name) {
                Err(
                    status @ Status(
                        STATUS_PRIVILEGE_NOT_HELD | STATUS_ACCESS_DENIED | STATUS_MEDIA_WRITE_PROTECTED,
                    ),
                ) => denied = status,
                other => return other,
            }
        }
        Err(denied)
    }

    fn once(&self, rights: FILE_ACCESS_RIGHTS, root: &File, name: &Name) -> Result<File, Status> {
        let counted = name.counted();
        let attributes = OBJECT_ATTRIBUTES {
            Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).expect("a small structure"),
            RootDirectory: root.as_raw_handle(),
            ObjectName: &counted,
            Attributes: OBJ_CASE_INSENSITIVE | OBJ_DONT_REPARSE,
            SecurityDescriptor: null(),
            SecurityQualityOfService: null(),
        };
        let mut handle: HANDLE = null_mut();
        let mut done = IO_STATUS_BLOCK::default();
        // SAFETY: all pointers lead to locals that outlive the call, the root is open for its duration, the optional
        // allocation size and extended attributes are absent.
        check(unsafe {
            NtCreateFile(
                &mut handle,
                rights,
                &attributes,
                &mut done,
                null(),
                FILE_ATTRIBUTE_NORMAL,
                self.share,
                self.disposition,
                self.options
                    | FILE_OPEN_REPARSE_POINT
                    | FILE_OPEN_FOR_BACKUP_INTENT
                    | FILE_SYNCHRONOUS_IO_NONALERT,
                null(),
                0,
            )
        })?;
        // SAFETY: a handle that was just opened and that nobody else owns.
        Ok(unsafe { File::from_raw_handle(handle) })
    }
}

/// Asks for a class of information; the bytes that were answered.
pub(super) fn query(file: &File, class: FILE_INFORMATION_CLASS, size: usize) -> Result<Vec<u8>, Status> {
    let mut buffer = Buffer::zeroed(size);
    let mut done = IO_STATUS_BLOCK::default();
    let size = buffer.size();
    // SAFETY: the handle is open, the buffer has the size that is passed, and the handle is synchronous: nothing is
    // written after the call.
    check(unsafe {
        NtQueryInformationFile(file.as_raw_handle(), &mut done, buffer.as_mut_ptr(), size, class)
    })?;
    Ok(buffer.bytes(done.Information))
}

/// Sets a class of information from the bytes of its structure.
pub(super) fn set(file: &File, class: FILE_INFORMATION_CLASS, bytes: &[u8]) -> Result<(), Status> {
    let buffer = Buffer::from_bytes(bytes);
    let mut done = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open, the buffer has the size that is passed, is aligned for every structure and only read.
    check(unsafe {
        NtSetInformationFile(
            file.as_raw_handle(),
            &mut done,
            buffer.as_ptr(),
            buffer.size(),
            class,
        )
    })
}

/// Sends a control code with input; at most `answer` bytes of what comes back.
pub(super) fn control(file: &File, code: u32, input: &[u8], answer: usize) -> Result<Vec<u8>, Status> {
    let input = Buffer::from_bytes(input);
    let mut output = Buffer::zeroed(answer);
    let mut done = IO_STATUS_BLOCK::default();
    let size = output.size();
    let or_null = |pointer: *const c_void, size: u32| if size == 0 { null() } else { pointer };
    // SAFETY: the handle is open and synchronous, so the call ends before it returns; both buffers have the sizes that
    // are passed, and one of no size is absent.
    check(unsafe {
        NtFsControlFile(
            file.as_raw_handle(),
            null_mut(),
            None,
            null(),
            &mut done,
            code,
            or_null(input.as_ptr(), input.size()),
            input.size(),
            or_null(output.as_mut_ptr(), size).cast_mut(),
            size,
        )
    })?;
    Ok(output.bytes(done.Information))
}
