//! Texts of fields that end with NUL.
#![cfg_attr(
    not(any(windows, test)),
    expect(dead_code, reason = "the program is for Windows")
)]

use std::io;

/// The fields of a text, one after the other.
pub(crate) struct Fields<'a> {
    rest: std::str::SplitTerminator<'a, char>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            rest: text.split_terminator('\0'),
        }
    }

    /// The next field, which must be there.
    pub(crate) fn text(&mut self) -> io::Result<&'a str> {
        self.rest
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "a field is missing"))
    }

    /// The next field as a number.
    pub(crate) fn number(&mut self) -> io::Result<u32> {
        self.text()?.parse().map_err(io::Error::other)
    }

    /// The next field, written in hexadecimal digits.
    pub(crate) fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let digits = self.text()?;
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "not hexadecimal");
        if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
            return Err(broken());
        }
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| broken()))
            .collect()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.rest.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order_and_may_be_empty() {
        let mut fields = Fields::new("a\0\x007\0ff00\0");
        assert_eq!(fields.text().unwrap(), "a");
        assert_eq!(fields.text().unwrap(), "");
        assert_eq!(fields.number().unwrap(), 7);
        assert_eq!(fields.bytes().unwrap(), [255, 0]);
        assert!(fields.text().is_err());
        assert!(Fields::new("f\0").bytes().is_err());
    }
}
