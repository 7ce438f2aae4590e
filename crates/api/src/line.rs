//! Splits a byte stream into lines of limited length.
//!
//! Reading and splitting are separate steps, so the server can put different time limits on the silence between lines
//! and on an unfinished line. What was read beyond the last line is kept for the reader of frames that may follow.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A line became longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The state of a splitter: what was read and not yet handed out.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    scanned: usize,
    limit: usize,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::with_capacity(8 * 1024),
            scanned: 0,
            limit,
        }
    }

    /// The next line that is complete, without its line feed and a carriage return before it.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, TooLong> {
        let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
        let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.buffer.len();
            // A carriage return may turn out to belong to the line's end.
            let pending = usize::from(self.buffer.last() == Some(&b'\r'));
            return if self.scanned - pending > self.limit {
                Err(TooLong)
            } else {
                Ok(None)
            };
        };
        let mut line = self.buffer.split_to(self.scanned + at + 1);
        self.scanned = 0;
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.limit {
            Err(TooLong)
        } else {
            Ok(Some(line.freeze()))
        }
    }

    /// Reads more. False at the end of the stream. Cancel-safe.
    pub(crate) async fn fill(&mut self, io: &mut (impl AsyncRead + Unpin)) -> std::io::Result<bool> {
        self.buffer.reserve(8 * 1024);
        Ok(io.read_buf(&mut self.buffer).await? > 0)
    }

    /// The bytes of an unfinished line.
    pub(crate) fn partial(&self) -> usize {
        self.buffer.len()
    }

    /// The longest line.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// What was read beyond the last line.
    pub(crate) fn into_rest(self) -> BytesMut {
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in pieces and collects the lines until the first error.
    fn split(bytes: &[u8], pieces: &[usize], limit: usize) -> (Vec<Vec<u8>>, bool) {
        let mut lines = Lines::new(limit);
        let (mut found, mut rest, mut sizes) = (Vec::new(), bytes, pieces.iter().cycle());
        loop {
            match lines.take() {
                Err(TooLong) => return (found, true),
                Ok(Some(line)) => found.push(line.to_vec()),
                Ok(None) if rest.is_empty() => return (found, false),
                Ok(None) => {
                    let size = sizes.next().map_or(1, |size| (*size).clamp(1, rest.len()));
                    lines.buffer.extend_from_slice(&rest[..size]);
                    rest = &rest[size..];
                }
            }
        }
    }

    #[test]
    fn carriage_return_before_line_feed_is_dropped() {
        assert_eq!(
            split(b"a\r\n\r\nb\nc", &[2], 10),
            (vec![b"a".to_vec(), vec![], b"b".to_vec()], false)
        );
    }

    #[test]
    fn line_over_the_limit_is_refused_even_without_its_end() {
        assert_eq!(
            split(b"12345\n123456\n", &[3], 5),
            (vec![b"12345".to_vec()], true)
        );
        assert_eq!(split(b"123456789", &[3], 5), (vec![], true));
    }

    #[test]
    fn a_carriage_return_does_not_count_even_when_it_arrives_first() {
        assert_eq!(split(b"12345\r\n", &[1], 5), (vec![b"12345".to_vec()], false));
        assert_eq!(split(b"12345\rx", &[1], 5), (vec![], true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_lines_within_the_limit_or_refused(
            bytes in prop::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'\r')], 0..400),
            pieces in prop::collection::vec(1_usize..30, 1..10),
        ) {
            let (lines, refused) = split(&bytes, &pieces, 40);
            for line in &lines {
                prop_assert!(line.len() <= 40 && !line.contains(&b'\n'));
            }
            let longest = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).len()).max();
            prop_assert_eq!(refused, longest > Some(40));
            prop_assert_eq!((lines, refused), split(&bytes, &[bytes.len().max(1)], 40));
        }

        #[test]
        fn lines_do_not_depend_on_how_they_arrive(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("no line ends", |b| *b != b'\n' && *b != b'\r'), 0..40), 0..20),
            pieces in prop::collection::vec(1_usize..30, 1..10),
        ) {
            let mut bytes = Vec::new();
            for line in &lines {
                bytes.extend_from_slice(line);
                bytes.push(b'\n');
            }
            prop_assert_eq!(split(&bytes, &pieces, 40), (lines, false));
        }
    }
}
