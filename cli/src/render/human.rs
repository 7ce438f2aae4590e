//! Ages, sizes and ids as docker shows them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time of the wire; `None` when it stands for "not yet" or cannot be read.
pub(crate) fn parse(time: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(time, &Rfc3339)
        .ok()
        .filter(|time| time.year() > 1)
}

/// How long ago `time` was, in words: `2 hours`.
pub(crate) fn age(time: &str, now: OffsetDateTime) -> Option<String> {
    let time = parse(time)?;
    Some(duration((now - time).whole_seconds()))
}

/// [`age`] with `ago`; `N/A` for "not yet".
pub(crate) fn ago(time: &str, now: OffsetDateTime) -> String {
    age(time, now).map_or_else(|| "N/A".to_owned(), |age| format!("{age} ago"))
}

/// `2026-01-02 15:04:05 +0000 UTC`, as the field `CreatedAt` has it.
pub(crate) fn timestamp(time: &str) -> String {
    let Some(time) = parse(time) else {
        return "N/A".to_owned();
    };
    let utc = time.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} +0000 UTC",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second()
    )
}

fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// `1.23MB`: decimal units, three digits.
pub(crate) fn size(bytes: u64) -> String {
    digits(bytes, 1000.0, ["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// `20.54MiB`: binary units, four digits.
pub(crate) fn binary(bytes: u64) -> String {
    digits(bytes, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

fn digits(bytes: u64, base: f64, units: [&str; 7], digits: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= base && unit + 1 < units.len() {
        number /= base;
        unit += 1;
    }
    let before = match number {
        ..10.0 => 1,
        ..100.0 => 2,
        ..1000.0 => 3,
        _ => 4,
    };
    let after = if unit == 0 {
        0
    } else {
        digits.saturating_sub(before)
    };
    let mut text = format!("{number:.after$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{text}{}", units[unit])
}

/// `512MiB`: binary units, as memory is counted.
pub(crate) fn memory(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut number = bytes;
    while number >= 1024 && number.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        number /= 1024;
        unit += 1;
    }
    format!("{number}{}", UNITS[unit])
}

/// The first twelve digits of an id, without the algorithm.
pub(crate) fn short(id: &str) -> String {
    id.strip_prefix("sha256:")
        .unwrap_or(id)
        .chars()
        .take(12)
        .collect()
}

/// At most `limit` characters, the last one an ellipsis where something is missing.
pub(crate) fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_dockers() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (2 * 3600, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
        assert_eq!(ago(api::message::ZERO_TIME, OffsetDateTime::now_utc()), "N/A");
        assert_eq!(
            timestamp("2026-01-02T03:04:05.6+01:00"),
            "2026-01-02 02:04:05 +0000 UTC"
        );
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234_567, "1.23MB"),
            (12_345_678, "12.3MB"),
            (123_456_789, "123MB"),
            (4_260_000, "4.26MB"),
            (1_000_000_000, "1GB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn memory_has_four_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1500, "1.465KiB"),
            (21_495_808, "20.5MiB"),
            (1023 << 20, "1023MiB"),
            (123 << 30, "123GiB"),
        ] {
            assert_eq!(binary(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn ids_and_commands_are_cut() {
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(ellipsis("0123456789", 10), "0123456789");
        assert_eq!(ellipsis("0123456789x", 10), "012345678…");
    }
}
