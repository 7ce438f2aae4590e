//! Looks at the file of orders when it changes, until somebody says that it is enough. Nobody wakes up meanwhile.

use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::null;

use windows_sys::Win32::Foundation::{INVALID_HANDLE_VALUE, WAIT_OBJECT_0};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_NOTIFY_CHANGE_FILE_NAME, FindCloseChangeNotification, FindFirstChangeNotificationW,
    FindNextChangeNotification,
};
use windows_sys::Win32::System::Threading::{CreateEventW, INFINITE, SetEvent, WaitForMultipleObjects};

/// Says when it is enough.
pub(super) struct Enough(OwnedHandle);

impl Enough {
    pub(super) fn new() -> Self {
        // SAFETY: all arguments may be null; the handle is ours alone.
        Self(unsafe { OwnedHandle::from_raw_handle(CreateEventW(null(), 1, 0, null())) })
    }

    pub(super) fn say(&self) {
        // SAFETY: the event is open for as long as `self` lives.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    /// Calls `look` now, and each time a file in a folder gets a name.
    pub(super) fn watch(&self, folder: &Path, look: impl Fn()) {
        let units: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
        // SAFETY: the path is NUL-terminated.
        let changes =
            unsafe { FindFirstChangeNotificationW(units.as_ptr(), 0, FILE_NOTIFY_CHANGE_FILE_NAME) };
        if changes == INVALID_HANDLE_VALUE {
            return;
        }
        let handles = [self.0.as_raw_handle(), changes];
        loop {
            look();
            // SAFETY: both handles are open.
            unsafe {
                if WaitForMultipleObjects(2, handles.as_ptr(), 0, INFINITE) == WAIT_OBJECT_0
                    || FindNextChangeNotification(changes) == 0
                {
                    FindCloseChangeNotification(changes);
                    return;
                }
            }
        }
    }
}
