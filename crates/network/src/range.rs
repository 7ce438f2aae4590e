//! Ranges of IPv4 addresses, as `--subnet` writes them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of addresses: from 2 hosts (`/30`) to 16 million (`/8`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    first: Ipv4Addr,
    bits: u8,
}

/// A text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of IPv4 addresses")]
pub struct NoRange(String);

impl Range {
    /// A range by its first address and how many bits all its addresses share; none when the address has other bits, or when
    /// there is no room for hosts or too much.
    #[must_use]
    pub fn new(first: Ipv4Addr, bits: u8) -> Option<Self> {
        let range = Self { first, bits };
        let fits = (8..=30).contains(&bits) && u32::from(first) & !range.mask() == 0;
        fits.then_some(range)
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - self.bits)
    }

    /// How many bits its addresses share.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// The first address that a host can have.
    #[must_use]
    pub fn first_host(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) + 1)
    }

    /// Whether an address is one of it.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.first)
    }

    /// Whether a host can have an address: it is one of the range, and neither the first nor the last.
    #[must_use]
    pub fn has_host(self, address: Ipv4Addr) -> bool {
        let last = u32::from(self.first) | !self.mask();
        self.contains(address) && address != self.first && u32::from(address) != last
    }

    /// Whether an address is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl FromStr for Range {
    type Err = NoRange;

    fn from_str(text: &str) -> Result<Self, NoRange> {
        let parsed = text
            .split_once('/')
            .and_then(|(first, bits)| Self::new(first.parse().ok()?, bits.parse().ok()?));
        parsed.ok_or_else(|| NoRange(text.to_owned()))
    }
}

impl TryFrom<String> for Range {
    type Error = NoRange;

    fn try_from(text: String) -> Result<Self, NoRange> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_read_and_written_and_nothing_else_is_one() {
        for text in ["10.208.0.0/24", "10.0.0.0/8", "192.168.207.252/30"] {
            assert_eq!(range(text).to_string(), text);
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.1/24",
            "10.0.0.0/31",
            "0.0.0.0/0",
            "fd00::/64",
            "10.0.0.0/x",
        ] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_knows_its_hosts_and_what_it_shares_with_others() {
        let own = range("10.208.1.0/24");
        assert_eq!(own.first_host(), Ipv4Addr::new(10, 208, 1, 1));
        assert!(own.has_host(Ipv4Addr::new(10, 208, 1, 254)));
        for other in [[10, 208, 1, 0], [10, 208, 1, 255], [10, 208, 2, 1]] {
            assert!(!own.has_host(Ipv4Addr::from(other)), "{other:?}");
        }
        assert!(own.overlaps(range("10.208.0.0/16")) && range("10.208.0.0/16").overlaps(own));
        assert!(!own.overlaps(range("10.208.2.0/24")));
    }
}
