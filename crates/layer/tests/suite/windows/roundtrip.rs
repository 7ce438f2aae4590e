//! Archive to tree and back: the same content, and the same bytes whatever order the archive had.

use std::collections::BTreeMap;
use std::fs;

use layer::windows::{
    Attributes, Entry, ExtendedAttributes, FileTime, Kind, LinkKind, Metadata, Reparse, SecurityDescriptor,
    StreamName, Times, WindowsLimits, WindowsTree, WindowsWriter, unpack_windows,
};
use proptest::prelude::*;

use super::kit::{Layer, Read, descriptor, path, read};

/// Names of which no two are the same for Windows; some are longer than the host's names may be.
const NAMES: [&str; 9] = [
    "a",
    "B",
    "Program Files",
    "\u{e9}t\u{e9}.txt",
    "\u{4e2d}\u{6587}",
    "x.y.z",
    "\u{1f600}",
    "~$d!#%&'()+,-;=@[]^_`{}",
    "LONG",
];

fn name(index: usize) -> String {
    match NAMES[index % NAMES.len()] {
        "LONG" => "\u{6c34}".repeat(200),
        name => name.to_owned(),
    }
}

/// A seed of one object.
#[derive(Debug, Clone)]
struct Seed {
    components: Vec<usize>,
    kind: u8,
    area: bool,
    metadata: Metadata,
    content: Vec<u8>,
    streams: Vec<(usize, Vec<u8>)>,
    target: String,
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let ticks = prop_oneof![
        Just(0u64),
        Just(i64::MAX as u64),
        0..i64::MAX as u64,
        116_444_736_000_000_000..140_000_000_000_000_000u64
    ];
    let extended = prop::collection::vec(
        ("[A-Z$][A-Z0-9.]{0,8}", prop::collection::vec(any::<u8>(), 1..20)),
        0..3,
    );
    (any::<u32>(), prop::collection::vec(ticks, 4), 0u8..4, extended).prop_map(
        |(bits, ticks, who, extended)| {
            let descriptor = match who {
                0 => SecurityDescriptor::new(&descriptor()).unwrap(),
                1 => {
                    SecurityDescriptor::from_sddl("O:SYG:SYD:P(A;OICI;FA;;;SY)(D;;FW;;;WD)S:(AU;SA;FA;;;WD)")
                        .unwrap()
                }
                who => SecurityDescriptor::default_for(who == 2),
            };
            let extended: BTreeMap<String, Vec<u8>> = extended.into_iter().collect();
            let extended = extended
                .into_iter()
                .map(|(name, value)| (name.into_bytes(), value));
            let time = |index: usize| FileTime::from_ticks(ticks[index]);
            Metadata {
                attributes: Attributes::file(bits),
                times: Times {
                    created: time(0),
                    modified: time(1),
                    accessed: time(2),
                    changed: time(3),
                },
                descriptor,
                extended: ExtendedAttributes::new(extended).unwrap(),
            }
        },
    )
}

fn seed() -> impl Strategy<Value = Seed> {
    let content = || prop::collection::vec(any::<u8>(), 0..1500);
    (
        prop::collection::vec(0..NAMES.len(), 1..4),
        0u8..10,
        any::<bool>(),
        metadata(),
        content(),
        prop::collection::vec((0..NAMES.len(), content()), 0..3),
        r"(\.\.|C:|\\\\s)?(\\[a-z]{1,4}){1,3}",
    )
        .prop_map(
            |(components, kind, area, metadata, content, streams, target)| Seed {
                components,
                kind,
                area,
                metadata,
                content,
                streams,
                target,
            },
        )
}

/// Turns seeds to a layer: entries in the order of the format, each with its content.
fn model(seeds: Vec<Seed>) -> Vec<Read> {
    // Paths compare by components.
    let mut objects: BTreeMap<Vec<String>, Seed> = BTreeMap::new();
    for seed in seeds {
        let area: &[&str] = if seed.area {
            &["Files"]
        } else {
            &["UtilityVM", "Files"]
        };
        let mut components: Vec<String> = area.iter().map(|name| (*name).to_owned()).collect();
        components.extend(seed.components.iter().map(|index| name(*index)));
        // What stands above must be a directory.
        let blocked = (1..components.len()).any(|length| {
            objects
                .get(&components[..length])
                .is_some_and(|above| above.kind > 1)
        });
        if blocked || objects.contains_key(&components) {
            continue;
        }
        for length in 1..components.len() {
            let above = Seed {
                kind: 0,
                ..seed.clone()
            };
            objects.entry(components[..length].to_vec()).or_insert(above);
        }
        objects.insert(components, seed);
    }
    let files = Seed { kind: 0, ..empty() };
    objects.entry(vec!["Files".to_owned()]).or_insert(files);
    let mut entries = Vec::new();
    let mut first: BTreeMap<bool, String> = BTreeMap::new();
    for (components, seed) in objects {
        entries.extend(entries_of(&components.join("/"), seed, &mut first));
    }
    entries
}

fn empty() -> Seed {
    Seed {
        components: Vec::new(),
        kind: 0,
        area: true,
        metadata: Metadata::default_for(true, FileTime::from_ticks(5)),
        content: Vec::new(),
        streams: Vec::new(),
        target: String::new(),
    }
}

fn entries_of(name: &str, seed: Seed, first: &mut BTreeMap<bool, String>) -> Vec<Read> {
    let place = path(name);
    let entry = |kind, content| {
        (
            Entry {
                path: place.clone(),
                kind,
            },
            content,
        )
    };
    let (mut metadata, content) = (seed.metadata, seed.content);
    let bits = metadata.attributes.bits();
    let link_kind = if seed.kind == 7 {
        LinkKind::MountPoint
    } else {
        LinkKind::Symlink
    };
    match (seed.kind, first.get(&seed.area)) {
        (0 | 1, _) => {
            metadata.attributes = Attributes::directory(bits);
            vec![entry(Kind::Directory(metadata), Vec::new())]
        }
        (6, Some(target)) => {
            let kind = Kind::HardLink {
                target: path(target),
                lower: false,
            };
            vec![entry(kind, Vec::new())]
        }
        (7 | 8, _) => {
            let directory = if seed.kind == 7 { Attributes::DIRECTORY } else { 0 };
            metadata.attributes = Attributes::link(bits | directory);
            let reparse = Reparse::new(link_kind, &seed.target).unwrap();
            vec![entry(Kind::Link { metadata, reparse }, Vec::new())]
        }
        _ => {
            first.entry(seed.area).or_insert_with(|| name.to_owned());
            let size = content.len() as u64;
            let mut entries = vec![entry(Kind::File { metadata, size }, content)];
            let streams: BTreeMap<String, Vec<u8>> = seed
                .streams
                .into_iter()
                .map(|(index, content)| (self::name(index), content))
                .collect();
            for (name, content) in streams {
                let kind = Kind::Stream {
                    name: StreamName::new(&name).unwrap(),
                    size: content.len() as u64,
                };
                entries.push(entry(kind, content));
            }
            entries
        }
    }
}

/// The archive that the product's writer makes.
fn written(entries: &[Read]) -> Vec<u8> {
    let mut writer = WindowsWriter::new(Vec::new());
    for (entry, content) in entries {
        writer.entry(entry, &content[..]).unwrap();
    }
    writer.finish().unwrap().0
}

/// An archive of the same things in another order, made by the tests: children in front of their directories.
fn reversed(entries: &[Read]) -> Vec<u8> {
    let mut groups: Vec<Vec<&Read>> = Vec::new();
    for read in entries {
        match read.0.kind {
            Kind::Stream { .. } => groups.last_mut().unwrap().push(read),
            _ => groups.push(vec![read]),
        }
    }
    let link = |group: &&Vec<&Read>| matches!(group[0].0.kind, Kind::HardLink { .. });
    let others = groups.iter().rev().filter(|group| !link(group));
    let ordered = others.chain(groups.iter().filter(link)).flatten();
    ordered
        .fold(Layer::new(), |layer, (entry, content)| {
            layer.modelled(entry, content)
        })
        .end()
}

/// A tree made of an archive.
pub(crate) fn unpacked(tar: &[u8]) -> (tempfile::TempDir, WindowsTree) {
    let directory = tempfile::tempdir().unwrap();
    let limits = WindowsLimits::default();
    unpack_windows(tar, directory.path(), None, &limits).unwrap();
    let tree = WindowsTree::open(directory.path(), &limits).unwrap();
    (directory, tree)
}

fn exported(tree: &WindowsTree) -> Vec<u8> {
    let (bytes, length) = tree.export(Vec::new()).unwrap();
    assert_eq!(bytes.len() as u64, length);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(seeds in prop::collection::vec(seed(), 0..25)) {
        let entries = model(seeds);
        prop_assert_eq!(read(&written(&entries)).unwrap(), entries);
    }

    #[test]
    fn a_tree_gives_back_what_the_archive_held(seeds in prop::collection::vec(seed(), 0..25)) {
        let entries = model(seeds);
        let tar = written(&entries);
        let (directory, tree) = unpacked(&tar);
        let known: Vec<Entry> = tree.table().entries().collect();
        let expected: Vec<Entry> = entries.iter().map(|(entry, _)| entry.clone()).collect();
        prop_assert_eq!(known, expected);
        prop_assert_eq!(exported(&tree), tar.clone());

        // Another order, other headers, the same layer: the same tree and the same bytes.
        let (other_directory, other) = unpacked(&reversed(&entries));
        prop_assert_eq!(exported(&other), tar);
        let side = |directory: &tempfile::TempDir| fs::read(directory.path().join(layer::windows::SIDE_FILE)).unwrap();
        prop_assert_eq!(side(&directory), side(&other_directory));
    }
}

#[test]
fn the_published_base_survives_and_settles() {
    let tar = super::published::base();
    let (_directory, tree) = unpacked(&tar);
    let first = exported(&tree);
    // Other tools see what a Windows host needs.
    let mut archive = tar::Archive::new(&first[..]);
    let mut seen = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let records: BTreeMap<String, String> = match entry.pax_extensions().unwrap() {
            Some(records) => records
                .map(|record| record.unwrap())
                .map(|record| {
                    (
                        record.key().unwrap().to_owned(),
                        record.value().unwrap().to_owned(),
                    )
                })
                .collect(),
            None => BTreeMap::new(),
        };
        seen.insert(name, (entry.header().entry_type(), records));
    }
    let (kind, records) = &seen["Files/Windows/System32/drivers/etc/hosts"];
    assert_eq!(*kind, tar::EntryType::Regular);
    for (key, value) in [
        ("MSWINDOWS.fileattr", "33"),
        ("MSWINDOWS.rawsd", &*super::kit::descriptor_text()),
        ("MSWINDOWS.xattr.$KERNEL.PURGE.ESBCACHE", "AAECAwQ="),
        ("LIBARCHIVE.creationtime", "1556000000"),
        ("mtime", "1709251200.1234567"),
    ] {
        assert_eq!(records[key], value, "{key}");
    }
    let (kind, records) = &seen["Files/Documents and Settings"];
    assert_eq!(
        (*kind, &*records["MSWINDOWS.mountpoint"]),
        (tar::EntryType::Symlink, "1")
    );
    assert_eq!(records["MSWINDOWS.fileattr"], "1040");
    assert!(seen.contains_key("Files/Windows/System32/notepad.exe:Zone.Identifier"));
    // The first name in the order of the archive has the content.
    assert_eq!(
        seen["Files/Windows/System32/notepad.exe"].0,
        tar::EntryType::Regular
    );
    assert_eq!(seen["Files/Windows/notepad.exe"].0, tar::EntryType::Link);

    let (_again, tree) = unpacked(&first);
    assert_eq!(exported(&tree), first);
}
