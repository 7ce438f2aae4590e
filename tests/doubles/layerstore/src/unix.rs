//! What Linux calls the files that Wine shows.

use std::ffi::{CStr, c_char};
use std::os::windows::ffi::OsStrExt;

use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::Memory::{GetProcessHeap, HeapFree};

/// What Linux calls a file of Windows under Wine; none when it is on no drive, or this is not Wine.
#[must_use]
pub fn path(path: &str) -> Option<String> {
    type Translate = unsafe extern "C" fn(*const u16) -> *mut c_char;
    let wide: Vec<u16> = std::ffi::OsStr::new(path).encode_wide().chain([0]).collect();
    // SAFETY: the texts are NUL-terminated; kernel32 is loaded in every process, and Wine's function has this type and gives a
    // block of the process's heap, or null.
    unsafe {
        let kernel32 = GetModuleHandleA(c"kernel32.dll".as_ptr().cast());
        let function = GetProcAddress(kernel32, c"wine_get_unix_file_name".as_ptr().cast())?;
        let translate = std::mem::transmute::<unsafe extern "system" fn() -> isize, Translate>(function);
        let block = translate(wide.as_ptr());
        if block.is_null() {
            return None;
        }
        let text = CStr::from_ptr(block).to_string_lossy().into_owned();
        HeapFree(GetProcessHeap(), 0, block.cast());
        Some(text)
    }
}
