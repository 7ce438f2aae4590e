//! Whether the calling thread has the privileges that a call wants.

use std::mem::size_of_val;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::LUID;
use windows_sys::Win32::Security::{
    GetTokenInformation, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_BACKUP_NAME, SE_PRIVILEGE_ENABLED,
    SE_RESTORE_NAME, TOKEN_PRIVILEGES, TOKEN_QUERY, TokenPrivileges,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, OpenProcessToken, OpenThreadToken,
};

use crate::code::{Answer, Code};
use crate::journal::misuse;

/// Refuses a caller without backup and restore privilege.
pub(crate) fn check(function: &str) -> Answer {
    let enabled = enabled();
    for (privilege, name) in [
        ("SeBackupPrivilege", SE_BACKUP_NAME),
        ("SeRestorePrivilege", SE_RESTORE_NAME),
    ] {
        let mut luid = LUID::default();
        // SAFETY: the name is NUL-terminated, null is this computer, and the out pointer is valid.
        unsafe { LookupPrivilegeValueW(null(), name, &mut luid) };
        if !enabled.contains(&(luid.HighPart, luid.LowPart)) {
            misuse(function, format_args!("without {privilege}"));
            return Err(Code::ACCESS_DENIED);
        }
    }
    Ok(())
}

fn token() -> OwnedHandle {
    let mut token = null_mut();
    // SAFETY: pseudo handles are always valid; the out pointer is valid; the handle is ours alone.
    unsafe {
        if OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &mut token) == 0 {
            OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token);
        }
        OwnedHandle::from_raw_handle(token)
    }
}

fn enabled() -> Vec<(i32, u32)> {
    // Words, so that it is aligned; enough for every privilege there is.
    let mut buffer = [0u64; 256];
    let mut length = 0;
    let size = u32::try_from(size_of_val(&buffer)).unwrap();
    // SAFETY: the token is open and the buffer has the size that the call is told.
    let known = unsafe {
        GetTokenInformation(
            token().as_raw_handle(),
            TokenPrivileges,
            buffer.as_mut_ptr().cast(),
            size,
            &mut length,
        )
    };
    assert!(known != 0, "a token has privileges");
    let list = buffer.as_ptr().cast::<TOKEN_PRIVILEGES>();
    // SAFETY: the call filled the structure, whose elements lie behind its count.
    let list: &[LUID_AND_ATTRIBUTES] = unsafe {
        std::slice::from_raw_parts(
            (&raw const (*list).Privileges).cast(),
            (*list).PrivilegeCount as usize,
        )
    };
    list.iter()
        .filter(|one| one.Attributes & SE_PRIVILEGE_ENABLED != 0)
        .map(|one| (one.Luid.HighPart, one.Luid.LowPart))
        .collect()
}
