//! How much memory the host has.

use std::mem::size_of;

use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

/// Physical memory in bytes; 0 when the system does not say.
#[must_use]
pub fn total_memory() -> u64 {
    let mut status = MEMORYSTATUSEX {
        dwLength: u32::try_from(size_of::<MEMORYSTATUSEX>()).expect("a small structure"),
        ..MEMORYSTATUSEX::default()
    };
    // SAFETY: the structure is writable and carries its size.
    let known = unsafe { GlobalMemoryStatusEx(&mut status) };
    if known == 0 { 0 } else { status.ullTotalPhys }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_memory() {
        assert!(total_memory() > 64 << 20);
    }
}
