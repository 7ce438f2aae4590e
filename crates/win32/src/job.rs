//! Job objects: a process with everything that it starts.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;

use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JobObjectBasicProcessIdList, QueryInformationJobObject,
    TerminateJobObject,
};

use crate::handle::check;

/// Most processes of a job that are listed.
const LISTED: usize = 1022;

/// A job. Dropping it leaves its processes alone.
#[derive(Debug)]
pub struct Job(OwnedHandle);

impl Job {
    /// A job without a name and without processes.
    pub fn new() -> io::Result<Self> {
        // SAFETY: both arguments may be null.
        let handle = unsafe { CreateJobObjectW(null(), null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle was just opened and is ours alone.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Takes a process in; what it starts from now on belongs to the job as well.
    pub fn take(&self, process: impl AsHandle) -> io::Result<()> {
        let process = process.as_handle();
        // SAFETY: both handles are open during the call.
        check(unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), process.as_raw_handle()) })
    }

    /// The ids of its processes, at most some thousand.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        // Two numbers of 32 bits, then the ids: each as wide as a pointer.
        let mut list = vec![0_usize; LISTED + 1];
        let size = u32::try_from(list.len() * size_of::<usize>()).map_err(io::Error::other)?;
        // SAFETY: the buffer has `size` bytes and the alignment of the structure, which begins with two u32.
        check(unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicProcessIdList,
                list.as_mut_ptr().cast(),
                size,
                std::ptr::null_mut(),
            )
        })?;
        let count = (list[0] >> 32).min(LISTED);
        Ok(list[1..=count]
            .iter()
            .filter_map(|pid| u32::try_from(*pid).ok())
            .collect())
    }

    /// Ends all of its processes with this exit code.
    pub fn terminate(&self, code: u32) -> io::Result<()> {
        // SAFETY: the handle is open for as long as `self` lives.
        check(unsafe { TerminateJobObject(self.0.as_raw_handle(), code) })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_job_lists_its_processes_and_ends_them() {
        let job = Job::new().unwrap();
        let mut child = Command::new("cmd.exe")
            .arg("/k")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        job.take(&child).unwrap();
        assert!(job.processes().unwrap().contains(&child.id()));
        job.terminate(0xC000_013A).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0xC000_013A_u32.cast_signed()));
    }
}
