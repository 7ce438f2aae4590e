//! The structure of archives: what is accepted, what is refused and with which word.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod support;

use std::io::{Read, Write};

use layer::tar::{Kind, Piece, Reader};
use layer::{Compression, ConvertOptions, DecompressLimits, decompress, decompress_with, tar_to_vhd};
use support::archive::{Archive, Header, record};
use support::{convert, convert_with, verdict};

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

#[test]
fn pax_size_rules_over_the_header() {
    let body = shadow();
    assert_eq!(body.len(), 1024);
    let tar = Archive::new()
        .pax(&[("size", b"1024")])
        .entry(Header::new(b'0', b"honest"), &body)
        .end();
    assert_eq!(verdict(&tar), "ok");
    assert_eq!(read(&tar), [(b"honest".to_vec(), body)]);
}

#[test]
fn sizes_must_be_numbers() {
    let sized = |size: &[u8]| Archive::new().pax(&[("size", size)]).file("a", "").end();
    assert_eq!(verdict(&sized(b"12x")), "bad-header");
    assert_eq!(verdict(&sized(b"-1")), "bad-header");
    let negative = Header::new(b'0', b"a").field(124, &[0xff; 12]);
    assert_eq!(verdict(&Archive::new().entry(negative, b"").end()), "bad-header");
    let mut largest = [0; 12];
    largest[0] = 0x80;
    largest[4..].copy_from_slice(&i64::MAX.to_be_bytes());
    let overflow = Header::new(b'0', b"a").field(124, &largest);
    assert_eq!(verdict(&Archive::new().entry(overflow, b"").end()), "limit");
    assert_eq!(verdict(&sized(b"99999999999999999999")), "limit");
}

#[test]
fn the_checksum_counts() {
    let mut tar = Archive::new().file("a", "").end();
    tar[0] ^= 1;
    assert_eq!(verdict(&tar), "bad-header");
}

#[test]
fn a_signed_checksum_is_a_checksum() {
    let mut block = Header::new(b'0', b"\xe9").0;
    block[148..156].fill(b' ');
    let sum: i32 = block.iter().map(|&byte| i32::from(byte.cast_signed())).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(read(&Archive::new().raw(&block).end())[0].0, b"\xe9");
}

#[test]
fn pax_records_are_delimited_by_their_length() {
    for payload in [
        &b"10 path=abcdef"[..],
        b"999 path=a",
        b"7 path\n\0",
        b"10 path=ab ",
    ] {
        let tar = Archive::new().extension(b'x', payload).file("a", "").end();
        assert_eq!(verdict(&tar), "bad-header", "{}", payload.escape_ascii());
    }
    let tar = Archive::new().pax(&[("path", b"a\nb")]).file("x", "").end();
    assert_eq!(read(&tar)[0].0, b"a\nb");
    let forged = record("path", b"etc/forged");
    let tar = Archive::new()
        .pax(&[("comment", &forged)])
        .file("honest", "")
        .end();
    assert_eq!(read(&tar)[0].0, b"honest");
    let tar = Archive::new().pax(&[("path", b"a\0b")]).file("x", "").end();
    assert_eq!(verdict(&tar), "bad-header");
}

#[test]
fn one_of_each_extension() {
    let two_paths = Archive::new()
        .pax(&[("path", b"a"), ("path", b"b")])
        .file("x", "")
        .end();
    assert_eq!(verdict(&two_paths), "bad-header");
    let two_headers = Archive::new()
        .pax(&[("path", b"a")])
        .pax(&[("mtime", b"1")])
        .file("x", "")
        .end();
    assert_eq!(verdict(&two_headers), "bad-header");
    let two_names = Archive::new()
        .extension(b'L', b"a\0")
        .extension(b'L', b"a\0")
        .file("x", "")
        .end();
    assert_eq!(verdict(&two_names), "bad-header");
    let differ = Archive::new()
        .extension(b'L', b"gnu\0")
        .pax(&[("path", b"pax")])
        .file("x", "")
        .end();
    assert_eq!(verdict(&differ), "bad-header");
    let links = Archive::new()
        .extension(b'K', b"gnu\0")
        .pax(&[("linkpath", b"pax")])
        .symlink("x", "y")
        .end();
    assert_eq!(verdict(&links), "bad-header");
    let agree = Archive::new()
        .extension(b'L', b"same\0")
        .pax(&[("path", b"same")])
        .file("x", "")
        .end();
    assert_eq!(read(&agree)[0].0, b"same");
    for flag in [b'L', b'x'] {
        let payload = if flag == b'L' {
            b"a\0".to_vec()
        } else {
            record("path", b"a")
        };
        assert_eq!(
            verdict(&Archive::new().extension(flag, &payload).end()),
            "truncated"
        );
        assert_eq!(verdict(&Archive::new().extension(flag, &payload).0), "truncated");
    }
}

#[test]
fn long_names_are_read_in_both_dialects() {
    let name = vec![b'n'; 200];
    let target = vec![b't'; 300];
    let gnu = Archive::new()
        .extension(b'K', &[&target[..], b"\0"].concat())
        .extension(b'L', &[&name[..], b"\0"].concat())
        .symlink("x", "y")
        .end();
    let pax = Archive::new()
        .pax(&[("path", &name), ("linkpath", &target)])
        .symlink("x", "y")
        .end();
    for tar in [gnu, pax] {
        let entry = Reader::new(&tar[..], 9).next_entry().unwrap().unwrap();
        assert_eq!(
            (entry.path(), &entry.link[..], entry.kind),
            (&name[..], &target[..], Kind::Symlink)
        );
    }
    let prefixed = Header::new(b'0', b"name").field(345, b"some/prefix");
    assert_eq!(
        read(&Archive::new().entry(prefixed.clone(), b"").end())[0].0,
        b"some/prefix/name"
    );
    // The old GNU format keeps times in that place.
    let old = prefixed.field(257, b"ustar  \0");
    assert_eq!(read(&Archive::new().entry(old, b"").end())[0].0, b"name");
}

#[test]
fn extensions_are_limited_before_they_are_read() {
    let payload = record("comment", &vec![b'a'; 2 << 20]);
    assert_eq!(
        verdict(&Archive::new().extension(b'x', &payload).file("a", "").end()),
        "limit"
    );
    let announced = Archive::new()
        .raw(&Header::new(b'L', b"l").size(1 << 30).sealed())
        .raw(&[b'a'; 1024])
        .0;
    assert_eq!(verdict(&announced), "limit");
}

#[test]
fn global_headers_may_only_comment() {
    let comment = record("comment", b"4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    let tar = Archive::new().extension(b'g', &comment).file("a", "").end();
    assert_eq!(read(&tar).len(), 1);
    let tar = Archive::new()
        .extension(b'g', &record("path", b"etc/x"))
        .file("a", "")
        .end();
    assert_eq!(verdict(&tar), "bad-header");
}

#[test]
fn only_files_have_content() {
    for flag in b'1'..=b'6' {
        let header = Header::new(flag, b"a").link(b"b").device(1, 3).size(512);
        let tar = Archive::new()
            .file("b", "")
            .entry(header, &Archive::new().file("etc/x", "").0)
            .end();
        assert_eq!(verdict(&tar), "bad-header", "type {}", flag as char);
    }
    assert_eq!(
        verdict(&Archive::new().entry(Header::new(b'0', b"d/").size(1), b"x").end()),
        "bad-header"
    );
    let tar = Archive::new().entry(Header::new(b'0', b"d/"), b"").end();
    assert_eq!(
        Reader::new(&tar[..], 9).next_entry().unwrap().unwrap().kind,
        Kind::Directory
    );
}

#[test]
fn types_are_known_or_refused() {
    for (flag, expected) in [
        (b'Z', "unsupported"),
        (b'X', "unsupported"),
        (b'7', "ok"),
        (0, "ok"),
    ] {
        assert_eq!(
            verdict(&Archive::new().entry(Header::new(flag, b"a"), b"").end()),
            expected
        );
    }
    let old = Header::new(0, b"a").field(257, &[0; 8]);
    assert_eq!(verdict(&Archive::new().entry(old, b"").end()), "ok");
}

#[test]
fn the_end_is_where_it_is() {
    let file = || Archive::new().file("a", "content");
    assert_eq!(verdict(&file().raw(&[0; 512]).file("b", "").end()), "bad-header");
    assert_eq!(verdict(&file().0), "ok");
    assert_eq!(verdict(&file().raw(&[0; 512]).0), "ok");
    assert_eq!(verdict(&file().raw(&[0; 700]).0), "ok");
    assert_eq!(verdict(&file().0[..600]), "truncated");
    assert_eq!(verdict(&file().0[..515]), "truncated");
    assert_eq!(verdict(&file().0[..300]), "truncated");
    assert_eq!(
        verdict(&[file().0, file().0[..300].to_vec()].concat()),
        "truncated"
    );
    let hidden = file().raw(&[0; 1024]).file("etc/evil", "").end();
    assert_eq!(read(&hidden).len(), 1);
    let (converted, _) = convert(&hidden).unwrap();
    assert_eq!((converted.entries, converted.tar_bytes), (1, hidden.len() as u64));
}

#[test]
fn an_empty_layer_is_a_layer() {
    assert_eq!(verdict(&[0; 1024]), "ok");
    assert_eq!(verdict(&[]), "ok");
}

#[test]
fn what_is_no_archive_is_named() {
    assert_eq!(
        verdict(b"<!DOCTYPE html><html><body>Please log in</body></html>"),
        "bad-header"
    );
    assert_eq!(verdict(&b"<html>Please log in</html>".repeat(100)), "bad-header");
    let xz = [&b"\xfd7zXZ\0"[..], &[1; 2000]].concat();
    assert_eq!(verdict(&xz), "unsupported");
    assert_eq!(
        convert(&xz).unwrap_err().to_string(),
        "xz compression is not supported (entry 1 at byte 0)"
    );
    assert_eq!(verdict(&[&b"BZh91AY&SY"[..], &[1; 100]].concat()), "unsupported");
    assert_eq!(
        verdict(&[&b"\x1f\x8b\x08\0"[..], &[1; 2000]].concat()),
        "bad-header"
    );
}

#[test]
fn times_owners_and_modes_are_numbers_in_range() {
    let with = |key: &str, value: &[u8]| verdict(&Archive::new().pax(&[(key, value)]).file("a", "").end());
    assert_eq!(with("mtime", b"9223372036854775808"), "ok");
    assert_eq!(with("mtime", b"-1099511627776"), "ok");
    assert_eq!(with("mtime", b"nan"), "bad-header");
    assert_eq!(with("mtime", b"1e9"), "bad-header");
    assert_eq!(with("uid", b"4294967296"), "bad-attribute");
    assert_eq!(with("uid", b"-1"), "bad-attribute");
    assert_eq!(with("gid", b"4294967295"), "bad-attribute");
    assert_eq!(with("gid", b"4294967294"), "ok");
    assert_eq!(
        verdict(
            &Archive::new()
                .entry(Header::new(b'0', b"a").mode(0o120_777), b"")
                .end()
        ),
        "ok"
    );
}

#[test]
fn sparse_maps_must_be_consistent() {
    let sparse = |map: &str, size: &str, content: &[u8]| {
        let records: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ];
        let mut body = map.as_bytes().to_vec();
        body.resize(body.len().next_multiple_of(512), 0);
        body.extend_from_slice(content);
        Archive::new()
            .pax(&records)
            .file("./GNUSparseFile.1/sparse", body)
            .end()
    };
    let tar = sparse("1\n1024\n3\n", "2000", b"abc");
    let mut expected = vec![0; 2000];
    expected[1024..1027].copy_from_slice(b"abc");
    assert_eq!(read(&tar), [(b"sparse".to_vec(), expected)]);
    assert_eq!(verdict(&sparse("1\n1024\n4\n", "2000", b"abc")), "bad-header");
    assert_eq!(verdict(&sparse("1\n1998\n3\n", "2000", b"abc")), "bad-header");
    assert_eq!(verdict(&sparse("2\n8\n2\n0\n1\n", "2000", b"abc")), "bad-header");
    assert_eq!(verdict(&sparse("x\n", "2000", b"abc")), "bad-header");
    assert_eq!(verdict(&sparse("99999\n0\n3\n", "2000", b"abc")), "bad-header");
    // The apparent size counts.
    assert_eq!(verdict(&sparse("1\n0\n3\n", "200000000000", b"abc")), "limit");
    let major = Archive::new()
        .pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.realsize", b"1")])
        .file("a", "")
        .end();
    assert_eq!(verdict(&major), "unsupported");
}

#[test]
fn limits_are_checked_from_the_header() {
    let options = ConvertOptions {
        max_content_bytes: 1 << 30,
        ..ConvertOptions::default()
    };
    let announced = Archive::new().raw(
        &Header::new(b'0', b"zeros")
            .field(124, b"\x80\0\0\0\0\0\0\x02\x80\0\0\0")
            .sealed(),
    );
    assert_eq!(
        convert_with(&announced.0[..], &options).unwrap_err().code(),
        "limit"
    );
    let huge = Archive::new()
        .pax(&[("size", b"214748364800")])
        .raw(&Header::new(b'0', b"huge").sealed());
    assert_eq!(verdict(&huge.0), "limit");

    let files = |count: usize| {
        (0..count)
            .fold(Archive::new(), |archive, n| archive.file(format!("f{n}"), "x"))
            .end()
    };
    let options = ConvertOptions {
        max_entries: 10,
        ..ConvertOptions::default()
    };
    assert!(convert_with(&files(10)[..], &options).is_ok());
    assert_eq!(
        convert_with(&files(11)[..], &options).unwrap_err().code(),
        "limit"
    );
    // Directories that no entry describes count as well.
    let deep = Archive::new().file("a/".repeat(10) + "f", "").end();
    assert_eq!(convert_with(&deep[..], &options).unwrap_err().code(), "limit");

    let options = ConvertOptions {
        max_tar_bytes: 2048,
        ..ConvertOptions::default()
    };
    assert!(convert_with(&Archive::new().file("a", "x").end()[..], &options).is_ok());
    assert_eq!(convert_with(&files(2)[..], &options).unwrap_err().code(), "limit");

    let options = ConvertOptions {
        max_image_bytes: 1 << 20,
        ..ConvertOptions::default()
    };
    let error = convert_with(&Archive::new().file("big", vec![1; 2 << 20]).end()[..], &options).unwrap_err();
    assert_eq!(
        (error.code(), &error.place().unwrap().name[..]),
        ("limit", &b"big"[..])
    );

    let options = ConvertOptions {
        max_metadata_bytes: 1000,
        ..ConvertOptions::default()
    };
    let links = (0..4)
        .fold(Archive::new(), |archive, n| {
            archive.symlink(format!("l{n}"), "t".repeat(300))
        })
        .end();
    assert_eq!(convert_with(&links[..], &options).unwrap_err().code(), "limit");
}

#[test]
fn zeros_behind_the_end_are_hashed_and_dropped() {
    let tar = Archive::new().file("a", "x").end();
    let length = tar.len() as u64;
    let stream = std::io::Cursor::new(tar).chain(std::io::repeat(0).take(100 << 20));
    let (converted, _) = convert_with(stream, &ConvertOptions::default()).unwrap();
    assert_eq!(
        (converted.entries, converted.tar_bytes),
        (1, length + (100 << 20))
    );
}

#[test]
fn compressed_layers_convert_to_the_same_image() {
    let tar = Archive::new()
        .directory("etc")
        .file("etc/hostname", "box\n")
        .end();
    let (plain, image) = convert(&tar).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    for blob in [
        gzip.finish().unwrap(),
        zstd::encode_all(&tar[..], 1).unwrap(),
        tar.clone(),
    ] {
        let stream = decompress(Compression::detect(&blob), std::io::Cursor::new(blob));
        let (converted, other) = convert_with(stream, &ConvertOptions::default()).unwrap();
        assert_eq!(converted, plain);
        assert!(support::bytes(&image) == support::bytes(&other));
    }
}

#[test]
fn damaged_compression_refuses_the_layer() {
    let tar = Archive::new().file("a", "x").end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let code = |blob: Vec<u8>| {
        let stream = decompress(Compression::detect(&blob), std::io::Cursor::new(blob));
        convert_with(stream, &ConvertOptions::default())
            .unwrap_err()
            .code()
    };
    assert_eq!(code([&gzip[..], &[9; 100]].concat()), "bad-header");
    assert_eq!(code(gzip[..gzip.len() - 4].to_vec()), "truncated");
    let mut wrong = gzip.clone();
    let checksum = wrong.len() - 8;
    wrong[checksum] ^= 1;
    assert_eq!(code(wrong), "bad-checksum");
    let limits = DecompressLimits {
        max_output_bytes: 100,
        ..DecompressLimits::default()
    };
    let stream = decompress_with(Compression::Gzip, std::io::Cursor::new(gzip), limits);
    assert_eq!(
        convert_with(stream, &ConvertOptions::default())
            .unwrap_err()
            .code(),
        "limit"
    );
}

#[test]
fn the_bytes_do_not_depend_on_how_they_arrive() {
    let tar = (0..300).fold(Archive::new(), |archive, n| {
        archive.file(format!("d{}/f{n}", n % 7), vec![n as u8; n * 37])
    });
    let tar = tar.hard_link("link", "d1/f1").symlink("s", "x".repeat(200)).end();
    let (first, image) = convert(&tar).unwrap();
    for seed in [1, 77, 4242] {
        let (second, other) = convert_with(support::Trickle(&tar, seed), &ConvertOptions::default()).unwrap();
        assert_eq!(first, second);
        assert!(support::bytes(&image) == support::bytes(&other));
    }
    // A file that held something else is overwritten.
    let mut used = tempfile::tempfile().unwrap();
    used.write_all(&vec![0xaa; 4 << 20]).unwrap();
    tar_to_vhd(&tar[..], &used, &ConvertOptions::default()).unwrap();
    let mut again = Vec::new();
    std::io::Seek::rewind(&mut used).unwrap();
    used.read_to_end(&mut again).unwrap();
    assert!(support::bytes(&image) == again);
}

#[test]
fn a_full_disk_and_a_failing_reader_are_told_apart() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("gone"))
        }
    }
    assert_eq!(
        convert_with(Failing, &ConvertOptions::default())
            .unwrap_err()
            .code(),
        "read-failed"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let read_only = std::fs::File::open(file.path()).unwrap();
    let error = tar_to_vhd(&[][..], &read_only, &ConvertOptions::default()).unwrap_err();
    assert_eq!(error.code(), "write-failed");
}
