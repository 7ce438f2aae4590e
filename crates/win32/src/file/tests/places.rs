//! Names lead where they say, and nowhere else.

use std::io::{self, Read, Write};

use windows_sys::Win32::Foundation::{
    ERROR_DIRECTORY, ERROR_NOT_A_REPARSE_POINT, ERROR_NOT_SUPPORTED, ERROR_REPARSE_POINT_ENCOUNTERED,
    ERROR_TOO_MANY_LINKS,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_READONLY};

use super::super::*;
use super::{Scratch, assert_code, sorted, wine};

/// A junction to `C:\a`.
fn junction() -> Vec<u8> {
    let mut data = vec![3, 0, 0, 0xa0, 36, 0, 0, 0, 0, 0, 16, 0, 18, 0, 8, 0];
    data.extend("\\??\\C:\\a\0C:\\a\0".encode_utf16().flat_map(u16::to_le_bytes));
    data
}

#[test]
fn names_that_are_none_reach_no_volume() {
    let scratch = Scratch::new("names");
    let directory = &scratch.directory;
    let file = directory.create_file("file").unwrap();
    for name in [
        "", ".", "..", "a\\b", "a/b", "\\", "..\\x", "C:", "a:b", "a::$DATA", "a\0b",
    ] {
        for result in [
            directory.open_below(name).map(|_| ()),
            directory.create_below(name).map(|_| ()),
            directory.create_directory(name).map(|_| ()),
            directory.create_file(name).map(|_| ()),
            directory.open_file(name).map(|_| ()),
            directory.open_for_change(name).map(|_| ()),
            directory.query(name).map(|_| ()),
            directory.remove(name),
            directory.remove_tree(name).map_err(io::Error::from),
            directory.rename_below(name, directory, "x"),
            directory.rename_below("file", directory, name),
            link((directory, name), directory, "x"),
            link((directory, "file"), directory, name),
        ] {
            assert_eq!(
                result.unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{name:?}"
            );
        }
    }
    for name in ["", "a:b", "a\\b", "a/b", "a\0"] {
        for result in [file.create_stream(name), file.open_stream(name)] {
            assert_eq!(
                result.unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{name:?}"
            );
        }
    }
    assert_eq!(
        directory.create_file(&"n".repeat(40_000)).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(sorted(directory), ["file"]);
}

#[test]
fn names_are_taken_literally() {
    let scratch = Scratch::new("literal");
    let names = ["CON", "a", "a ", "a.", "nul.txt", "\u{e9}"];
    for name in names {
        let file = scratch.directory.create_file(name).unwrap();
        file.as_file().write_all(name.as_bytes()).unwrap();
    }
    assert_eq!(sorted(&scratch.directory), names);
    for name in names {
        let mut content = String::new();
        let file = scratch.directory.open_file(name).unwrap();
        file.as_file().read_to_string(&mut content).unwrap();
        assert_eq!(content, name);
    }
    // Names that differ only in case are one.
    assert_eq!(
        scratch.directory.create_file("con").unwrap_err().kind(),
        io::ErrorKind::AlreadyExists
    );
}

#[test]
fn what_exists_is_not_made_again() {
    let scratch = Scratch::new("exclusive");
    let directory = &scratch.directory;
    directory.create_file("file").unwrap();
    directory
        .create_below("below")
        .unwrap()
        .create_file("inner")
        .unwrap();
    for result in [
        directory.create_file("file").map(|_| ()),
        directory.create_file("below").map(|_| ()),
        directory.create_directory("file").map(|_| ()),
        directory.create_directory("below").map(|_| ()),
        directory.rename_below("file", directory, "below"),
        directory.rename_below("below", directory, "file"),
        link((directory, "file"), directory, "below"),
        link((directory, "file"), directory, "file"),
    ] {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(
        directory.create_below("below").unwrap().list().unwrap(),
        ["inner"]
    );
    assert_code(directory.create_below("file"), ERROR_DIRECTORY);
    assert_code(directory.open_below("file"), ERROR_DIRECTORY);
    assert_code(
        Directory::open(&std::env::temp_dir().join(&scratch.name).join("file")),
        ERROR_DIRECTORY,
    );
    assert_eq!(
        directory.open_below("missing").unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(
        directory.open_file("missing").unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
}

#[test]
fn nothing_is_reached_through_a_junction() {
    let scratch = Scratch::new("junction");
    let directory = &scratch.directory;
    // What the junction leads to must survive its removal.
    let outside = Scratch::new("junction-target");
    outside.directory.create_file("kept").unwrap();
    let target = std::env::temp_dir().join(&outside.name);
    let target = target.to_str().unwrap();
    let substitute: Vec<u8> = format!("\\??\\{target}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let print: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let short = |length: usize| u16::try_from(length).unwrap().to_le_bytes();
    let mut data = vec![3, 0, 0, 0xa0];
    data.extend(short(8 + substitute.len() + print.len() + 4));
    data.extend([0, 0, 0, 0]);
    data.extend(short(substitute.len()));
    data.extend(short(substitute.len() + 2));
    data.extend(short(print.len()));
    data.extend([&substitute[..], &[0, 0], &print[..], &[0, 0]].concat());

    let made = directory.create_directory("link").unwrap();
    assert_code(made.reparse(), ERROR_NOT_A_REPARSE_POINT);
    let file = directory.create_file("file").unwrap();
    if wine() {
        assert_code(made.set_reparse(&data), ERROR_NOT_SUPPORTED);
        assert_code(file.set_reparse(&junction()), ERROR_NOT_SUPPORTED);
        return;
    }
    made.set_reparse(&data).unwrap();
    assert_eq!(made.reparse().unwrap(), data);
    // Not even from the handle that was opened before.
    assert!(made.open_file("kept").is_err());
    assert!(made.create_file("new").is_err());
    drop(made);
    let facts = directory.query("link").unwrap();
    assert!(facts.is_reparse_point() && facts.is_directory());
    assert_eq!(facts.reparse_tag, 0xa000_0003);
    assert_eq!(directory.open_file("link").unwrap().reparse().unwrap(), data);
    assert_code(directory.open_below("link"), ERROR_REPARSE_POINT_ENCOUNTERED);
    assert_code(directory.create_below("link"), ERROR_REPARSE_POINT_ENCOUNTERED);
    assert_code(
        Directory::open(&std::env::temp_dir().join(&scratch.name).join("link")),
        ERROR_REPARSE_POINT_ENCOUNTERED,
    );
    let above = directory.create_below("above").unwrap();
    directory.rename_below("link", &above, "link").unwrap();
    drop(above);
    directory.remove_tree("above").unwrap();
    assert_eq!(outside.directory.list().unwrap(), ["kept"]);
}

#[test]
fn hard_links_are_one_file() {
    let scratch = Scratch::new("links");
    let below = scratch.directory.create_below("below").unwrap();
    let file = scratch.directory.create_file("file").unwrap();
    link((&scratch.directory, "file"), &below, "other").unwrap();
    file.as_file().write_all(b"shared").unwrap();
    drop(file);
    let (one, other) = (
        scratch.directory.query("file").unwrap(),
        below.query("other").unwrap(),
    );
    assert_eq!(
        (one.id, one.volume, one.links),
        (other.id, other.volume, other.links)
    );
    assert_eq!((one.links, other.size), (2, 6));
    assert!(link((&scratch.directory, "below"), &below, "directory").is_err());
    assert_eq!(
        link((&scratch.directory, "missing"), &below, "x")
            .unwrap_err()
            .kind(),
        io::ErrorKind::NotFound
    );

    let read_only = Basic {
        attributes: FILE_ATTRIBUTE_READONLY | FILE_ATTRIBUTE_ARCHIVE,
        ..Basic::default()
    };
    below
        .open_for_change("other")
        .unwrap()
        .set_basic(read_only)
        .unwrap();
    below.remove("other").unwrap();
    let left = scratch.directory.query("file").unwrap();
    assert_eq!(left.links, 1);
    // What belongs to the other names as well stays; Wine cannot remove a read-only file without making it writable.
    let kept = left.basic.attributes & FILE_ATTRIBUTE_READONLY != 0;
    assert_eq!(kept, !wine());
}

#[test]
fn a_file_with_all_its_names_says_so() {
    assert!(is_too_many_links(&io::Error::from_raw_os_error(
        ERROR_TOO_MANY_LINKS.cast_signed()
    )));
    assert!(!is_too_many_links(&io::ErrorKind::AlreadyExists.into()));
    let scratch = Scratch::new("many");
    scratch.directory.create_file("0").unwrap();
    for name in 1..1024 {
        link((&scratch.directory, "0"), &scratch.directory, &name.to_string()).unwrap();
    }
    let last = link((&scratch.directory, "0"), &scratch.directory, "1024");
    if wine() {
        // The limit is that of the volume of the host, far above.
        last.unwrap();
    } else {
        assert!(is_too_many_links(&last.unwrap_err()));
    }
}

#[test]
fn things_move_with_their_content() {
    let scratch = Scratch::new("rename");
    let from = scratch.directory.create_below("from").unwrap();
    let into = scratch.directory.create_below("into").unwrap();
    from.create_below("tree").unwrap().create_file("leaf").unwrap();
    from.create_file("file").unwrap();
    from.rename_below("tree", &into, "moved").unwrap();
    from.rename_below("file", &from, "renamed").unwrap();
    assert_eq!(sorted(&from), ["renamed"]);
    assert_eq!(into.open_below("moved").unwrap().list().unwrap(), ["leaf"]);
}

#[test]
fn a_tree_goes_whole() {
    let scratch = Scratch::new("tree");
    let top = scratch.directory.create_below("top").unwrap();
    let mut directory = top.try_clone().unwrap();
    for depth in 0..40 {
        let file = directory.create_file("file").unwrap();
        file.set_basic(Basic {
            attributes: FILE_ATTRIBUTE_READONLY,
            ..Basic::default()
        })
        .unwrap();
        for name in 0..depth {
            directory.create_file(&format!("{name}")).unwrap();
        }
        directory = directory.create_below(&"d".repeat(30)).unwrap();
    }
    drop((directory, top));
    assert_eq!(
        scratch.directory.remove("top").unwrap_err().kind(),
        io::ErrorKind::DirectoryNotEmpty
    );
    scratch.directory.remove_tree("top").unwrap();
    assert_eq!(scratch.directory.list().unwrap(), [""; 0]);
    let missing = scratch.directory.remove_tree("top").unwrap_err();
    assert_eq!(missing.to_string(), "cannot remove \"top\"");
    assert_eq!(io::Error::from(missing).kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_keeps_a_tree_from_going_is_named() {
    let scratch = Scratch::new("busy");
    let below = scratch.directory.create_below("below").unwrap();
    // Shared for reading only, as every file that is being written.
    let open = below.create_file("open").unwrap();
    let busy = scratch.directory.remove_tree("below").unwrap_err();
    assert_eq!(busy.path, "below\\open");
    assert_eq!(busy.source.raw_os_error(), Some(32));
    drop(open);
    drop(below);
    scratch.directory.remove_tree("below").unwrap();
}

#[test]
fn long_lists_are_whole_and_listings_do_not_disturb_each_other() {
    let scratch = Scratch::new("list");
    let mut names: Vec<String> = (0..700).map(|n| format!("{n:04}-{}", "x".repeat(90))).collect();
    for name in &names {
        scratch.directory.create_file(name).unwrap();
    }
    names.sort();
    let clone = scratch.directory.try_clone().unwrap();
    std::thread::scope(|scope| {
        let both = [
            scope.spawn(|| sorted(&scratch.directory)),
            scope.spawn(|| sorted(&clone)),
        ];
        for listed in both {
            assert_eq!(listed.join().unwrap(), names);
        }
    });
    assert_eq!(sorted(&scratch.directory), names);
}
