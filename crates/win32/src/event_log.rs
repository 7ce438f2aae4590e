//! The event log of Windows: messages for administrators.
//!
//! `cli` registers the daemon's name as a source when it installs the service, `daemon` writes. The text of a message is the
//! message: the source names the message file of a program that is part of Windows, whose every message is the text that it was
//! given, so no message DLL of our own is needed. Event numbers are those that this file has: 1 to 1000.
//!
//! Not here: reading, and logs other than `Application`.

use std::io;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};
use windows_sys::Win32::System::Registry::{REG_DWORD, REG_EXPAND_SZ};

use crate::handle::{check, wide};
use crate::registry;

const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

/// Its message table has `%1` under every number from 1 to 1000.
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";

/// The most characters of a text, documented with `ReportEventW`.
const MOST: usize = 31_839;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Good to know.
    Information,
    /// Something works less well than it should.
    Warning,
    /// Somebody has to act.
    Error,
}

/// Registers a source, or does it again.
pub fn register_source(source: &str) -> io::Result<()> {
    let key = registry::Key::create(&format!(r"{SOURCES}\{source}"), false)?;
    let file: Vec<u8> = wide(MESSAGES)?.into_iter().flat_map(u16::to_le_bytes).collect();
    key.set("EventMessageFile", REG_EXPAND_SZ, &file)?;
    let kinds = u32::from(EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE);
    key.set("TypesSupported", REG_DWORD, &kinds.to_le_bytes())
}

/// Removes a source; none is fine, too. What it has written stays.
pub fn remove_source(source: &str) -> io::Result<()> {
    match registry::delete(&format!(r"{SOURCES}\{source}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// A source that messages are written under.
#[derive(Debug)]
pub struct EventLog(HANDLE);

// SAFETY: the handle names a connection to the event log, which takes messages from every thread.
unsafe impl Send for EventLog {}
// SAFETY: as above.
unsafe impl Sync for EventLog {}

impl EventLog {
    /// Opens a source. One that is not registered works, but its messages are shown with a complaint.
    pub fn open(source: &str) -> io::Result<Self> {
        let source = wide(source)?;
        // SAFETY: null is this computer; the name is NUL-terminated.
        let handle = unsafe { RegisterEventSourceW(null(), source.as_ptr()) };
        if handle.is_null() {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self(handle))
        }
    }

    /// Writes a message. A text that is too long is cut.
    pub fn report(&self, kind: EventKind, number: u16, text: &str) -> io::Result<()> {
        let kind = match kind {
            EventKind::Information => EVENTLOG_INFORMATION_TYPE,
            EventKind::Warning => EVENTLOG_WARNING_TYPE,
            EventKind::Error => EVENTLOG_ERROR_TYPE,
        };
        let text: String = text.chars().filter(|c| *c != '\0').take(MOST / 2).collect();
        let text = wide(text)?;
        let strings = [text.as_ptr()];
        // SAFETY: the handle is open; there is one string, NUL-terminated, and no data and no user.
        check(unsafe {
            ReportEventW(
                self.0,
                kind,
                0,
                u32::from(number),
                null_mut(),
                1,
                0,
                strings.as_ptr(),
                null(),
            )
        })
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // SAFETY: the handle is open and closed here alone.
        unsafe { DeregisterEventSource(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_registered_written_to_and_removed() {
        const SOURCE: &str = "ctr-like-test";
        register_source(SOURCE).unwrap();
        let path = format!(r"{SOURCES}\{SOURCE}");
        assert_eq!(registry::number(&path, "TypesSupported").unwrap(), 7);
        let log = EventLog::open(SOURCE).unwrap();
        log.report(EventKind::Information, 1, "a message of a test\0 with a NUL")
            .unwrap();
        remove_source(SOURCE).unwrap();
        assert!(registry::number(&path, "TypesSupported").is_err());
        remove_source(SOURCE).unwrap();
    }
}
