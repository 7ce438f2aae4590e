//! Zstandard: frames and skippable frames, one after the other.

use std::io::{self, Read};

use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::Source;
use crate::CompressionError;

pub(super) const FORMAT: &str = "zstd";

/// Error numbers of the library, fixed by `zstd_errors.h`.
const ERROR_PREFIX_UNKNOWN: usize = 10;
const ERROR_UNSUPPORTED: usize = 14;
const ERROR_WINDOW_TOO_LARGE: usize = 16;
const ERROR_CHECKSUM: usize = 22;
const ERROR_MEMORY: usize = 64;

/// Whether a frame or a skippable frame starts here.
pub(super) fn starts_frame(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]
    )
}

/// Decodes all frames of a stream.
pub(super) struct Decoder<R> {
    source: Source<R>,
    context: DCtx<'static>,
    window_log: u32,
    /// Between two frames: the next bytes must start one. The library would also take frames of obsolete formats.
    between: bool,
    /// A frame was seen.
    started: bool,
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(input: R, window_log: u32) -> Self {
        Self {
            source: Source::new(input),
            context: DCtx::create(),
            window_log,
            between: true,
            started: false,
        }
    }

    fn refusal(&self, code: usize) -> CompressionError {
        let (format, bad) = (FORMAT, |problem| CompressionError::BadHeader {
            format: FORMAT,
            problem,
        });
        match 0usize.wrapping_sub(code) {
            ERROR_WINDOW_TOO_LARGE | ERROR_MEMORY => CompressionError::Limit {
                format,
                what: "the window",
                maximum: 1 << self.window_log,
            },
            ERROR_PREFIX_UNKNOWN => bad("data that is no frame"),
            ERROR_UNSUPPORTED => bad("a frame of an unknown kind"),
            ERROR_CHECKSUM => CompressionError::BadChecksum {
                format,
                problem: "the checksum does not match the content",
            },
            _ => CompressionError::BadChecksum {
                format,
                problem: "the compressed data is invalid",
            },
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if self.between {
                let next = self.source.peek(4)?;
                match next {
                    [] if self.started => return Ok(0),
                    bytes if starts_frame(bytes) => {}
                    bytes if bytes.len() < 4 => {
                        return Err(CompressionError::Truncated { format: FORMAT }.into());
                    }
                    _ => {
                        let problem = if self.started {
                            "data follows the last frame"
                        } else {
                            "it starts with no frame"
                        };
                        return Err(CompressionError::BadHeader {
                            format: FORMAT,
                            problem,
                        }
                        .into());
                    }
                }
                if !self.started {
                    self.started = true;
                    self.context
                        .set_parameter(DParameter::WindowLogMax(self.window_log))
                        .map_err(|code| io::Error::from(self.refusal(code)))?;
                }
            }
            let bytes = self.source.peek(1)?;
            let at_end = bytes.is_empty();
            let mut input = InBuffer::around(bytes);
            let mut output = OutBuffer::around(&mut *out);
            let hint = self.context.decompress_stream(&mut output, &mut input);
            let (consumed, produced) = (input.pos(), output.pos());
            let hint = hint.map_err(|code| io::Error::from(self.refusal(code)))?;
            self.source.consume(consumed);
            self.between = hint == 0;
            if produced > 0 {
                return Ok(produced);
            }
            if at_end && consumed == 0 && !self.between {
                return Err(CompressionError::Truncated { format: FORMAT }.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn unzstd(bytes: &[u8], window_log: u32) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        match Decoder::new(bytes, window_log).read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(error.downcast().unwrap()),
        }
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn frames_and_skippable_frames_are_one_stream() {
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
        let stream = [
            &skippable[..],
            &zstd(b"one "),
            &skippable,
            &zstd(b"two"),
            &skippable,
        ]
        .concat();
        assert_eq!(unzstd(&stream, 27).unwrap(), b"one two");
    }

    #[test]
    fn a_large_window_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(24).unwrap();
        encoder.write_all(&vec![1; 1 << 20]).unwrap();
        let stream = encoder.finish().unwrap();
        assert!(unzstd(&stream, 24).is_ok());
        assert_eq!(unzstd(&stream, 23).unwrap_err().code(), "limit");
        // A frame header alone that asks for 2 GiB.
        let header = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (31 - 10) << 3, 0, 0, 0, 0, 0];
        assert_eq!(unzstd(&header, 27).unwrap_err().code(), "limit");
    }

    #[test]
    fn damage_cuts_and_garbage_are_told_apart() {
        let stream = zstd(b"some content that is not very long");
        for length in 1..stream.len() {
            assert_eq!(
                unzstd(&stream[..length], 27).unwrap_err().code(),
                "truncated",
                "cut at {length}"
            );
        }
        let mut damaged = stream.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(unzstd(&damaged, 27).unwrap_err().code(), "bad-checksum");
        let garbage = [&stream[..], b"garbage"].concat();
        assert_eq!(unzstd(&garbage, 27).unwrap_err().code(), "bad-header");
        // A frame of the obsolete format 0.7.
        let obsolete = [&stream[..], &[0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0]].concat();
        assert_eq!(unzstd(&obsolete, 27).unwrap_err().code(), "bad-header");
    }
}
