//! HRESULTs of the layer store.

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS, ERROR_DIR_NOT_EMPTY, ERROR_FILE_NOT_FOUND,
    ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_DATA, ERROR_INVALID_PARAMETER, ERROR_NOT_FOUND,
    ERROR_PATH_NOT_FOUND, ERROR_SHARING_VIOLATION,
};

/// What a call answers.
pub type Answer<T = ()> = Result<T, Code>;

/// An HRESULT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    pub(crate) const ACCESS_DENIED: Self = Self::win32(ERROR_ACCESS_DENIED);
    pub(crate) const ALREADY_EXISTS: Self = Self::win32(ERROR_ALREADY_EXISTS);
    pub(crate) const FILE_NOT_FOUND: Self = Self::win32(ERROR_FILE_NOT_FOUND);
    /// A buffer is too short.
    pub const INSUFFICIENT_BUFFER: Self = Self::win32(ERROR_INSUFFICIENT_BUFFER);
    /// What no careful caller passes; the same as `E_INVALIDARG`.
    pub const INVALID: Self = Self::win32(ERROR_INVALID_PARAMETER);
    pub(crate) const INVALID_DATA: Self = Self::win32(ERROR_INVALID_DATA);
    pub(crate) const NOT_EMPTY: Self = Self::win32(ERROR_DIR_NOT_EMPTY);
    pub(crate) const NOT_FOUND: Self = Self::win32(ERROR_NOT_FOUND);
    pub(crate) const PATH_NOT_FOUND: Self = Self::win32(ERROR_PATH_NOT_FOUND);
    pub(crate) const SHARING_VIOLATION: Self = Self::win32(ERROR_SHARING_VIOLATION);

    const fn win32(code: u32) -> Self {
        Self(0x8007_0000 | code)
    }

    /// As functions return it.
    #[must_use]
    pub fn as_i32(self) -> i32 {
        self.0.cast_signed()
    }
}

impl From<std::io::Error> for Code {
    fn from(error: std::io::Error) -> Self {
        error.raw_os_error().map_or(Self(0x8000_4005), |code| {
            Self::win32(code.cast_unsigned() & 0xFFFF)
        })
    }
}
