//! File tools of Windows containers: paths, copies in and out, and archives and links that would lead elsewhere.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod windows_kit;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{XattrFlags, getxattr, setxattr};
use snapshot::windows::{FilesError, FilesErrorKind, WindowsFiles};
use tar::{Builder, EntryType, Header};
use windows_kit::{tree, write};

struct Setup {
    dir: tempfile::TempDir,
    files: WindowsFiles,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("c");
        write(root.join("Users/Me/Notes.txt"), "notes");
        write(root.join("Users/Me/deep/er/file"), "deep");
        write(root.join("windows/win.ini"), "[x]");
        write(dir.path().join("secret/key"), "secret");
        let files = WindowsFiles::open(&root, false).unwrap();
        Self { dir, files }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("c")
    }

    fn stat(&self, path: &str) -> Result<serde_json::Value, FilesError> {
        let mut line = Vec::new();
        self.files.stat(path, &mut line)?;
        assert!(line.ends_with(b"\n"));
        Ok(serde_json::from_slice(&line).unwrap())
    }

    fn archive(&self, path: &str) -> Result<Vec<u8>, FilesError> {
        let mut tar = Vec::new();
        self.files.archive(path, false, &mut tar)?;
        Ok(tar)
    }

    /// Nothing outside was written.
    fn outside(&self) -> BTreeMap<String, Option<String>> {
        tree(&self.dir.path().join("secret"))
    }
}

/// What an archive holds, read by a library.
fn listed(tar: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let word = match entry.header().entry_type() {
            EntryType::Directory => "directory".to_owned(),
            EntryType::Symlink => format!("link to {}", link.unwrap()),
            EntryType::Link => format!("same as {}", link.unwrap()),
            _ => content,
        };
        found.insert(name, word);
    }
    found
}

/// An archive of entries: kind, name, link or content.
fn archive_of(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, text) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(if *kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_mtime(1_600_000_000);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let content = if *kind == EntryType::Regular {
            text.as_bytes()
        } else {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            b""
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn file<'a>(name: &'a str, content: &'a str) -> (EntryType, &'a str, &'a str) {
    (EntryType::Regular, name, content)
}

#[test]
fn paths_are_found_in_any_case_and_with_either_slash() {
    let setup = Setup::new();
    for path in [
        r"C:\Users\Me\Notes.txt",
        "c:/users/ME/notes.TXT",
        "/users/me/NOTES.txt",
        r"\Users\.\x\..\Me\Notes.txt",
        r"\\?\C:\Users\Me\Notes.txt",
    ] {
        let found = setup.stat(path).unwrap();
        assert_eq!(found["size"], 5, "{path}");
        assert_eq!(found["mode"], 0o644);
        assert_eq!(found["linkTarget"], "");
        assert_eq!(found["kind"], "file");
        assert!(found["mtime"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(setup.stat(r"C:\users\me\notes.txt").unwrap()["name"], "notes.txt");
    for root in [r"C:\", "C:", "/", r"C:\.."] {
        let found = setup.stat(root).unwrap();
        assert_eq!(found["name"], "/");
        assert_eq!(found["mode"].as_u64().unwrap() >> 31, 1);
    }
    for (path, kind) in [
        (r"C:\none", FilesErrorKind::NotFound),
        (r"C:\none\deeper", FilesErrorKind::NotFound),
        (r"D:\x", FilesErrorKind::InvalidArgument),
        (r"C:\Users\Me\Notes.txt:stream", FilesErrorKind::InvalidArgument),
        (r"C:\Users\Me\Notes.txt\", FilesErrorKind::Precondition),
        (r"C:\Users\Me\Notes.txt\x", FilesErrorKind::Precondition),
        (r"C:\con", FilesErrorKind::InvalidArgument),
    ] {
        assert_eq!(setup.stat(path).unwrap_err().kind(), kind, "{path}");
    }
    // Two that Windows takes for one: the exact one is found.
    write(setup.root().join("users/x"), "small");
    assert_eq!(setup.stat("/users/x").unwrap()["size"], 5);
    assert_eq!(setup.stat("/Users/Me/Notes.txt").unwrap()["size"], 5);
}

#[test]
fn archives_begin_with_the_last_name_and_go_in_again_as_they_came() {
    let setup = Setup::new();
    let me = setup.root().join("Users/Me");
    fs::hard_link(me.join("Notes.txt"), me.join("deep/same")).unwrap();
    symlink("deep/er", me.join("short")).unwrap();
    fs::set_permissions(me.join("deep/er/file"), fs::Permissions::from_mode(0o444)).unwrap();
    setxattr(
        me.join("deep/er/file"),
        "user.DOSATTRIB",
        b"0x2",
        XattrFlags::empty(),
    )
    .unwrap();
    let long = format!("{}/{}", "l".repeat(120), "\u{e9}".repeat(100));
    write(me.join(&long), "long");
    let tar = setup.archive(r"C:\users\me").unwrap();
    let listed = listed(&tar);
    let expected = [
        ("me/", "directory"),
        ("me/Notes.txt", "notes"),
        ("me/deep/", "directory"),
        ("me/deep/er/", "directory"),
        ("me/deep/er/file", "deep"),
        ("me/deep/same", "same as me/Notes.txt"),
        ("me/short", "link to deep/er"),
    ];
    for (name, word) in expected {
        assert_eq!(listed.get(name).map(String::as_str), Some(word), "{name}");
    }
    assert_eq!(listed[&format!("me/{long}")], "long");
    assert_eq!(
        self::listed(&setup.archive(r"C:\users\me\.").unwrap()).len(),
        listed.len()
    );
    assert!(self::listed(&setup.archive(r"C:\users\me\.").unwrap()).contains_key("./Notes.txt"));

    setup.files.extract(r"C:\Windows", true, &tar[..]).unwrap();
    let copy = setup.root().join("windows/me");
    assert_eq!(tree(&copy), tree(&me));
    let of = |path: &str| fs::symlink_metadata(copy.join(path)).unwrap();
    assert_eq!(of("Notes.txt").ino(), of("deep/same").ino());
    assert_eq!(of("deep/er/file").mode() & 0o777, 0o444);
    for path in ["deep/er/file", "deep", ".", "short"] {
        let original = fs::symlink_metadata(me.join(path)).unwrap();
        let pair = |of: &fs::Metadata| (of.mtime(), of.mtime_nsec());
        assert_eq!(pair(&of(path)), pair(&original), "{path}");
    }
    let mut value = [0; 8];
    let length = getxattr(copy.join("deep/er/file"), "user.DOSATTRIB", &mut value).unwrap();
    assert_eq!(&value[..length], b"0x2");
}

#[test]
fn what_goes_in_takes_the_place_of_what_is_there() {
    let setup = Setup::new();
    let root = setup.root();
    fs::set_permissions(root.join("Users"), fs::Permissions::from_mode(0o700)).unwrap();
    let tar = archive_of(&[
        (EntryType::Directory, "USERS/", ""),
        file("users/ME/notes.TXT", "new"),
        file("users\\me\\back", "slash"),
        file("made/on/the/way", "w"),
    ]);
    setup.files.extract("/", false, &tar[..]).unwrap();
    let found = tree(&root);
    assert_eq!(found["Users/Me/Notes.txt"].as_deref(), Some("new"));
    assert_eq!(found["Users/Me/back"].as_deref(), Some("slash"));
    assert_eq!(found["made/on/the/way"].as_deref(), Some("w"));
    assert_eq!(fs::metadata(root.join("Users")).unwrap().mtime(), 1_600_000_000);

    let mode = fs::metadata(root.join("Users")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700, "a directory of a share stays private");

    for (tar, message) in [
        (
            archive_of(&[file("Users", "x")]),
            "cannot overwrite directory with non-directory",
        ),
        (
            archive_of(&[(EntryType::Directory, "WINDOWS/win.ini/", "")]),
            "cannot overwrite non-directory with directory",
        ),
    ] {
        let error = setup.files.extract("/", false, &tar[..]).unwrap_err();
        assert_eq!(error.kind(), FilesErrorKind::Precondition);
        assert!(error.to_string().contains(message), "{error}");
        setup.files.extract("/", true, &tar[..]).unwrap();
    }
    assert!(root.join("Users").is_file() && root.join("windows/win.ini").is_dir());
    let error = setup.files.extract("/users", true, &[][..]).unwrap_err();
    assert_eq!(error.kind(), FilesErrorKind::InvalidArgument);
    let error = setup.files.extract("/none", true, &[][..]).unwrap_err();
    assert_eq!(error.kind(), FilesErrorKind::NotFound);
}

#[test]
fn a_share_that_is_read_only_takes_nothing() {
    let setup = Setup::new();
    let share = WindowsFiles::open(&setup.root(), true).unwrap();
    let tar = archive_of(&[file("x", "x")]);
    let error = share.extract("/", true, &tar[..]).unwrap_err();
    assert_eq!(error.kind(), FilesErrorKind::Precondition);
    assert!(error.to_string().contains("read-only"));
    share.archive("/", false, std::io::sink()).unwrap();
    assert!(WindowsFiles::open(Path::new("/proc/none"), false).is_err());
}

#[test]
fn links_are_followed_inside_and_never_out() {
    let setup = Setup::new();
    let root = setup.root();
    symlink("Me/deep", root.join("Users/inner")).unwrap();
    symlink("../../../secret", root.join("Users/up")).unwrap();
    symlink(setup.dir.path().join("secret"), root.join("abs")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("nothing", root.join("dangling")).unwrap();
    assert_eq!(setup.stat("/users/INNER/er/file").unwrap()["size"], 4);
    let link = setup.stat("/users/inner").unwrap();
    assert_eq!(
        (link["kind"].as_str(), link["name"].as_str()),
        (Some("symlink"), Some("inner"))
    );
    assert_eq!(link["linkTarget"], r"C:\Users\Me\deep");
    assert_eq!(setup.stat("/abs").unwrap()["linkTarget"], "");
    assert_eq!(
        listed(&setup.archive("/users/inner").unwrap())["inner"],
        "link to Me/deep"
    );
    let mut tar = Vec::new();
    setup.files.archive("/users/inner", true, &mut tar).unwrap();
    assert_eq!(listed(&tar)["inner/er/file"], "deep");
    for path in ["/users/up/key", "/abs/key", "/loop/x", "/abs/", "/users/up/."] {
        let error = setup.stat(path).unwrap_err();
        assert_eq!(error.kind(), FilesErrorKind::Precondition, "{path}");
        assert!(setup.archive(path).is_err());
    }
    let before = setup.outside();
    for name in [
        "abs/key",
        "Users/up/key",
        "Users/up/new/x",
        "loop/x",
        "dangling/x",
    ] {
        let tar = archive_of(&[file(name, "hostile")]);
        let error = setup.files.extract("/", true, &tar[..]).unwrap_err();
        assert_eq!(error.kind(), FilesErrorKind::Precondition, "{name}: {error}");
    }
    // A link in the place of a file is replaced, not written through.
    let tar = archive_of(&[file("abs", "a file now"), file("Users/inner/er/file", "through")]);
    setup.files.extract("/", true, &tar[..]).unwrap();
    assert_eq!(fs::read_to_string(root.join("abs")).unwrap(), "a file now");
    assert_eq!(
        fs::read_to_string(root.join("Users/Me/deep/er/file")).unwrap(),
        "through"
    );
    assert_eq!(setup.outside(), before);
    // Removing what is in the way does not follow either.
    symlink(setup.dir.path().join("secret"), root.join("made")).unwrap();
    write(root.join("tree/inner/x"), "");
    symlink(setup.dir.path().join("secret"), root.join("tree/inner/link")).unwrap();
    let tar = archive_of(&[file("tree", "x"), (EntryType::Directory, "made/", "")]);
    setup.files.extract("/", true, &tar[..]).unwrap();
    assert_eq!(setup.outside(), before);
    assert!(fs::symlink_metadata(root.join("made")).unwrap().is_dir());
}

#[test]
fn hostile_archives_are_refused_by_name() {
    let setup = Setup::new();
    let before = setup.outside();
    for (entries, name) in [
        (vec![file("../secret/key", "x")], "../secret/key"),
        (vec![file("a/../../x", "x")], "a/../../x"),
        (vec![file("..\\secret\\key", "x")], "secret"),
        (vec![file("C:\\x", "x")], "C:"),
        (vec![file("a:b", "x")], "a:b"),
        (vec![file("nul", "x")], "nul"),
        (vec![file("dot.", "x")], "dot."),
        (vec![file(".wh.x", "x")], ".wh.x"),
        (vec![file("a\u{1}", "x")], "a\\u{1}"),
        (vec![(EntryType::Symlink, "l", "/etc")], "/etc"),
        (vec![(EntryType::Symlink, "l", "../secret")], "../secret"),
        (vec![(EntryType::Symlink, "a/l", "..\\..\\x")], "..\\"),
        (vec![(EntryType::Symlink, "l", "C:\\Windows")], "C:"),
        (vec![(EntryType::Char, "dev", "")], "dev"),
        (vec![(EntryType::Fifo, "pipe", "")], "pipe"),
        (vec![(EntryType::Link, "h", "../secret/key")], "../secret/key"),
        (vec![(EntryType::Regular, "", "x")], "\"\""),
    ] {
        let tar = archive_of(&entries);
        let error = setup.files.extract("/", true, &tar[..]).unwrap_err();
        assert_eq!(error.kind(), FilesErrorKind::InvalidArgument, "{name}: {error}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    let hard = archive_of(&[(EntryType::Link, "h", "none")]);
    let error = setup.files.extract("/", true, &hard[..]).unwrap_err();
    assert_eq!(error.kind(), FilesErrorKind::Precondition);
    // A link made by the archive leads nowhere else for what follows.
    symlink(setup.dir.path().join("secret"), setup.root().join("planted")).unwrap();
    let hard = archive_of(&[(EntryType::Link, "h", "planted/key")]);
    assert!(setup.files.extract("/", true, &hard[..]).is_err());
    for cut in [
        &b"no archive at all, and a bit longer than that"[..],
        &archive_of(&[file("cut", &"x".repeat(2000))])[..900],
    ] {
        let error = setup.files.extract("/", true, cut).unwrap_err();
        assert_eq!(error.kind(), FilesErrorKind::InvalidArgument, "{error}");
    }
    assert!(!setup.root().join("cut").exists());
    assert_eq!(setup.outside(), before);
}

#[test]
fn a_directory_that_is_exchanged_for_a_link_all_the_time_leads_nowhere() {
    let setup = Setup::new();
    let root = setup.root();
    let secret = setup.dir.path().join("secret");
    let before = setup.outside();
    fs::create_dir(root.join("real")).unwrap();
    symlink(&secret, root.join("fake")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !stop.load(Ordering::Relaxed) {
                let (real, fake) = (root.join("real"), root.join("fake"));
                renameat_with(CWD, real, CWD, fake, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let tar = archive_of(&[file("real/key", "hostile"), file("real/deep/key", "hostile")]);
        for _ in 0..500 {
            // Either it is the directory at that moment, or a refusal.
            let _ = setup.files.extract("/", true, &tar[..]);
            let mut out = Vec::new();
            let _ = setup.files.archive("/real", true, &mut out);
            assert!(!listed(&out).values().any(|content| content == "secret"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(setup.outside(), before);
}

#[test]
fn an_export_has_everything_and_whoever_closes_it_is_told_apart() {
    let setup = Setup::new();
    let mut tar = Vec::new();
    setup.files.export(&mut tar).unwrap();
    let listed = listed(&tar);
    assert_eq!(listed["Users/Me/Notes.txt"], "notes");
    assert_eq!(listed["windows/"], "directory");
    assert_eq!(listed.len(), 8);
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert_eq!(
        setup.files.export(Closed).unwrap_err().kind(),
        FilesErrorKind::Closed
    );
}

#[test]
fn deep_trees_are_an_error_and_no_overflow() {
    let setup = Setup::new();
    let mut directory = setup.root();
    for _ in 0..400 {
        directory.push("d");
    }
    fs::create_dir_all(&directory).unwrap();
    setup.files.export(std::io::sink()).unwrap();
    for _ in 0..200 {
        directory.push("d");
    }
    fs::create_dir_all(&directory).unwrap();
    let error = setup.files.export(std::io::sink()).unwrap_err();
    assert_eq!(error.kind(), FilesErrorKind::Precondition, "{error}");
    let tar = archive_of(&[file("d", "x")]);
    setup.files.extract("/", true, &tar[..]).unwrap();
    assert!(setup.root().join("d").is_file());
    let mut builder = Builder::new(Vec::new());
    let long = "e/".repeat(1000);
    builder
        .append_data(&mut Header::new_gnu(), format!("{long}x"), &[][..])
        .unwrap();
    let tar = builder.into_inner().unwrap();
    let error = setup.files.extract("/", true, &tar[..]).unwrap_err();
    assert!(error.to_string().contains("512 levels"), "{error}");
}
