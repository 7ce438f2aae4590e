//! What a program in a container writes, as a console of Windows takes it: UTF-8 without mistakes, or nothing at all.
//!
//! Characters may be cut in two by the pieces in which they come. Their beginnings are held back until the rest is there; what is no UTF-8
//! is shown as U+FFFD. Terminals of Unix take any bytes and get them unchanged.

use std::borrow::Cow;

/// Text in pieces.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// The beginning of a character.
    held: Vec<u8>,
}

impl Text {
    /// Takes a piece and gives what can be shown of it.
    pub(crate) fn take<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        if self.held.is_empty() && std::str::from_utf8(piece).is_ok() {
            return Cow::Borrowed(piece);
        }
        let bytes = [&std::mem::take(&mut self.held), piece].concat();
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let wrong = chunk.invalid();
            // At the very end it may be a beginning: then nothing is wrong but that it is too short.
            let unfinished =
                chunks.peek().is_none() && std::str::from_utf8(wrong).is_err_and(|e| e.error_len().is_none());
            if unfinished {
                self.held.extend_from_slice(wrong);
            } else if !wrong.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Cow::Owned(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        let mut text = Text::default();
        let bytes: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| text.take(piece).into_owned())
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn characters_in_pieces_are_whole_and_others_are_replaced() {
        assert_eq!(shown(&["plain, é and 😀".as_bytes()]), "plain, é and 😀");
        assert_eq!(shown(&[b"a\xf0\x9f", b"\x98", b"\x80b"]), "a😀b");
        assert_eq!(shown(&[b"a\xe9b", b"\xffc"]), "a\u{fffd}b\u{fffd}c");
        assert_eq!(shown(&[b"a\xf0\x9f", b"b"]), "a\u{fffd}b");
        assert_eq!(shown(&[b"end\xc3"]), "end");
    }
}
