//! PAX records: `LENGTH KEY=VALUE` and a line feed. The length alone says where a record ends.

/// Appends a record.
pub(super) fn append(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    if digits(length) > digits(rest) {
        length += 1;
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Key and value.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// Takes records apart. `None` when they are not well formed.
pub(super) fn split(mut records: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut found = Vec::new();
    while !records.is_empty() {
        let space = records.iter().take(20).position(|byte| *byte == b' ')?;
        let length = usize::try_from(super::number::unsigned(&records[..space])?).ok()?;
        let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        if equals == 0 {
            return None;
        }
        found.push((&record[..equals], &record[equals + 1..]));
        records = &records[length..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_length_are_taken_apart_again() {
        for length in (0..1200).chain(9980..10010).chain(99_980..100_010) {
            let mut records = Vec::new();
            let value = vec![b'\n'; length];
            append(&mut records, b"key", &value);
            append(&mut records, b"next", b"x=y");
            let expected: [Record<'_>; 2] = [(b"key", &value), (b"next", b"x=y")];
            assert_eq!(split(&records).unwrap(), expected);
        }
    }

    #[test]
    fn records_that_are_not_well_formed_are_refused() {
        for wrong in [
            "x",
            "5 a=b",
            "6 a=b\n\n",
            "0 a=b\n",
            "6 ab\n\n",
            "5 =b\n",
            "+6 a=b\n",
            "99 a=b\n",
            "1 a=b\n",
        ] {
            assert_eq!(split(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(split(b"").unwrap(), []);
    }
}
