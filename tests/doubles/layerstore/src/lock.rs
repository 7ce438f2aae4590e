//! One call at a time, of all processes: they share folders.

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::System::Threading::{CreateMutexW, INFINITE, ReleaseMutex, WaitForSingleObject};
use windows_sys::core::w;

pub(crate) struct Lock(OwnedHandle);

impl Lock {
    pub(crate) fn new() -> Self {
        // SAFETY: the attributes may be null, the name is NUL-terminated; the handle is ours alone.
        let mutex = unsafe {
            OwnedHandle::from_raw_handle(CreateMutexW(
                std::ptr::null(),
                0,
                w!("ctr-like-layerstore-double"),
            ))
        };
        // Also when its last owner was killed: states are replaced as a whole.
        // SAFETY: the handle is open.
        unsafe { WaitForSingleObject(mutex.as_raw_handle(), INFINITE) };
        Self(mutex)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: this thread has the mutex.
        unsafe { ReleaseMutex(self.0.as_raw_handle()) };
    }
}
