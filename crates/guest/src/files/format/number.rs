//! Numbers in PAX records.

use super::Time;

/// A decimal number without sign.
pub(super) fn unsigned(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Seconds with an optional fraction. Digits beyond nanoseconds are cut off.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &text[..0]),
    };
    let seconds = i64::try_from(unsigned(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |sum, index| {
        sum * 10 + fraction.get(index).map_or(0, |digit| u32::from(digit - b'0'))
    });
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time {
            seconds: -seconds,
            nanoseconds: 0,
        },
        (true, _) => Time {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

/// The text of a time, as short as it can be.
pub(super) fn text(time: Time) -> String {
    let (sign, seconds, nanoseconds) = if time.seconds < 0 && time.nanoseconds > 0 {
        let seconds = (time.seconds + 1).unsigned_abs();
        ("-", seconds, 1_000_000_000 - time.nanoseconds)
    } else {
        let sign = if time.seconds < 0 { "-" } else { "" };
        (sign, time.seconds.unsigned_abs(), time.nanoseconds)
    };
    if nanoseconds == 0 {
        return format!("{sign}{seconds}");
    }
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_to_text_and_back() {
        for (seconds, nanoseconds, expected) in [
            (0, 0, "0"),
            (5, 500_000_000, "5.5"),
            (-1, 500_000_000, "-0.5"),
            (-2, 0, "-2"),
            (-2, 1, "-1.999999999"),
            (1, 1, "1.000000001"),
        ] {
            let value = Time { seconds, nanoseconds };
            assert_eq!(text(value), expected);
            assert_eq!(time(expected.as_bytes()), Some(value));
        }
        assert_eq!(
            time(b"1.1234567899").unwrap().nanoseconds,
            123_456_789,
            "what is finer than a nanosecond is cut off"
        );
        for wrong in ["", "-", ".5", "1.x", "1e3", "+1", "99999999999999999999"] {
            assert_eq!(time(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
