//! Bulk memory: taken from the system and given back to it, past the allocator.
//!
//! A conversion holds some megabytes for a second. Allocators keep what they are given back, the more so when it was
//! allocated on one thread and freed on another, and a daemon that has pulled once would stay large for ever.

use std::io;
use std::ops::Deref;

use memmap2::MmapMut;

/// Bytes of a buffer: small enough that a few stay in the cache of the cores that share them.
pub(crate) const CHUNK: usize = 256 << 10;

/// A buffer of [`CHUNK`] bytes that is filled from its start.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: MmapMut,
    length: usize,
}

impl Buffer {
    /// An empty one.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            memory: MmapMut::map_anon(CHUNK)?,
            length: 0,
        })
    }

    /// Reads until the buffer is full or `source` ends, in place of what it held.
    pub(crate) fn fill(&mut self, source: &mut impl io::Read) -> io::Result<()> {
        self.length = 0;
        while self.length < CHUNK {
            match source.read(&mut self.memory[self.length..]) {
                Ok(0) => break,
                Ok(read) => self.length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}
