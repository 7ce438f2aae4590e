//! The true version of Windows.
//!
//! `GetVersionEx` lies to programs without a manifest; `RtlGetVersion` does not.

use std::fmt;
use std::mem::size_of;

use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::System::SystemInformation::OSVERSIONINFOW;

/// Version of the running Windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowsVersion {
    /// Major version, 10 on every supported system.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Build number, for example 20348; the value that decides what the compute service can do.
    pub build: u32,
}

impl fmt::Display for WindowsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// Asks the kernel for its version.
#[must_use]
pub fn windows_version() -> WindowsVersion {
    let mut info = OSVERSIONINFOW {
        dwOSVersionInfoSize: u32::try_from(size_of::<OSVERSIONINFOW>()).expect("a small structure"),
        ..OSVERSIONINFOW::default()
    };
    // SAFETY: the structure is writable and carries its size; the call is documented to succeed always.
    unsafe { RtlGetVersion(&mut info) };
    WindowsVersion {
        major: info.dwMajorVersion,
        minor: info.dwMinorVersion,
        build: info.dwBuildNumber,
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
