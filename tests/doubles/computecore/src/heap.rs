//! Result documents, and whether callers free them.
//!
//! `LocalFree` is Windows's own, so the program's import of it is redirected to a function that takes notes.

use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, Once};

use windows_sys::Win32::Foundation::{HLOCAL, LocalFree};
use windows_sys::Win32::System::Memory::{LMEM_FIXED, LocalAlloc};
use windows_sys::core::{PCWSTR, PWSTR};

use crate::world::misuse;
use crate::{imports, sockets};

#[derive(Default)]
struct Documents {
    live: HashSet<usize>,
    freed: HashSet<usize>,
}

static DOCUMENTS: LazyLock<Mutex<Documents>> = LazyLock::new(Mutex::default);
static PATCHED: AtomicUsize = AtomicUsize::new(0);

/// What is wrong at the end.
pub(crate) fn report() -> String {
    let Ok(documents) = DOCUMENTS.try_lock() else {
        return "a lock is held\n".to_owned();
    };
    if PATCHED.load(Ordering::Relaxed) == 0 && !documents.live.is_empty() {
        return "the program imports no LocalFree\n".to_owned();
    }
    match documents.live.len() {
        0 => String::new(),
        count => format!("never freed: {count} result documents\n"),
    }
}

/// Hands a document over.
///
/// # Safety
/// `place` must be null or writable.
pub(crate) unsafe fn hand_over(document: Option<&str>, place: *mut PWSTR) {
    if place.is_null() {
        return;
    }
    let Some(document) = document else {
        // SAFETY: the caller vouches for the place.
        unsafe { *place = std::ptr::null_mut() };
        return;
    };
    let units: Vec<u16> = document.encode_utf16().chain([0]).collect();
    // SAFETY: plain values; the block has room for the units, and the caller vouches for the place.
    unsafe {
        let block = LocalAlloc(LMEM_FIXED, units.len() * 2).cast::<u16>();
        std::ptr::copy_nonoverlapping(units.as_ptr(), block, units.len());
        let mut documents = DOCUMENTS.lock().unwrap();
        documents.live.insert(block.addr());
        documents.freed.remove(&block.addr());
        *place = block;
    }
}

/// Reads a text of the caller; none is null.
///
/// # Safety
/// `text` must be null or NUL-terminated.
pub(crate) unsafe fn read(function: &str, text: PCWSTR) -> Option<String> {
    if text.is_null() {
        return None;
    }
    let mut length = 0;
    // SAFETY: the caller vouches for the terminating NUL.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: so many units were just read.
    let units = unsafe { std::slice::from_raw_parts(text, length) };
    Some(String::from_utf16(units).unwrap_or_else(|_| {
        misuse(function, "a text is no UTF-16");
        String::from_utf16_lossy(units)
    }))
}

unsafe extern "system" fn noted_free(block: HLOCAL) -> HLOCAL {
    let mut documents = DOCUMENTS.lock().unwrap();
    if documents.live.remove(&block.addr()) {
        documents.freed.insert(block.addr());
    }
    drop(documents);
    // SAFETY: what the program wanted to do.
    unsafe { LocalFree(block) }
}

/// Redirects what the program imports and the double has to know of, once.
pub(crate) fn watch_program() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let free = noted_free as unsafe extern "system" fn(HLOCAL) -> HLOCAL;
        // SAFETY: the type is that of the function.
        let count = unsafe { imports::redirect(None, c"LocalFree", free as *const c_void) };
        PATCHED.store(count, Ordering::Relaxed);
        sockets::watch_program();
    });
}
