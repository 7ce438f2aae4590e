//! Wall-clock time in the forms that records and clients use.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Nanoseconds since 1970; saturates in the year 2262.
#[must_use]
pub fn now_ns() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
}

/// `ns` as RFC 3339 in UTC with nanoseconds; docker's zero time for `None`.
#[must_use]
pub fn rfc3339(ns: Option<i64>) -> String {
    ns.and_then(|ns| OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns)).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned())
}

/// Parses RFC 3339 into nanoseconds since 1970.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        let ns = 1_700_000_000_123_456_789;
        assert_eq!(parse_rfc3339(&rfc3339(Some(ns))), Some(ns));
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
    }
}
