//! A process started from a whole command line, held back until it may run.
//!
//! `std::process::Command` builds the command line itself; here it is passed on unchanged, which a program with quoting rules
//! of its own depends on. The new process inherits the standard handles of this one.
//!
//! A [`Child`] begins suspended: put it into a job first, then [`Child::resume`] it. Dropping it does not end the process.

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;

use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::Environment::{SetCurrentDirectoryW, SetEnvironmentVariableW};
use windows_sys::Win32::System::Threading::{
    CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessW, GetExitCodeProcess, INFINITE,
    PROCESS_INFORMATION, ResumeThread, STARTUPINFOW, WaitForSingleObject,
};

use crate::handle::{check, wide};

/// A process of ours.
#[derive(Debug)]
pub struct Child {
    process: OwnedHandle,
    thread: OwnedHandle,
    pid: u32,
}

impl Child {
    /// Starts a program, suspended. An empty `application` leaves it to the command line to name the program, which is looked
    /// for in the current directory and in `PATH` of this process.
    pub fn spawn(
        application: &str,
        command_line: &str,
        environment: &[(String, String)],
        directory: &str,
    ) -> io::Result<Self> {
        let application = (!application.is_empty()).then(|| wide(application)).transpose()?;
        // CreateProcessW may write into it.
        let mut command_line = wide(command_line)?;
        let block = environment_block(environment)?;
        let directory = wide(directory)?;
        let startup = STARTUPINFOW {
            cb: u32::try_from(size_of::<STARTUPINFOW>()).map_err(io::Error::other)?,
            ..Default::default()
        };
        let mut started = PROCESS_INFORMATION::default();
        // SAFETY: every string is NUL-terminated and the block doubly so; all of them, and both structures, outlive the call.
        check(unsafe {
            CreateProcessW(
                application.as_ref().map_or(null(), Vec::as_ptr),
                command_line.as_mut_ptr(),
                null(),
                null(),
                1,
                CREATE_SUSPENDED | CREATE_UNICODE_ENVIRONMENT,
                block.as_ptr().cast(),
                directory.as_ptr(),
                &raw const startup,
                &raw mut started,
            )
        })?;
        // SAFETY: the call succeeded, so both handles are open and ours alone.
        let (process, thread) = unsafe {
            (
                OwnedHandle::from_raw_handle(started.hProcess),
                OwnedHandle::from_raw_handle(started.hThread),
            )
        };
        Ok(Self {
            process,
            thread,
            pid: started.dwProcessId,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The first thread.
    pub fn thread(&self) -> BorrowedHandle<'_> {
        self.thread.as_handle()
    }

    /// Lets it run.
    pub fn resume(&self) -> io::Result<()> {
        // SAFETY: the handle is open for as long as `self` lives.
        match unsafe { ResumeThread(self.thread.as_raw_handle()) } {
            u32::MAX => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Waits for its end. Blocks. The exit code is the whole of it, 32 bits.
    pub fn wait(&self) -> io::Result<u32> {
        let process = self.process.as_raw_handle();
        // SAFETY: the handle is open for as long as `self` lives.
        if unsafe { WaitForSingleObject(process, INFINITE) } != WAIT_OBJECT_0 {
            return Err(io::Error::last_os_error());
        }
        let mut code = 0;
        // SAFETY: as above, and `code` is a place for the answer.
        check(unsafe { GetExitCodeProcess(process, &raw mut code) })?;
        Ok(code)
    }
}

impl AsHandle for Child {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.process.as_handle()
    }
}

/// Makes a directory the current one. Unlike `std::env::set_current_dir`, the error is that of the system for any path.
pub fn enter(directory: &str) -> io::Result<()> {
    let directory = wide(directory)?;
    // SAFETY: the string is NUL-terminated and outlives the call.
    check(unsafe { SetCurrentDirectoryW(directory.as_ptr()) })
}

/// Sets where this process looks for programs.
pub fn set_search_path(path: &str) -> io::Result<()> {
    let (name, path) = (wide("PATH")?, wide(path)?);
    // SAFETY: both strings are NUL-terminated and outlive the call; the Win32 environment is locked by the system.
    check(unsafe { SetEnvironmentVariableW(name.as_ptr(), path.as_ptr()) })
}

/// An environment as `CreateProcessW` takes it: sorted without case, each variable and the whole ended by a NUL.
fn environment_block(variables: &[(String, String)]) -> io::Result<Vec<u16>> {
    let mut sorted: Vec<_> = variables.iter().collect();
    sorted.sort_by_key(|(name, _)| name.to_uppercase());
    let mut block = Vec::new();
    for (name, value) in sorted {
        if name.contains('\0') || value.contains('\0') || name.is_empty() || name[1..].contains('=') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} cannot be an environment variable"),
            ));
        }
        block.extend(OsStr::new(name).encode_wide());
        block.push(u16::from(b'='));
        block.extend(OsStr::new(value).encode_wide());
        block.push(0);
    }
    if block.is_empty() {
        block.push(0);
    }
    block.push(0);
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn an_environment_is_sorted_without_case_and_ends_twice() {
        let block = environment_block(&pairs(&[("b", "2"), ("A", "1")])).unwrap();
        assert_eq!(String::from_utf16(&block).unwrap(), "A=1\0b=2\0\0");
        assert_eq!(environment_block(&[]).unwrap(), [0, 0]);
    }

    #[test]
    fn a_variable_that_would_be_read_as_two_is_refused() {
        for bad in [("a=b", "1"), ("a\0", "1"), ("a", "\0"), ("", "1")] {
            assert!(environment_block(&pairs(&[bad])).is_err(), "{bad:?}");
        }
        // The shell keeps its drives' directories in such names.
        assert!(environment_block(&pairs(&[("=C:", r"C:\x")])).is_ok());
    }

    #[test]
    fn a_missing_program_is_an_error_of_the_system() {
        let error = Child::spawn("", "no-such-program-here.exe", &[], "C:\\").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(2));
    }
}
