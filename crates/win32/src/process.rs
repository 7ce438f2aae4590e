//! Processes that are not our children, or are to outlive us.
//!
//! The flags are for `std::os::windows::process::CommandExt::creation_flags`; everything else about starting a process is std's.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, FILETIME, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{
    CREATE_BREAKAWAY_FROM_JOB, CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS, GetProcessTimes, OpenProcess,
    PROCESS_ACCESS_RIGHTS, PROCESS_CREATION_FLAGS, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
    PROCESS_TERMINATE, TerminateProcess, WaitForSingleObject,
};

use crate::handle::check;

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
        Self::with(PROCESS_SYNCHRONIZE, pid)
    }

    fn with(rights: PROCESS_ACCESS_RIGHTS, pid: u32) -> io::Result<Self> {
        // SAFETY: plain values; the result is checked below.
        let process = unsafe { OpenProcess(rights, 0, pid) };
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

/// A process that can be ended. It keeps the process's number from being used again.
#[derive(Debug)]
pub struct Held(Watched);

impl Held {
    /// Holds the process of a number; `None` when there is none. Does not block.
    ///
    /// # Errors
    /// This process may not end it.
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        let rights = PROCESS_TERMINATE | PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION;
        match Watched::with(rights, pid) {
            Ok(process) => Ok(Some(Self(process))),
            Err(error) if error.raw_os_error() == Some(ERROR_INVALID_PARAMETER.cast_signed()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When it was created, in units of 100 ns since the year 1601: with its number, what no other process has.
    pub fn created(&self) -> io::Result<u64> {
        let [mut created, mut exited, mut kernel, mut user] = [FILETIME::default(); 4];
        let process = self.0.0.as_raw_handle();
        // SAFETY: the handle is open, with the right for this, and each pointer is to a place for an answer.
        check(unsafe {
            GetProcessTimes(
                process,
                &raw mut created,
                &raw mut exited,
                &raw mut kernel,
                &raw mut user,
            )
        })?;
        Ok(u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
    }

    /// Whether it has ended. Does not block.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended_within(Duration::ZERO)
    }

    /// Ends it by force; its exit code is 1. Does not wait for the end.
    pub fn kill(&self) -> io::Result<()> {
        // SAFETY: the handle is open, with the right for this.
        check(unsafe { TerminateProcess(self.0.0.as_raw_handle(), 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_held_can_be_told_from_others_and_ended() {
        let mut child = std::process::Command::new("cmd")
            .args(["/c", "pause"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let held = Held::open(child.id()).unwrap().unwrap();
        let own = Held::open(std::process::id()).unwrap().unwrap();
        assert!(held.created().unwrap() >= own.created().unwrap());
        assert!(!held.has_ended());
        held.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(held.has_ended());
        assert!(Held::open(3).unwrap().is_none(), "numbers are multiples of four");
    }

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
