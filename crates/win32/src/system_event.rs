//! Events in the object namespace of the system, which have names that Win32 functions cannot say.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null_mut;

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::NtSetEvent;
use windows_sys::Wdk::System::Threading::NtOpenEvent;
use windows_sys::Win32::Foundation::UNICODE_STRING;
use windows_sys::Win32::System::Threading::EVENT_MODIFY_STATE;

use crate::handle::wide;

/// Sets an event by its full name, such as `\KernelObjects\x`.
pub fn set(name: &str) -> io::Result<()> {
    let mut units = wide(name)?;
    let bytes = |count: usize| u16::try_from(count * 2).map_err(io::Error::other);
    let text = UNICODE_STRING {
        Length: bytes(units.len() - 1)?,
        MaximumLength: bytes(units.len())?,
        Buffer: units.as_mut_ptr(),
    };
    let attributes = OBJECT_ATTRIBUTES {
        Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).map_err(io::Error::other)?,
        ObjectName: &raw const text,
        ..Default::default()
    };
    let mut event = null_mut();
    // SAFETY: the attributes, the name and its text outlive the call, and `event` is a place for the answer.
    status(unsafe { NtOpenEvent(&raw mut event, EVENT_MODIFY_STATE, &raw const attributes) })?;
    // SAFETY: the handle was just opened and is ours alone.
    let event = unsafe { OwnedHandle::from_raw_handle(event) };
    // SAFETY: the handle is open, and the previous state may go nowhere.
    status(unsafe { NtSetEvent(event.as_raw_handle(), null_mut()) })
}

fn status(status: i32) -> io::Result<()> {
    if status >= 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("status {status:#010x}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_nobody_made_is_an_error() {
        assert!(set(r"\KernelObjects\ctr-like-no-such-event").is_err());
    }
}
