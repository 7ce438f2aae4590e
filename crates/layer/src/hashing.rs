//! Input of a conversion: reads the archive in large chunks and hashes them on a second thread.
//!
//! Hashing costs more than everything else together, so it runs beside it. Chunks are shared, not copied: a bounded
//! channel carries them to the hasher, and a chunk is filled again once both sides are done with it.
//!
//! The hash is `ring`'s: on processors without SHA instructions it needs half the time of `sha2`.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use ring::digest::{Context, SHA256};

use crate::CompressionError;
use crate::buffer::Buffer;

/// Chunks that may wait for the hasher: what is written while it waits for a processor on a busy machine.
const DEPTH: usize = 16;

/// A chunk of the archive, read by the parser and the hasher.
type Chunk = Arc<Buffer>;

/// The hashing end: run it on a thread of its own.
pub(crate) struct Hasher(Receiver<Chunk>);

impl Hasher {
    /// Hashes until the input is dropped or finished.
    pub(crate) fn run(self) -> [u8; 32] {
        let mut hash = Context::new(&SHA256);
        for chunk in self.0 {
            hash.update(&chunk[..]);
        }
        let digest = hash.finish();
        *digest.as_ref().first_chunk().expect("the digest has 32 bytes")
    }
}

/// The reading end.
pub(crate) struct HashedInput<R> {
    reader: R,
    hasher: SyncSender<Chunk>,
    current: Option<Chunk>,
    position: usize,
    /// Chunks that were used before; those with no other owner can be filled again.
    pool: Vec<Chunk>,
    total: u64,
    maximum: u64,
    ended: bool,
}

impl<R: Read> HashedInput<R> {
    /// Reads at most `maximum` bytes from `reader`.
    pub(crate) fn new(reader: R, maximum: u64) -> (Self, Hasher) {
        let (hasher, chunks) = sync_channel(DEPTH);
        let input = Self {
            reader,
            hasher,
            current: None,
            position: 0,
            pool: Vec::new(),
            total: 0,
            maximum,
            ended: false,
        };
        (input, Hasher(chunks))
    }

    /// Reads to the end and returns the length of the archive.
    pub(crate) fn drain(mut self) -> io::Result<u64> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                return Ok(self.total);
            }
            self.consume(length);
        }
    }

    /// What is left of the current chunk.
    fn rest(&self) -> &[u8] {
        self.current
            .as_deref()
            .map_or(&[][..], |chunk| &chunk[self.position..])
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        self.pool.extend(self.current.take());
        self.position = 0;
        let free = self
            .pool
            .iter_mut()
            .position(|chunk| Arc::get_mut(chunk).is_some());
        let mut chunk = match free {
            Some(index) => self.pool.swap_remove(index),
            None => Arc::new(Buffer::new()?),
        };
        Arc::get_mut(&mut chunk)
            .expect("nobody else holds a free chunk")
            .fill(&mut self.reader)?;
        let length = chunk.len();
        self.ended = length == 0;
        self.total += length as u64;
        if self.total > self.maximum {
            let maximum = self.maximum;
            return Err(CompressionError::Limit {
                format: "tar",
                what: "the uncompressed size",
                maximum,
            }
            .into());
        }
        if length > 0 {
            self.hasher
                .send(Arc::clone(&chunk))
                .map_err(|_| io::Error::other("the hashing thread stopped"))?;
        }
        self.current = Some(chunk);
        Ok(())
    }
}

impl<R: Read> Read for HashedInput<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for HashedInput<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() && !self.ended {
            self.next_chunk()?;
        }
        Ok(self.rest())
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::buffer::CHUNK;

    #[test]
    fn every_byte_is_hashed_once() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 20 * CHUNK + 17] {
            let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let (input, hasher) = HashedInput::new(&bytes[..], u64::MAX);
            let thread = std::thread::spawn(move || hasher.run());
            assert_eq!(input.drain().unwrap(), length as u64);
            assert_eq!(thread.join().unwrap(), <[u8; 32]>::from(Sha256::digest(&bytes)));
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let read = |length: usize, maximum| {
            let bytes = vec![1; length];
            let (input, hasher) = HashedInput::new(&bytes[..], maximum);
            let thread = std::thread::spawn(move || hasher.run());
            let result = input.drain();
            thread.join().unwrap();
            result
        };
        assert_eq!(read(100, 100).unwrap(), 100);
        assert!(read(101, 100).is_err());
    }
}
