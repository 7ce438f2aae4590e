//! What an optional Windows DLL lacks, as plain data that every system can print.
//!
//! `dynamic` produces these values on Windows; `info` shows them. They hold names and the operating system's reason, no
//! handles, and compile everywhere so that renderers need no conditional code.

use std::io;

/// A DLL, or one export of it, that this Windows does not have.
#[derive(Debug, thiserror::Error)]
pub enum FeatureMissing {
    /// The DLL itself cannot be loaded: the Windows feature that brings it is off.
    #[error("{dll} cannot be loaded")]
    Dll {
        /// File name of the DLL.
        dll: &'static str,
        /// What the loader answered.
        #[source]
        source: io::Error,
    },
    /// The DLL is present but too old, or not Microsoft's.
    #[error("{dll} has no function {export}")]
    Export {
        /// File name of the DLL.
        dll: &'static str,
        /// The function that was looked for.
        export: &'static str,
    },
}

impl FeatureMissing {
    /// File name of the DLL.
    #[must_use]
    pub fn dll(&self) -> &'static str {
        match self {
            Self::Dll { dll, .. } | Self::Export { dll, .. } => dll,
        }
    }

    /// The missing function, or `None` when the whole DLL is missing.
    #[must_use]
    pub fn export(&self) -> Option<&'static str> {
        match self {
            Self::Dll { .. } => None,
            Self::Export { export, .. } => Some(export),
        }
    }
}

/// Whether one DLL of the container platform is usable.
#[derive(Debug)]
pub struct Presence {
    /// File name of the DLL.
    pub dll: &'static str,
    /// What the product needs it for, in a few words.
    pub purpose: &'static str,
    /// The Windows feature that brings it.
    pub feature: &'static str,
    /// The first thing found missing; `None` when all required functions are there.
    pub missing: Option<FeatureMissing>,
}

impl Presence {
    /// True when the DLL and every function the product needs of it are there.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.missing.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_function_is_named_with_its_dll() {
        let missing = FeatureMissing::Export {
            dll: "computecore.dll",
            export: "HcsCreateOperation",
        };
        assert_eq!(
            missing.to_string(),
            "computecore.dll has no function HcsCreateOperation"
        );
        assert_eq!(
            (missing.dll(), missing.export()),
            ("computecore.dll", Some("HcsCreateOperation"))
        );
    }

    #[test]
    fn a_missing_dll_keeps_the_reason_of_the_loader() {
        let missing = FeatureMissing::Dll {
            dll: "computecore.dll",
            source: io::Error::new(io::ErrorKind::NotFound, "module not found"),
        };
        assert_eq!(missing.export(), None);
        assert!(std::error::Error::source(&missing).is_some_and(|e| e.to_string() == "module not found"));
    }
}
