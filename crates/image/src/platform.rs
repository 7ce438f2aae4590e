//! Platforms: what an image runs on.
//!
//! A [`Platform`] is always normalised (`x86_64` is `amd64`, `aarch64` is `arm64`, `armhf` is `arm/v7`), so equal
//! platforms compare equal. Text is `os[/arch[/variant]]`, `arch` alone, and `windows(10.0.20348.1)/amd64` for a version
//! of Windows. [`Matcher`] orders the entries of an index by how well they fit.
//!
//! The rules for Windows versions are in [`windows`], which host runs which image in [`host`].

pub mod host;
pub mod windows;

use std::{cmp::Reverse, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use self::windows::WindowsVersion;
use crate::error::{ImageError, Result, printable};

/// Operating system and processor an image is made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Platform {
    /// `linux`, `windows`, ...
    pub os: String,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `v7`, ...; absent where the architecture has a usual one.
    pub variant: Option<String>,
    /// Version of Windows, `10.0.<build>.<revision>`.
    pub os_version: Option<String>,
}

impl Platform {
    /// Normalises the parts as they occur in documents.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>, os_version: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = normalise_architecture(
            &architecture.to_ascii_lowercase(),
            &variant.unwrap_or_default().to_ascii_lowercase(),
        );
        Self {
            os,
            architecture,
            variant: (!variant.is_empty()).then_some(variant),
            os_version: os_version.filter(|v| !v.is_empty()).map(str::to_owned),
        }
    }

    /// Linux or Windows, and the processor, of the machine this runs on, without a version of Windows.
    #[must_use]
    pub fn host_default() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, None, None)
    }

    /// The same processor with another operating system.
    #[must_use]
    pub fn with_os(&self, os: &str) -> Self {
        Self {
            os: os.to_owned(),
            os_version: None,
            ..self.clone()
        }
    }

    /// Whether this is a Windows platform.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.os == "windows"
    }

    /// The version of Windows, where it is stated and can be read.
    #[must_use]
    pub fn windows_version(&self) -> Option<WindowsVersion> {
        let version = self.os_version.as_deref().filter(|_| self.is_windows())?;
        version.parse().ok()
    }
}

fn normalise_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le", variant) => ("ppc64le", variant),
        ("loongarch64", variant) => ("loong64", variant),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.os_version {
            Some(version) => write!(f, "{}({version})/{}", self.os, self.architecture)?,
            None => write!(f, "{}/{}", self.os, self.architecture)?,
        }
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

impl TryFrom<String> for Platform {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self> {
        let fail = |reason| ImageError::InvalidPlatform {
            text: printable(text, 100),
            reason,
        };
        let word = |part: &str| {
            !part.is_empty()
                && part.len() <= 64
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let mut parts = text.split('/');
        let first = parts.next().unwrap_or_default();
        let (os, version) = match first.split_once('(') {
            Some((os, rest)) => {
                let version = rest
                    .strip_suffix(')')
                    .ok_or_else(|| fail("the version lacks its closing bracket"))?;
                version
                    .parse::<WindowsVersion>()
                    .map_err(|()| fail("the version is not like 10.0.20348.1"))?;
                (os, Some(version))
            }
            None => (first, None),
        };
        let (architecture, variant) = (parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(fail("it has more than os/architecture/variant"));
        }
        if ![Some(os), architecture, variant].into_iter().flatten().all(word) {
            return Err(fail(
                "a part is empty or has characters other than letters, digits, dots, dashes",
            ));
        }
        let host = Self::host_default();
        Ok(match architecture {
            Some(architecture) => Self::new(os, architecture, variant, version),
            None if version.is_none() && is_architecture(os) => Self::new(&host.os, os, None, None),
            None => Self::new(os, &host.architecture, None, version),
        })
    }
}

fn is_architecture(word: &str) -> bool {
    const KNOWN: [&str; 14] = [
        "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
        "ppc64le", "riscv64", "s390x", "wasm",
    ];
    KNOWN.contains(&normalise_architecture(&word.to_ascii_lowercase(), "").0.as_str())
}

/// Orders platforms by how well they serve a wanted one.
#[derive(Debug, Clone)]
pub struct Matcher {
    wanted: Vec<Platform>,
}

impl Matcher {
    /// Only what the platform can run.
    #[must_use]
    pub fn new(wanted: &Platform) -> Self {
        Self {
            wanted: vec![wanted.clone()],
        }
    }

    /// What the platform can run, else the same processor with the other operating system: for callers that serve Linux
    /// and Windows images side by side and were not told which one is meant.
    #[must_use]
    pub fn any_os(wanted: &Platform) -> Self {
        let mut all = vec![wanted.clone()];
        all.extend(
            ["linux", "windows"]
                .into_iter()
                .filter(|os| *os != wanted.os)
                .map(|os| wanted.with_os(os)),
        );
        Self { wanted: all }
    }

    /// Smaller is better; `None` when it does not fit at all.
    #[must_use]
    pub fn rank(&self, candidate: &Platform) -> Option<Rank> {
        self.wanted.iter().enumerate().find_map(|(preference, wanted)| {
            if wanted.os != candidate.os {
                return None;
            }
            let architecture = runnable(wanted).iter().position(|(architecture, variant)| {
                *architecture == candidate.architecture
                    && *variant == candidate.variant.as_deref().unwrap_or_default()
            })?;
            let version = if wanted.is_windows() {
                windows_rank(wanted.os_version.as_deref(), candidate.os_version.as_deref())?
            } else {
                VersionRank::default()
            };
            Some(Rank {
                preference,
                architecture,
                version,
            })
        })
    }
}

/// How well a platform fits; see [`Matcher::rank`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    preference: usize,
    architecture: usize,
    version: VersionRank,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct VersionRank {
    other_build: bool,
    needs_hypervisor: bool,
    version: Reverse<WindowsVersion>,
}

/// The exact build first, then what process isolation runs, then the newest; never a build newer than the host's.
fn windows_rank(wanted: Option<&str>, candidate: Option<&str>) -> Option<VersionRank> {
    let version: Option<WindowsVersion> = candidate.and_then(|text| text.parse().ok());
    let Some(host) = wanted.and_then(|text| text.parse::<WindowsVersion>().ok()) else {
        return Some(VersionRank {
            version: Reverse(version.unwrap_or_default()),
            ..VersionRank::default()
        });
    };
    let Some(version) = version else {
        // An entry that does not state its version is tried last: nothing says that it cannot run.
        return Some(VersionRank {
            other_build: true,
            needs_hypervisor: true,
            version: Reverse(WindowsVersion::default()),
        });
    };
    windows::hypervisor_compatible(host, version).then_some(VersionRank {
        other_build: version.build != host.build,
        needs_hypervisor: !windows::process_compatible(host, version),
        version: Reverse(version),
    })
}

/// Architectures and variants that a processor runs, best first.
fn runnable(platform: &Platform) -> Vec<(&str, &str)> {
    let variant = platform.variant.as_deref().unwrap_or_default();
    let from =
        |all: &'static [(&'static str, &'static str)], start: &str| -> Vec<(&'static str, &'static str)> {
            all.iter()
                .position(|(_, v)| *v == start)
                .map(|i| all[i..].to_vec())
                .unwrap_or_default()
        };
    const ARM: &[(&str, &str)] = &[("arm", "v8"), ("arm", "v7"), ("arm", "v6"), ("arm", "v5")];
    const AMD64: &[(&str, &str)] = &[("amd64", "v4"), ("amd64", "v3"), ("amd64", "v2"), ("amd64", "")];
    const ARM64: &[(&str, &str)] = &[
        ("arm64", "v9.5"),
        ("arm64", "v9.4"),
        ("arm64", "v9.3"),
        ("arm64", "v9.2"),
        ("arm64", "v9.1"),
        ("arm64", "v9"),
        ("arm64", "v8.9"),
        ("arm64", "v8.8"),
        ("arm64", "v8.7"),
        ("arm64", "v8.6"),
        ("arm64", "v8.5"),
        ("arm64", "v8.4"),
        ("arm64", "v8.3"),
        ("arm64", "v8.2"),
        ("arm64", "v8.1"),
        ("arm64", ""),
    ];
    let list = match platform.architecture.as_str() {
        "amd64" => from(AMD64, variant).into_iter().chain([("386", "")]).collect(),
        "arm" => from(ARM, variant),
        "arm64" => from(ARM64, variant)
            .into_iter()
            .chain(ARM.iter().copied())
            .collect(),
        _ => Vec::new(),
    };
    if list
        .first()
        .is_some_and(|(a, v)| *a == platform.architecture && *v == variant)
    {
        return list;
    }
    // A variant that is not in the tables, or an architecture without variants: itself, then the plain one.
    let mut own = vec![(platform.architecture.as_str(), variant)];
    if !variant.is_empty() {
        own.push((platform.architecture.as_str(), ""));
    }
    own
}

#[cfg(test)]
mod tests;
