//! Archives as streams: where they end, how they are compressed, in which pieces they arrive, and readers that fail.

use std::io::{Read, Write};

use layer::{Compression, DecompressLimits, decompress, decompress_with};

use super::*;
use crate::kit;

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
    for blob in [
        kit::gzip(&tar),
        zstd::encode_all(&tar[..], 1).unwrap(),
        tar.clone(),
    ] {
        let stream = decompress(Compression::detect(&blob), std::io::Cursor::new(blob));
        let (converted, other) = convert_with(stream, &ConvertOptions::default()).unwrap();
        assert_eq!(converted, plain);
        assert!(kit::bytes(&image) == kit::bytes(&other));
    }
}

#[test]
fn damaged_compression_refuses_the_layer() {
    let tar = Archive::new().file("a", "x").end();
    let gzip = kit::gzip(&tar);
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
        let (second, other) = convert_with(kit::Trickle(&tar, seed), &ConvertOptions::default()).unwrap();
        assert_eq!(first, second);
        assert!(kit::bytes(&image) == kit::bytes(&other));
    }
    // A file that held something else is overwritten.
    let mut used = tempfile::tempfile().unwrap();
    used.write_all(&vec![0xaa; 4 << 20]).unwrap();
    tar_to_vhd(&tar[..], &used, &ConvertOptions::default()).unwrap();
    let mut again = Vec::new();
    std::io::Seek::rewind(&mut used).unwrap();
    used.read_to_end(&mut again).unwrap();
    assert!(kit::bytes(&image) == again);
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
