//! Decompression of layer blobs: gzip, zstd or nothing, recognised by their first bytes.
//!
//! Differs call [`decompress`] on the bytes a registry sent. The work happens on a thread of its own behind a small
//! bounded channel, so that it overlaps with hashing and conversion; nothing is ever decompressed by a helper program.
//!
//! The reader yields the archive or fails with a [`CompressionError`] inside the [`std::io::Error`]. Output, window and
//! header sizes are limited. After an error every further read fails. Dropping the reader ends the thread as soon as
//! its input returns.
//!
//! Not here: bzip2, xz and other formats, which the tar reader refuses by name.

mod gzip;
mod pipe;
mod zstandard;

use std::io::Read;

use crate::CompressionError;

/// How a layer blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar.
    None,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
}

impl Compression {
    /// Recognises the compression by the first bytes; four are enough, fewer never match.
    pub fn detect(first_bytes: &[u8]) -> Self {
        match first_bytes {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            bytes if zstandard::starts_frame(bytes) => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The compression which the media type of a layer promises; `None` for types that are not layers we can read.
    ///
    /// The promise is not kept by every registry: decide by [`Compression::detect`].
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        let media_type = media_type.split(';').next().unwrap_or_default().trim_end();
        let suffix = [
            "application/vnd.oci.image.layer.v1.",
            "application/vnd.oci.image.layer.nondistributable.v1.",
            "application/vnd.docker.image.rootfs.diff.",
            "application/vnd.docker.image.rootfs.foreign.diff.",
        ]
        .iter()
        .find_map(|prefix| media_type.strip_prefix(prefix))?;
        match suffix {
            "tar" => Some(Self::None),
            "tar+gzip" | "tar.gzip" => Some(Self::Gzip),
            "tar+zstd" | "tar.zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Limits of a decompression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecompressLimits {
    /// Most bytes that may come out.
    pub max_output_bytes: u64,
    /// Largest zstd window, as the power of two.
    pub max_window_log: u32,
    /// Most bytes of one gzip member header.
    pub max_header_bytes: u64,
}

impl Default for DecompressLimits {
    fn default() -> Self {
        Self {
            max_output_bytes: 128 << 30,
            max_window_log: 27,
            max_header_bytes: 1 << 20,
        }
    }
}

/// Decompresses a layer blob under the default limits.
pub fn decompress(compression: Compression, input: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    decompress_with(compression, input, DecompressLimits::default())
}

/// Decompresses a layer blob under the given limits.
pub fn decompress_with(
    compression: Compression,
    input: impl Read + Send + 'static,
    limits: DecompressLimits,
) -> Box<dyn Read + Send> {
    match compression {
        Compression::None => Box::new(Budget::new(input, "tar", limits.max_output_bytes)),
        Compression::Gzip => {
            let decoder = gzip::Decoder::new(input, limits.max_header_bytes);
            Box::new(pipe::spawn(Budget::new(
                decoder,
                gzip::FORMAT,
                limits.max_output_bytes,
            )))
        }
        Compression::Zstd => {
            let decoder = zstandard::Decoder::new(input, limits.max_window_log);
            Box::new(pipe::spawn(Budget::new(
                decoder,
                zstandard::FORMAT,
                limits.max_output_bytes,
            )))
        }
    }
}

/// Passes exactly `left` bytes; one more is an error.
struct Budget<R> {
    inner: R,
    format: &'static str,
    maximum: u64,
    left: u64,
}

impl<R> Budget<R> {
    fn new(inner: R, format: &'static str, maximum: u64) -> Self {
        Self {
            inner,
            format,
            maximum,
            left: maximum,
        }
    }
}

impl<R: Read> Read for Budget<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(out)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => {
                self.left = left;
                Ok(read)
            }
            None => Err(CompressionError::Limit {
                format: self.format,
                what: "the uncompressed size",
                maximum: self.maximum,
            }
            .into()),
        }
    }
}

/// Input of a decoder: a window over the compressed bytes that are at hand.
struct Source<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    ended: bool,
}

impl<R: Read> Source<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; 64 << 10].into_boxed_slice(),
            start: 0,
            end: 0,
            ended: false,
        }
    }

    /// The bytes at hand: at least `wanted` of them unless the input ends.
    fn peek(&mut self, wanted: usize) -> std::io::Result<&[u8]> {
        if self.end - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < wanted && !self.ended {
                match self.inner.read(&mut self.buffer[self.end..]) {
                    Ok(0) => self.ended = true,
                    Ok(read) => self.end += read,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "only bytes that were seen are consumed");
    }

    fn byte(&mut self) -> std::io::Result<Option<u8>> {
        let byte = self.peek(1)?.first().copied();
        self.consume(usize::from(byte.is_some()));
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_told_by_the_first_bytes() {
        assert_eq!(Compression::detect(&[0x1f, 0x8b, 8, 0]), Compression::Gzip);
        assert_eq!(Compression::detect(&[0x28, 0xb5, 0x2f, 0xfd]), Compression::Zstd);
        assert_eq!(Compression::detect(&[0x52, 0x2a, 0x4d, 0x18]), Compression::Zstd);
        assert_eq!(Compression::detect(b"etc/"), Compression::None);
        assert_eq!(Compression::detect(b""), Compression::None);
    }

    #[test]
    fn media_types_of_layers_are_known_and_others_are_not() {
        let of = Compression::from_media_type;
        assert_eq!(
            of("application/vnd.oci.image.layer.v1.tar"),
            Some(Compression::None)
        );
        assert_eq!(
            of("application/vnd.oci.image.layer.v1.tar+gzip"),
            Some(Compression::Gzip)
        );
        assert_eq!(
            of("application/vnd.oci.image.layer.v1.tar+zstd"),
            Some(Compression::Zstd)
        );
        assert_eq!(
            of("application/vnd.docker.image.rootfs.diff.tar.gzip"),
            Some(Compression::Gzip)
        );
        assert_eq!(
            of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
            Some(Compression::Gzip)
        );
        assert_eq!(of("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), None);
        assert_eq!(of("application/vnd.oci.image.config.v1+json"), None);
    }

    #[test]
    fn the_budget_is_exact() {
        let exactly = |length: usize, limit: u64| {
            let limits = DecompressLimits {
                max_output_bytes: limit,
                ..DecompressLimits::default()
            };
            let bytes = zstd::encode_all(&vec![7u8; length][..], 1).unwrap();
            let mut out = Vec::new();
            decompress_with(Compression::Zstd, std::io::Cursor::new(bytes), limits)
                .read_to_end(&mut out)
                .map(|_| out.len())
        };
        assert_eq!(exactly(1000, 1000).unwrap(), 1000);
        let error = exactly(1001, 1000)
            .unwrap_err()
            .downcast::<CompressionError>()
            .unwrap();
        assert_eq!(error.code(), "limit");
    }
}
