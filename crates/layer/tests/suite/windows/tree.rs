//! Trees on this host: what lies where, what is linked, and what they refuse.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use layer::windows::{Kind, SIDE_FILE, StreamName, WindowsLimits, WindowsTree, unpack_windows};

use super::kit::{Layer, path};
use super::published;
use super::roundtrip::unpacked;

/// A layer in a directory of its own, on top of others.
fn unpacked_on(tar: &[u8], parents: &[&WindowsTree]) -> (tempfile::TempDir, WindowsTree) {
    let directory = tempfile::tempdir().unwrap();
    let limits = WindowsLimits::default();
    unpack_windows(tar, directory.path(), Some(parents), &limits).unwrap();
    let tree = WindowsTree::open(directory.path(), &limits).unwrap();
    (directory, tree)
}

/// Everything below a directory, sorted, with what it is.
fn listing(directory: &Path) -> Vec<(String, char)> {
    fn walk(directory: &Path, root: &Path, found: &mut Vec<(String, char)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let letter = match (kind.is_dir(), kind.is_file()) {
                (true, _) => 'd',
                (_, true) => 'f',
                _ => '?',
            };
            let name = entry
                .path()
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            found.push((name, letter));
            if kind.is_dir() {
                walk(&entry.path(), root, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(directory, directory, &mut found);
    found.sort();
    found
}

#[test]
fn a_tree_holds_plain_files_and_directories_and_no_links() {
    let tar = published::base();
    let directory = tempfile::tempdir().unwrap();
    let unpacked = unpack_windows(&tar[..], directory.path(), None, &WindowsLimits::default()).unwrap();
    assert_eq!((unpacked.tar_bytes, unpacked.entries), (tar.len() as u64, 26));
    let hash: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&tar).into();
    assert_eq!(unpacked.diff_id, hash);

    let root = directory.path();
    let found = listing(root);
    assert!(found.iter().all(|(_, kind)| *kind != '?'), "{found:?}");
    let has = |name: &str| found.iter().any(|(found, _)| found == name);
    assert!(has("Files/Windows/notepad.exe") && has("Hives/System_Base") && has(SIDE_FILE));
    assert!(has("UtilityVM/Files/EFI/Microsoft/Boot/BCD"));
    assert!(!has("Files/Documents and Settings") && !has("Files/Users/link.txt"));
    assert!(
        !found
            .iter()
            .any(|(name, _)| name.contains(':') || name.contains(".streams"))
    );

    let known = |name: &str| fs::metadata(root.join(name)).unwrap();
    let hosts = known("Files/Windows/System32/drivers/etc/hosts");
    assert_eq!((hosts.mtime(), hosts.mtime_nsec()), (1_709_251_200, 123_456_700));
    assert_eq!(hosts.permissions().mode() & 0o777, 0o444);
    assert_eq!(known("Files/Windows").mtime(), 1_700_000_000);
    let (one, other) = (
        known("Files/Windows/notepad.exe"),
        known("Files/Windows/System32/notepad.exe"),
    );
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
    let sparse = known("Files/Users/disk.img");
    assert_eq!(sparse.len(), 100_000);
    assert!(sparse.blocks() * 512 < 50_000, "holes take no space");
}

#[test]
fn files_and_streams_are_found_as_windows_finds_them() {
    let (_directory, tree) = unpacked(&published::base());
    let mut content = String::new();
    tree.file(&path("Files/windows/SYSTEM32/Drivers/etc/HOSTS"))
        .unwrap()
        .read_to_string(&mut content)
        .unwrap();
    assert_eq!(content, "127.0.0.1 localhost\r\n");
    let mut content = Vec::new();
    let name = StreamName::new("Zone.Identifier").unwrap();
    tree.stream(&path("Files/Windows/notepad.exe"), &name)
        .unwrap()
        .read_to_end(&mut content)
        .unwrap();
    assert_eq!(content, b"[ZoneTransfer]\r\nZoneId=3\r\n");
    assert!(tree.file(&path("Files/none")).is_err());
}

#[test]
fn a_difference_links_to_the_file_of_the_base_and_comes_back() {
    let (base_directory, base) = unpacked(&published::base());
    let (directory, tree) = unpacked_on(&published::difference(), &[&base]);
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    assert_eq!(
        inode(directory.path().join("Files/Windows/editor.exe")),
        inode(base_directory.path().join("Files/Windows/notepad.exe"))
    );
    // Nothing but the mark that hides the one of the base in an overlay.
    let hidden = fs::symlink_metadata(directory.path().join("Files/Windows/notepad.exe")).unwrap();
    assert!(hidden.file_type().is_char_device() && hidden.rdev() == 0);
    let (tar, _) = tree.export(Vec::new()).unwrap();
    let (_again, again) = unpacked_on(&tar, &[&base]);
    assert_eq!(again.export(Vec::new()).unwrap().0, tar);
    let deleted: Vec<String> = again
        .table()
        .entries()
        .filter(|entry| matches!(entry.kind, Kind::Tombstone))
        .map(|entry| entry.path.as_str().to_owned())
        .collect();
    assert_eq!(
        deleted,
        [
            "Files/Users",
            "Files/Windows/notepad.exe",
            "UtilityVM/Files/old.dll"
        ]
    );
}

#[test]
fn a_third_layer_sees_what_the_second_left_of_the_first() {
    let (_one, base) = unpacked(&published::base());
    let (_two, second) = unpacked_on(&published::difference(), &[&base]);
    let limits = WindowsLimits::default();
    let link = |target: &str| {
        let tar = Layer::base().hard_link("Files/l", target).end();
        let directory = tempfile::tempdir().unwrap();
        let done = unpack_windows(&tar[..], directory.path(), Some(&[&second, &base]), &limits);
        done.map(|_| fs::read_to_string(directory.path().join("Files/l")).unwrap())
            .map_err(|error| error.code())
    };
    assert_eq!(link("Files/Windows/editor.exe").as_deref(), Ok("MZ notepad"));
    assert_eq!(
        link("Files/windows/system32/NOTEPAD.EXE").as_deref(),
        Ok("MZ notepad")
    );
    assert_eq!(
        link("Files/Windows/System32/drivers/etc/hosts").as_deref(),
        Ok("10.0.0.1 override\r\n")
    );
    assert_eq!(link("Files/Users/new.txt").as_deref(), Ok("new"));
    // Deleted by name, and hidden by a directory that was deleted and made anew.
    assert_eq!(link("Files/Windows/notepad.exe"), Err("bad-link"));
    assert_eq!(link("Files/Users/disk.img"), Err("bad-link"));
}

#[test]
fn names_take_the_spelling_of_the_layers_below_and_keep_their_own() {
    let (_one, base) = unpacked(&published::base());
    let tar = Layer::base()
        .directory("Files/WINDOWS")
        .directory("Files/WINDOWS/system32")
        .file("Files/WINDOWS/system32/New.dll", "new")
        .end();
    let (directory, tree) = unpacked_on(&tar, &[&base]);
    let content = fs::read_to_string(directory.path().join("Files/Windows/System32/New.dll")).unwrap();
    assert_eq!(content, "new");
    let spelled: Vec<String> = tree
        .table()
        .entries()
        .map(|entry| entry.path.as_str().to_owned())
        .collect();
    assert_eq!(
        spelled,
        [
            "Files",
            "Files/WINDOWS",
            "Files/WINDOWS/system32",
            "Files/WINDOWS/system32/New.dll"
        ]
    );
    let (first, _) = tree.export(Vec::new()).unwrap();
    let (_again, again) = unpacked_on(&first, &[&base]);
    assert_eq!(again.export(Vec::new()).unwrap().0, first);

    // Whoever mounts the layers must hide what is there, not what the deletion calls it.
    let tar = Layer::base().file("Files/windows/.wh.NOTEPAD.EXE", "").end();
    let (_other, tree) = unpacked_on(&tar, &[&base]);
    let found = tree.table().host_path(&path("Files/Windows/Notepad.exe"));
    assert_eq!(found.as_deref(), Some("Files/Windows/notepad.exe"));
    let long = "\u{6c34}".repeat(200);
    let (directory, tree) = unpacked(&Layer::base().file(format!("Files/{long}"), "x").end());
    let host = tree.table().host_path(&path(&format!("Files/{long}"))).unwrap();
    assert_eq!(fs::read_to_string(directory.path().join(host)).unwrap(), "x");
}

#[test]
fn a_deletion_may_be_spelled_otherwise_than_what_takes_its_place() {
    let (_one, base) = unpacked(&published::base());
    let deletion = |layer: Layer| layer.file("Files/Windows/.wh.NotePad.exe", "");
    let file = |layer: Layer| layer.file("Files/Windows/NOTEPAD.EXE", "new");
    let exports: Vec<Vec<u8>> = [file(deletion(Layer::base())), deletion(file(Layer::base()))]
        .into_iter()
        .map(|layer| {
            let (directory, tree) = unpacked_on(&layer.end(), &[&base]);
            let host = directory.path().join("Files/Windows/notepad.exe");
            assert_eq!(fs::read_to_string(host).unwrap(), "new");
            let (tar, _) = tree.export(Vec::new()).unwrap();
            let (_again, again) = unpacked_on(&tar, &[&base]);
            assert_eq!(again.export(Vec::new()).unwrap().0, tar);
            tar
        })
        .collect();
    assert_eq!(exports[0], exports[1]);
}

#[test]
fn a_file_may_have_many_streams_and_not_without_end() {
    let streams = |count: u32| {
        (0..count)
            .fold(Layer::base().file("Files/a", ""), |layer, number| {
                layer.file(format!("Files/a:{number}"), "")
            })
            .end()
    };
    let (_directory, tree) = unpacked(&streams(2000));
    assert_eq!(tree.table().entries().count(), 2002);
    let directory = tempfile::tempdir().unwrap();
    let limits = WindowsLimits::default();
    let error = unpack_windows(&streams(8193)[..], directory.path(), None, &limits).unwrap_err();
    assert_eq!(error.code(), "limit");
}

#[test]
fn directories_that_nobody_describes_are_those_of_the_layers_below() {
    let tar = Layer::base()
        .entry(b'5', "Files/d", "", &[("MSWINDOWS.fileattr", b"18")], "")
        .end();
    let (_one, base) = unpacked(&tar);
    let (_two, tree) = unpacked_on(&Layer::new().file("Files/d/f", "").end(), &[&base]);
    let bits = tree
        .table()
        .entries()
        .find_map(|entry| match (entry.path.as_str(), entry.kind) {
            ("Files/d", Kind::Directory(metadata)) => Some(metadata.attributes.bits()),
            _ => None,
        });
    assert_eq!(bits, Some(0x12));
}

#[test]
fn links_planted_in_the_destination_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let tar = published::base();
    for plant in ["Files", "Hives", SIDE_FILE, ".streams"] {
        let directory = tempfile::tempdir().unwrap();
        symlink(outside.path(), directory.path().join(plant)).unwrap();
        let error = unpack_windows(&tar[..], directory.path(), None, &WindowsLimits::default()).unwrap_err();
        assert_eq!(error.code(), "bad-tree", "{error}");
        assert!(error.to_string().contains(plant), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    symlink(outside.path(), &link).unwrap();
    assert!(unpack_windows(&tar[..], &link, None, &WindowsLimits::default()).is_err());
    assert_eq!(listing(outside.path()), []);
}

#[test]
fn a_tree_that_is_not_what_its_side_file_says_is_not_exported() {
    let damage = |change: &dyn Fn(&Path)| {
        let (directory, tree) = unpacked(&published::base());
        change(directory.path());
        let error = tree.export(Vec::new()).unwrap_err();
        assert_eq!(error.code(), "bad-tree");
        error.to_string()
    };
    let notepad = "Files/Windows/System32/notepad.exe";
    assert!(damage(&|root| fs::write(root.join(notepad), "longer than before").unwrap()).contains(notepad));
    assert!(damage(&|root| fs::remove_file(root.join(notepad)).unwrap()).contains(notepad));
    assert!(damage(&|root| fs::write(root.join("Files/new"), "").unwrap()).contains("Files/new"));
    let planted = damage(&|root| {
        fs::remove_file(root.join(notepad)).unwrap();
        symlink("/etc/passwd", root.join(notepad)).unwrap();
    });
    assert!(planted.contains(notepad));
    let planted = damage(&|root| {
        fs::rename(root.join("Files/Users"), root.join("moved")).unwrap();
        symlink(root.join("moved"), root.join("Files/Users")).unwrap();
    });
    assert!(planted.contains("Files/Users"));
    let pipe = damage(&|root| {
        fs::remove_file(root.join(notepad)).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join(notepad),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
    });
    assert!(pipe.contains(notepad));
}

#[test]
fn many_names_of_one_file_and_deep_directories_are_held() {
    let mut layer = Layer::base().file("Files/a", "shared");
    for number in 0..1100 {
        layer = layer.hard_link(format!("Files/l{number}"), "Files/a");
    }
    let deep = format!("Files/{}leaf", "d/".repeat(600));
    let (directory, tree) = unpacked(&layer.file(&deep, "deep").end());
    assert_eq!(
        fs::metadata(directory.path().join("Files/a")).unwrap().nlink(),
        1101
    );
    let mut content = String::new();
    tree.file(&path(&deep))
        .unwrap()
        .read_to_string(&mut content)
        .unwrap();
    assert_eq!(content, "deep");
    let (tar, _) = tree.export(Vec::new()).unwrap();
    let (_again, again) = unpacked(&tar);
    assert_eq!(again.export(Vec::new()).unwrap().0, tar);
}
