//! Creation flags for processes that outlive the one that starts them.
//!
//! Used with `std::os::windows::process::CommandExt::creation_flags`; everything else about starting a process is std's.

use windows_sys::Win32::System::Threading::{
    CREATE_BREAKAWAY_FROM_JOB, CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS, PROCESS_CREATION_FLAGS,
};

/// A background process: no console of ours, and Ctrl-C pressed in ours does not reach it.
pub const DETACHED: PROCESS_CREATION_FLAGS = DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP;

/// As [`DETACHED`], and outside the job of the starter, so that it survives a CI agent that kills its job.
///
/// Where the job forbids it, starting fails with "access denied": try this first, then [`DETACHED`].
pub const DETACHED_OUTSIDE_JOB: PROCESS_CREATION_FLAGS = DETACHED | CREATE_BREAKAWAY_FROM_JOB;
