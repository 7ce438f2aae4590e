//! The side file: one spelling for one content, and nothing else is read.

use std::io::Cursor;
use std::sync::LazyLock;

use layer::windows::{SIDE_FILE, WindowsLimits, read_side_file, write_side_file};
use proptest::prelude::*;

use super::published;
use super::roundtrip::unpacked;

/// The side file of the published base.
static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (directory, _) = unpacked(&published::base());
    std::fs::read(directory.path().join(SIDE_FILE)).unwrap()
});

fn limits() -> WindowsLimits {
    WindowsLimits {
        max_content_bytes: 1 << 20,
        ..WindowsLimits::default()
    }
}

/// With a right checksum.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn problem(bytes: &[u8]) -> String {
    let error = read_side_file(bytes, &limits()).expect_err("damaged");
    assert_eq!(error.code(), "bad-side-file");
    error.to_string()
}

#[test]
fn reading_and_writing_gives_the_same_bytes() {
    let table = read_side_file(&SAMPLE[..], &limits()).unwrap();
    let mut again = Vec::new();
    write_side_file(&table, &mut Cursor::new(&SAMPLE[..]), &mut again).unwrap();
    assert_eq!(again, *SAMPLE);
}

#[test]
fn damage_of_any_byte_is_noticed() {
    for index in 0..SAMPLE.len() {
        let mut bytes = SAMPLE.clone();
        bytes[index] ^= 0x20;
        problem(&bytes);
    }
}

#[test]
fn cuts_additions_and_other_versions_are_refused() {
    for length in 0..SAMPLE.len() {
        assert!(problem(&SAMPLE[..length]).contains("cut short"));
    }
    assert!(problem(&[&SAMPLE[..], b"x"].concat()).contains("behind its end"));
    let mut newer = SAMPLE.clone();
    newer[8] = 2;
    assert!(problem(&sealed(newer)).contains("version"));
    let mut foreign = SAMPLE.clone();
    foreign[0] = b'X';
    assert!(problem(&sealed(foreign)).contains("does not begin like one"));
}

/// A side file of nothing but records.
fn records(records: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"winlayer\x01\0\0\0".to_vec();
    let descriptor = super::kit::descriptor();
    bytes.push(1);
    bytes.push(descriptor.len() as u8);
    bytes.extend(&descriptor);
    bytes.push(records.len() as u8);
    bytes.extend(records.concat());
    bytes.extend([0; 4]);
    sealed(bytes)
}

/// The records that an object has behind its kind: attributes, no times, the first descriptor, no more.
const FILE: &[u8] = b"\x20\0\0\0\0\0\0";
const FILES: &[u8] = b"\x01\x05Files\0\x10\0\0\0\0\0\0";

fn file(name: &str) -> Vec<u8> {
    [&[2, name.len() as u8], name.as_bytes(), &[1], FILE, &[0, 0]].concat()
}

#[test]
fn records_that_no_writer_makes_are_refused() {
    assert!(read_side_file(&records(&[FILES, &file("a"), &file("b")])[..], &limits()).is_ok());
    let bad_host = |host: &str| {
        [
            &b"\x02\x01b\x11"[..],
            &[host.len() as u8],
            host.as_bytes(),
            FILE,
            &[0, 0],
        ]
        .concat()
    };
    for (what, bad, text) in [
        ("order", records(&[FILES, &file("b"), &file("a")]), "not sorted"),
        ("twice", records(&[FILES, &file("a"), &file("a")]), "not sorted"),
        (
            "case",
            records(&[FILES, &file("A"), &file("a")]),
            "rule of layers",
        ),
        ("parent", records(&[&file("a")]), "no parent"),
        ("out of the tree", records(&[FILES, &file("..")]), "\"..\""),
        ("slash", records(&[FILES, &file("a/b")]), "slash"),
        ("device", records(&[FILES, &file("nul")]), "device"),
        (
            "other part",
            records(&[b"\x01\x05Other\0\x10\0\0\0\0\0\0"]),
            "only Files",
        ),
        (
            "part that is a file",
            records(&[b"\x01\x05Files\x01\x20\0\0\0\0\0\0\0\0"]),
            "rule of layers",
        ),
        ("nothing", records(&[FILES, b"\x02\x01a\x06"]), "unknown kind"),
        (
            "below a file",
            records(&[FILES, &file("a"), b"\x03\x01b\x0e"]),
            "no directory",
        ),
        ("kind", records(&[FILES, b"\x02\x01a\x07"]), "unknown kind"),
        (
            "hard link to itself",
            records(&[FILES, b"\x02\x01a\x04\x01"]),
            "to nothing",
        ),
        (
            "hard link to a directory",
            records(&[FILES, b"\x02\x01a\x04\x00"]),
            "to nothing",
        ),
        (
            "hard link to a later one",
            records(&[FILES, b"\x02\x01a\x04\x02", &file("b")]),
            "to nothing",
        ),
        (
            "hard link out",
            records(&[FILES, b"\x02\x01a\x05\x05Hives"]),
            "out of its part",
        ),
        (
            "longer number",
            records(&[b"\x81\0\x05Files\0\x10\0\0\0\0\0\0"]),
            "shortest",
        ),
        (
            "attributes",
            records(&[b"\x01\x05Files\0\x20\0\0\0\0\0\0"]),
            "attributes",
        ),
        (
            "descriptor",
            records(&[b"\x01\x05Files\0\x10\0\0\0\0\x01\0"]),
            "security descriptor",
        ),
        ("unused descriptor", records(&[]), "not used"),
        ("time", records(&[b"\x01\x05Files\0\x10\0\x01\0\0\0\0"]), "time"),
        (
            "host name out of the tree",
            records(&[FILES, &file("a"), &bad_host("..")]),
            "name on the host",
        ),
        (
            "host name with a slash",
            records(&[FILES, &file("a"), &bad_host("|/x")]),
            "name on the host",
        ),
        (
            "host name of another",
            records(&[FILES, &file("a"), &bad_host("a")]),
            "name on the host",
        ),
    ] {
        let text_found = problem(&bad);
        assert!(text_found.contains(text), "{what}: {text_found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_with_a_right_checksum_are_answered(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = SAMPLE.clone();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let bytes = sealed(bytes);
        if let Ok(table) = read_side_file(&bytes[..], &limits()) {
            // What is accepted is spelled the only way there is.
            let mut again = Vec::new();
            write_side_file(&table, &mut Cursor::new(&bytes), &mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn random_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut file = b"winlayer\x01\0\0\0".to_vec();
        file.extend(bytes);
        file.extend([0; 4]);
        let _ = read_side_file(&sealed(file)[..], &limits());
    }
}
