//! The image file while it is written: a front that is filled in last, and an end that grows.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use super::{BLOCK, BLOCK_BYTES, DESCRIPTOR_BLOCKS, MAX_BLOCKS};
use crate::{LayerError, Place};

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;
/// Fewest bytes that are worth a write of their own.
const DIRECT: usize = 64 << 10;
/// Bytes after which the system is asked to begin writing them to the disk.
const BEHIND: u64 = 8 << 20;

/// A source of zeros.
static ZEROS: [u8; 16 * BLOCK] = [0; 16 * BLOCK];

/// Writes blocks one after the other, gathered into large writes.
pub(crate) struct Output<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Offset of the buffer in the file.
    start: u64,
    /// Up to here the system was asked to write.
    begun: u64,
    /// Most bytes of the image.
    maximum: u64,
}

impl<'a> Output<'a> {
    /// Empties the file and starts behind the reserved front.
    pub(crate) fn new(file: &'a File, maximum: u64) -> Result<Self, LayerError> {
        file.set_len(0).map_err(LayerError::write)?;
        let maximum = maximum.min(u64::from(MAX_BLOCKS) * BLOCK_BYTES);
        let start = u64::from(1 + DESCRIPTOR_BLOCKS) * BLOCK_BYTES;
        let output = Self {
            file,
            buffer: Vec::with_capacity(BUFFER),
            start,
            begun: start,
            maximum,
        };
        output.seek(start)?;
        Ok(output)
    }

    /// Number of the block that is written next.
    pub(crate) fn next_block(&self) -> u32 {
        let position = self.start + self.buffer.len() as u64;
        debug_assert!(position.is_multiple_of(BLOCK_BYTES), "blocks are written whole");
        u32::try_from(position / BLOCK_BYTES).expect("the limit on the image keeps block numbers in 32 bits")
    }

    /// Appends bytes.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> Result<(), LayerError> {
        self.reserve(bytes.len() as u64)?;
        if bytes.len() >= DIRECT {
            self.flush()?;
            self.write(bytes)?;
            self.advance(bytes.len());
            return Ok(());
        }
        while !bytes.is_empty() {
            let room = BUFFER - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Appends zeros.
    pub(crate) fn append_zeros(&mut self, mut count: usize) -> Result<(), LayerError> {
        while count > 0 {
            let now = count.min(ZEROS.len());
            self.append(&ZEROS[..now])?;
            count -= now;
        }
        Ok(())
    }

    /// Writes what was gathered, then `bytes` at `offset`, and gives the file its length.
    pub(crate) fn finish(mut self, length: u64, writes: &[(u64, &[u8])]) -> Result<(), LayerError> {
        self.flush()?;
        self.file.set_len(length).map_err(LayerError::write)?;
        for (offset, bytes) in writes {
            self.seek(*offset)?;
            self.write(bytes)?;
        }
        Ok(())
    }

    /// Refuses to grow over the limit.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), LayerError> {
        if self.start + self.buffer.len() as u64 + bytes > self.maximum {
            let place = Box::default();
            return Err(LayerError::Limit {
                what: "the size of the image",
                maximum: self.maximum,
                place,
            });
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LayerError> {
        self.write(&self.buffer)?;
        self.advance(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }

    /// Notes what was written, and lets the disk begin with it: whoever flushes the file at the end waits less.
    fn advance(&mut self, bytes: usize) {
        self.start += bytes as u64;
        if self.start - self.begun >= BEHIND {
            begin_write_back(self.file, self.begun, self.start - self.begun);
            self.begun = self.start;
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), LayerError> {
        let mut file = self.file;
        file.write_all(bytes).map_err(LayerError::write)
    }

    fn seek(&self, offset: u64) -> Result<(), LayerError> {
        let mut file = self.file;
        file.seek(SeekFrom::Start(offset)).map_err(LayerError::write)?;
        Ok(())
    }
}

/// Asks the system to begin writing a range that was just filled. Linux does so when it hears that the range is not needed
/// soon; being dirty, the range stays in memory all the same. A refusal costs nothing but time later on.
#[cfg(target_os = "linux")]
fn begin_write_back(file: &File, offset: u64, length: u64) {
    let advice = rustix::fs::Advice::DontNeed;
    if let Err(error) = rustix::fs::fadvise(file, offset, std::num::NonZero::new(length), advice) {
        tracing::debug!(%error, "the system does not begin to write early");
    }
}

// Elsewhere the system's own write-back begins soon enough.
#[cfg(not(target_os = "linux"))]
fn begin_write_back(_: &File, _: u64, _: u64) {}

impl LayerError {
    /// Adds the place to an error of a part that knows none.
    pub(crate) fn at(mut self, here: &Place) -> Self {
        match &mut self {
            Self::BadAttribute { place, .. } | Self::Limit { place, .. } if place.entry == 0 => {
                place.as_mut().clone_from(here);
            }
            _ => {}
        }
        self
    }
}
