//! Layers as they are published: a base with hives and utility machine, and a difference on top of it.

use layer::windows::{Attributes, FileTime, Kind, LinkKind, SecurityDescriptor, StreamName};

use super::kit::{self, Layer, Records, at, metadata, path, read, read_on};

/// Everything that base layers have.
pub(crate) fn base() -> Vec<u8> {
    let descriptor = kit::descriptor_text();
    let hosts: Records<'_> = &[
        ("mtime", b"1709251200.1234567"),
        ("atime", b"1709251201"),
        ("ctime", b"1709251202.5"),
        ("LIBARCHIVE.creationtime", b"1556000000"),
        ("MSWINDOWS.fileattr", b"33"),
        ("MSWINDOWS.rawsd", descriptor.as_bytes()),
        ("MSWINDOWS.xattr.$KERNEL.PURGE.ESBCACHE", b"AAECAwQ="),
    ];
    Layer::new()
        .directory("Files")
        .directory("Files/Windows")
        .directory("Files/Windows/System32")
        .directory("Files/Windows/System32/config")
        .file("Files/Windows/System32/config/SYSTEM", "regf system")
        .file("Files/Windows/System32/config/SOFTWARE", "regf software")
        .directory("Files/Windows/System32/drivers")
        .directory("Files/Windows/System32/drivers/etc")
        .entry(
            b'0',
            "Files/Windows/System32/drivers/etc/hosts",
            "",
            hosts,
            "127.0.0.1 localhost\r\n",
        )
        .file("Files/Windows/notepad.exe", "MZ notepad")
        .entry(
            b'0',
            "Files/Windows/notepad.exe:Zone.Identifier",
            "",
            &[],
            "[ZoneTransfer]\r\nZoneId=3\r\n",
        )
        .entry(
            b'0',
            "Files/Windows/notepad.exe:big:$DATA",
            "",
            &[],
            vec![7; 3000],
        )
        .hard_link("Files/Windows/System32/notepad.exe", "Files/Windows/notepad.exe")
        .directory("Files/Users")
        .junction("Files/Documents and Settings", r"C:\Users")
        .symlink("Files/Users/link.txt", "../Windows/notepad.exe")
        .sparse("Files/Users/disk.img", "100000", "2\n0\n3\n99998\n2\n", b"abcde")
        .directory("Hives")
        .file("Hives/System_Base", "regf")
        .directory("UtilityVM")
        .directory("UtilityVM/Files")
        .directory("UtilityVM/Files/EFI")
        .directory("UtilityVM/Files/EFI/Microsoft")
        .directory("UtilityVM/Files/EFI/Microsoft/Boot")
        .file("UtilityVM/Files/EFI/Microsoft/Boot/BCD", "regf bcd")
        .file("UtilityVM/Files/old.dll", "MZ")
        .end()
}

/// A layer on top: deletions, overrides, links into the base, changed hives.
pub(crate) fn difference() -> Vec<u8> {
    Layer::new()
        .directory("Files")
        .directory("Files/Windows")
        .file("Files/Windows/.wh.notepad.exe", "")
        .hard_link("Files/Windows/editor.exe", "Files/Windows/notepad.exe")
        .directory("Files/Windows/System32")
        .directory("Files/Windows/System32/drivers")
        .directory("Files/Windows/System32/drivers/etc")
        .file(
            "Files/Windows/System32/drivers/etc/hosts",
            "10.0.0.1 override\r\n",
        )
        .file("Files/.wh.Users", "")
        .directory("Files/Users")
        .file("Files/Users/new.txt", "new")
        .directory("Hives")
        .file("Hives/System_Delta", "delta 1")
        .file("Hives/Software_Delta", "delta 2")
        .file("UtilityVM/Files/.wh.old.dll", "")
        .end()
}

#[test]
fn a_base_layer_is_read_with_everything_that_windows_knows() {
    let entries = read(&base()).unwrap();

    let (hosts, content) = at(&entries, "Files/Windows/System32/drivers/etc/hosts");
    assert_eq!(content, b"127.0.0.1 localhost\r\n");
    let known = metadata(hosts);
    assert_eq!(
        known.attributes.bits(),
        Attributes::READ_ONLY | Attributes::ARCHIVE
    );
    assert_eq!(
        known.times.modified,
        FileTime::from_ticks(133_537_248_001_234_567)
    );
    assert_eq!(known.times.created, FileTime::from_ticks(132_004_736_000_000_000));
    assert_eq!(
        known.times.accessed,
        FileTime::from_ticks(133_537_248_010_000_000)
    );
    assert_eq!(known.times.changed, FileTime::from_ticks(133_537_248_025_000_000));
    assert_eq!(known.descriptor.as_bytes(), kit::descriptor());
    let extended: Vec<_> = known.extended.iter().collect();
    assert_eq!(extended, [(&b"$KERNEL.PURGE.ESBCACHE"[..], &[0, 1, 2, 3, 4][..])]);

    let Kind::Link { metadata, reparse } = &at(&entries, "Files/Documents and Settings").0.kind else {
        panic!("a junction is a link");
    };
    assert_eq!(
        (reparse.kind(), reparse.target()),
        (LinkKind::MountPoint, r"C:\Users")
    );
    assert!(
        metadata
            .attributes
            .has(Attributes::DIRECTORY | Attributes::REPARSE_POINT)
    );
    let Kind::Link { metadata, reparse } = &at(&entries, "Files/Users/link.txt").0.kind else {
        panic!("a symbolic link is a link");
    };
    assert_eq!(
        (reparse.kind(), reparse.target()),
        (LinkKind::Symlink, r"..\Windows\notepad.exe")
    );
    assert!(!metadata.attributes.has(Attributes::DIRECTORY));

    let streams: Vec<_> = entries
        .iter()
        .filter_map(|(entry, content)| match &entry.kind {
            Kind::Stream { name, .. } => Some((entry.path.as_str(), name.clone(), content.len())),
            _ => None,
        })
        .collect();
    let stream = |name, length| {
        (
            "Files/Windows/notepad.exe",
            StreamName::new(name).unwrap(),
            length,
        )
    };
    assert_eq!(streams, [stream("Zone.Identifier", 26), stream("big", 3000)]);

    assert_eq!(
        at(&entries, "Files/Windows/System32/notepad.exe").0.kind,
        Kind::HardLink {
            target: path("Files/Windows/notepad.exe"),
            lower: false
        }
    );
    let sparse = &at(&entries, "Files/Users/disk.img").1;
    assert_eq!(
        (sparse.len(), &sparse[..3], &sparse[99_998..]),
        (100_000, &b"abc"[..], &b"de"[..])
    );
}

#[test]
fn what_an_archive_does_not_say_has_a_default() {
    let tar = Layer::new()
        .entry(b'0', "Files/app/run.exe", "", &[], "MZ")
        .entry(b'5', "Files/empty/", "", &[], "")
        .entry(b'2', "Files/l", "x", &[], "")
        .end();
    let entries = read(&tar).unwrap();
    let file = metadata(&at(&entries, "Files/app/run.exe").0);
    assert_eq!(file.attributes.bits(), Attributes::ARCHIVE);
    assert_eq!(file.times.created, file.times.modified);
    assert_eq!(file.descriptor, SecurityDescriptor::default_for(false));
    let directory = metadata(&at(&entries, "Files/empty").0);
    assert_eq!(directory.attributes.bits(), Attributes::DIRECTORY);
    assert_eq!(directory.descriptor, SecurityDescriptor::default_for(true));
    assert_eq!(
        metadata(&at(&entries, "Files/l").0).attributes.bits(),
        Attributes::REPARSE_POINT
    );
}

#[test]
fn a_descriptor_as_text_counts_where_there_are_no_bytes() {
    let text = "O:BAG:BAD:(A;OICI;FR;;;BU)";
    let raw = kit::descriptor_text();
    let both: Records<'_> = &[("MSWINDOWS.sd", b"D:"), ("MSWINDOWS.rawsd", raw.as_bytes())];
    let tar = Layer::base()
        .file_with("Files/text", "MSWINDOWS.sd", text)
        .entry(b'0', "Files/both", "", both, "")
        .end();
    let entries = read(&tar).unwrap();
    for name in ["Files/text", "Files/both"] {
        assert_eq!(
            metadata(&at(&entries, name).0).descriptor.as_bytes(),
            kit::descriptor(),
            "{name}"
        );
    }
}

#[test]
fn a_difference_deletes_overrides_and_links_into_the_base() {
    let entries = read_on(&base(), &difference()).unwrap();
    let deleted: Vec<_> = entries
        .iter()
        .filter(|(entry, _)| matches!(entry.kind, Kind::Tombstone))
        .map(|(entry, _)| entry.path.as_str())
        .collect();
    assert_eq!(
        deleted,
        [
            "Files/Windows/notepad.exe",
            "Files/Users",
            "UtilityVM/Files/old.dll"
        ]
    );
    assert_eq!(
        at(&entries, "Files/Windows/editor.exe").0.kind,
        Kind::HardLink {
            target: path("Files/Windows/notepad.exe"),
            lower: true
        }
    );
    assert_eq!(at(&entries, "Hives/System_Delta").1, b"delta 1");
}

#[test]
fn reserved_looking_and_unusual_names_that_windows_holds_are_accepted() {
    let long = "\u{4e2d}".repeat(255);
    let tar = Layer::base()
        .entry(b'5', "./", "", &[], "")
        .directory("./Files/PROGRA~1")
        .directory("Files/Program Files")
        .file("Files/console", "")
        .file("Files/ leading", "")
        .file("Files/a..b", "")
        .file("Files/.hidden", "")
        .file("Files/$Recycle.Bin", "")
        .file(format!("Files/{long}"), "")
        .file("tombstones.txt", "Version 1.0\r\n\\Windows\r\n")
        .end();
    let entries = read(&tar).unwrap();
    assert_eq!(entries.len(), 9);
    assert!(
        !entries
            .iter()
            .any(|(entry, _)| matches!(entry.kind, Kind::Tombstone))
    );
}

#[test]
fn links_may_lead_anywhere_because_nobody_follows_them() {
    let targets = [
        r"C:\Windows",
        r"\\?\GLOBALROOT\Device\HarddiskVolume1",
        r"\\server\share",
        r"\\?\Volume{4c1b02c1-d990-11dc-99ae-806e6f6e6963}\",
        r"..\..\..\..\etc\passwd",
        r"\etc\passwd",
    ];
    let tar = targets
        .iter()
        .enumerate()
        .fold(Layer::base(), |layer, (index, target)| {
            layer
                .junction(&format!("Files/j{index}"), target)
                .symlink(format!("Files/s{index}"), target.replace('\\', "/"))
        });
    let entries = read(&tar.end()).unwrap();
    for (index, target) in targets.iter().enumerate() {
        for kind in ["j", "s"] {
            let Kind::Link { reparse, .. } = &at(&entries, &format!("Files/{kind}{index}")).0.kind else {
                panic!("a link");
            };
            assert_eq!(reparse.target(), *target);
        }
    }
}

#[test]
fn bits_of_another_volume_are_cleared() {
    // Encrypted, offline, compressed, recall, and a reparse point on a plain file.
    let bits = 0x4000u32 | 0x1000 | 0x800 | 0x40_0000 | 0x400 | 0x22;
    let tar = Layer::base()
        .file_with("Files/a", "MSWINDOWS.fileattr", bits.to_string())
        .end();
    assert_eq!(
        metadata(&at(&read(&tar).unwrap(), "Files/a").0).attributes.bits(),
        0x22
    );
}

#[test]
fn a_child_may_precede_its_directory() {
    let tar = Layer::base()
        .file("Files/d/f", "x")
        .entry(b'5', "Files/d", "", &[("MSWINDOWS.fileattr", b"18")], "")
        .end();
    assert_eq!(
        metadata(&at(&read(&tar).unwrap(), "Files/d").0).attributes.bits(),
        0x12
    );
}

#[test]
fn a_deletion_and_a_new_thing_of_one_name_stand_together() {
    for reverse in [false, true] {
        let layer = Layer::new();
        let layer = if reverse {
            layer.file("Files/.wh.Windows", "").directory("Files/Windows")
        } else {
            layer
                .directory("Files/Windows")
                .file("Files/.wh.Windows", "ignored content")
        };
        assert_eq!(read_on(&base(), &layer.end()).unwrap().len(), 2);
    }
}
