//! Sizes, durations and points in time, as people and scripts write them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::failure::Failure;

/// `512`, `64k`, `1.5g`, `2GiB`: binary units, as docker reads memory. -1 stays -1.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size {text:?}: write for example 512m or 1.5g");
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.trim().to_lowercase();
    let digits = lower
        .trim_end_matches(|letter: char| letter.is_ascii_alphabetic())
        .trim_end();
    let unit = lower[digits.len()..].trim_start();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(invalid()),
    };
    if let Ok(whole) = digits.parse::<u64>() {
        let bytes = u128::from(whole) << shift;
        return i64::try_from(bytes).map_err(|_| invalid());
    }
    if digits.contains(|letter: char| !letter.is_ascii_digit() && letter != '.') {
        return Err(invalid());
    }
    let number: f64 = digits.parse().map_err(|_| invalid())?;
    let bytes = number * f64::from(2_u32).powi(shift);
    if !(0.0..9.0e18).contains(&bytes) {
        return Err(invalid());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked; a fraction of a byte means nothing"
    )]
    Ok(bytes as i64)
}

/// `30s`, `1m30s`, `1500ms`: Go's durations, in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i128, String> {
    let invalid = || format!("invalid duration {text:?}: write for example 30s, 1m30s or 500ms");
    if text == "0" {
        return Ok(0);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanoseconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(invalid)?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(invalid()),
        };
        nanoseconds += number.parse::<f64>().map_err(|_| invalid())? * scale;
        rest = after;
    }
    if nanoseconds > 9.0e18 {
        return Err(invalid());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked; docker rounds to nanoseconds, too"
    )]
    let nanoseconds = nanoseconds.round() as i128;
    Ok(if negative { -nanoseconds } else { nanoseconds })
}

/// Milliseconds of a duration that cannot be negative.
pub(crate) fn milliseconds(text: &str) -> Result<u64, String> {
    u64::try_from(duration(text)? / 1_000_000).map_err(|_| format!("duration {text:?} is negative"))
}

/// A point in time for `--since` and `--until`: RFC 3339, seconds since 1970, a date, or how long ago (`10m`).
pub(crate) fn instant(text: &str, now: OffsetDateTime) -> Result<String, Failure> {
    let rfc3339 = |time: OffsetDateTime| time.format(&Rfc3339).map_err(|_| invalid_instant(text));
    if OffsetDateTime::parse(text, &Rfc3339).is_ok() {
        return Ok(text.to_owned());
    }
    if let Ok(seconds) = text.parse::<f64>() {
        if !(-6.0e10..2.5e11).contains(&seconds) {
            return Err(invalid_instant(text));
        }
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
        let time = OffsetDateTime::from_unix_timestamp_nanos((seconds * 1e9) as i128);
        return rfc3339(time.map_err(|_| invalid_instant(text))?);
    }
    if let Ok(ago) = duration(text) {
        let time = OffsetDateTime::from_unix_timestamp_nanos(now.unix_timestamp_nanos() - ago);
        return rfc3339(time.map_err(|_| invalid_instant(text))?);
    }
    // Docker also takes a date, with or without a time of day.
    let padded = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        _ => format!("{text}Z"),
    };
    rfc3339(OffsetDateTime::parse(&padded, &Rfc3339).map_err(|_| invalid_instant(text))?)
}

fn invalid_instant(text: &str) -> Failure {
    Failure::usage(format!("invalid time {text:?}"))
        .hint("write 2026-01-02T15:04:05Z, seconds since 1970, or how long ago: 10m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        for (text, expected) in [
            ("512", 512),
            ("64k", 65536),
            ("1.5g", 1_610_612_736),
            ("2GiB", 2 << 30),
            ("3mb", 3 << 20),
            ("0", 0),
            ("-1", -1),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "1x", "-2", "9999999p", "1e3", "nan", "inf", "é"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("1500ms", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            ("0", 0),
            ("1.5h", 5_400_000_000_000),
            ("-1s", -1_000_000_000),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        for text in ["", "5", "s", "5x", "-", "1s5", "99999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(milliseconds("-1s").is_err());
    }

    #[test]
    fn points_in_time_become_rfc3339() {
        let now = OffsetDateTime::parse("2026-01-02T00:00:00Z", &Rfc3339).unwrap();
        for (text, expected) in [
            ("2026-01-01T00:00:00.5+01:00", "2026-01-01T00:00:00.5+01:00"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1767225600.5", "2026-01-01T00:00:00.5Z"),
            ("10m", "2026-01-01T23:50:00Z"),
            ("2026-01-01", "2026-01-01T00:00:00Z"),
            ("2026-01-01T12:30", "2026-01-01T12:30:00Z"),
            ("2026-01-01T12:30:01", "2026-01-01T12:30:01Z"),
        ] {
            assert_eq!(instant(text, now).unwrap(), expected, "{text}");
        }
        assert_eq!(instant("yesterday", now).unwrap_err().code, 125);
    }
}
