//! Names of one component. What is accepted here cannot lead out of the directory that it is opened in.

use std::io;

use windows_sys::Win32::Foundation::UNICODE_STRING;

/// Longest name that a counted string of the kernel can hold, in UTF-16 units.
const MAX_UNITS: usize = 32_767;

/// The name of an object within its directory, or of a stream with its colon.
#[derive(Debug)]
pub(super) struct Name(Vec<u16>);

impl Name {
    /// A name of one component.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        if matches!(name, "" | "." | "..") {
            return Err(refused("a name that is none"));
        }
        Self::checked(name, "")
    }

    /// A stream of the object that it is opened from.
    pub(super) fn stream(name: &str) -> io::Result<Self> {
        if name.is_empty() {
            return Err(refused("a stream without a name"));
        }
        Self::checked(name, ":")
    }

    /// The object itself from which it is opened.
    pub(super) fn itself() -> Self {
        Self(Vec::new())
    }

    fn checked(name: &str, prefix: &str) -> io::Result<Self> {
        if name.contains(['\\', '/', ':', '\0']) {
            return Err(refused("a name with a separator, a colon or NUL"));
        }
        let units: Vec<u16> = prefix.encode_utf16().chain(name.encode_utf16()).collect();
        if units.len() > MAX_UNITS {
            return Err(refused("a name longer than 32767 UTF-16 units"));
        }
        Ok(Self(units))
    }

    /// Its units.
    pub(super) fn units(&self) -> &[u16] {
        &self.0
    }

    /// The form of the kernel, which counts instead of ending at NUL. Valid while `self` lives; nobody writes to it.
    pub(super) fn counted(&self) -> UNICODE_STRING {
        let bytes = u16::try_from(2 * self.0.len()).expect("the length was checked");
        UNICODE_STRING {
            Length: bytes,
            MaximumLength: bytes,
            Buffer: self.0.as_ptr().cast_mut(),
        }
    }
}

fn refused(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}
