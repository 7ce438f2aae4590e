//! What is set comes back.

use std::io::{self, Read, Write};

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_INVALID_FUNCTION, ERROR_PATH_NOT_FOUND};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_SPARSE_FILE,
    FILE_ATTRIBUTE_SYSTEM,
};

use super::super::*;
use super::{Scratch, assert_code, wine};

const TIMES: Basic = Basic {
    created: 116_444_736_000_000_000,
    modified: 133_537_248_001_234_567,
    accessed: 133_537_248_001_234_568,
    changed: 133_537_248_001_234_569,
    attributes: FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM,
};

#[test]
fn times_attributes_and_sizes_come_back() {
    let scratch = Scratch::new("basic");
    let directory = &scratch.directory;
    let file = directory.create_file("file").unwrap();
    file.as_file().write_all(b"hello").unwrap();
    file.set_basic(TIMES).unwrap();
    let below = directory.create_below("directory").unwrap();
    below.set_basic(TIMES).unwrap();
    drop((file, below));
    for (name, size, kind) in [("file", 5, 0), ("directory", 0, FILE_ATTRIBUTE_DIRECTORY)] {
        let facts = directory.query(name).unwrap();
        assert_eq!(facts.is_directory(), kind != 0);
        assert!(!facts.is_reparse_point());
        assert_eq!((facts.links, facts.reparse_tag, facts.size), (1, 0, size));
        assert_eq!(facts.basic.modified, TIMES.modified, "{name}");
        assert_eq!(facts.basic.accessed, TIMES.accessed, "{name}");
        if wine() {
            // Its volumes have no time of creation and keep the time of changes themselves.
            assert_eq!(facts.basic.created, facts.basic.modified);
            assert!(facts.basic.changed > TIMES.changed);
        } else {
            let attributes = TIMES.attributes | kind;
            assert_eq!(facts.basic, Basic { attributes, ..TIMES });
        }
    }
    // Zeros leave what is.
    let file = directory.open_for_change("file").unwrap();
    let before = file.facts().unwrap().basic;
    file.set_basic(Basic {
        attributes: FILE_ATTRIBUTE_READONLY,
        ..Basic::default()
    })
    .unwrap();
    let after = file.facts().unwrap().basic;
    assert_eq!(
        (after.modified, after.accessed),
        (before.modified, before.accessed)
    );
    assert!(after.attributes & FILE_ATTRIBUTE_READONLY != 0);
    for time in [-1, -2, i64::MIN] {
        let basic = Basic {
            modified: time,
            ..TIMES
        };
        assert_eq!(
            file.set_basic(basic).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}

#[test]
fn streams_come_back() {
    let scratch = Scratch::new("streams");
    let file = scratch.directory.create_file("file").unwrap();
    file.as_file().write_all(b"content").unwrap();
    let stream = file.create_stream("Zone.Identifier");
    if wine() {
        assert_code(stream, ERROR_PATH_NOT_FOUND);
        assert_code(file.open_stream("Zone.Identifier"), ERROR_PATH_NOT_FOUND);
        assert_code(file.streams(), ERROR_INVALID_FUNCTION);
        assert_code(scratch.directory.streams(), ERROR_INVALID_FUNCTION);
        return;
    }
    stream.unwrap().write_all(b"[ZoneTransfer]").unwrap();
    assert_eq!(
        file.create_stream("zone.identifier").unwrap_err().kind(),
        io::ErrorKind::AlreadyExists
    );
    // More than the first question has room for.
    for number in 0..40 {
        let name = format!("{number}{}", "n".repeat(200));
        file.create_stream(&name).unwrap().write_all(b"x").unwrap();
    }
    drop(file);
    let file = scratch.directory.open_file("file").unwrap();
    let streams = file.streams().unwrap();
    assert_eq!(streams.len(), 41);
    let expected = StreamFacts {
        name: "Zone.Identifier".to_owned(),
        size: 14,
    };
    assert!(streams.contains(&expected), "{streams:?}");
    let mut content = String::new();
    let mut stream = file.open_stream("Zone.Identifier").unwrap();
    stream.read_to_string(&mut content).unwrap();
    assert_eq!(content, "[ZoneTransfer]");
    assert_eq!(scratch.directory.streams().unwrap(), []);
}

#[test]
fn extended_attributes_come_back() {
    let scratch = Scratch::new("extended");
    let file = scratch.directory.create_file("file").unwrap();
    assert_eq!(file.extended().unwrap(), []);
    file.set_extended(&[]).unwrap();
    let attribute = |name: &[u8], value: Vec<u8>| ExtendedAttribute {
        flags: 0,
        name: name.to_vec(),
        value,
    };
    let attributes = [
        attribute(b"KERNEL.PURGE", vec![1, 2, 3]),
        attribute(b"LARGE", vec![7; 40_000]),
    ];
    for result in [
        file.set_extended(&[attribute(&[b'n'; 256], vec![1])]),
        file.set_extended(&[attribute(b"N", vec![1; 0x1_0000])]),
    ] {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    let set = file.set_extended(&attributes);
    if wine() {
        assert_code(set, ERROR_ACCESS_DENIED);
        return;
    }
    set.unwrap();
    drop(file);
    let file = scratch.directory.open_for_change("file").unwrap();
    assert_eq!(file.extended().unwrap(), attributes);
    file.set_extended(&[attribute(b"LARGE", Vec::new())]).unwrap();
    assert_eq!(file.extended().unwrap(), attributes[..1]);
}

#[test]
fn holes_take_no_room() {
    let scratch = Scratch::new("sparse");
    let file = scratch.directory.create_file("file").unwrap();
    file.set_sparse().unwrap();
    file.as_file().set_len(1 << 30).unwrap();
    let facts = file.facts().unwrap();
    assert_eq!(facts.size, 1 << 30);
    // Wine's volumes have holes in every file and no attribute for it.
    let sparse = facts.basic.attributes & FILE_ATTRIBUTE_SPARSE_FILE != 0;
    assert_eq!(sparse, !wine());
}

#[test]
fn a_security_descriptor_comes_back() {
    // Everybody may do everything; no owner, no group.
    const EVERYBODY: [u8; 20] = [0, 0, 20, 0, 0xff, 1, 0x1f, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let mut descriptor = vec![
        1, 0, 4, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 28, 0, 1, 0, 0, 0,
    ];
    descriptor.extend(EVERYBODY);
    let scratch = Scratch::new("security");
    let file = scratch.directory.create_file("file").unwrap();
    let below = scratch.directory.create_below("below").unwrap();
    for object in [&file, &*below] {
        let before = object.security().unwrap();
        object.set_security(&descriptor).unwrap();
        let after = object.security().unwrap();
        assert_ne!(before, after);
        let mut expected = EVERYBODY;
        if wine() {
            // The host has no rights to change lists that a file could grant, and its directories always hand on.
            expected[6] = 0x13;
            expected[1] = if object.facts().unwrap().is_directory() {
                3
            } else {
                0
            };
        }
        assert!(after.windows(20).any(|entry| entry == expected), "{after:x?}");
        // What the descriptor does not have is left: the owner.
        let owner = |bytes: &[u8]| {
            let at = usize::from(bytes[4]);
            bytes[at..at + 8 + 4 * usize::from(bytes[at + 1])].to_vec()
        };
        assert_eq!(owner(&before), owner(&after));
        // A whole descriptor that was read can be set again.
        object.set_security(&after).unwrap();
        assert_eq!(object.security().unwrap(), after);
    }
    for (at, value) in [(16, 200), (4, 47), (4, 255), (22, 200), (22, 4), (3, 0)] {
        let mut bad = descriptor.clone();
        bad[at] = value;
        let refused = file.set_security(&bad).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{value} at {at}");
    }
    for length in 0..descriptor.len() {
        assert!(file.set_security(&descriptor[..length]).is_err(), "{length}");
    }
}

#[test]
fn audit_lists_come_back_with_the_privilege() {
    // Every success of everybody is audited.
    const AUDITED: [u8; 20] = [
        2, 0x40, 20, 0, 0xff, 1, 0x1f, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
    ];
    let mut descriptor = vec![
        1, 0, 0x10, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 2, 0, 28, 0, 1, 0, 0, 0,
    ];
    descriptor.extend(AUDITED);
    let scratch = Scratch::new("audit");
    let privileges = crate::privilege::LayerPrivileges::hold();
    let file = scratch.directory.create_file("file").unwrap();
    let set = file.set_security(&descriptor);
    if privileges.is_err() {
        assert_eq!(set.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        return;
    }
    set.unwrap();
    let read = file.security().unwrap();
    // Wine takes them and keeps nothing.
    let kept = read.windows(20).any(|entry| entry == AUDITED);
    assert_eq!(kept, !wine(), "{read:x?}");
}
