//! Versions of Windows, and which image version runs on which host.
//!
//! Versions are `10.0.<build>.<revision>` and compare as numbers. With *process isolation* the container shares the
//! host's kernel: up to Windows Server 2019 the builds must be equal, from Server 2022 (20348) on the interface to user
//! mode is stable and a newer host runs images back to 20348. With *hypervisor isolation* any image runs that is not
//! newer than the host; no mode runs a newer one.

use std::{fmt, str::FromStr};

/// Version of Windows. The default is older than every real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WindowsVersion {
    /// 10.
    pub major: u32,
    /// 0.
    pub minor: u32,
    /// The build, for example 20348 for Server 2022.
    pub build: u32,
    /// The patch level.
    pub revision: u32,
}

/// First build with a stable interface between kernel and user mode.
pub const STABLE_ABI_BUILD: u32 = 20348;
/// Windows Server 2016, where even the patch level had to match.
const SERVER_2016_BUILD: u32 = 14393;

impl FromStr for WindowsVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.').map(|part| {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(());
            }
            part.parse::<u32>().map_err(|_| ())
        });
        let mut next = || parts.next().unwrap_or(Ok(0));
        let version = Self {
            major: next()?,
            minor: next()?,
            build: next()?,
            revision: next()?,
        };
        if parts.next().is_some() || version.major == 0 {
            return Err(());
        }
        Ok(version)
    }
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

/// Whether a host runs the image with process isolation.
#[must_use]
pub fn process_compatible(host: WindowsVersion, image: WindowsVersion) -> bool {
    if (host.major, host.minor) != (image.major, image.minor) {
        return false;
    }
    if host.build >= STABLE_ABI_BUILD {
        return (STABLE_ABI_BUILD..=host.build).contains(&image.build);
    }
    host.build == image.build && (host.build != SERVER_2016_BUILD || host.revision == image.revision)
}

/// Whether a host runs the image with hypervisor isolation.
#[must_use]
pub fn hypervisor_compatible(host: WindowsVersion, image: WindowsVersion) -> bool {
    (image.major, image.minor, image.build) <= (host.major, host.minor, host.build)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> WindowsVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(v("10.0.20348.999") < v("10.0.20348.1000"));
        assert!(v("10.0.9200") < v("10.0.17763.1"));
        for text in [
            "",
            "x",
            "10.0.x",
            "10..1",
            "0.0.1",
            "10.0.1.2.3",
            "10.0.99999999999",
            "+1.0",
        ] {
            assert!(text.parse::<WindowsVersion>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn process_isolation_wants_the_same_build_until_the_interface_became_stable() {
        let old = v("10.0.17763.100");
        assert!(process_compatible(old, v("10.0.17763.9")));
        assert!(!process_compatible(old, v("10.0.14393.1")));
        assert!(!process_compatible(v("10.0.14393.2"), v("10.0.14393.1")));
        assert!(process_compatible(v("10.0.22631.1"), v("10.0.20348.1")));
        assert!(process_compatible(v("10.0.26200.1"), v("10.0.20348.1")));
        assert!(process_compatible(v("10.0.26100.1"), v("10.0.26100.9")));
        assert!(!process_compatible(v("10.0.26100.1"), v("10.0.17763.1")));
        assert!(!process_compatible(v("10.0.20348.1"), v("10.0.26100.1")));
    }

    #[test]
    fn hypervisor_isolation_runs_what_is_not_newer() {
        assert!(hypervisor_compatible(v("10.0.20348.1"), v("10.0.17763.1")));
        assert!(hypervisor_compatible(v("10.0.20348.1"), v("10.0.20348.999")));
        assert!(!hypervisor_compatible(v("10.0.20348.1"), v("10.0.26100.1")));
    }
}
