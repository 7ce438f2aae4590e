//! Every process of the system: numbers, names, times, memory.
//!
//! What of a process cannot be read, because it has ended meanwhile or is somebody else's, is zero.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{FILETIME, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_QUERY_INFORMATION, PROCESS_VM_READ,
};

/// A process. Times are in units of 100 ns, memory is in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessEntry {
    /// Its id.
    pub pid: u32,
    /// Its program.
    pub name: String,
    /// Time in user mode.
    pub user: u64,
    /// Time in the kernel.
    pub kernel: u64,
    /// When it was created, since the year 1601.
    pub created: u64,
    /// Committed memory.
    pub commit: u64,
    /// Resident memory.
    pub working_set: u64,
    /// What of it is shared, where that can be told.
    pub shared: u64,
}

/// Lists all processes.
pub fn all() -> io::Result<Vec<ProcessEntry>> {
    // SAFETY: takes plain values.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened and is ours alone.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = PROCESSENTRY32W {
        dwSize: u32::try_from(size_of::<PROCESSENTRY32W>()).map_err(io::Error::other)?,
        ..Default::default()
    };
    let mut found = Vec::new();
    // SAFETY: the handle is open and `entry` has the size that it says.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        let units = &entry.szExeFile;
        let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
        let mut process = ProcessEntry {
            pid: entry.th32ProcessID,
            name: String::from_utf16_lossy(&units[..end]),
            ..Default::default()
        };
        measure(&mut process);
        found.push(process);
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
    }
    Ok(found)
}

fn measure(entry: &mut ProcessEntry) {
    // SAFETY: takes plain values.
    let process = unsafe { OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_READ, 0, entry.pid) };
    if process.is_null() {
        return;
    }
    // SAFETY: the handle was just opened and is ours alone.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    let handle = process.as_raw_handle();
    let [mut created, mut exited, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the handle is open, and each is a place for an answer.
    let timed = unsafe {
        GetProcessTimes(
            handle,
            &raw mut created,
            &raw mut exited,
            &raw mut kernel,
            &raw mut user,
        )
    };
    let number = |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    if timed != 0 {
        (entry.created, entry.kernel, entry.user) = (number(created), number(kernel), number(user));
    }
    let mut memory = PROCESS_MEMORY_COUNTERS::default();
    let Ok(size) = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()) else {
        return;
    };
    // SAFETY: the handle is open and `memory` has `size` bytes.
    if unsafe { K32GetProcessMemoryInfo(handle, &raw mut memory, size) } != 0 {
        entry.commit = memory.PagefileUsage as u64;
        entry.working_set = memory.WorkingSetSize as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_them() {
        let processes = all().unwrap();
        let own = processes
            .iter()
            .find(|process| process.pid == std::process::id())
            .unwrap();
        assert!(own.name.ends_with(".exe"), "{own:?}");
        assert!(own.created > 0, "{own:?}");
    }
}
