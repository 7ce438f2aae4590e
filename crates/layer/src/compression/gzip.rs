//! Gzip: members of header, deflate data and checksum, one after the other, nothing behind the last.
//!
//! The framing is read here because the rules for what follows a member, and the difference between damaged, cut and
//! malformed streams, are ours; inflating is the library's.

use std::io::{self, Read};

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};

use super::Source;
use crate::CompressionError;

pub(super) const FORMAT: &str = "gzip";

const TRUNCATED: CompressionError = CompressionError::Truncated { format: FORMAT };

const fn bad_header(problem: &'static str) -> CompressionError {
    CompressionError::BadHeader {
        format: FORMAT,
        problem,
    }
}

const fn damaged(problem: &'static str) -> CompressionError {
    CompressionError::BadChecksum {
        format: FORMAT,
        problem,
    }
}

/// Header flags of RFC 1952.
const FLAG_HEADER_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;
const FLAGS_RESERVED: u8 = 0xe0;

enum State {
    /// Before a member; `first` until one was seen.
    Header {
        first: bool,
    },
    Body,
    Done,
}

/// Decodes all members of a stream.
pub(super) struct Decoder<R> {
    source: Source<R>,
    inflate: Decompress,
    state: State,
    checksum: Hasher,
    length: u32,
    max_header: u64,
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(input: R, max_header: u64) -> Self {
        Self {
            source: Source::new(input),
            inflate: Decompress::new(false),
            state: State::Header { first: true },
            checksum: Hasher::new(),
            length: 0,
            max_header,
        }
    }

    fn header(&mut self, first: bool) -> io::Result<State> {
        if self.source.peek(1)?.is_empty() {
            return if first {
                Err(TRUNCATED.into())
            } else {
                Ok(State::Done)
            };
        }
        let mut header = Header {
            source: &mut self.source,
            crc: Hasher::new(),
            maximum: self.max_header,
            left: self.max_header,
        };
        header.read(first)?;
        self.inflate.reset(false);
        self.checksum.reset();
        self.length = 0;
        Ok(State::Body)
    }

    fn trailer(&mut self) -> io::Result<()> {
        let bytes = self.source.peek(8)?;
        let Some((trailer, _)) = bytes.split_first_chunk::<8>() else {
            return Err(TRUNCATED.into());
        };
        let [a, b, c, d, e, f, g, h] = *trailer;
        let (checksum, length) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        self.source.consume(8);
        if checksum != self.checksum.clone().finalize() {
            return Err(damaged("the checksum does not match the content").into());
        }
        if length != self.length {
            return Err(damaged("the length does not match the content").into());
        }
        Ok(())
    }

    /// Inflates into `out`: the number of bytes, and whether the member ended.
    fn body(&mut self, out: &mut [u8]) -> io::Result<(usize, bool)> {
        loop {
            let input = self.source.peek(1)?;
            let at_end = input.is_empty();
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input, out, FlushDecompress::None)
                .map_err(|_| io::Error::from(damaged("the deflate data is invalid")))?;
            let consumed = count(self.inflate.total_in() - before_in);
            let produced = count(self.inflate.total_out() - before_out);
            self.source.consume(consumed);
            self.checksum.update(&out[..produced]);
            // The trailer holds the length modulo 2^32.
            self.length = self
                .length
                .wrapping_add(u32::try_from(produced).unwrap_or(u32::MAX));
            if matches!(status, Status::StreamEnd) {
                return Ok((produced, true));
            }
            if produced > 0 {
                return Ok((produced, false));
            }
            if consumed == 0 && at_end {
                return Err(TRUNCATED.into());
            }
        }
    }
}

/// A count of bytes inside one buffer.
fn count(bytes: u64) -> usize {
    usize::try_from(bytes).expect("one call moves no more than a buffer holds")
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        // A u32 counts the bytes of one call.
        let most = out.len().min(1 << 30);
        let out = &mut out[..most];
        loop {
            match self.state {
                State::Header { first } => self.state = self.header(first)?,
                State::Body => {
                    let (produced, ended) = self.body(out)?;
                    if ended {
                        self.trailer()?;
                        self.state = State::Header { first: false };
                    }
                    if produced > 0 {
                        return Ok(produced);
                    }
                }
                State::Done => return Ok(0),
            }
        }
    }
}

/// Reads one member header, counting and hashing its bytes.
struct Header<'a, R> {
    source: &'a mut Source<R>,
    crc: Hasher,
    maximum: u64,
    left: u64,
}

impl<R: Read> Header<'_, R> {
    fn read(&mut self, first: bool) -> io::Result<()> {
        let not_gzip = bad_header(if first {
            "it does not start with a gzip header"
        } else {
            "data follows the last member"
        });
        if self.byte()? != 0x1f || self.byte()? != 0x8b {
            return Err(not_gzip.into());
        }
        if self.byte()? != 8 {
            return Err(bad_header("unknown compression method").into());
        }
        let flags = self.byte()?;
        if flags & FLAGS_RESERVED != 0 {
            return Err(bad_header("reserved flags are set").into());
        }
        for _ in 0..6 {
            self.byte()?;
        }
        if flags & FLAG_EXTRA != 0 {
            let length = u16::from_le_bytes([self.byte()?, self.byte()?]);
            for _ in 0..length {
                self.byte()?;
            }
        }
        for flag in [FLAG_NAME, FLAG_COMMENT] {
            if flags & flag != 0 {
                while self.byte()? != 0 {}
            }
        }
        if flags & FLAG_HEADER_CRC != 0 {
            let expected = self.crc.clone().finalize().to_le_bytes();
            if [self.byte()?, self.byte()?] != [expected[0], expected[1]] {
                return Err(damaged("the header checksum does not match").into());
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(CompressionError::Limit {
                format: FORMAT,
                what: "a member header",
                maximum: self.maximum,
            }
            .into());
        };
        self.left = left;
        let byte = self.source.byte()?.ok_or(TRUNCATED)?;
        self.crc.update(&[byte]);
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        match Decoder::new(bytes, 1 << 20).read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(error.downcast().unwrap()),
        }
    }

    #[test]
    fn fifty_members_are_one_stream() {
        let stream: Vec<u8> = (0..50u8).flat_map(|n| gzip(&[n; 1000])).collect();
        let expected: Vec<u8> = (0..50u8).flat_map(|n| [n; 1000]).collect();
        assert_eq!(gunzip(&stream).unwrap(), expected);
    }

    #[test]
    fn every_header_field_is_skipped() {
        let mut encoder = GzBuilder::new()
            .filename("layer.tar")
            .comment("made by hand")
            .extra(vec![1, 2, 3])
            .write(Vec::new(), Compression::fast());
        encoder.write_all(b"content").unwrap();
        let mut stream = encoder.finish().unwrap();
        assert_eq!(gunzip(&stream).unwrap(), b"content");

        // The same with a header checksum, which the encoder cannot make.
        let header_length = 10 + 2 + 3 + "layer.tar\0made by hand\0".len();
        stream[3] |= FLAG_HEADER_CRC;
        let crc = crc32fast::hash(&stream[..header_length]).to_le_bytes();
        stream.splice(header_length..header_length, crc[..2].iter().copied());
        assert_eq!(gunzip(&stream).unwrap(), b"content");
        stream[header_length] ^= 1;
        assert_eq!(gunzip(&stream).unwrap_err().code(), "bad-checksum");
    }

    #[test]
    fn garbage_after_the_last_member_is_refused() {
        let mut stream = gzip(b"content");
        stream.extend([0; 100]);
        assert_eq!(gunzip(&stream).unwrap_err().code(), "bad-header");
    }

    #[test]
    fn a_wrong_checksum_is_noticed() {
        let mut stream = gzip(b"content");
        let checksum = stream.len() - 8;
        stream[checksum] ^= 1;
        assert_eq!(gunzip(&stream).unwrap_err().code(), "bad-checksum");
    }

    #[test]
    fn every_cut_is_noticed() {
        let stream = gzip(b"some content that is not very long");
        for length in 0..stream.len() {
            assert_eq!(
                gunzip(&stream[..length]).unwrap_err().code(),
                "truncated",
                "cut at {length}"
            );
        }
    }

    #[test]
    fn an_endless_name_is_refused() {
        let mut stream = vec![0x1f, 0x8b, 8, FLAG_NAME, 0, 0, 0, 0, 0, 0];
        stream.extend(vec![b'a'; 2 << 20]);
        assert_eq!(gunzip(&stream).unwrap_err().code(), "limit");
    }
}
