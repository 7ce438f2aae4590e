//! What the other files share: UTF-16 arguments, answers of calls, and blocks that Win32 allocates with `LocalAlloc`.

use std::ffi::{OsStr, c_void};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::ptr::NonNull;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, LocalFree};

/// NUL-terminated UTF-16. A NUL inside the text is refused because Win32 would silently cut the string there.
pub(crate) fn wide(text: impl AsRef<OsStr>) -> io::Result<Vec<u16>> {
    let mut units: Vec<u16> = text.as_ref().encode_wide().collect();
    if units.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "text contains a NUL character",
        ));
    }
    units.push(0);
    Ok(units)
}

/// The answer of functions that return their error.
pub(crate) fn succeeded(code: u32) -> io::Result<()> {
    if code == ERROR_SUCCESS {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code.cast_signed()))
    }
}

/// A block that the system allocated for us with `LocalAlloc`; freed on drop.
#[derive(Debug)]
pub(crate) struct LocalBlock(NonNull<c_void>);

// SAFETY: the block is plain memory without thread affinity; only one owner frees it.
unsafe impl Send for LocalBlock {}
// SAFETY: shared access only hands out the pointer; nothing in this crate writes through it after construction.
unsafe impl Sync for LocalBlock {}

impl LocalBlock {
    /// Takes ownership of a block returned by a Win32 function that documents `LocalFree`; `None` for null.
    ///
    /// # Safety
    /// `block` must be null or come from `LocalAlloc`, and nobody else may free it.
    pub(crate) unsafe fn from_raw(block: *mut c_void) -> Option<Self> {
        NonNull::new(block).map(Self)
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// Reads the block as NUL-terminated UTF-16.
    ///
    /// # Safety
    /// The block must hold a NUL-terminated UTF-16 string.
    pub(crate) unsafe fn to_string_lossy(&self) -> String {
        let start = self.0.as_ptr().cast::<u16>();
        let mut length = 0;
        // SAFETY: the caller guarantees a terminating NUL, so every unit up to it lies inside the block.
        while unsafe { *start.add(length) } != 0 {
            length += 1;
        }
        // SAFETY: the loop above established that `length` units are readable.
        String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(start, length) })
    }
}

impl Drop for LocalBlock {
    fn drop(&mut self) {
        // SAFETY: by construction we own a LocalAlloc block that is freed exactly once.
        unsafe { LocalFree(self.0.as_ptr()) };
    }
}

/// Turns the BOOL convention into a result.
pub(crate) fn check(ok: windows_sys::core::BOOL) -> io::Result<()> {
    if ok == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
