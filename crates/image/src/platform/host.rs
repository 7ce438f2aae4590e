//! Hosts: which images a machine runs, in which order they are preferred, and how its containers are kept apart.
//!
//! The engine describes its machine once ([`Host`]); a pull asks it which entry of an index is best and refuses, before a
//! layer is fetched, what no isolation of the machine can run. The answer to "why not" is a [`Refusal`]: the versions of
//! both sides, the newest one that would run where the index has it, and the way out.
//!
//! *Windows*: process isolation shares the host's kernel and wants a matching build, Hyper-V isolation runs older ones too,
//! nothing runs newer ones (see [`super::windows`]). Servers prefer process isolation, clients Hyper-V isolation where
//! there is Hyper-V. *Linux with Wine*: Wine brings its own Windows, so an image of any version runs, with the isolation of
//! Linux, which goes by the name of process isolation.
//!
//! Not here: whether Hyper-V or Wine is there (the daemon looks), and whether an image for Linux runs.

use std::fmt;

use store::Digest;

use super::windows::{WindowsVersion, hypervisor_compatible, process_compatible};
use super::{Matcher, Platform};

/// Releases that are supported for long, by build, and the tag that Microsoft's images for them have.
const LONG_TERM: [(u32, &str); 4] = [
    (26100, "ltsc2025"),
    (20348, "ltsc2022"),
    (17763, "ltsc2019"),
    (14393, "ltsc2016"),
];

/// How a Windows container is kept apart from its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Its processes run on the host's kernel; under Wine on Linux's.
    Process,
    /// It has a virtual machine with a kernel of its own.
    HyperV,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::HyperV => "hyperv",
        })
    }
}

/// Which Windows it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edition {
    /// Windows Server.
    Server,
    /// Windows 10, 11 and so on.
    Client,
}

/// The machine that containers are to run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Windows {
        version: WindowsVersion,
        edition: Edition,
        hyperv: bool,
    },
    Linux {
        wine: bool,
    },
}

impl Host {
    /// A Windows machine: its build and patch level, its edition, and whether Hyper-V can be used.
    #[must_use]
    pub fn windows(build: u32, revision: u32, edition: Edition, hyperv: bool) -> Self {
        let version = WindowsVersion {
            major: 10,
            minor: 0,
            build,
            revision,
        };
        Self(Kind::Windows {
            version,
            edition,
            hyperv,
        })
    }

    /// A Linux machine that runs Windows programs under Wine, whatever version of Windows they are made for.
    #[must_use]
    pub fn linux_with_wine() -> Self {
        Self(Kind::Linux { wine: true })
    }

    /// A Linux machine without Wine: it stores Windows images and does not run them.
    #[must_use]
    pub fn linux() -> Self {
        Self(Kind::Linux { wine: false })
    }

    /// Whether the machine fetches only Windows images that it can run. On Linux all are fetched: they can be stored,
    /// copied and pushed.
    pub(crate) fn is_choosy(&self) -> bool {
        matches!(self.0, Kind::Windows { .. })
    }

    /// The order in which images are preferred when the user named no platform. On Windows: those for Windows, then those
    /// for Linux, with the processor of `like`. On Linux: those for `like`, then those for the other system.
    #[must_use]
    pub fn matcher(&self, like: &Platform) -> Matcher {
        match self.0 {
            Kind::Windows { .. } => Matcher {
                wanted: vec![self.specific(&like.with_os("windows")), like.with_os("linux")],
            },
            Kind::Linux { .. } => Matcher::any_os(like),
        }
    }

    /// A platform with the version of Windows that this machine stands for, if the user named none.
    #[must_use]
    pub fn specific(&self, platform: &Platform) -> Platform {
        match &self.0 {
            Kind::Windows { version, .. } if platform.is_windows() && platform.os_version.is_none() => {
                Platform {
                    os_version: Some(version.to_string()),
                    ..platform.clone()
                }
            }
            _ => platform.clone(),
        }
    }

    /// How a container of an image with this version runs here. An image that does not state its version is taken for
    /// an old one: it runs with Hyper-V isolation, or without Hyper-V is tried with process isolation.
    ///
    /// # Errors
    /// It does not, or not with the isolation that was asked for.
    pub fn isolation(
        &self,
        image: Option<WindowsVersion>,
        requested: Option<Isolation>,
    ) -> Result<Isolation, Refusal> {
        let refuse = |reason| {
            Err(Refusal {
                host: self.clone(),
                image,
                reason,
                compatible: None,
            })
        };
        let (host, edition, hyperv) = match self.0 {
            Kind::Linux { wine: false } => return refuse(Reason::NoWine),
            Kind::Linux { wine: true } if requested == Some(Isolation::HyperV) => {
                return refuse(Reason::NoHyperV);
            }
            Kind::Linux { wine: true } => return Ok(Isolation::Process),
            Kind::Windows {
                version,
                edition,
                hyperv,
            } => (version, edition, hyperv),
        };
        if image.is_some_and(|image| !hypervisor_compatible(host, image)) {
            return refuse(Reason::Newer);
        }
        let process = image.map(|image| process_compatible(host, image));
        match requested {
            Some(Isolation::Process) if process == Some(false) => refuse(Reason::OtherBuild),
            Some(Isolation::HyperV) if !hyperv => refuse(Reason::NoHyperV),
            Some(isolation) => Ok(isolation),
            None if process == Some(true) && (edition == Edition::Server || !hyperv) => {
                Ok(Isolation::Process)
            }
            None if hyperv => Ok(Isolation::HyperV),
            None if process.is_none() => Ok(Isolation::Process),
            None => refuse(Reason::OtherBuild),
        }
    }

    /// The newest of these images that runs here.
    pub(crate) fn newest<'a>(
        &self,
        images: impl Iterator<Item = (&'a Platform, &'a Digest)>,
        requested: Option<Isolation>,
    ) -> Option<(WindowsVersion, Digest)> {
        images
            .filter_map(|(platform, digest)| Some((platform.windows_version()?, digest)))
            .filter(|(version, _)| self.isolation(Some(*version), requested).is_ok())
            .max_by_key(|(version, _)| *version)
            .map(|(version, digest)| (version, digest.clone()))
    }

    /// The tag that an image for this machine would have.
    fn tag(&self, requested: Option<Isolation>) -> Option<&'static str> {
        let version = |build| WindowsVersion {
            major: 10,
            build,
            ..WindowsVersion::default()
        };
        LONG_TERM
            .into_iter()
            .find(|(build, _)| self.isolation(Some(version(*build)), requested).is_ok())
            .map(|(_, tag)| tag)
    }

    fn has_hyperv(&self) -> bool {
        matches!(self.0, Kind::Windows { hyperv: true, .. })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Windows { version, edition, .. } => {
                let name = match edition {
                    Edition::Server => "Windows Server",
                    Edition::Client => "Windows",
                };
                write!(f, "{name} build {} ({version})", version.build)
            }
            Kind::Linux { wine: true } => f.write_str("Linux with Wine"),
            Kind::Linux { wine: false } => f.write_str("Linux without Wine"),
        }
    }
}

/// Why a Windows image does not run on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The machine.
    pub host: Host,
    /// The version that the image is made for, if it says so.
    pub image: Option<WindowsVersion>,
    /// What is in the way.
    pub reason: Reason,
    /// The newest version that the same name has and that would run.
    pub compatible: Option<(WindowsVersion, Digest)>,
}

/// What is in the way of a Windows image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is newer than the host.
    Newer,
    /// Its build does not match, which process isolation wants, and Hyper-V isolation is not to be had or not wanted.
    OtherBuild,
    /// Hyper-V isolation was asked for, and is not to be had.
    NoHyperV,
    /// There is no Wine.
    NoWine,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.image {
            Some(image) => write!(f, "the image is for Windows build {} ({image})", image.build)?,
            None => f.write_str("the image is for an unknown version of Windows")?,
        }
        write!(f, ", this host is {}: ", self.host)?;
        f.write_str(match self.reason {
            Reason::Newer => "no isolation runs an image that is newer than its host",
            Reason::OtherBuild if self.host.has_hyperv() => {
                "process isolation, which was asked for, needs a matching build"
            }
            Reason::OtherBuild => {
                "process isolation needs a matching build, and Hyper-V isolation is not available"
            }
            Reason::NoHyperV => "Hyper-V isolation, which was asked for, is not available",
            Reason::NoWine => "Windows programs run here only under Wine",
        })
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// What the user can do; `name` is the image without tag and digest.
    #[must_use]
    pub fn way_out(&self, name: &str) -> String {
        let wanted = match self.reason {
            Reason::OtherBuild => Some(Isolation::Process),
            _ => None,
        };
        let other_image = match (&self.compatible, self.host.tag(wanted)) {
            (Some((version, digest)), _) => {
                format!("use the newest version that runs here, {version}: {name}@{digest}")
            }
            (None, Some(tag)) => format!("use an image for this host, often tagged {tag}"),
            (None, None) => "use an image that is made for this host's build".to_owned(),
        };
        match (self.reason, self.image) {
            (Reason::Newer, Some(image)) => {
                format!(
                    "{other_image}; or use a host with Windows build {} or newer",
                    image.build
                )
            }
            (Reason::Newer, None) => other_image,
            (Reason::OtherBuild, _) if self.host.has_hyperv() => {
                format!("leave --isolation process out, and it runs with Hyper-V isolation; or {other_image}")
            }
            (Reason::OtherBuild, _) => {
                format!("{other_image}; or turn the Windows feature Hyper-V on")
            }
            (Reason::NoHyperV, _) if self.host.is_choosy() => {
                "turn the Windows feature Hyper-V on, or leave --isolation hyperv out".to_owned()
            }
            (Reason::NoHyperV, _) => "leave --isolation hyperv out".to_owned(),
            (Reason::NoWine, _) => "install Wine, in Debian the package wine64".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
