//! Memory for what comes in: mapped for one transfer, used again and again, and given back to the system at its end.
//!
//! A transfer copies each large chunk of the HTTP client here. The client's own memory goes back to its allocator on
//! whichever thread is done with it last, and allocators keep such memory; a daemon that has pulled once would stay large.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use memmap2::MmapMut;

/// Bytes of one piece of memory; HTTP clients read less at once.
const SIZE: usize = 512 << 10;
/// Smaller chunks are not worth a copy.
const MIN: usize = 64 << 10;

type Free = Mutex<Vec<MmapMut>>;

/// The memory of one transfer.
#[derive(Default)]
pub(crate) struct Chunks(Arc<Free>);

/// A piece that is filled, on its way through store and unpacker.
struct Filled {
    memory: Option<MmapMut>,
    length: usize,
    home: Weak<Free>,
}

impl Chunks {
    /// The chunk in memory of ours, or as it is where that is not worth it.
    pub(crate) fn take(&self, chunk: Bytes) -> Bytes {
        if !(MIN..=SIZE).contains(&chunk.len()) {
            return chunk;
        }
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = match free.map_or_else(|| MmapMut::map_anon(SIZE), Ok) {
            Ok(memory) => memory,
            Err(error) => {
                tracing::debug!(%error, "a chunk stays in the memory of the HTTP client");
                return chunk;
            }
        };
        memory[..chunk.len()].copy_from_slice(&chunk);
        Bytes::from_owner(Filled {
            memory: Some(memory),
            length: chunk.len(),
            home: Arc::downgrade(&self.0),
        })
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[..self.length])
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        if let (Some(memory), Some(home)) = (self.memory.take(), self.home.upgrade()) {
            home.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(byte: u8, len: usize) -> Bytes {
        Bytes::from(vec![byte; len])
    }

    #[test]
    fn bytes_stay_what_they_are_while_memory_is_used_again() {
        let chunks = Chunks::default();
        for round in 0..3 {
            let lengths = [0, 1, MIN - 1, MIN, MIN + 1, SIZE, SIZE + 1];
            let taken: Vec<_> = lengths
                .iter()
                .map(|len| chunks.take(chunk(round, *len)))
                .collect();
            for (bytes, len) in taken.iter().zip(lengths) {
                assert!(*bytes == chunk(round, len));
            }
            drop(taken);
            assert_eq!(chunks.0.lock().unwrap().len(), 3);
        }
    }

    #[test]
    fn bytes_outlive_the_transfer() {
        let chunks = Chunks::default();
        let bytes = chunks.take(chunk(7, MIN));
        drop(chunks);
        assert!(bytes == chunk(7, MIN));
    }
}
