//! Damaged and random archives: whatever comes, there is an answer, and what is accepted is sound.

use std::sync::LazyLock;

use layer::{Compression, ConvertOptions, DecompressLimits, decompress_with};
use proptest::prelude::*;

use crate::kit::archive::{Archive, Header, record, seal};
use crate::kit::{self, convert, convert_with};

/// An archive with something of everything.
fn sample() -> Vec<u8> {
    let map = b"2\n0\n3\n100000\n2\n";
    let mut sparse = map.to_vec();
    sparse.resize(512, 0);
    sparse.extend_from_slice(b"abcde");
    Archive::new()
        .extension(b'g', &record("comment", b"made for tests"))
        .directory("./")
        .directory("etc/")
        .pax(&[
            ("mtime", b"1700000000.5"),
            ("SCHILY.xattr.user.note", b"a\nb"),
            ("uid", b"1000"),
        ])
        .file("etc/passwd", vec![b'p'; 700])
        .symlink("lib", "/usr/lib")
        .file("lib/x", "through a link")
        .hard_link("etc/group", "etc/passwd")
        .extension(b'L', &[&vec![b'n'; 150][..], b"\0"].concat())
        .file("x", "long name")
        .entry(Header::new(b'3', b"dev/null").device(1, 3), b"")
        .fifo("run/pipe")
        .file("etc/.wh.gone", "")
        .file("etc/.wh..wh..opq", "")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", b"200000"),
        ])
        .file("GNUSparseFile.0/sparse", &sparse)
        .file("etc/passwd", "replaced")
        .end()
}

/// Offsets of the header blocks of [`sample`], found by their magic.
fn headers(tar: &[u8]) -> Vec<usize> {
    (0..tar.len())
        .step_by(512)
        .filter(|&offset| tar.get(offset + 257..offset + 262) == Some(b"ustar"))
        .collect()
}

/// Converts; what is accepted must satisfy e2fsck where that exists.
fn survive(tar: &[u8]) {
    match convert(tar) {
        Ok((converted, image)) => {
            assert_eq!(converted.tar_bytes, tar.len() as u64);
            #[cfg(target_os = "linux")]
            kit::mounted::check(image.path());
            drop(image);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[test]
fn the_sample_itself_is_accepted() {
    assert_eq!(convert(&sample()).unwrap().0.entries, 13);
}

#[test]
fn every_cut_is_answered() {
    let sample = sample();
    for length in (0..sample.len()).step_by(97) {
        let verdict = kit::verdict(&sample[..length]);
        assert!(
            matches!(verdict, "ok" | "truncated" | "bad-header"),
            "cut at {length}: {verdict}"
        );
    }
}

#[test]
fn chains_of_links_cannot_keep_us_busy() {
    // Each link stands for hundreds of steps through the one before.
    let mut archive = Archive::new().directory("d");
    for n in 0..40 {
        let target = if n == 0 {
            "d/../".repeat(800)
        } else {
            format!("l{0}/../l{0}/../", n - 1).repeat(280)
        };
        archive = archive.symlink(format!("l{n}"), target);
    }
    for n in 0..2000 {
        archive = archive.file(format!("l{}/f{n}", n % 40), "");
    }
    assert_eq!(kit::verdict(&archive.end()), "bad-parent");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        survive(&bytes);
    }

    #[test]
    fn flipped_bytes_are_answered(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut tar = sample();
        for (index, byte) in changes {
            let index = index.index(tar.len());
            tar[index] = byte;
        }
        survive(&tar);
    }

    #[test]
    fn changed_fields_with_right_checksums_are_answered(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..512, prop::collection::vec(any::<u8>(), 1..12)), 1..5)
    ) {
        let mut tar = sample();
        let headers = headers(&tar);
        for (header, offset, bytes) in changes {
            let header = headers[header.index(headers.len())];
            for (index, byte) in (offset..512).zip(bytes) {
                tar[header + index] = byte;
            }
            seal(&mut tar[header..header + 512]);
        }
        survive(&tar);
    }

    #[test]
    fn shuffled_blocks_are_answered(seeds in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6)) {
        let mut tar = sample();
        let blocks = tar.len() / 512;
        for (from, to) in seeds {
            let (from, to) = (from.index(blocks) * 512, to.index(blocks) * 512);
            tar.copy_within(from..from + 512, to);
        }
        survive(&tar);
    }

    #[test]
    fn changed_records_are_answered(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let records: [(&str, &[u8]); 8] = [
            ("path", b"d/file"), ("size", b"5"), ("mtime", b"-1.25"), ("gid", b"7"), ("SCHILY.xattr.user.a", b"\0v\n"),
            ("GNU.sparse.map", b"0,2,10,3"), ("GNU.sparse.size", b"20"), ("comment", b""),
        ];
        let mut payload: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        for (index, byte) in changes {
            let index = index.index(payload.len());
            payload[index] = byte;
        }
        survive(&Archive::new().extension(b'x', &payload).file("d/short", "abcde").end());
    }

    #[test]
    fn changed_compressed_bytes_are_answered_within_the_limit(
        zstandard: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut blob = COMPRESSED[usize::from(zstandard)].clone();
        for (index, byte) in changes {
            let index = index.index(blob.len());
            blob[index] = byte;
        }
        let limits = DecompressLimits { max_output_bytes: 1 << 20, ..DecompressLimits::default() };
        let stream = decompress_with(Compression::detect(&blob), std::io::Cursor::new(blob), limits);
        match convert_with(stream, &ConvertOptions::default()) {
            Ok((converted, _)) => prop_assert!(converted.tar_bytes <= 1 << 20),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

/// The sample, compressed with gzip and with zstd.
static COMPRESSED: LazyLock<[Vec<u8>; 2]> =
    LazyLock::new(|| [kit::gzip(&sample()), zstd::encode_all(&sample()[..], 1).unwrap()]);
