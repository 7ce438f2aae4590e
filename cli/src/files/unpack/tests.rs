//! Archives that a container could send, good and bad.

use std::path::Path;

use tar::{Builder, Header};

use super::*;

fn header(kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(u64::try_from(size).unwrap());
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    header
}

/// Adds an entry whose name is taken as it is.
fn raw(builder: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, link: &str, content: &[u8]) {
    let mut header = header(kind, content.len());
    let fields = header.as_old_mut();
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

fn archive(entries: &[(&str, EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, link, content) in entries {
        raw(&mut builder, name, *kind, link, content);
    }
    builder.into_inner().unwrap()
}

fn unpack(bytes: &[u8], name: Option<&str>, path: &Path, found: Option<bool>) -> Result<u64, String> {
    let unpacking = Unpacking {
        name: name.map(str::to_owned),
        destination: Destination {
            path: path.to_str().unwrap().to_owned(),
            found,
        },
        owners: false,
    };
    unpacking
        .run(bytes)
        .map_err(|failure| failure.status.map_or_else(String::new, |status| status.message))
}

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;

#[test]
fn a_directory_comes_with_what_is_in_it_under_its_name_or_another() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = archive(&[
        ("app/", DIR, "", b""),
        ("app/a", FILE, "", b"one"),
        ("app/sub/", DIR, "", b""),
        ("app/sub/b", FILE, "", b"three"),
    ]);
    assert_eq!(unpack(&bytes, Some("app"), folder.path(), Some(true)), Ok(8));
    assert_eq!(fs::read(folder.path().join("app/sub/b")).unwrap(), b"three");
    let other = folder.path().join("other");
    assert_eq!(unpack(&bytes, Some("app"), &other, None), Ok(8));
    assert_eq!(fs::read(other.join("a")).unwrap(), b"one");
    // Again: merged and overwritten.
    assert_eq!(unpack(&bytes, Some("app"), folder.path(), Some(true)), Ok(8));
}

#[test]
fn contents_go_into_a_directory_without_a_name_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = archive(&[
        ("./", DIR, "", b""),
        ("./a", FILE, "", b"one"),
        ("./b", EntryType::Link, "./a", b""),
    ]);
    assert_eq!(unpack(&bytes, None, folder.path(), Some(true)), Ok(3));
    assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"one");
}

#[test]
fn a_file_takes_the_name_of_the_destination() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = archive(&[("passwd", FILE, "", b"root")]);
    let path = folder.path().join("mine");
    unpack(&bytes, Some("passwd"), &path, None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"root");
    let modified = path.metadata().unwrap().modified().unwrap();
    assert_eq!(
        modified,
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    );
    assert_eq!(
        unpack(&bytes, Some("passwd"), &folder.path().join("no/"), None),
        Err("no such directory".to_owned())
    );
}

#[test]
fn directories_and_other_things_do_not_replace_each_other() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("x")).unwrap();
    let bytes = archive(&[("x", FILE, "", b"")]);
    let refused = unpack(&bytes, Some("x"), folder.path(), Some(true)).unwrap_err();
    assert!(refused.starts_with("cannot overwrite directory"), "{refused}");
    fs::write(folder.path().join("y"), "").unwrap();
    let bytes = archive(&[("y/", DIR, "", b"")]);
    let refused = unpack(&bytes, Some("y"), folder.path(), Some(true)).unwrap_err();
    assert!(refused.starts_with("cannot overwrite non-directory"), "{refused}");
}

#[test]
fn nothing_leaves_the_destination() {
    for name in ["x/../../evil", "../evil", "x/sub/../../../evil"] {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let bytes = archive(&[("x/", DIR, "", b""), (name, FILE, "", b"evil")]);
        let refused = unpack(&bytes, Some("x"), &inner, Some(true)).unwrap_err();
        assert!(refused.contains("leaves the destination"), "{name}: {refused}");
        assert!(!folder.path().join("evil").exists());
    }
}

#[cfg(unix)]
#[test]
fn links_on_the_way_are_not_followed_whoever_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, outside) = (folder.path().join("inner"), folder.path().join("outside"));
    fs::create_dir_all(inner.join("x")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let target = outside.to_str().unwrap();
    let made = archive(&[
        ("x/", DIR, "", b""),
        ("x/way", EntryType::Symlink, target, b""),
        ("x/way/evil", FILE, "", b"evil"),
    ]);
    assert!(unpack(&made, Some("x"), &inner, Some(true)).is_err());
    // The link of an earlier copy is still there.
    let later = archive(&[("x/", DIR, "", b""), ("x/way/evil", FILE, "", b"evil")]);
    assert!(unpack(&later, Some("x"), &inner, Some(true)).is_err());
    let name = archive(&[
        ("x/", DIR, "", b""),
        ("x/name", EntryType::Link, "x/way/secret", b""),
    ]);
    assert!(unpack(&name, Some("x"), &inner, Some(true)).is_err());
    // A directory entry does not change what a link leads to.
    let directory = archive(&[("x/", DIR, "", b""), ("x/way/", DIR, "", b"")]);
    assert!(unpack(&directory, Some("x"), &inner, Some(true)).is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_file_is_never_written_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::write(&outside, "mine").unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    let bytes = archive(&[
        ("x/", DIR, "", b""),
        ("x/f", EntryType::Symlink, outside.to_str().unwrap(), b""),
        ("x/f", FILE, "", b"evil"),
    ]);
    unpack(&bytes, Some("x"), &folder.path().join("in"), Some(true)).unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"mine");
    assert_eq!(fs::read(folder.path().join("in/x/f")).unwrap(), b"evil");
}

#[cfg(unix)]
#[test]
fn a_program_does_not_get_the_rights_of_its_new_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Builder::new(Vec::new());
    let mut header = header(FILE, 0);
    header.set_mode(0o6755);
    builder.append_data(&mut header, "su", io::empty()).unwrap();
    let bytes = builder.into_inner().unwrap();
    unpack(&bytes, Some("su"), folder.path(), Some(true)).unwrap();
    let mode = folder.path().join("su").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn what_was_packed_is_unpacked_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("src");
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::write(source.join("a/one"), "one").unwrap();
    fs::write(source.join("a/b").join("n".repeat(200)), "long").unwrap();
    fs::hard_link(source.join("a/one"), source.join("a/zwei")).unwrap();
    let mut bytes = Vec::new();
    let whole = super::super::pack::Source {
        path: source.join("a"),
        name: Some("copy".to_owned()),
        owners: false,
    };
    super::super::pack::pack(&whole, &mut bytes).unwrap();
    unpack(&bytes, Some("copy"), folder.path(), Some(true)).unwrap();
    let copy = folder.path().join("copy");
    assert_eq!(fs::read(copy.join("zwei")).unwrap(), b"one");
    assert_eq!(fs::read(copy.join("b").join("n".repeat(200))).unwrap(), b"long");
}
