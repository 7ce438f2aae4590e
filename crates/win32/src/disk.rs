//! Free space of volumes.

use std::io;
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;

use crate::handle::wide;

/// Bytes that the caller may still write on the volume of a directory.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let directory = wide(directory)?;
    let mut free = 0;
    // SAFETY: the path is NUL-terminated, the number is writable, and the others are optional.
    let known = unsafe { GetDiskFreeSpaceExW(directory.as_ptr(), &raw mut free, null_mut(), null_mut()) };
    if known == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_a_volume_with_room_and_what_is_not_there_has_none() {
        let directory = std::env::temp_dir();
        assert!(free_bytes(&directory).unwrap() > 0);
        assert!(free_bytes(&directory.join("no such directory")).is_err());
    }
}
