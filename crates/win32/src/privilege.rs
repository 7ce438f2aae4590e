//! Privileges of the calling thread, for the work on layers of Windows.
//!
//! `snapshot` holds [`LayerPrivileges`] while it imports, exports or writes layers. They are enabled on a copy of the process's
//! token that only this thread uses, so that nothing else in the process gains a right, and nobody can disable them meanwhile;
//! that is also why all of the work has to stay on the thread. The account must have been given them: administrators and the
//! system have them.
//!
//! A thread that already has a token of its own, by a guard or as somebody's client, gets that one back.
//!
//! Not here: privileges of the process, giving privileges to accounts.

use std::io;
use std::marker::PhantomData;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{
    ERROR_NO_TOKEN, ERROR_NOT_ALL_ASSIGNED, ERROR_SUCCESS, GetLastError, LUID,
};
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, ImpersonateSelf, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, RevertToSelf,
    SE_BACKUP_NAME, SE_PRIVILEGE_ENABLED, SE_RESTORE_NAME, SE_SECURITY_NAME, SecurityImpersonation,
    TOKEN_ACCESS_MASK, TOKEN_ADJUST_PRIVILEGES, TOKEN_IMPERSONATE, TOKEN_PRIVILEGES, TOKEN_QUERY,
};
use windows_sys::Win32::System::Threading::{GetCurrentThread, OpenThreadToken, SetThreadToken};
use windows_sys::core::PCWSTR;

use crate::handle::check;

/// What layers need: reading and writing past access lists, owners of others, and audit lists.
const LAYER_PRIVILEGES: [(&str, PCWSTR); 3] = [
    ("SeBackupPrivilege", SE_BACKUP_NAME),
    ("SeRestorePrivilege", SE_RESTORE_NAME),
    ("SeSecurityPrivilege", SE_SECURITY_NAME),
];

/// Why a thread does not have its privileges.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeFailure {
    /// The account does not have the privilege, so that it cannot be enabled.
    #[error("this account does not have {privilege}")]
    NotHeld {
        /// Its name, as account policies have it.
        privilege: &'static str,
    },
    /// A privilege could not be enabled for another reason.
    #[error("{privilege} cannot be enabled")]
    Enable {
        /// Its name.
        privilege: &'static str,
        /// What Windows answered.
        #[source]
        source: io::Error,
    },
    /// The thread got no token of its own.
    #[error("the thread cannot have a token of its own")]
    Impersonate {
        /// What Windows answered.
        #[source]
        source: io::Error,
    },
}

/// SeBackupPrivilege, SeRestorePrivilege and SeSecurityPrivilege, on the current thread until this is dropped.
///
/// Guards may be nested; they end in reverse order, as values of a scope do.
#[derive(Debug)]
#[must_use = "the privileges end when this is dropped"]
pub struct LayerPrivileges {
    /// The token that the thread had before.
    previous: Option<OwnedHandle>,
    /// Belongs to one thread.
    _thread: PhantomData<*mut ()>,
}

impl LayerPrivileges {
    /// Enables them. After a failure the thread is as it was.
    pub fn hold() -> Result<Self, PrivilegeFailure> {
        let failed = |source| PrivilegeFailure::Impersonate { source };
        let previous = thread_token(TOKEN_IMPERSONATE | TOKEN_QUERY).map_err(failed)?;
        // SAFETY: a plain value; the thread's token is replaced.
        check(unsafe { ImpersonateSelf(SecurityImpersonation) }).map_err(failed)?;
        // From here on a failure reverts by the drop.
        let held = Self {
            previous,
            _thread: PhantomData,
        };
        let token = thread_token(TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY)
            .and_then(|token| token.ok_or_else(|| io::Error::from_raw_os_error(ERROR_NO_TOKEN.cast_signed())))
            .map_err(failed)?;
        // One by one: the answer for several does not say which was not there.
        for (privilege, name) in LAYER_PRIVILEGES {
            match enable(&token, name) {
                Ok(true) => {}
                Ok(false) => return Err(PrivilegeFailure::NotHeld { privilege }),
                Err(source) => return Err(PrivilegeFailure::Enable { privilege, source }),
            }
        }
        Ok(held)
    }
}

impl Drop for LayerPrivileges {
    fn drop(&mut self) {
        let reverted = match &self.previous {
            // SAFETY: null is the current thread; the token is open and allows to be used so.
            Some(token) => check(unsafe { SetThreadToken(null(), token.as_raw_handle()) }),
            // SAFETY: a function without arguments or preconditions.
            None => check(unsafe { RevertToSelf() }),
        };
        if reverted.is_err() {
            // The thread would serve others with a token that is not theirs; Windows documents to end the process instead.
            std::process::abort();
        }
    }
}

/// The token of the current thread, or `None` when it has that of the process.
fn thread_token(access: TOKEN_ACCESS_MASK) -> io::Result<Option<OwnedHandle>> {
    // The access is that of the process: a client's token may not be allowed to open itself.
    const AS_SELF: i32 = 1;
    let mut token = null_mut();
    // SAFETY: the pseudo handle is always valid; the out pointer is valid.
    match check(unsafe { OpenThreadToken(GetCurrentThread(), access, AS_SELF, &mut token) }) {
        // SAFETY: a handle that was just opened and that nobody else owns.
        Ok(()) => Ok(Some(unsafe { OwnedHandle::from_raw_handle(token) })),
        Err(error) if error.raw_os_error() == Some(ERROR_NO_TOKEN.cast_signed()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Enables a privilege in a token; false when the token does not have it.
fn enable(token: &OwnedHandle, name: PCWSTR) -> io::Result<bool> {
    let mut luid = LUID::default();
    // SAFETY: the name is NUL-terminated, null is this computer, and the out pointer is valid.
    check(unsafe { LookupPrivilegeValueW(null(), name, &mut luid) })?;
    let wanted = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES {
            Luid: luid,
            Attributes: SE_PRIVILEGE_ENABLED,
        }],
    };
    // SAFETY: the token is open with the right to adjust it; the structure has its one element; nothing is wanted back.
    check(unsafe { AdjustTokenPrivileges(token.as_raw_handle(), 0, &wanted, 0, null_mut(), null_mut()) })?;
    // The call succeeds either way; only the last error tells.
    // SAFETY: reads a value of this thread.
    match unsafe { GetLastError() } {
        ERROR_SUCCESS => Ok(true),
        ERROR_NOT_ALL_ASSIGNED => Ok(false),
        other => Err(io::Error::from_raw_os_error(other.cast_signed())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_token() -> bool {
        thread_token(TOKEN_QUERY).unwrap().is_some()
    }

    #[test]
    fn the_privileges_are_of_the_thread_and_end_with_the_guard() {
        assert!(!has_token());
        let held = LayerPrivileges::hold().unwrap();
        assert!(has_token());
        assert!(!std::thread::spawn(has_token).join().unwrap(), "another thread");
        drop(held);
        assert!(!has_token());
    }

    #[test]
    fn an_inner_guard_gives_back_the_token_of_the_outer_one() {
        let outer = LayerPrivileges::hold().unwrap();
        drop(LayerPrivileges::hold().unwrap());
        assert!(has_token());
        drop(outer);
        assert!(!has_token());
    }
}
