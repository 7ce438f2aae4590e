//! PAX extended headers: records of the form `LENGTH KEY=VALUE` and a line feed.
//!
//! A record is delimited by its length and by nothing else, so a value may hold line feeds and what looks like another
//! record. The lengths must consume the payload exactly. Every violation refuses the archive: readers disagree about
//! damaged records, and disagreement hides entries.

use super::Timestamp;

/// What the records before one entry say about it.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) atime: Option<Timestamp>,
    pub(super) ctime: Option<Timestamp>,
    /// Extended attributes in the order of the records, without the `SCHILY.xattr.` prefix, each name once.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Records for Windows in their order: `MSWINDOWS.*` and `LIBARCHIVE.creationtime`, whole keys, each once.
    pub(super) windows: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<Sparse>,
}

/// The `GNU.sparse.*` records.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// Apparent size: `GNU.sparse.size` or `GNU.sparse.realsize`.
    pub(super) size: Option<u64>,
    pub(super) count: Option<u64>,
    /// Offsets and lengths, alternating, of versions 0.0 and 0.1.
    pub(super) map: Vec<u64>,
}

type Problem = &'static str;

/// Key and value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// Splits a payload into its records.
pub(super) fn split(mut payload: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Problem>> {
    let mut failed = false;
    std::iter::from_fn(move || {
        if payload.is_empty() || failed {
            return None;
        }
        let record = first(payload).map(|(record, rest)| {
            payload = rest;
            record
        });
        failed = record.is_err();
        Some(record)
    })
}

/// The first record and what follows it.
fn first(payload: &[u8]) -> Result<(Record<'_>, &[u8]), Problem> {
    // No payload is longer than a number of 19 digits says.
    let head = &payload[..payload.len().min(20)];
    let blank = head
        .iter()
        .position(|&byte| byte == b' ')
        .ok_or("a PAX record has no length")?;
    let length = decimal(&payload[..blank]).ok_or("the length of a PAX record is not a number")?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length <= blank + 1 {
        return Err("a PAX record is shorter than its length field");
    }
    if length > payload.len() {
        return Err("a PAX record is longer than its header");
    }
    let (record, rest) = payload.split_at(length);
    let Some((b'\n', record)) = record[blank + 1..].split_last() else {
        return Err("a PAX record does not end with a line feed");
    };
    let equals = record
        .iter()
        .position(|&byte| byte == b'=')
        .ok_or("a PAX record has no value")?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.is_empty() || key.contains(&0) {
        return Err("a PAX record has a bad key");
    }
    let binary = key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"MSWINDOWS.");
    if !binary && value.contains(&0) {
        return Err("a PAX value contains NUL");
    }
    Ok(((key, value), rest))
}

/// Reads the records before one entry.
pub(super) fn local(payload: &[u8]) -> Result<Records, Problem> {
    let mut records = Records::default();
    let (mut paths, mut link_paths, mut sizes) = (0, 0, 0);
    for record in split(payload) {
        let (key, value) = record?;
        // An empty value takes back what an earlier record, or the header, said.
        let present = !value.is_empty();
        match key {
            b"path" => {
                once(&mut paths)?;
                records.path = present.then(|| value.to_vec());
            }
            b"linkpath" => {
                once(&mut link_paths)?;
                records.link_path = present.then(|| value.to_vec());
            }
            b"size" => {
                once(&mut sizes)?;
                records.size = optional(present, || decimal(value).ok_or("the PAX size is not a number"))?;
            }
            b"uid" => records.uid = optional(present, || signed(value).ok_or("the PAX uid is not a number"))?,
            b"gid" => records.gid = optional(present, || signed(value).ok_or("the PAX gid is not a number"))?,
            b"mtime" => records.mtime = time(present, value)?,
            b"atime" => records.atime = time(present, value)?,
            b"ctime" => records.ctime = time(present, value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    records.xattrs.retain(|(other, _)| other != name);
                    if present {
                        records.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    sparse(records.sparse.get_or_insert_default(), key, value)?;
                } else if key.starts_with(b"MSWINDOWS.") || key == b"LIBARCHIVE.creationtime" {
                    records.windows.retain(|(other, _)| other != key);
                    if present {
                        records.windows.push((key.to_vec(), value.to_vec()));
                    }
                }
            }
        }
    }
    Ok(records)
}

/// Checks a global header. It may say nothing that changes what an entry is.
pub(super) fn global(payload: &[u8]) -> Result<(), Problem> {
    for record in split(payload) {
        let (key, _) = record?;
        let changes = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid")
            || [&b"SCHILY."[..], b"MSWINDOWS.", b"GNU.sparse."]
                .iter()
                .any(|prefix| key.starts_with(prefix));
        if changes {
            return Err("a global PAX header changes entries");
        }
    }
    Ok(())
}

fn once(seen: &mut u32) -> Result<(), Problem> {
    *seen += 1;
    if *seen > 1 {
        Err("a PAX header says path, linkpath or size twice")
    } else {
        Ok(())
    }
}

fn optional<T>(present: bool, value: impl FnOnce() -> Result<T, Problem>) -> Result<Option<T>, Problem> {
    if present { value().map(Some) } else { Ok(None) }
}

fn time(present: bool, value: &[u8]) -> Result<Option<Timestamp>, Problem> {
    optional(present, || {
        Timestamp::parse(value).ok_or("a PAX time is not a decimal number")
    })
}

fn sparse(sparse: &mut Sparse, key: &[u8], value: &[u8]) -> Result<(), Problem> {
    let number = || decimal(value).ok_or("a sparse record is not a number");
    match key {
        b"major" => sparse.major = Some(number()?),
        b"minor" => sparse.minor = Some(number()?),
        b"name" => sparse.name = Some(value.to_vec()),
        b"size" | b"realsize" => sparse.size = Some(number()?),
        b"numblocks" => sparse.count = Some(number()?),
        b"offset" => {
            if !sparse.map.len().is_multiple_of(2) {
                return Err("a sparse offset has no length");
            }
            sparse.map.push(number()?);
        }
        b"numbytes" => {
            if sparse.map.len().is_multiple_of(2) {
                return Err("a sparse length has no offset");
            }
            sparse.map.push(number()?);
        }
        b"map" => {
            if !sparse.map.is_empty() {
                return Err("a file has two sparse maps");
            }
            if !value.is_empty() {
                for field in value.split(|&byte| byte == b',') {
                    sparse
                        .map
                        .push(decimal(field).ok_or("the sparse map is not a list of numbers")?);
                }
            }
        }
        _ => return Err("an unknown sparse record"),
    }
    Ok(())
}

/// Decimal digits only; saturates.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// Decimal digits with an optional minus; saturates.
fn signed(text: &[u8]) -> Option<i64> {
    let saturate = |value| i64::try_from(value).unwrap_or(i64::MAX);
    match text {
        [b'-', digits @ ..] => decimal(digits).map(|value| -saturate(value)),
        digits => decimal(digits).map(saturate),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let length = (1..)
            .map(|digits| body + digits)
            .find(|length| body + length.to_string().len() == *length);
        [
            length.unwrap().to_string().as_bytes(),
            b" ",
            key,
            b"=",
            value,
            b"\n",
        ]
        .concat()
    }

    #[test]
    fn a_record_inside_a_value_is_not_a_record() {
        let inner = record(b"path", b"etc/forged");
        let payload = [record(b"comment", &inner), record(b"path", b"etc/honest\nname=x")].concat();
        assert_eq!(local(&payload).unwrap().path.unwrap(), b"etc/honest\nname=x");
    }

    #[test]
    fn damaged_records_are_refused() {
        for payload in [
            &b"10 path=abcdef"[..],
            b"999 path=a",
            b"8 path=a\n",
            b"7 path\n",
            b"10 path=ab ",
            b"6 =abc\n",
            b"x path=a\n",
            b"-5 path=a\n",
            b" path=a\n",
            b"0 path=a\n",
            b"99999999999999999999999 path=a\n",
            b"11 path=a\0b\n",
        ] {
            assert!(local(payload).is_err(), "{}", payload.escape_ascii());
        }
    }

    #[test]
    fn path_may_be_said_once_and_of_other_keys_the_last_counts() {
        let twice = [record(b"path", b"a"), record(b"path", b"b")].concat();
        assert!(local(&twice).is_err());
        let times = [record(b"mtime", b"1"), record(b"mtime", b"2.5")].concat();
        assert_eq!(
            local(&times).unwrap().mtime,
            Some(Timestamp {
                seconds: 2,
                nanoseconds: 500_000_000
            })
        );
        let xattrs = [
            record(b"SCHILY.xattr.user.a", b"1"),
            record(b"SCHILY.xattr.user.a", b"2\n\0"),
        ]
        .concat();
        assert_eq!(
            local(&xattrs).unwrap().xattrs,
            [(b"user.a".to_vec(), b"2\n\0".to_vec())]
        );
    }

    #[test]
    fn an_empty_value_means_absent() {
        let payload = [record(b"path", b""), record(b"uid", b"5"), record(b"uid", b"")].concat();
        let records = local(&payload).unwrap();
        assert_eq!((records.path, records.uid), (None, None));
    }

    #[test]
    fn numbers_must_be_numbers() {
        assert!(local(&record(b"size", b"12x")).is_err());
        assert!(local(&record(b"size", b"-1")).is_err());
        assert_eq!(local(&record(b"uid", b"-1")).unwrap().uid, Some(-1));
        assert_eq!(
            local(&record(b"uid", b"99999999999999999999")).unwrap().uid,
            Some(i64::MAX)
        );
        for time in [&b"nan"[..], b"1e9", b"", b"+1", b".5", b"1.x", b"- 1"] {
            assert!(
                time.is_empty() || local(&record(b"mtime", time)).is_err(),
                "{}",
                time.escape_ascii()
            );
        }
    }

    #[test]
    fn a_global_header_may_comment_but_not_change() {
        assert!(global(&record(b"comment", b"4b825dc642cb6eb9a060e54bf8d69288fbee4904")).is_ok());
        for key in [&b"path"[..], b"size", b"SCHILY.xattr.user.a", b"GNU.sparse.size"] {
            assert!(global(&record(key, b"1")).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in prop::collection::vec(("[a-z.]{1,20}", prop::collection::vec(1u8.., 0..300)), 0..10)) {
            let payload: Vec<u8> = pairs.iter().flat_map(|(key, value)| record(key.as_bytes(), value)).collect();
            let read: Vec<_> = split(&payload).map(|r| r.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect::<Result<_, _>>().unwrap();
            let expected: Vec<_> = pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.clone())).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_payload_is_answered(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = local(&payload);
            let _ = global(&payload);
        }

        #[test]
        fn accepted_lengths_add_up(payload in "([1-9][0-9]? [a-z]{1,3}=[a-z]{0,3}\n){1,3}") {
            let sizes: Result<Vec<usize>, _> =
                split(payload.as_bytes()).map(|r| r.map(|(k, v)| k.len() + v.len())).collect();
            if let Ok(sizes) = sizes {
                // Besides key and value a record has a space, an equals sign, a line feed and one or two digits; a length can
                // be right with either.
                let digits = payload.len() - sizes.iter().map(|size| size + 3).sum::<usize>();
                prop_assert!((sizes.len()..=2 * sizes.len()).contains(&digits));
            }
        }
    }
}
