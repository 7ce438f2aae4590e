//! Archives there and back, and archives that are wrong.

use super::*;
use crate::files::format::reader::ReadError;

fn write(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, 7);
    for (entry, content) in entries {
        writer.entry(entry).unwrap();
        writer.content(*content, entry.size).unwrap().unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, ReadError> {
    let mut reader = Reader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        let mut buffer = [0; 5];
        loop {
            let count = reader.content(&mut buffer)?;
            if count == 0 {
                break;
            }
            content.extend_from_slice(&buffer[..count]);
        }
        found.push((entry, content));
    }
    Ok(found)
}

fn file(name: &str, size: usize) -> Entry {
    let mut entry = Entry::new(Kind::Regular, name.as_bytes().to_vec());
    entry.size = size as u64;
    entry
}

#[test]
fn entries_come_back_as_they_were_written() {
    let mut odd = file("odd", 3);
    odd.uid = 4_000_000_000;
    odd.gid = 2_097_152;
    odd.time = Time {
        seconds: -5,
        nanoseconds: 250_000_000,
    };
    odd.mode = 0o6751;
    odd.attributes = vec![
        (
            b"security.capability".to_vec(),
            b"\x01\0\0\x02\n12 size=5\n".to_vec(),
        ),
        (b"user.empty".to_vec(), Vec::new()),
    ];
    let mut link = Entry::new(Kind::Symlink, "ümlaut".as_bytes().to_vec());
    link.link = vec![b'x'; 300];
    link.time.seconds = 1 << 34;
    let mut device = Entry::new(Kind::BlockDevice, b"\xff\xfe".to_vec());
    device.device = (4095, 1_048_575);
    let mut entries: Vec<(Entry, &[u8])> = vec![(odd, b"abc"), (link, b""), (device, b"")];
    for length in [99, 100, 101, 155, 156, 255, 256, 257, 1000] {
        let mut name = "d/".repeat(length / 2 - 1);
        name.push_str(&"n".repeat(length - name.len()));
        entries.push((file(&name, 0), b""));
        entries.push((file(&"n".repeat(length), 0), b""));
        entries.push((
            Entry::new(
                Kind::Directory,
                format!("{}/", "n".repeat(length - 1)).into_bytes(),
            ),
            b"",
        ));
    }
    let found = read(&write(&entries)).unwrap();
    assert_eq!(found.len(), entries.len());
    for ((entry, content), (expected, bytes)) in found.iter().zip(&entries) {
        assert_eq!((entry, &content[..]), (expected, *bytes));
    }
}

#[test]
fn a_file_that_shrinks_or_grows_while_it_is_read_keeps_its_size() {
    let bytes = write(&[(file("short", 600), b"ab"), (file("long", 2), b"abcdef")]);
    let found = read(&bytes).unwrap();
    assert_eq!(found[0].1.len(), 600);
    assert_eq!(&found[0].1[..4], b"ab\0\0");
    assert_eq!(found[1].1, b"ab");
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() {
    let mut long = file(&"n".repeat(120), 700);
    long.attributes = vec![(b"user.x".to_vec(), vec![1; 600])];
    let bytes = write(&[(long, &[7; 700])]);
    for end in 0..bytes.len() - BLOCK {
        let error = match read(&bytes[..end]) {
            Err(ReadError::Malformed(error)) => error,
            // The second block of zeros is not needed.
            other => panic!("{end} of {}: {other:?}", bytes.len()),
        };
        assert!(error.starts_with("it ends"), "{error}");
    }
    assert!(read(&bytes[..bytes.len() - BLOCK]).is_ok());
}

#[test]
fn damage_is_refused_and_never_a_panic() {
    let good = write(&[(file(&"n".repeat(120), 700), &[7; 700])]);
    // The field of the sum itself is not part of it.
    for index in (0..148).chain(156..BLOCK) {
        let mut bytes = good.clone();
        bytes[index] ^= 0x80;
        assert!(read(&bytes).is_err(), "byte {index} does not count");
    }
    assert!(read(&[b'x'; 4096]).is_err());
}

#[test]
fn extension_headers_are_limited() {
    let mut entry = file("x", 0);
    entry.attributes = (0..30)
        .map(|index| (format!("user.{index}").into_bytes(), vec![0; 60_000]))
        .collect();
    let bytes = write(&[(entry, b"")]);
    assert!(matches!(
        read(&bytes),
        Err(ReadError::Malformed("the headers of an entry are too large"))
    ));
}
