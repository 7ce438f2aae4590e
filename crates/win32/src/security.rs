//! Security identifiers and descriptors.
//!
//! [`SecurityDescriptor`] is built from SDDL text and owns its memory. Identifiers (SIDs) travel as their string form
//! (`S-1-5-18`), which is what logs and SDDL need. Not here: changing access lists of files.

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_FILE_OBJECT, SE_KERNEL_OBJECT, SE_OBJECT_TYPE,
};
use windows_sys::Win32::Security::{
    ACL, GetSecurityDescriptorDacl, GetSecurityDescriptorOwner, GetTokenInformation, LookupAccountNameW,
    OWNER_SECURITY_INFORMATION, PSID, SECURITY_ATTRIBUTES, SidTypeAlias, SidTypeGroup, SidTypeUser,
    SidTypeWellKnownGroup, TOKEN_INFORMATION_CLASS, TOKEN_OWNER, TOKEN_QUERY, TOKEN_USER, TokenOwner,
    TokenUser,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, OpenProcessToken, PROCESS_QUERY_LIMITED_INFORMATION,
};

use crate::handle::{LocalBlock, check, wide};

/// String form of the well-known identifier of the local system account.
pub const SID_SYSTEM: &str = "S-1-5-18";
/// String form of the well-known identifier of the built-in Administrators group.
pub const SID_ADMINISTRATORS: &str = "S-1-5-32-544";

/// The most bytes of a security identifier; `SECURITY_MAX_SID_SIZE` of winnt.h, which the bindings lack.
const SECURITY_MAX_SID_SIZE: u32 = 68;

/// A self-relative security descriptor.
#[derive(Debug)]
pub struct SecurityDescriptor(LocalBlock);

impl SecurityDescriptor {
    /// Parses SDDL. An unknown account or a syntax error is reported with the Win32 code.
    pub fn from_sddl(sddl: &str) -> io::Result<Self> {
        let text = wide(sddl)?;
        let mut descriptor = null_mut();
        // SAFETY: `text` is NUL-terminated and outlives the call; the out pointer is valid; the size is optional.
        check(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                null_mut(),
            )
        })?;
        // SAFETY: the function documents LocalFree for its result, which nobody else holds.
        let block = unsafe { LocalBlock::from_raw(descriptor) };
        block
            .map(Self)
            .ok_or_else(|| io::Error::other("the parsed security descriptor is empty"))
    }

    /// Attributes for a call that creates an object: this descriptor, handle not inheritable. Valid while `self` lives.
    pub(crate) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).expect("a small structure"),
            lpSecurityDescriptor: self.0.as_ptr(),
            bInheritHandle: 0,
        }
    }

    /// The memory that it owns.
    #[cfg(test)]
    pub(crate) fn block(&self) -> &LocalBlock {
        &self.0
    }

    /// Its owner and its access list, for calls that take them one by one. Valid while `self` lives.
    pub(crate) fn owner_and_list(&self) -> io::Result<(PSID, *const ACL)> {
        let (mut owner, mut list): (PSID, *mut ACL) = (null_mut(), null_mut());
        let (mut present, mut defaulted) = (0, 0);
        // SAFETY: the descriptor is valid while `self` lives; the out pointers are valid.
        check(unsafe { GetSecurityDescriptorOwner(self.0.as_ptr(), &mut owner, &mut defaulted) })?;
        // SAFETY: as above.
        check(unsafe {
            GetSecurityDescriptorDacl(self.0.as_ptr(), &mut present, &mut list, &mut defaulted)
        })?;
        if owner.is_null() || list.is_null() {
            // A null list would let everybody in.
            return Err(io::Error::other(
                "the security descriptor has no owner or no access list",
            ));
        }
        Ok((owner, list))
    }
}

/// The user this process runs as.
pub fn current_user_sid() -> io::Result<String> {
    token_sid(&current_token()?, TokenUser)
}

/// The identifier that owns what this process creates: Administrators for an elevated administrator, else the user.
pub fn default_owner_sid() -> io::Result<String> {
    token_sid(&current_token()?, TokenOwner)
}

/// The user a process runs as. The process may end, and its number be reused, at any time: use the answer for logs only.
pub fn process_user_sid(pid: u32) -> io::Result<String> {
    // SAFETY: plain values; the result is checked below.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    if process.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a handle that was just opened and that nobody else owns.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    token_sid(&process_token(process.as_raw_handle())?, TokenUser)
}

/// The owner of a kernel object such as a pipe; the handle needs the right to read the descriptor.
pub fn object_owner_sid(object: &impl AsRawHandle) -> io::Result<String> {
    owner_sid(object, SE_KERNEL_OBJECT)
}

/// The owner of a file or folder; the handle needs the right to read the descriptor.
pub fn file_owner_sid(file: &impl AsRawHandle) -> io::Result<String> {
    owner_sid(file, SE_FILE_OBJECT)
}

/// The identifier of a user or group by its name, such as `Users` or `DOMAIN\\Operators`; one in string form is given back.
///
/// Names are those of this system's language. An unknown one is an error with the Win32 code; a name of something that has
/// no members, such as a computer, is [`io::ErrorKind::InvalidInput`]. Blocks, over the network for a name of a domain.
pub fn account_sid(name: &str) -> io::Result<String> {
    let is_sid = name.strip_prefix("S-1-").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
    });
    if is_sid {
        return Ok(name.to_owned());
    }
    let name = wide(name)?;
    let (mut sid, mut domain) = ([0_u64; SECURITY_MAX_SID_SIZE as usize / 8 + 1], [0_u16; 512]);
    let mut sid_size = SECURITY_MAX_SID_SIZE;
    let mut domain_size = 512;
    let mut kind = 0;
    // SAFETY: null is this computer; the name is NUL-terminated; both buffers have the sizes that are said, and the one for the
    // identifier is aligned.
    check(unsafe {
        LookupAccountNameW(
            null(),
            name.as_ptr(),
            sid.as_mut_ptr().cast(),
            &mut sid_size,
            domain.as_mut_ptr(),
            &mut domain_size,
            &mut kind,
        )
    })?;
    if ![SidTypeUser, SidTypeGroup, SidTypeAlias, SidTypeWellKnownGroup].contains(&kind) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is neither a user nor a group",
        ));
    }
    // SAFETY: on success the buffer has a valid identifier.
    unsafe { sid_to_string(sid.as_mut_ptr().cast()) }
}

fn owner_sid(object: &impl AsRawHandle, kind: SE_OBJECT_TYPE) -> io::Result<String> {
    let mut owner: PSID = null_mut();
    let mut descriptor = null_mut();
    // SAFETY: the handle is open for the duration of the borrow; both out pointers are valid; the others are optional.
    let status = unsafe {
        GetSecurityInfo(
            object.as_raw_handle(),
            kind,
            OWNER_SECURITY_INFORMATION,
            &mut owner,
            null_mut(),
            null_mut(),
            null_mut(),
            &mut descriptor,
        )
    };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(
            status.to_ne_bytes(),
        )));
    }
    // SAFETY: the function documents LocalFree for the descriptor, which nobody else holds.
    let _descriptor = unsafe { LocalBlock::from_raw(descriptor) };
    // SAFETY: on success `owner` points into the descriptor, which lives until the end of this function.
    unsafe { sid_to_string(owner) }
}

fn current_token() -> io::Result<OwnedHandle> {
    // SAFETY: returns a constant pseudo handle.
    process_token(unsafe { GetCurrentProcess() })
}

fn process_token(process: HANDLE) -> io::Result<OwnedHandle> {
    let mut token: HANDLE = null_mut();
    // SAFETY: `process` is open in both callers; the out pointer is valid.
    check(unsafe { OpenProcessToken(process, TOKEN_QUERY, &mut token) })?;
    // SAFETY: a handle that was just opened and that nobody else owns.
    Ok(unsafe { OwnedHandle::from_raw_handle(token) })
}

/// Reads a class of token information whose structure begins with a SID pointer (user and owner do).
fn token_sid(token: &OwnedHandle, class: TOKEN_INFORMATION_CLASS) -> io::Result<String> {
    const _: () = assert!(size_of::<TOKEN_OWNER>() <= size_of::<TOKEN_USER>());
    let mut needed = 0;
    // SAFETY: asking for the size only: no buffer is written.
    unsafe { GetTokenInformation(token.as_raw_handle(), class, null_mut(), 0, &mut needed) };
    if needed == 0 {
        return Err(io::Error::last_os_error());
    }
    // Words, not bytes: the structures start with a pointer and must be aligned for it.
    let words = usize::try_from(needed)
        .unwrap_or(usize::MAX)
        .div_ceil(size_of::<usize>());
    let mut buffer = vec![0usize; words.max(size_of::<TOKEN_USER>().div_ceil(size_of::<usize>()))];
    // SAFETY: the buffer has at least `needed` bytes and is aligned for every token structure.
    check(unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            class,
            buffer.as_mut_ptr().cast::<c_void>(),
            needed,
            &mut needed,
        )
    })?;
    // SAFETY: TOKEN_USER and TOKEN_OWNER both begin with a SID pointer, and the call filled the structure.
    let sid = unsafe { *buffer.as_ptr().cast::<PSID>() };
    // SAFETY: the SID lies inside `buffer`, which is still alive.
    unsafe { sid_to_string(sid) }
}

/// # Safety
/// `sid` must point to a valid SID.
unsafe fn sid_to_string(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: the caller vouches for the SID; the out pointer is valid.
    check(unsafe { ConvertSidToStringSidW(sid, &mut text) })?;
    // SAFETY: the function documents LocalFree for its result, which nobody else holds.
    let block = unsafe { LocalBlock::from_raw(text.cast()) };
    let block = block.ok_or_else(|| io::Error::other("the security identifier has no text form"))?;
    // SAFETY: the function produced a NUL-terminated UTF-16 string.
    Ok(unsafe { block.to_string_lossy() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_user_has_a_sid() {
        let sid = current_user_sid().unwrap();
        assert!(sid.starts_with("S-1-5-"), "{sid}");
        assert_eq!(process_user_sid(std::process::id()).unwrap(), sid);
        assert!(default_owner_sid().unwrap().starts_with("S-1-5-"));
    }

    #[test]
    fn accounts_are_found_by_name_and_taken_in_string_form() {
        assert_eq!(account_sid("S-1-5-32-545").unwrap(), "S-1-5-32-545");
        assert_eq!(account_sid("Everyone").unwrap(), "S-1-1-0");
        for nobody in ["no such group", "", "S-1-", "S-1-5-32-545)(A"] {
            assert!(account_sid(nobody).is_err(), "{nobody}");
        }
    }

    #[test]
    fn bad_sddl_is_refused() {
        assert!(SecurityDescriptor::from_sddl("D:P(A;;FA;;;SY)(A;;FA;;;BA)").is_ok());
        assert!(SecurityDescriptor::from_sddl("D:P(A;;FA;;;nobody at all)").is_err());
        assert!(SecurityDescriptor::from_sddl("D:P\0").is_err());
    }
}
