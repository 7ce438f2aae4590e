//! The image file while it is written: a front that is filled in last, and an end that grows.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use super::{BLOCK, BLOCK_BYTES, DESCRIPTOR_BLOCKS, MAX_BLOCKS};
use crate::{LayerError, Place};

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;
/// Fewest bytes that are worth a write of their own.
const DIRECT: usize = 64 << 10;

/// A source of zeros.
static ZEROS: [u8; 16 * BLOCK] = [0; 16 * BLOCK];

/// Writes blocks one after the other, gathered into large writes.
pub(crate) struct Output<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Offset of the buffer in the file.
    start: u64,
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
            self.start += bytes.len() as u64;
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
        self.start += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
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
