//! Times as Windows keeps them.

use crate::tar::Timestamp;

/// Seconds between 1601 and 1970.
const EPOCH: i64 = 11_644_473_600;
/// Ticks of a second.
const TICKS: i64 = 10_000_000;

/// A moment in units of 100 nanoseconds since 1601, never before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileTime(pub(super) u64);

impl FileTime {
    /// The moment that many ticks after 1601; what a signed number cannot hold is cut.
    pub fn from_ticks(ticks: u64) -> Self {
        Self(ticks.min(i64::MAX.cast_unsigned()))
    }

    /// Ticks since 1601.
    pub fn ticks(self) -> u64 {
        self.0
    }

    /// As a PAX time.
    pub(super) fn text(self) -> String {
        let time = Timestamp::from(self);
        // Before 1970 the fraction counts forward, in text it counts from zero.
        let (sign, seconds, ticks) = match (time.seconds, time.nanoseconds / 100) {
            (seconds @ 0.., ticks) => ("", seconds, ticks),
            (seconds, 0) => ("-", -seconds, 0),
            (seconds, ticks) => ("-", -seconds - 1, 10_000_000 - ticks),
        };
        if ticks == 0 {
            format!("{sign}{seconds}")
        } else {
            let fraction = format!("{ticks:07}");
            format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
        }
    }
}

impl From<Timestamp> for FileTime {
    /// Cuts what Windows cannot express.
    fn from(time: Timestamp) -> Self {
        let ticks = (i128::from(time.seconds) + i128::from(EPOCH)) * i128::from(TICKS)
            + i128::from(time.nanoseconds / 100);
        Self(u64::try_from(ticks.clamp(0, i128::from(i64::MAX))).expect("the range fits"))
    }
}

impl From<FileTime> for Timestamp {
    fn from(time: FileTime) -> Self {
        let ticks = time.0.cast_signed();
        Self {
            seconds: ticks.div_euclid(TICKS) - EPOCH,
            nanoseconds: u32::try_from(ticks.rem_euclid(TICKS) * 100).expect("less than a second"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_cut_to_what_windows_knows() {
        for (text, ticks) in [
            (&b"0"[..], 116_444_736_000_000_000),
            (b"1709251200.1234567", 133_537_248_001_234_567),
            (b"-11644473600", 0),
            (b"-99999999999999999999", 0),
            (b"99999999999999999999", i64::MAX.cast_unsigned()),
            (b"0.00000019", 116_444_736_000_000_001),
        ] {
            assert_eq!(FileTime::from(Timestamp::parse(text).unwrap()).ticks(), ticks);
        }
    }

    proptest! {
        #[test]
        fn text_is_exact(ticks in 0..i64::MAX.cast_unsigned()) {
            let time = FileTime::from_ticks(ticks);
            prop_assert_eq!(FileTime::from(Timestamp::parse(time.text().as_bytes()).unwrap()), time);
        }
    }
}
