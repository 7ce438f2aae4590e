//! The 512-byte header block: fields, numbers, checksum.

/// Size of a block, the unit of the archive.
pub(super) const BLOCK: usize = 512;

/// A block that holds a header.
pub(super) struct Header(pub(super) [u8; BLOCK]);

/// Which dialect the magic field announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// No magic: only the fields of the seventh edition exist.
    V7,
    /// POSIX: the name may continue in the prefix field.
    Ustar,
    /// GNU before POSIX: the prefix field holds other things.
    Gnu,
}

impl Header {
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    /// Whether the checksum field equals the sum of the block, of unsigned or, as some old tars did, signed bytes.
    pub(super) fn checksum_matches(&self) -> bool {
        let Ok(expected) = number(&self.0[148..156]) else {
            return false;
        };
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (index, &byte) in self.0.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        expected == unsigned || expected == signed
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.0[257..263] {
            b"ustar\0" => Dialect::Ustar,
            b"ustar " => Dialect::Gnu,
            _ => Dialect::V7,
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    /// The name, with the prefix where the dialect has one.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = if self.dialect() == Dialect::Ustar {
            text(&self.0[345..500])
        } else {
            b""
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    pub(super) fn link_name(&self) -> &[u8] {
        text(&self.0[157..257])
    }

    pub(super) fn mode(&self) -> Result<i64, NumberError> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(&self) -> Result<i64, NumberError> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Result<i64, NumberError> {
        number(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Result<i64, NumberError> {
        number(&self.0[124..136])
    }

    pub(super) fn mtime(&self) -> Result<i64, NumberError> {
        number(&self.0[136..148])
    }

    pub(super) fn device_major(&self) -> Result<i64, NumberError> {
        number(&self.0[329..337])
    }

    pub(super) fn device_minor(&self) -> Result<i64, NumberError> {
        number(&self.0[337..345])
    }
}

/// The field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The field holds no number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NumberError;

/// Reads a numeric field: octal digits with blanks in front and blanks or NULs behind, or base-256. An empty field is
/// zero. What exceeds 64 bits saturates.
pub(super) fn number(field: &[u8]) -> Result<i64, NumberError> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => Ok(base_256(field)),
        _ => octal(field),
    }
}

/// Two's complement, big-endian, without the marker bit.
fn base_256(field: &[u8]) -> i64 {
    let negative = field[0] & 0x40 != 0;
    let start = if negative { -1i128 } else { 0 };
    // At most twelve bytes: an i128 holds them all.
    let value = field.iter().enumerate().fold(start, |value, (index, &byte)| {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            _ => byte,
        };
        (value << 8) | i128::from(byte)
    });
    i64::try_from(value).unwrap_or(if negative { i64::MIN } else { i64::MAX })
}

fn octal(field: &[u8]) -> Result<i64, NumberError> {
    let start = field.iter().position(|&byte| byte != b' ').unwrap_or(field.len());
    let field = &field[start..];
    let end = field
        .iter()
        .position(|byte| !(b'0'..=b'7').contains(byte))
        .unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return Err(NumberError);
    }
    // Twelve octal digits are 36 bits.
    Ok(digits
        .iter()
        .fold(0, |value, digit| value * 8 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_numbers_may_have_blanks_around_them() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"777777777777"), Ok(0o777_777_777_777));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(b"        "), Ok(0));
    }

    #[test]
    fn other_text_is_no_number() {
        for field in [
            &b"0000689\0"[..],
            b"-1\0\0",
            b"12\0 3\0",
            b"0x12\0",
            b"\x00\x007\x00",
        ] {
            assert_eq!(number(field), Err(NumberError), "{field:?}");
        }
    }

    #[test]
    fn base_256_keeps_the_sign_and_saturates() {
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Ok(256));
        assert_eq!(number(&[0xff; 8]), Ok(-1));
        assert_eq!(number(&[0xff; 12]), Ok(-1));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]), Ok(-256));
        let mut largest = [0; 12];
        largest[0] = 0x80;
        largest[4..].copy_from_slice(&i64::MAX.to_be_bytes());
        assert_eq!(number(&largest), Ok(i64::MAX));
        largest[1] = 1;
        assert_eq!(number(&largest), Ok(i64::MAX));
        assert_eq!(number(&[0xbf; 12]), Ok(i64::MAX));
        assert_eq!(number(&[0xc0; 12]), Ok(i64::MIN));
    }

    #[test]
    fn a_signed_checksum_is_accepted() {
        let mut header = Header([0; BLOCK]);
        header.0[0] = 0xe9;
        let blanks = 8 * i64::from(b' ');
        for (sum, accepted) in [
            (blanks + 0xe9, true),
            (blanks + 0xe9 - 256, true),
            (blanks, false),
        ] {
            header.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert_eq!(header.checksum_matches(), accepted, "{sum}");
        }
    }
}
