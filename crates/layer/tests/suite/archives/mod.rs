//! The structure of archives: what is accepted, what is refused and with which word.

mod extensions;
mod headers;
mod streams;

use layer::tar::{Kind, Piece, Reader};
use layer::{ConvertOptions, tar_to_vhd};

use crate::kit::archive::{Archive, Header, record};
use crate::kit::{convert, convert_with, verdict};

/// Names and contents of all entries.
fn read(tar: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut reader = Reader::new(tar, 1000);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        while let Some(piece) = reader.next_piece().unwrap() {
            match piece {
                Piece::Data(bytes) => content.extend_from_slice(bytes),
                Piece::Hole(length) => content.resize(content.len() + usize::try_from(length).unwrap(), 0),
            }
        }
        assert_eq!(content.len() as u64, entry.size);
        entries.push((entry.path().to_vec(), content));
    }
    entries
}

fn shadow() -> Vec<u8> {
    Archive::new().file("etc/shadow", "x").0
}
