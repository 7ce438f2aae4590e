//! Processes that are not our children, or are to outlive us.
//!
//! The flags are for `std::os::windows::process::CommandExt::creation_flags`; everything else about starting a process is std's.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::time::Duration;

use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::Threading::{
    CREATE_BREAKAWAY_FROM_JOB, CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS, OpenProcess,
    PROCESS_CREATION_FLAGS, PROCESS_SYNCHRONIZE, WaitForSingleObject,
};

/// A background process: no console of ours, and Ctrl-C pressed in ours does not reach it.
pub const DETACHED: PROCESS_CREATION_FLAGS = DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP;

/// As [`DETACHED`], and outside the job of the starter, so that it survives a CI agent that kills its job.
///
/// Where the job forbids it, starting fails with "access denied": try this first, then [`DETACHED`].
pub const DETACHED_OUTSIDE_JOB: PROCESS_CREATION_FLAGS = DETACHED | CREATE_BREAKAWAY_FROM_JOB;

/// A process whose end can be waited for. It keeps the process's number from being used again.
#[derive(Debug)]
pub struct Watched(OwnedHandle);

impl Watched {
    /// Watches a process that runs, or has ended while somebody has it open.
    pub fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: plain values; the result is checked below.
        let process = unsafe { OpenProcess(PROCESS_SYNCHRONIZE, 0, pid) };
        if process.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a handle that was just opened and that nobody else owns.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(process) }))
    }

    /// Blocks until it has ended, or for `time`; whether it has.
    #[must_use]
    pub fn ended_within(&self, time: Duration) -> bool {
        let time = u32::try_from(time.as_millis()).unwrap_or(u32::MAX - 1);
        // SAFETY: the handle is open, with the right for this.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), time) == WAIT_OBJECT_0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_seen() {
        let own = Watched::open(std::process::id()).unwrap();
        assert!(!own.ended_within(Duration::ZERO));
        let mut child = std::process::Command::new("cmd")
            .args(["/c", "exit"])
            .spawn()
            .unwrap();
        let watched = Watched::open(child.id()).unwrap();
        assert!(watched.ended_within(Duration::from_secs(60)));
        child.wait().unwrap();
    }
}
