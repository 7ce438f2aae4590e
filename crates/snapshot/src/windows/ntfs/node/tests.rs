//! Files of a folder under Wine or Windows, as tools for copies and exports see them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use super::*;
use crate::windows::{FilesError, FilesErrorKind, WindowsFiles};

/// A folder with a few files, as C:.
fn drive() -> (tempfile::TempDir, WindowsFiles) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("c");
    fs::create_dir_all(root.join("Users/Me/deep")).unwrap();
    fs::write(root.join("Users/Me/Notes.txt"), "notes").unwrap();
    fs::write(root.join("Users/Me/deep/file"), "deep").unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    let files = WindowsFiles::drive(&root).unwrap();
    (dir, files)
}

fn stat(files: &WindowsFiles, path: &str) -> serde_json::Value {
    let mut line = Vec::new();
    files.stat(path, &mut line).unwrap();
    serde_json::from_slice(&line).unwrap()
}

fn listed(tar: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), text)
    });
    entries.collect()
}

/// An archive of files; a name that ends with a slash is a directory, and a content of `None` a hard link to the first one.
fn packed(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(if name.ends_with(".ro") { 0o444 } else { 0o644 });
        header.set_mtime(1_600_000_000);
        let content = content.map_or_else(
            || {
                header.set_entry_type(tar::EntryType::Link);
                header.as_old_mut().linkname[..entries[0].0.len()].copy_from_slice(entries[0].0.as_bytes());
                ""
            },
            |content| content,
        );
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn read(dir: &Path, path: &str) -> String {
    fs::read_to_string(dir.join("c").join(path)).unwrap()
}

#[test]
fn a_path_is_found_in_any_case_and_described() {
    let (_dir, files) = drive();
    let found = stat(&files, r"c:\users\ME\notes.TXT");
    assert_eq!(
        (&found["name"], &found["size"], &found["kind"]),
        (&"notes.TXT".into(), &5.into(), &"file".into())
    );
    assert_eq!(found["mode"], 0o644);
    assert_eq!(stat(&files, "/users")["mode"], (1u32 << 31) | 0o755);
    for (path, kind) in [
        (r"C:\nothing", FilesErrorKind::NotFound),
        (r"C:\Users\Me\Notes.txt\x", FilesErrorKind::Precondition),
        (r"C:\a:b", FilesErrorKind::InvalidArgument),
    ] {
        assert_eq!(files.stat(path, Vec::new()).unwrap_err().kind(), kind, "{path}");
    }
    let mut outside = Vec::new();
    assert!(files.archive(r"C:\..\secret", false, &mut outside).is_err());
}

#[test]
fn what_comes_out_goes_in_elsewhere() {
    let (dir, files) = drive();
    fs::create_dir(dir.path().join("c/System Volume Information")).unwrap();
    let mut tar = Vec::new();
    files.archive("/users", false, &mut tar).unwrap();
    let found = listed(&tar);
    assert_eq!(found["users/Me/deep/file"], "deep");
    assert!(found.contains_key("users/Me/"), "{found:?}");
    let mut whole = Vec::new();
    files.export(&mut whole).unwrap();
    let whole = listed(&whole);
    assert_eq!(whole["Users/Me/Notes.txt"], "notes");
    assert!(
        !whole.keys().any(|name| name.contains("System Volume")),
        "{whole:?}"
    );

    fs::create_dir(dir.path().join("c/copy")).unwrap();
    files.extract("copy", true, &tar[..]).unwrap();
    assert_eq!(read(dir.path(), "copy/users/Me/Notes.txt"), "notes");
}

#[test]
fn what_goes_in_takes_the_place_of_what_is_there() {
    let (dir, files) = drive();
    let tar = packed(&[
        ("notes.TXT", Some("new")),
        ("again", None),
        ("made/", Some("")),
        ("made/x.ro", Some("kept")),
    ]);
    files.extract(r"C:\Users\me", false, &tar[..]).unwrap();
    let names: Vec<String> = fs::read_dir(dir.path().join("c/Users/Me"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.contains(&"Notes.txt".to_owned()),
        "its spelling stays: {names:?}"
    );
    assert_eq!(read(dir.path(), "Users/Me/again"), "new");
    let made = fs::metadata(dir.path().join("c/Users/Me/made/x.ro")).unwrap();
    assert!(made.permissions().readonly());
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    assert_eq!(made.modified().unwrap(), time);
    let again = packed(&[("made/x.ro", Some("replaced"))]);
    files.extract(r"C:\Users\me", false, &again[..]).unwrap();
    assert_eq!(read(dir.path(), "Users/Me/made/x.ro"), "replaced");

    let file = packed(&[("deep", Some("a file now"))]);
    let refused = files.extract("/users/me", false, &file[..]).unwrap_err();
    assert_eq!(refused.kind(), FilesErrorKind::Precondition);
    files.extract("/users/me", true, &file[..]).unwrap();
    assert_eq!(read(dir.path(), "Users/Me/deep"), "a file now");
}

#[test]
fn archives_cannot_write_elsewhere() {
    let (dir, files) = drive();
    for name in ["../out", "/../../out", "C:\\out", "a:stream", "nul", "x. "] {
        let tar = packed(&[(name, Some("x"))]);
        let refused = files.extract("/", true, &tar[..]).unwrap_err();
        assert_eq!(refused.kind(), FilesErrorKind::InvalidArgument, "{name}");
    }
    assert!(!dir.path().join("out").exists());
    let share = WindowsFiles::open(&dir.path().join("c"), true).unwrap();
    let tar = packed(&[("x", Some("x"))]);
    let refused: FilesError = share.extract("/", true, &tar[..]).unwrap_err();
    assert!(refused.to_string().contains("read-only"), "{refused}");
    assert!(!dir.path().join("c/x").exists());
}

#[test]
fn targets_lead_where_programs_in_the_container_see_them() {
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    for (text, expected) in [
        (r"..\a\.\b", Target::Relative(names(&["..", "a", "b"]))),
        ("a/b", Target::Relative(names(&["a", "b"]))),
        (r"C:\ProgramData", Target::Drive(names(&["ProgramData"]))),
        (r"\??\c:\", Target::Drive(names(&[]))),
        ("c:", Target::Drive(names(&[]))),
        (r"\Users\x", Target::Drive(names(&["Users", "x"]))),
        (r"D:\x", Target::Outside),
        ("C:x", Target::Outside),
        (r"\\server\share", Target::Outside),
        (r"\\?\Volume{0}\x", Target::Outside),
        (r"\??\UNC\server", Target::Outside),
    ] {
        assert_eq!(target_of(text), expected, "{text}");
    }
}

#[test]
fn only_hidden_and_system_come_from_archives() {
    assert_eq!(parsed(b"0x26\0"), Some(STORED));
    assert_eq!(parsed(b"0x1"), Some(0));
    assert_eq!(parsed(b"hidden"), None);
    assert_eq!(parsed(b"\xff"), None);
}

#[test]
fn what_the_volume_keeps_for_itself_is_known_in_any_case() {
    assert!(Node::is_of_volume(b"$RECYCLE.BIN"));
    assert!(!Node::is_of_volume(b"Users"));
}
