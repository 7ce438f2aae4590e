//! Texts that are handed over, and whether callers free them.
//!
//! They are of the task allocator, which lets itself be watched.

use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, Once};

use layerstore::journal::misuse;
use windows_sys::Win32::System::Com::{CoRegisterMallocSpy, CoTaskMemAlloc};
use windows_sys::core::{BOOL, GUID, HRESULT, PWSTR};

static LIVE: LazyLock<Mutex<HashSet<usize>>> = LazyLock::new(Mutex::default);

/// Says what is wrong at the end.
pub(crate) fn report() {
    match LIVE.try_lock().map(|live| live.len()) {
        Ok(0) => {}
        Ok(count) => misuse("the end", format_args!("{count} texts were never freed")),
        Err(_) => misuse("the end", "a lock is held"),
    }
}

/// Hands a text over; none is null.
///
/// # Safety
/// `place` must be writable.
pub(crate) unsafe fn hand_over(text: Option<&str>, place: *mut PWSTR) {
    watch();
    let mut block = std::ptr::null_mut();
    if let Some(text) = text {
        let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
        // SAFETY: plain values; the block has room for the units.
        unsafe {
            block = CoTaskMemAlloc(units.len() * 2).cast::<u16>();
            std::ptr::copy_nonoverlapping(units.as_ptr(), block, units.len());
        }
        LIVE.lock().unwrap().insert(block.addr());
    }
    // SAFETY: the caller vouches for the place.
    unsafe { *place = block };
}

/// Takes note of what is freed, from the first text on.
fn watch() {
    static ONCE: Once = Once::new();
    // SAFETY: the spy lives as long as the process, and its table has the functions of its interface, in order.
    ONCE.call_once(|| unsafe {
        let code = CoRegisterMallocSpy((&raw const SPY).cast_mut().cast());
        if code < 0 {
            misuse(
                "the beginning",
                format_args!("the allocator cannot be watched: {code:#x}"),
            );
        }
    });
}

/// An `IMallocSpy`.
#[repr(C)]
struct Spy(&'static Functions);

#[repr(C)]
struct Functions {
    query_interface: unsafe extern "system" fn(*mut Spy, *const GUID, *mut *mut c_void) -> HRESULT,
    add_ref: extern "system" fn(*mut Spy) -> u32,
    release: extern "system" fn(*mut Spy) -> u32,
    pre_alloc: extern "system" fn(*mut Spy, usize) -> usize,
    post_alloc: extern "system" fn(*mut Spy, *mut c_void) -> *mut c_void,
    pre_free: extern "system" fn(*mut Spy, *mut c_void, BOOL) -> *mut c_void,
    post_free: extern "system" fn(*mut Spy, BOOL),
    pre_realloc: unsafe extern "system" fn(*mut Spy, *mut c_void, usize, *mut *mut c_void, BOOL) -> usize,
    post_realloc: extern "system" fn(*mut Spy, *mut c_void, BOOL) -> *mut c_void,
    pre_get_size: extern "system" fn(*mut Spy, *mut c_void, BOOL) -> *mut c_void,
    post_get_size: extern "system" fn(*mut Spy, usize, BOOL) -> usize,
    pre_did_alloc: extern "system" fn(*mut Spy, *mut c_void, BOOL) -> *mut c_void,
    post_did_alloc: extern "system" fn(*mut Spy, *mut c_void, BOOL, i32) -> i32,
    pre_heap_minimize: extern "system" fn(*mut Spy),
    post_heap_minimize: extern "system" fn(*mut Spy),
}

static SPY: Spy = Spy(&Functions {
    query_interface,
    add_ref: one,
    release: one,
    pre_alloc: bytes,
    post_alloc: block,
    pre_free,
    post_free: nothing,
    pre_realloc,
    post_realloc: same_block,
    pre_get_size: same_block,
    post_get_size: same_bytes,
    pre_did_alloc: same_block,
    post_did_alloc: did,
    pre_heap_minimize: idle,
    post_heap_minimize: idle,
});

extern "system" fn bytes(_: *mut Spy, bytes: usize) -> usize {
    bytes
}

extern "system" fn block(_: *mut Spy, block: *mut c_void) -> *mut c_void {
    block
}

extern "system" fn nothing(_: *mut Spy, _: BOOL) {}

extern "system" fn same_block(_: *mut Spy, block: *mut c_void, _: BOOL) -> *mut c_void {
    block
}

extern "system" fn same_bytes(_: *mut Spy, bytes: usize, _: BOOL) -> usize {
    bytes
}

extern "system" fn did(_: *mut Spy, _: *mut c_void, _: BOOL, did: i32) -> i32 {
    did
}

extern "system" fn idle(_: *mut Spy) {}

unsafe extern "system" fn query_interface(spy: *mut Spy, _: *const GUID, place: *mut *mut c_void) -> HRESULT {
    // SAFETY: who asks has a place for the answer, and there is one interface to ask for.
    unsafe { *place = spy.cast() };
    0
}

extern "system" fn one(_: *mut Spy) -> u32 {
    1
}

extern "system" fn pre_free(_: *mut Spy, block: *mut c_void, _: BOOL) -> *mut c_void {
    LIVE.lock().unwrap().remove(&block.addr());
    block
}

unsafe extern "system" fn pre_realloc(
    _: *mut Spy,
    block: *mut c_void,
    bytes: usize,
    place: *mut *mut c_void,
    _: BOOL,
) -> usize {
    // SAFETY: the allocator has a place for the block.
    unsafe { *place = block };
    bytes
}
