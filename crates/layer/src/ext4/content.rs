//! File content: bytes and holes in, runs of blocks out.
//!
//! Blocks of zeros are not written: at the start and the end of a file always, in between when there are enough of them
//! to be worth another extent. Nothing is held back but one block.

use super::output::Output;
use super::{BLOCK, BLOCK_BYTES, low32};
use crate::LayerError;

/// Fewest zero blocks in the middle of a file that become a hole.
const MIN_HOLE: u64 = 16;

/// Blocks of a file that are adjacent in the file and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// First block, counted in the file.
    pub(crate) logical: u32,
    /// First block, counted on disk.
    pub(crate) start: u32,
    /// Number of blocks.
    pub(crate) length: u32,
}

/// Takes the content of one file after the other.
#[derive(Default)]
pub(crate) struct Content {
    runs: Vec<Run>,
    /// Bytes of a block that is not complete.
    partial: Vec<u8>,
    /// Blocks of the file so far, without those in `zeros`.
    logical: u64,
    /// Zero blocks seen since and not written.
    zeros: u64,
}

impl Content {
    /// Begins a file.
    pub(crate) fn begin(&mut self) {
        self.runs.clear();
        self.partial.clear();
        self.logical = 0;
        self.zeros = 0;
    }

    /// Takes bytes.
    pub(crate) fn data(&mut self, mut bytes: &[u8], out: &mut Output<'_>) -> Result<(), LayerError> {
        if !self.partial.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.partial.len()));
            self.partial.extend_from_slice(now);
            bytes = later;
            self.full_partial(out)?;
        }
        let whole = bytes.len() - bytes.len() % BLOCK;
        let (blocks, rest) = bytes.split_at(whole);
        self.blocks(blocks, out)?;
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Takes a hole.
    pub(crate) fn hole(&mut self, mut length: u64, out: &mut Output<'_>) -> Result<(), LayerError> {
        if !self.partial.is_empty() {
            let room = BLOCK - self.partial.len();
            let now = usize::try_from(length).map_or(room, |length| length.min(room));
            self.partial.resize(self.partial.len() + now, 0);
            length -= now as u64;
            self.full_partial(out)?;
        }
        self.zeros += length / BLOCK_BYTES;
        let rest = usize::try_from(length % BLOCK_BYTES).expect("less than a block");
        self.partial.resize(self.partial.len() + rest, 0);
        Ok(())
    }

    /// Ends the file: its runs.
    pub(crate) fn end(&mut self, out: &mut Output<'_>) -> Result<&[Run], LayerError> {
        if !self.partial.is_empty() {
            self.partial.resize(BLOCK, 0);
            self.full_partial(out)?;
        }
        Ok(&self.runs)
    }

    fn full_partial(&mut self, out: &mut Output<'_>) -> Result<(), LayerError> {
        if self.partial.len() < BLOCK {
            return Ok(());
        }
        let partial = std::mem::take(&mut self.partial);
        self.blocks(&partial, out)?;
        self.partial = partial;
        self.partial.clear();
        Ok(())
    }

    /// Takes whole blocks.
    fn blocks(&mut self, mut bytes: &[u8], out: &mut Output<'_>) -> Result<(), LayerError> {
        while !bytes.is_empty() {
            let filled = bytes
                .chunks_exact(BLOCK)
                .take_while(|block| !is_zero(block))
                .count()
                * BLOCK;
            if filled == 0 {
                self.zeros += 1;
                bytes = &bytes[BLOCK..];
                continue;
            }
            let (now, later) = bytes.split_at(filled);
            self.fill_hole(out)?;
            self.append((filled / BLOCK) as u64, out.next_block());
            out.append(now)?;
            bytes = later;
        }
        Ok(())
    }

    /// Decides what becomes of the zero blocks in front of other content.
    fn fill_hole(&mut self, out: &mut Output<'_>) -> Result<(), LayerError> {
        let zeros = std::mem::take(&mut self.zeros);
        if zeros >= MIN_HOLE || self.runs.is_empty() {
            self.logical += zeros;
        } else if zeros > 0 {
            self.append(zeros, out.next_block());
            let bytes = usize::try_from(zeros * BLOCK_BYTES).expect("few blocks");
            out.append_zeros(bytes)?;
        }
        Ok(())
    }

    fn append(&mut self, length: u64, start: u32) {
        // Sizes are limited to far less than 2^32 blocks before content is taken.
        let (logical, length) = (low32(self.logical), low32(length));
        self.logical += u64::from(length);
        if let Some(last) = self.runs.last_mut()
            && last.logical + last.length == logical
        {
            debug_assert_eq!(last.start + last.length, start, "content is written without gaps");
            last.length += length;
            return;
        }
        self.runs.push(Run {
            logical,
            start,
            length,
        });
    }
}

/// Whether a block is all zeros; content almost always differs within the first words.
fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|&byte| byte == 0)
}
