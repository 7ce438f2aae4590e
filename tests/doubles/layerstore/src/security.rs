//! The security descriptors of files.

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;

use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GROUP_SECURITY_INFORMATION, GetFileSecurityW, OWNER_SECURITY_INFORMATION,
};

/// Owner, group and access list of an object, self-relative.
pub(crate) fn descriptor(path: &Path) -> io::Result<Vec<u8>> {
    const WANTED: u32 = OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let units: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    // Words, so that it is aligned; more than any descriptor has.
    let mut buffer = vec![0u64; 0x4000];
    let mut length = 0;
    let size = u32::try_from(buffer.len() * 8).unwrap();
    // SAFETY: the path is NUL-terminated and the buffer has the size that the call is told.
    let known = unsafe {
        GetFileSecurityW(
            units.as_ptr(),
            WANTED,
            buffer.as_mut_ptr().cast(),
            size,
            &mut length,
        )
    };
    if known == 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = buffer.iter().flat_map(|word| word.to_le_bytes());
    Ok(bytes.take(length as usize).collect())
}
