//! Damaged layers: whatever comes, there is an answer, and what is accepted obeys the rules.

use std::sync::LazyLock;

use layer::windows::{Area, Kind, LowerTables, Table, WindowsLimits};
use proptest::prelude::*;

use super::kit::{Layer, payload, read_with};
use super::published;
use crate::kit::archive::seal;

/// Small limits, so that no mutation makes a test expensive.
fn limits() -> WindowsLimits {
    WindowsLimits {
        max_content_bytes: 4 << 20,
        ..WindowsLimits::default()
    }
}

/// What lies below the layers that are tried on top of something.
static BASE: LazyLock<Table> = LazyLock::new(|| read_with(&published::base(), None, &limits()).unwrap().1);

/// Reads as a base layer and on top of one.
fn survive(tar: &[u8]) {
    let lower = LowerTables::new([&*BASE]);
    for parents in [None, Some(&lower as &dyn layer::windows::Parents)] {
        match read_with(tar, parents, &limits()) {
            Ok((entries, table)) => {
                for (entry, content) in entries {
                    let name = entry.path.as_str();
                    assert!(
                        !name.split('/').any(|part| matches!(part, "" | "." | "..")),
                        "{name}"
                    );
                    assert!(
                        !name.contains(['\\', ':']) && !name.chars().any(|c| c < ' '),
                        "{name}"
                    );
                    assert_eq!(entry.size(), content.len() as u64);
                    let deletion = matches!(entry.kind, Kind::Tombstone);
                    assert!(!deletion || (parents.is_some() && entry.path.area() != Area::Hives));
                }
                assert!(table.entries().all(|entry| !entry.path.as_str().is_empty()));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

fn headers(tar: &[u8]) -> Vec<usize> {
    (0..tar.len())
        .step_by(512)
        .filter(|&offset| tar.get(offset + 257..offset + 262) == Some(b"ustar"))
        .collect()
}

fn samples() -> [Vec<u8>; 2] {
    [published::base(), published::difference()]
}

#[test]
fn every_cut_is_answered() {
    for sample in samples() {
        for length in (0..sample.len()).step_by(331) {
            survive(&sample[..length]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_are_answered(
        second: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut tar = samples()[usize::from(second)].clone();
        for (index, byte) in changes {
            let index = index.index(tar.len());
            tar[index] = byte;
        }
        survive(&tar);
    }

    #[test]
    fn changed_fields_with_right_checksums_are_answered(
        second: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..260, prop::collection::vec(any::<u8>(), 1..6)), 1..5),
    ) {
        let mut tar = samples()[usize::from(second)].clone();
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
    fn shuffled_blocks_are_answered(
        second: bool,
        seeds in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
    ) {
        let mut tar = samples()[usize::from(second)].clone();
        let blocks = tar.len() / 512;
        for (from, to) in seeds {
            let (from, to) = (from.index(blocks) * 512, to.index(blocks) * 512);
            tar.copy_within(from..from + 512, to);
        }
        survive(&tar);
    }

    #[test]
    fn changed_records_are_answered(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let descriptor = super::kit::descriptor_text();
        let mut records = payload(&[
            ("MSWINDOWS.fileattr", b"1056"), ("MSWINDOWS.rawsd", descriptor.as_bytes()), ("MSWINDOWS.mountpoint", b"1"),
            ("MSWINDOWS.xattr.NAME", b"AAEC"), ("LIBARCHIVE.creationtime", b"-1.25"), ("path", b"Files/d/a:b"),
        ]);
        for (index, byte) in changes {
            let index = index.index(records.len());
            records[index] = byte;
        }
        let layer = Layer(Layer::base().file("Files/d/a", "").0.extension(b'x', &records));
        survive(&layer.file("Files/x", "content").end());
    }

    #[test]
    fn any_names_are_answered(
        names in prop::collection::vec("(Files|Hives|UtilityVM|files|\\.wh\\.a|\\.)(/(a|A|\\.wh\\.a|\\.\\.|con|b:s|b|Files| |\u{e9}|\u{c9})){0,3}", 1..8),
        kinds in prop::collection::vec(0u8..4, 8),
    ) {
        let mut layer = Layer::base();
        for (name, kind) in names.iter().zip(kinds) {
            layer = match kind {
                0 => layer.directory(name),
                1 => layer.file(name, "x"),
                2 => layer.junction(name, "C:\\"),
                _ => layer.hard_link(name, &names[0]),
            };
        }
        survive(&layer.end());
    }
}
