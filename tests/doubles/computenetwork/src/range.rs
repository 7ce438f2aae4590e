//! Ranges of IPv4 addresses.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    first: u32,
    pub(crate) bits: u8,
}

impl Range {
    /// None when the text is no range.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let first = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let bits = bits.parse().ok().filter(|bits| (8..=30).contains(bits))?;
        let range = Self { first, bits };
        (first & !range.mask() == 0).then_some(range)
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - self.bits)
    }

    pub(crate) fn has(self, address: u32) -> bool {
        address & self.mask() == self.first
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.has(other.first) || other.has(self.first)
    }

    /// Its addresses but the first and the last.
    pub(crate) fn hosts(self) -> impl Iterator<Item = u32> {
        self.first + 1..self.first | !self.mask()
    }
}
