//! Archives that want out of the container, and containers that change what is being looked at.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use tar::{EntryType, Header};

use crate::kit::{Done, command, extract, run, shell, tree};

/// An archive in the making; names are not checked.
#[derive(Default)]
struct Forge {
    bytes: Vec<u8>,
}

impl Forge {
    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        let fields = header.as_old_mut();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let (major, minor) = link.split_once(' ').unwrap();
            header.as_old_mut().linkname.fill(0);
            header.set_device_major(major.parse().unwrap()).unwrap();
            header.set_device_minor(minor.parse().unwrap()).unwrap();
        }
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str) -> Self {
        self.entry(EntryType::Regular, name, "", b"evil")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }
}

/// A root in a directory with something to protect around it.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    shell(
        dir.path(),
        "mkdir -p root/dest root/etc outside/secret; echo secret > outside/secret/file; echo secret > file
         echo secret > outside/file; echo inner > root/etc/passwd; ln -s ../../outside root/dest/up
         ln -s /etc root/dest/etc",
    );
    dir
}

/// Extracts into `/dest`, and sees that nothing around the root has changed.
fn attack(dir: &Path, archive: &[u8]) -> Done {
    let protected = || (tree(&dir.join("outside")), fs::read(dir.join("file")).unwrap());
    let before = protected();
    let done = extract(&dir.join("root"), "/dest", archive);
    assert!(before == protected(), "something outside was changed");
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "outside", "root"]);
    done
}

#[test]
fn names_that_lead_out_are_refused() {
    let dir = place();
    for name in [
        "../evil",
        "a/../../evil",
        "/../../evil",
        "..",
        "../../outside/file",
    ] {
        assert_eq!(
            attack(dir.path(), &Forge::default().file(name).end()).failure(),
            "INVALID_ARGUMENT",
            "{name}"
        );
    }
    for name in ["", "/", ".", "a/.."] {
        assert_eq!(
            attack(dir.path(), &Forge::default().file(name).end()).failure(),
            "INVALID_ARGUMENT",
            "{name:?}"
        );
    }
    let absolute = format!("{}/file", dir.path().display());
    attack(dir.path(), &Forge::default().file(&absolute).end()).ok();
    assert!(dir.path().join("root/dest").join(&absolute[1..]).is_file());
    assert!(!dir.path().join("root/evil").exists());
}

#[test]
fn links_are_followed_in_the_container_only() {
    let dir = place();
    // `up` is ../../outside, which the container sees as /outside: nothing is there.
    let done = attack(dir.path(), &Forge::default().file("up/evil").end());
    assert_eq!(done.failure(), "FAILED_PRECONDITION");
    let outside = dir.path().join("outside").display().to_string();
    let forged = Forge::default()
        .link("mine", &outside)
        .link("relative", "../../../../../../../../../../etc")
        .file("relative/from-relative")
        .file("etc/from-absolute")
        .end();
    attack(dir.path(), &forged).ok();
    for name in ["from-relative", "from-absolute"] {
        assert_eq!(fs::read(dir.path().join("root/etc").join(name)).unwrap(), b"evil");
    }
    assert_eq!(
        fs::read_link(dir.path().join("root/dest/mine"))
            .unwrap()
            .to_str()
            .unwrap(),
        outside
    );
    let done = attack(
        dir.path(),
        &Forge::default().link("mine", &outside).file("mine/evil").end(),
    );
    assert_eq!(done.failure(), "FAILED_PRECONDITION");

    // A link in the place of the file itself is replaced, not followed.
    attack(
        dir.path(),
        &Forge::default()
            .link("passwd", "/etc/passwd")
            .file("passwd")
            .end(),
    )
    .ok();
    assert_eq!(fs::read(dir.path().join("root/etc/passwd")).unwrap(), b"inner\n");
    assert_eq!(fs::read(dir.path().join("root/dest/passwd")).unwrap(), b"evil");
}

#[test]
fn hard_links_lead_to_files_of_the_container_only() {
    let dir = place();
    for target in ["../../outside/file", "../dest", "none", "up/file", ""] {
        let done = attack(dir.path(), &Forge::default().hard("stolen", target).end());
        assert!(
            ["INVALID_ARGUMENT", "FAILED_PRECONDITION"].contains(&done.failure().as_str()),
            "{target}"
        );
        assert!(!dir.path().join("root/dest/stolen").exists(), "{target}");
    }
    let outside = dir.path().join("outside/file").display().to_string();
    let done = attack(dir.path(), &Forge::default().hard("stolen", &outside).end());
    assert_eq!(done.failure(), "FAILED_PRECONDITION");

    // To a link: the link gets another name, not what it leads to. Its owner and mode stay.
    let forged = Forge::default()
        .link("passwd", "/etc/passwd")
        .hard("also", "./x/../passwd")
        .end();
    attack(dir.path(), &forged).ok();
    assert!(
        dir.path()
            .join("root/dest/also")
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );

    // To itself: nothing is lost.
    attack(
        dir.path(),
        &Forge::default().file("self").hard("self", "self").end(),
    )
    .ok();
    assert_eq!(fs::read(dir.path().join("root/dest/self")).unwrap(), b"evil");

    // Writing a name does not write the other names of the file.
    attack(
        dir.path(),
        &Forge::default()
            .hard("passwd2", "etc/passwd")
            .file("passwd2")
            .end(),
    )
    .ok();
    assert_eq!(fs::read(dir.path().join("root/etc/passwd")).unwrap(), b"inner\n");
}

#[test]
fn devices_are_made_but_no_marks_of_an_overlay() {
    let dir = place();
    let done = attack(
        dir.path(),
        &Forge::default().entry(EntryType::Char, "white", "0 0", b"").end(),
    );
    assert_eq!(done.failure(), "FAILED_PRECONDITION");
    assert!(!dir.path().join("root/dest/white").exists());
    attack(
        dir.path(),
        &Forge::default().entry(EntryType::Char, "null", "1 3", b"").end(),
    )
    .ok();
    assert_eq!(
        dir.path().join("root/dest/null").metadata().unwrap().rdev(),
        0x103
    );
    // A device in the place of a file is not written to.
    let forged = Forge::default()
        .entry(EntryType::Block, "disk", "7 250", b"")
        .file("disk")
        .end();
    attack(dir.path(), &forged).ok();
    assert!(
        dir.path()
            .join("root/dest/disk")
            .symlink_metadata()
            .unwrap()
            .is_file()
    );
}

#[test]
fn names_that_meet_replace_each_other() {
    let dir = place();
    let forged = Forge::default()
        .directory("a/")
        .file("a/x")
        .file("b")
        .link("b", "a")
        .hard("b", "a/x")
        .end();
    attack(dir.path(), &forged).ok();
    assert!(
        dir.path()
            .join("root/dest/b")
            .symlink_metadata()
            .unwrap()
            .is_file()
    );
    for forged in [
        Forge::default().directory("a/").file("a"),
        Forge::default().file("f").directory("f/"),
        Forge::default().link("l", "/etc").directory("l/"),
        Forge::default().file("g").file("g/x"),
    ] {
        assert_eq!(attack(dir.path(), &forged.end()).failure(), "FAILED_PRECONDITION");
    }
}

#[test]
fn archives_that_end_early_or_are_none_are_refused() {
    let dir = place();
    let whole = Forge::default()
        .file("one")
        .entry(EntryType::Regular, "two", "", &[7; 5000])
        .end();
    for end in [0, 1, 511, 512, 1000, 1024, 1536, 4000, whole.len() - 1024] {
        let done = attack(dir.path(), &whole[..end]);
        assert_eq!(done.failure(), "INVALID_ARGUMENT", "{end}");
        assert!(done.errors.contains("it ends"), "{}", done.errors);
    }
    attack(dir.path(), &whole).ok();
    fs::remove_file(dir.path().join("root/dest/two")).unwrap();
    attack(dir.path(), &whole[..4000]).failure();
    assert!(
        !dir.path().join("root/dest/two").exists(),
        "a part of a file is not left"
    );
    for wrong in [&[1; 2048][..], b"hello", &[0xff; 512]] {
        assert_eq!(attack(dir.path(), wrong).failure(), "INVALID_ARGUMENT");
    }
    let sparse = Forge::default().entry(EntryType::GNUSparse, "s", "", b"").end();
    assert_eq!(attack(dir.path(), &sparse).failure(), "INVALID_ARGUMENT");
    let unknown = Forge::default().entry(EntryType::new(b'Q'), "s", "", b"").end();
    assert_eq!(attack(dir.path(), &unknown).failure(), "INVALID_ARGUMENT");
    let mut long = Forge::default().entry(EntryType::GNULongName, "l", "", &[b'n'; 5000]);
    long.bytes.extend(Forge::default().file("x").bytes);
    assert_eq!(attack(dir.path(), &long.end()).failure(), "FAILED_PRECONDITION");
}

#[test]
fn attributes_of_an_overlay_are_not_taken_from_an_archive() {
    let dir = place();
    shell(
        dir.path(),
        "mkdir root/in; mkdir root/in/d; setfattr -n trusted.overlay.opaque -v y root/in/d
         setfattr -n user.overlay.redirect -v /etc root/in/d; setfattr -n user.fine -v 1 root/in/d",
    );
    let packed = crate::kit::pack(
        &dir.path().join("root/in"),
        &["--format=posix", "--xattrs", "--xattrs-include=*"],
    );
    attack(dir.path(), &packed).ok();
    let shown = crate::kit::program(
        &dir.path().join("root/dest"),
        &["getfattr", "-d", "-m", "-", "--only-values", "d"],
        b"",
    );
    assert_eq!(shown, b"1");
}

/// Exchanges two names over and over until it is dropped.
struct Swapper<'a> {
    stop: &'a AtomicBool,
}

impl Drop for Swapper<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn while_swapping<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _swapper = Swapper { stop: &stop };
        work()
    })
}

#[test]
fn a_directory_that_becomes_a_link_meanwhile_leads_nowhere_else() {
    let dir = place();
    let root = dir.path().join("root");
    fs::create_dir(root.join("dest/target")).unwrap();
    symlink(dir.path().join("outside"), root.join("dest/swap")).unwrap();
    let mut forged = Forge::default();
    for index in 0..3000 {
        // Another directory each time, so that none is held.
        forged = forged
            .file(&format!("target/f{index}"))
            .file(&format!("between/f{index}"));
    }
    let forged = forged.end();
    while_swapping(&root.join("dest/target"), &root.join("dest/swap"), || {
        for _ in 0..5 {
            let done = attack(dir.path(), &forged);
            assert!(done.code == Some(0) || done.failure() == "FAILED_PRECONDITION");
        }
    });
}

#[test]
fn a_secret_behind_a_swapped_link_is_not_copied_out() {
    let dir = place();
    let root = dir.path().join("root");
    shell(
        &root,
        "mkdir dest/target; for i in $(seq 300); do echo harmless > dest/target/file$i; done",
    );
    shell(
        dir.path(),
        "for i in $(seq 300); do echo secret > outside/file$i; done",
    );
    symlink(dir.path().join("outside"), root.join("dest/swap")).unwrap();
    while_swapping(&root.join("dest/target"), &root.join("dest/swap"), || {
        for path in ["/dest/target/.", "/dest", "/dest/target/file7"].repeat(20) {
            let done = run(
                "archive",
                &json!({"root": root, "path": path, "follow": true}),
                b"",
            );
            assert!(
                done.code == Some(0)
                    || ["NOT_FOUND", "FAILED_PRECONDITION"].contains(&done.failure().as_str())
            );
            assert!(!done.output.windows(6).any(|bytes| bytes == b"secret"), "{path}");
        }
    });
}

#[test]
fn nothing_is_opened_that_would_wait_or_act() {
    let dir = tempfile::tempdir().unwrap();
    shell(
        dir.path(),
        "mkfifo pipe; mknod watchdog c 10 130; mknod tty c 5 0",
    );
    let child = command(
        "archive",
        &json!({"root": dir.path(), "path": "/", "follow": false}),
    )
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success());
    assert_eq!(
        crate::kit::names(&done.stdout),
        ["./", "./pipe", "./tty", "./watchdog"]
    );
}
