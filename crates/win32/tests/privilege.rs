//! An account that lacks a privilege. A program of its own, because it takes the privilege from its whole process for good.
#![cfg(windows)]
#![expect(unsafe_code, reason = "takes a privilege from the process")]

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use win32::privilege::{LayerPrivileges, PrivilegeFailure};
use windows_sys::Win32::Foundation::LUID;
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_PRIVILEGE_REMOVED,
    SE_SECURITY_NAME, TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES, TOKEN_QUERY,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, OpenProcessToken, OpenThreadToken,
};

fn take_security_privilege() {
    let (mut token, mut luid) = (null_mut(), LUID::default());
    // SAFETY: the pseudo handle is always valid, the out pointers are valid, the name is NUL-terminated; the token is open
    // with the rights to be adjusted; the structure has its one element.
    unsafe {
        assert_ne!(
            OpenProcessToken(
                GetCurrentProcess(),
                TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY,
                &mut token
            ),
            0
        );
        let token = OwnedHandle::from_raw_handle(token);
        assert_ne!(LookupPrivilegeValueW(null(), SE_SECURITY_NAME, &mut luid), 0);
        let removed = TOKEN_PRIVILEGES {
            PrivilegeCount: 1,
            Privileges: [LUID_AND_ATTRIBUTES {
                Luid: luid,
                Attributes: SE_PRIVILEGE_REMOVED,
            }],
        };
        let taken = AdjustTokenPrivileges(token.as_raw_handle(), 0, &removed, 0, null_mut(), null_mut());
        assert_ne!(taken, 0);
    }
}

#[test]
fn a_missing_privilege_is_named_and_the_thread_stays_as_it_was() {
    drop(LayerPrivileges::hold().unwrap());
    take_security_privilege();
    match LayerPrivileges::hold() {
        Err(PrivilegeFailure::NotHeld { privilege }) => assert_eq!(privilege, "SeSecurityPrivilege"),
        other => panic!("{other:?}"),
    }
    let mut token = null_mut();
    // SAFETY: the pseudo handle is always valid; the out pointer is valid.
    let own = unsafe { OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &mut token) };
    assert_eq!(own, 0, "the thread has the token of the process");
}
