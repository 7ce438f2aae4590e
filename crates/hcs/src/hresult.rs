//! HRESULTs of the compute service: values, names, meanings and hints.
//!
//! Used by every layer that decides on a code or explains one: `compute`, `emulator`, `task`.
//!
//! The same failure appears as `0x8037xxxx` (computecore) and `0xC037xxxx` (older DLL, guest replies, logs), and a
//! Windows error either as `0x8007xxxx` or as the bare code. [`HResult`] keeps what arrived; [`HResult::is`] compares
//! the meaning.
//!
//! Not here: what a failed operation was about; that is `compute::ComputeError`.

mod hcn;
mod ntstatus;
mod service;
mod windows;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A result code, kept as it arrived.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HResult(u32);

/// What is known of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code in its computecore form.
    pub code: HResult,
    /// The symbolic name of the Windows headers.
    pub name: &'static str,
    /// What happened, in one sentence.
    pub meaning: &'static str,
    /// What to do about it; empty when there is nothing to do.
    pub hint: &'static str,
}

/// One row of the tables in the submodules.
const fn row(bits: u32, name: &'static str, meaning: &'static str, hint: &'static str) -> Explanation {
    Explanation {
        code: HResult(bits),
        name,
        meaning,
        hint,
    }
}

impl HResult {
    /// Success.
    pub const OK: Self = Self(0);

    /// The code with these 32 bits, such as `0x8037010E`.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The code as Windows functions and result documents give it.
    pub const fn from_i32(value: i32) -> Self {
        Self(value.cast_unsigned())
    }

    /// The HRESULT of a Windows error code (`HRESULT_FROM_WIN32`).
    pub const fn from_win32(code: u32) -> Self {
        if code == 0 {
            Self::OK
        } else {
            Self(0x8007_0000 | (code & 0xFFFF))
        }
    }

    /// The 32 bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The signed form that documents carry.
    pub const fn as_i32(self) -> i32 {
        self.0.cast_signed()
    }

    /// Whether the code means failure.
    pub const fn is_failure(self) -> bool {
        self.0 >= 0x8000_0000
    }

    /// The Windows error code inside, if the code wraps one.
    pub const fn win32(self) -> Option<u32> {
        if self.0 & 0xFFFF_0000 == 0x8007_0000 {
            Some(self.0 & 0xFFFF)
        } else {
            None
        }
    }

    /// The computecore form: `0xC037xxxx` becomes `0x8037xxxx`; other codes stay.
    #[must_use]
    pub const fn canonical(self) -> Self {
        if self.0 & 0xFFFF_0000 == 0xC037_0000 {
            Self(0x8037_0000 | (self.0 & 0xFFFF))
        } else {
            self
        }
    }

    /// Whether both codes mean the same.
    pub const fn is(self, other: Self) -> bool {
        self.canonical().0 == other.canonical().0
    }

    /// What is known of the code.
    pub fn explain(self) -> Option<&'static Explanation> {
        all().find(|row| row.code.is(self))
    }

    /// What is known of the code as the one with which a process ended.
    pub fn explain_exit(self) -> Option<&'static Explanation> {
        ntstatus::CODES.iter().find(|row| row.code == self)
    }

    /// The symbolic name, if the code is known.
    pub fn name(self) -> Option<&'static str> {
        self.explain().map(|row| row.name)
    }
}

/// Every HRESULT this crate knows: compute service, compute network, Windows.
pub fn all() -> impl Iterator<Item = &'static Explanation> {
    service::CODES.iter().chain(hcn::CODES).chain(windows::CODES)
}

impl fmt::Display for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08X}", self.0)?;
        match self.name() {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is neither a number nor the name of a known code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither a code of Windows nor the name of one")]
pub struct ParseHResultError {
    /// The text.
    pub text: String,
}

/// Reads what people paste: `0x8037010E`, `8037010e`, `-2143878898`, `2151088398`, `0x490`, `HCS_E_SYSTEM_NOT_FOUND`.
///
/// Numbers up to `0xFFFF` are Windows error codes.
impl FromStr for HResult {
    type Err = ParseHResultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || ParseHResultError {
            text: text.to_owned(),
        };
        let trimmed = text.trim();
        let known = all().chain(ntstatus::CODES);
        if let Some(row) = { known }.find(|row| row.name.eq_ignore_ascii_case(trimmed)) {
            return Ok(row.code);
        }
        let hex = trimmed.strip_prefix("0x").or_else(|| trimmed.strip_prefix("0X"));
        let bits = match hex {
            Some(digits) => u32::from_str_radix(digits, 16).map_err(|_| unreadable())?,
            None => match trimmed.parse::<i64>() {
                // Eight digits that start with an error severity are hexadecimal without their prefix.
                Ok(_) if trimmed.len() == 8 && trimmed.starts_with(['8', 'C', 'c']) => {
                    u32::from_str_radix(trimmed, 16).map_err(|_| unreadable())?
                }
                Ok(number) => match (u32::try_from(number), i32::try_from(number)) {
                    (Ok(bits), _) => bits,
                    (_, Ok(negative)) => negative.cast_unsigned(),
                    _ => return Err(unreadable()),
                },
                Err(_) if trimmed.len() == 8 => u32::from_str_radix(trimmed, 16).map_err(|_| unreadable())?,
                Err(_) => return Err(unreadable()),
            },
        };
        Ok(if bits <= 0xFFFF {
            Self::from_win32(bits)
        } else {
            Self(bits)
        })
    }
}

impl Serialize for HResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(self.as_i32())
    }
}

impl<'de> Deserialize<'de> for HResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        // Both signed and unsigned forms occur.
        match (i32::try_from(number), u32::try_from(number)) {
            (Ok(signed), _) => Ok(Self::from_i32(signed)),
            (_, Ok(bits)) => Ok(Self(bits)),
            _ => Err(serde::de::Error::custom(format_args!(
                "{number} does not fit an HRESULT"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_code_mean_the_same() {
        let legacy = HResult::from_bits(0xC037_010E);
        assert!(legacy.is(HResult::SYSTEM_NOT_FOUND));
        assert_ne!(legacy, HResult::SYSTEM_NOT_FOUND);
        assert_eq!(legacy.to_string(), "0xC037010E (HCS_E_SYSTEM_NOT_FOUND)");
        assert_eq!(HResult::from_bits(0x8037_7777).to_string(), "0x80377777");
    }

    #[test]
    fn people_paste_codes_in_many_forms() {
        for text in [
            "0x8037010E",
            "8037010e",
            "-2143878898",
            "2151088398",
            "HCS_E_SYSTEM_NOT_FOUND",
            " 0X8037010e ",
        ] {
            assert_eq!(text.parse(), Ok(HResult::SYSTEM_NOT_FOUND), "{text}");
        }
        assert_eq!("80370110".parse(), Ok(HResult::SYSTEM_ALREADY_STOPPED));
        assert_eq!("1168".parse(), Ok(HResult::ELEMENT_NOT_FOUND));
        assert_eq!("0x490".parse(), Ok(HResult::ELEMENT_NOT_FOUND));
        assert!("HCS_E_NOPE".parse::<HResult>().is_err());
        assert!("0x1FFFFFFFF".parse::<HResult>().is_err());
        assert!("".parse::<HResult>().is_err());
        assert!("-99999999999".parse::<HResult>().is_err());
    }

    #[test]
    fn documents_carry_the_signed_number_and_may_carry_the_unsigned_one() {
        assert_eq!(
            serde_json::to_string(&HResult::INVALID_JSON).unwrap(),
            "-2143878899"
        );
        assert_eq!(
            serde_json::from_str::<HResult>("-2143878899").unwrap(),
            HResult::INVALID_JSON
        );
        assert_eq!(
            serde_json::from_str::<HResult>("2151088397").unwrap(),
            HResult::INVALID_JSON
        );
        assert!(serde_json::from_str::<HResult>("99999999999").is_err());
    }

    #[test]
    fn every_code_is_listed_once_with_name_and_meaning() {
        let mut codes = std::collections::BTreeSet::new();
        let mut names = std::collections::BTreeSet::new();
        for row in all() {
            assert!(codes.insert(row.code.bits()), "{} is listed twice", row.code);
            assert!(names.insert(row.name), "{} is listed twice", row.name);
            assert!(row.meaning.len() > 10, "{} has no meaning", row.name);
            assert!(row.code.is_failure(), "{} is not a failure", row.name);
            assert_eq!(row.code.canonical(), row.code);
        }
    }

    #[test]
    fn windows_errors_are_wrapped_and_unwrapped() {
        assert_eq!(HResult::from_win32(0), HResult::OK);
        assert_eq!(HResult::from_win32(5), HResult::ACCESS_DENIED_BY_WINDOWS);
        assert_eq!(HResult::ELEMENT_NOT_FOUND.win32(), Some(0x490));
        assert_eq!(HResult::SYSTEM_NOT_FOUND.win32(), None);
    }
}
