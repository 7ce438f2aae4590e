//! Times of entries.

use super::pax::decimal;

/// A moment, in seconds and nanoseconds since 1970; before 1970 the seconds are negative and the nanoseconds count
/// forward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// The rest, less than a second.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Reads a PAX time: a decimal number with an optional minus and fraction. Digits below the nanosecond are
    /// dropped, values that exceed 64 bits saturate.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let mut parts = text.splitn(2, |&byte| byte == b'.');
        let whole = i64::try_from(decimal(parts.next()?)?).unwrap_or(i64::MAX);
        let fraction = parts.next().unwrap_or_default();
        let mut nanoseconds = 0;
        let mut unit = 100_000_000;
        for digit in fraction {
            if !digit.is_ascii_digit() {
                return None;
            }
            nanoseconds += u32::from(digit - b'0') * unit;
            unit /= 10;
        }
        Some(match (negative, nanoseconds) {
            (false, _) => Self {
                seconds: whole,
                nanoseconds,
            },
            (true, 0) => Self {
                seconds: -whole,
                nanoseconds,
            },
            (true, _) => Self {
                seconds: -whole - 1,
                nanoseconds: 1_000_000_000 - nanoseconds,
            },
        })
    }
}

impl From<i64> for Timestamp {
    fn from(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_count_forward_also_before_1970() {
        let at = |seconds, nanoseconds| Some(Timestamp { seconds, nanoseconds });
        assert_eq!(
            Timestamp::parse(b"1350244992.023960108"),
            at(1_350_244_992, 23_960_108)
        );
        assert_eq!(Timestamp::parse(b"1.0239601089999"), at(1, 23_960_108));
        assert_eq!(Timestamp::parse(b"1."), at(1, 0));
        assert_eq!(Timestamp::parse(b"-1"), at(-1, 0));
        assert_eq!(Timestamp::parse(b"-1.25"), at(-2, 750_000_000));
        assert_eq!(Timestamp::parse(b"-0.5"), at(-1, 500_000_000));
        assert_eq!(
            Timestamp::parse(b"-99999999999999999999.5"),
            at(i64::MIN, 500_000_000)
        );
        assert_eq!(Timestamp::parse(b"99999999999999999999"), at(i64::MAX, 0));
    }
}
