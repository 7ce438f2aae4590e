//! Whatever is written is read, and whatever is read is answered.

use std::io::{self, Read};

use proptest::prelude::*;

use super::super::*;
use super::{limits, metadata, open, path, times};
use crate::tar::Piece;
use crate::windows::{Attributes, Entry, ExtendedAttributes, Kind, StreamName};

/// Pieces of a content, and what they amount to.
fn pieces() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6)
}

fn amount(pieces: &[(bool, Vec<u8>)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (hole, bytes) in pieces {
        content.extend(bytes.iter().map(|byte| if *hole { 0 } else { *byte }));
    }
    content
}

fn write_pieces(writer: &mut TransportWriter<Vec<u8>>, pieces: &[(bool, Vec<u8>)]) {
    for (hole, bytes) in pieces {
        // As an archive gives them.
        let piece = if *hole {
            Piece::Hole(bytes.len() as u64)
        } else {
            Piece::Data(bytes)
        };
        match piece {
            Piece::Data(bytes) => writer.data(bytes).unwrap(),
            Piece::Hole(length) => writer.hole(length).unwrap(),
        }
    }
}

prop_compose! {
    fn any_file()(
        bits: u32,
        pieces in pieces(),
        streams in prop::collection::btree_map("[a-z]{1,9}", pieces(), 0..4),
        extended in prop::collection::btree_map("[A-Z]{1,9}", prop::collection::vec(any::<u8>(), 1..50), 0..4),
    ) -> (Entry, Vec<u8>, Vec<(String, Vec<u8>)>, Vec<u8>) {
        let mut described = metadata(Attributes::file(bits));
        let extended = extended.into_iter().map(|(name, value)| (name.into_bytes(), value));
        described.extended = ExtendedAttributes::new(extended).unwrap();
        let content = amount(&pieces);
        let entry = Entry {
            path: path(),
            kind: Kind::File { metadata: described, size: content.len() as u64 },
        };
        let mut writer = TransportWriter::new(Vec::new(), &entry).unwrap();
        write_pieces(&mut writer, &pieces);
        let mut contents = Vec::new();
        for (name, pieces) in streams {
            let content = amount(&pieces);
            writer.stream(&StreamName::new(&name).unwrap(), content.len() as u64).unwrap();
            write_pieces(&mut writer, &pieces);
            contents.push((name, content));
        }
        (entry, content, contents, writer.finish().unwrap())
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read((entry, expected, streams, bytes) in any_file(), step in 1..30usize) {
        let mut read = open(&bytes).unwrap();
        prop_assert_eq!(read.entry(times()), entry);
        // Backwards and in small steps: no reading depends on another.
        for (index, (name, expected)) in streams.iter().enumerate().rev() {
            let listed = read.streams().nth(index).unwrap();
            prop_assert_eq!(listed.size(), expected.len() as u64);
            let named = matches!(&listed.kind, Kind::Stream { name: found, .. } if found.as_str() == name);
            prop_assert!(named);
            let mut content = Vec::new();
            read.stream_content(index).unwrap().read_to_end(&mut content).unwrap();
            prop_assert_eq!(&content, expected);
        }
        let mut content: Vec<u8> = Vec::new();
        let mut reader = read.content();
        let mut buffer = vec![0; step];
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => break,
                count => content.extend(&buffer[..count]),
            }
        }
        prop_assert_eq!(content, expected);
    }

    #[test]
    fn damaged_files_are_answered(
        (_, _, _, mut bytes) in any_file(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (index, value) in damage {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(mut read) = open(&bytes) {
            let size = read.entry(times()).size();
            let copied = io::copy(&mut read.content(), &mut io::sink()).unwrap();
            prop_assert_eq!(copied, size);
            let sizes: Vec<u64> = read.streams().map(|entry| entry.size()).collect();
            for (index, size) in sizes.into_iter().enumerate() {
                let mut content = read.stream_content(index).unwrap();
                prop_assert_eq!(io::copy(&mut content, &mut io::sink()).unwrap(), size);
            }
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = open(&bytes);
        let _ = read_tombstones(&bytes[..], &limits());
    }
}
