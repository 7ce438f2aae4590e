//! The true version of Windows.
//!
//! `GetVersionEx` lies to programs without a manifest; `RtlGetVersion` does not. The revision, which updates raise, is in the
//! registry alone.

use std::fmt;
use std::mem::size_of;

use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::System::SystemInformation::OSVERSIONINFOEXW;
use windows_sys::Win32::System::SystemServices::VER_NT_WORKSTATION;

use crate::registry;

/// Version of the running Windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowsVersion {
    /// Major version, 10 on every supported system.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Build number, for example 20348; the value that decides what the compute service can do.
    pub build: u32,
    /// What updates raise; 0 if it cannot be found.
    pub revision: u32,
    /// A server, and not a client.
    pub server: bool,
}

impl fmt::Display for WindowsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}.{}",
            self.major, self.minor, self.build, self.revision
        )
    }
}

/// Asks the kernel for its version.
#[must_use]
pub fn windows_version() -> WindowsVersion {
    let mut info = OSVERSIONINFOEXW {
        dwOSVersionInfoSize: u32::try_from(size_of::<OSVERSIONINFOEXW>()).expect("a small structure"),
        ..OSVERSIONINFOEXW::default()
    };
    // SAFETY: the structure is writable, carries its size and begins with the fields of the shorter one, which the call knows
    // by that size; the call is documented to succeed always.
    unsafe { RtlGetVersion((&raw mut info).cast()) };
    let revision = registry::number(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion", "UBR");
    WindowsVersion {
        major: info.dwMajorVersion,
        minor: info.dwMinorVersion,
        build: info.dwBuildNumber,
        revision: revision.unwrap_or_default(),
        server: u32::from(info.wProductType) != VER_NT_WORKSTATION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_at_least_that_of_the_first_supported_family() {
        let version = windows_version();
        assert!(version.major >= 6 && version.build > 0, "{version}");
    }
}
