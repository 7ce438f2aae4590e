//! What the processes of a system use, as the host counts it.
//!
//! The processes are those of the system's job, with what they started themselves. Times are those of the processes that live: the
//! host gives no times of one that has ended. Where the host does not tell what of the resident memory is private (Wine), all
//! of it counts. Nothing is made up: a host that counts no transfers says zero.

use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hcs::{HResult, MemoryStats, ProcessDetails, ProcessorStats, Statistics, StorageStats};
use windows_sys::Wdk::System::SystemInformation::{NtQuerySystemInformation, SystemProcessInformation};
use windows_sys::Win32::Foundation::{FILETIME, STATUS_INFO_LENGTH_MISMATCH, SYSTEMTIME};
use windows_sys::Win32::System::JobObjects::{JobObjectBasicProcessIdList, QueryInformationJobObject};
use windows_sys::Win32::System::SystemInformation::GetSystemTimeAsFileTime;
use windows_sys::Win32::System::Time::FileTimeToSystemTime;
use windows_sys::Win32::System::WindowsProgramming::SYSTEM_PROCESS_INFORMATION;

/// The most processes of a job that are listed.
const LISTED: usize = 1024;
/// Wine's desktop. Whoever needs it first starts it, in his own job: it is no program of the container, and Windows has it elsewhere.
const DESKTOP: &str = "explorer.exe";
/// Storage is counted in pieces of this many bytes.
const NORMAL: u64 = 8 << 10;

/// What is kept of a system between two measurements. Times are in units of 100 ns since the year 1601.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    started: Mutex<Option<u64>>,
    peak: AtomicU64,
}

/// A process and what it transferred.
pub(crate) struct Measured {
    pub(crate) details: ProcessDetails,
    read: u64,
    written: u64,
}

impl Figures {
    /// The system has started.
    pub(crate) fn start(&self) {
        *self.started.lock().unwrap() = Some(now());
    }

    /// The sum over the processes, measured now.
    pub(crate) fn statistics(&self, processes: &[Measured]) -> Statistics {
        let sum = |of: fn(&ProcessDetails) -> u64| processes.iter().map(|process| of(&process.details)).sum();
        let (user, kernel): (u64, u64) = (
            sum(|process| process.user_time_100ns),
            sum(|process| process.kernel_time_100ns),
        );
        let commit: u64 = sum(|process| process.memory_commit_bytes);
        let peak = self.peak.fetch_max(commit, Ordering::Relaxed).max(commit);
        let read: u64 = processes.iter().map(|process| process.read).sum();
        let written: u64 = processes.iter().map(|process| process.written).sum();
        let (now, started) = (now(), *self.started.lock().unwrap());
        Statistics {
            timestamp: rfc3339(now),
            container_start_time: started.map(rfc3339).unwrap_or_default(),
            uptime_100ns: started.map_or(0, |started| now.saturating_sub(started)),
            processor: Some(ProcessorStats {
                total_runtime_100ns: user + kernel,
                runtime_user_100ns: user,
                runtime_kernel_100ns: kernel,
            }),
            memory: Some(MemoryStats {
                memory_usage_commit_bytes: commit,
                memory_usage_commit_peak_bytes: peak,
                memory_usage_private_working_set_bytes: sum(|process| {
                    process.memory_working_set_private_bytes
                }),
            }),
            storage: Some(StorageStats {
                read_count_normalized: read.div_ceil(NORMAL),
                read_size_bytes: read,
                write_count_normalized: written.div_ceil(NORMAL),
                write_size_bytes: written,
            }),
        }
    }
}

/// The living processes of a job.
pub(crate) fn measure(job: &OwnedHandle) -> Result<Vec<Measured>, HResult> {
    let pids = members(job)?;
    let snapshot = snapshot()?;
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        // SAFETY: the system put an entry there, and the buffer is longer than the last of them. Wine does not align them.
        let entry = unsafe {
            snapshot
                .as_ptr()
                .byte_add(at)
                .cast::<SYSTEM_PROCESS_INFORMATION>()
                .read_unaligned()
        };
        let pid = entry.UniqueProcessId as usize;
        if pids.contains(&pid) {
            let process = measured(pid, &entry);
            if process.details.image_name != DESKTOP {
                found.push(process);
            }
        }
        match entry.NextEntryOffset {
            0 => return Ok(found),
            next => at += next as usize,
        }
    }
}

fn measured(pid: usize, entry: &SYSTEM_PROCESS_INFORMATION) -> Measured {
    // Private working set, faults, cycles; then creation, user and kernel time.
    let hidden = |at: usize| u64::from_le_bytes(entry.Reserved1[at..at + 8].try_into().unwrap());
    let bytes = |number: i64| u64::try_from(number).unwrap_or_default();
    let resident = entry.WorkingSetSize as u64;
    let private = match hidden(0) {
        0 => resident,
        private => private,
    };
    let name = entry.ImageName;
    let name = match name.Buffer.is_null() {
        true => &[][..],
        // SAFETY: the text lies in the snapshot, which the caller keeps meanwhile, and has this many bytes.
        false => unsafe { std::slice::from_raw_parts(name.Buffer, usize::from(name.Length / 2)) },
    };
    let name = String::from_utf16_lossy(name);
    Measured {
        details: ProcessDetails {
            process_id: u32::try_from(pid).unwrap_or_default(),
            image_name: name.rsplit('\\').next().unwrap_or_default().to_owned(),
            create_timestamp: rfc3339(hidden(24)),
            user_time_100ns: hidden(32),
            kernel_time_100ns: hidden(40),
            memory_commit_bytes: entry.PagefileUsage as u64,
            memory_working_set_private_bytes: private,
            memory_working_set_shared_bytes: resident.saturating_sub(private),
        },
        // Operations by kind, then bytes by kind.
        read: bytes(entry.Reserved7[3]),
        written: bytes(entry.Reserved7[4]),
    }
}

/// The ids of the processes of a job.
fn members(job: &OwnedHandle) -> Result<Vec<usize>, HResult> {
    // Two numbers of 32 bits, then the ids: each as wide as a pointer.
    let mut list = vec![0_usize; LISTED + 1];
    let size = u32::try_from(list.len() * size_of::<usize>()).unwrap();
    // SAFETY: the buffer has `size` bytes and the alignment of the structure, which begins with two u32.
    let done = unsafe {
        QueryInformationJobObject(
            job.as_raw_handle(),
            JobObjectBasicProcessIdList,
            list.as_mut_ptr().cast(),
            size,
            std::ptr::null_mut(),
        )
    };
    if done == 0 {
        return Err(HResult::E_FAIL);
    }
    let count = (list[0] >> 32).min(LISTED);
    Ok(list[1..=count].to_vec())
}

/// Every process of the host, as the system describes them; in words, which are aligned for its structures.
fn snapshot() -> Result<Vec<u64>, HResult> {
    let mut words = vec![0_u64; 32 << 10];
    loop {
        let size = u32::try_from(words.len() * 8).map_err(|_| HResult::E_OUTOFMEMORY)?;
        let mut needed = 0;
        // SAFETY: the buffer has `size` bytes; the out pointer is valid.
        let status = unsafe {
            NtQuerySystemInformation(
                SystemProcessInformation,
                words.as_mut_ptr().cast(),
                size,
                &raw mut needed,
            )
        };
        match status {
            0 => return Ok(words),
            STATUS_INFO_LENGTH_MISMATCH => words.resize(words.len() * 2, 0),
            _ => return Err(HResult::E_FAIL),
        }
    }
}

fn now() -> u64 {
    let mut time = FILETIME::default();
    // SAFETY: the out pointer is valid.
    unsafe { GetSystemTimeAsFileTime(&raw mut time) };
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

fn rfc3339(time: u64) -> String {
    let half = |bits: u64| u32::try_from(bits).unwrap_or_default();
    let file = FILETIME {
        dwLowDateTime: half(time & u64::from(u32::MAX)),
        dwHighDateTime: half(time >> 32),
    };
    let mut parts = SYSTEMTIME::default();
    // SAFETY: both pointers are valid.
    unsafe { FileTimeToSystemTime(&raw const file, &raw mut parts) };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:07}Z",
        parts.wYear,
        parts.wMonth,
        parts.wDay,
        parts.wHour,
        parts.wMinute,
        parts.wSecond,
        time % 10_000_000
    )
}
