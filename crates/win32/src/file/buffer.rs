//! Buffers that the kernel fills or reads: aligned for every structure in them, seen as bytes without pointers.

use std::ffi::c_void;

/// Memory aligned to eight bytes.
#[derive(Debug)]
pub(super) struct Buffer {
    words: Vec<u64>,
    length: usize,
}

impl Buffer {
    /// Zeros.
    pub(super) fn zeroed(length: usize) -> Self {
        Self {
            words: vec![0; length.div_ceil(8)],
            length,
        }
    }

    /// A copy of bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        Self {
            words: words.collect(),
            length: bytes.len(),
        }
    }

    /// The first `length` bytes.
    pub(super) fn bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.truncate(length.min(self.length));
        bytes
    }

    pub(super) fn as_ptr(&self) -> *const c_void {
        self.words.as_ptr().cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut c_void {
        self.words.as_mut_ptr().cast()
    }

    /// Its size, which fits the 32 bits that calls take because nothing here asks for more.
    pub(super) fn size(&self) -> u32 {
        u32::try_from(self.length).unwrap_or(u32::MAX)
    }
}

/// A little-endian number in a structure; `None` if the structure is cut short.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A little-endian number in a structure; `None` if the structure is cut short.
pub(super) fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// UTF-16 text in a structure. `None` if it is cut short or has a lone surrogate.
pub(super) fn text_at(bytes: &[u8], at: usize, length: u32) -> Option<String> {
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    let units: Vec<u16> = bytes
        .get(at..end)?
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .collect();
    String::from_utf16(&units).ok()
}

/// The entries of a list in which each says how far the next one is, and the last says zero.
pub(super) fn chain(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes).filter(|bytes| !bytes.is_empty());
    std::iter::from_fn(move || {
        let entry = rest?;
        let next = u32_at(entry, 0).and_then(|next| usize::try_from(next).ok());
        rest = next.filter(|next| *next != 0).and_then(|next| entry.get(next..));
        Some(entry)
    })
}
