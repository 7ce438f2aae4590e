//! The acceptance rules for Linux layers: what becomes of each case in the mounted image. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]
#![cfg(target_os = "linux")]

mod support;

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use support::archive::{Archive, Header};
use support::mounted::Mounted;
use support::{convert, verdict};

/// Converts, checks and mounts.
fn mount(archive: Archive) -> Mounted {
    Mounted::new(convert(&archive.end()).unwrap().1)
}

fn refused(archive: Archive) -> &'static str {
    verdict(&archive.end())
}

#[test]
fn names_stay_inside() {
    for name in ["../x", "a/../../x", "a/../b", "..", "a/.."] {
        assert_eq!(refused(Archive::new().file(name, "")), "bad-name", "{name}");
    }
    let image = mount(
        Archive::new()
            .file("/etc/x", "1")
            .file("C:/x", "2")
            .file("./a//./b", "3"),
    );
    assert_eq!(
        (image.text("etc/x"), image.text("C:/x"), image.text("a/b")),
        ("1".into(), "2".into(), "3".into())
    );
}

#[test]
fn links_are_followed_inside_the_image_only() {
    let image = mount(
        Archive::new()
            .symlink("absolute", "/etc")
            .file("absolute/f", "1")
            .symlink("climbing", "../../..")
            .file("climbing/g", "2")
            .symlink("in/up", "..")
            .symlink("in/up/out", "../v")
            .file("in/up/out/h", "3")
            .symlink("dangling", "/n/x")
            .file("dangling/i", "4"),
    );
    assert_eq!(image.text("etc/f"), "1");
    assert_eq!(image.text("g"), "2");
    assert_eq!(image.text("v/h"), "3");
    assert_eq!(image.text("n/x/i"), "4");
    assert_eq!(image.target("absolute"), b"/etc");
}

#[test]
fn parents_must_lead_to_directories() {
    let looping = Archive::new().symlink("a", "b").symlink("b", "a").file("a/f", "");
    assert_eq!(refused(looping), "bad-parent");
    assert_eq!(
        refused(Archive::new().file("t", "").symlink("l", "t").file("l/f", "")),
        "bad-parent"
    );
    assert_eq!(
        refused(Archive::new().file("t", "").file("t/f", "")),
        "bad-parent"
    );
    assert_eq!(refused(Archive::new().fifo("p").file("p/f", "")), "bad-parent");
    let device = Archive::new()
        .entry(Header::new(b'3', b"null").device(1, 3), b"")
        .file("null/f", "");
    assert_eq!(refused(device), "bad-parent");
    let chain = |length: usize| {
        let links = (1..length).fold(Archive::new().symlink("l0", "/target"), |archive, n| {
            archive.symlink(format!("l{n}"), format!("l{}", n - 1))
        });
        links.file(format!("l{}/f", length - 1), "x")
    };
    assert_eq!(refused(chain(41)), "bad-parent");
    assert_eq!(mount(chain(40)).text("target/f"), "x");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let image = mount(
        Archive::new()
            .entry(Header::new(b'5', b"etc").mode(0o750), b"")
            .symlink("l", "/etc")
            .entry(Header::new(b'5', b"l").mode(0o777), b"")
            .directory("d")
            .file("d/f", "old")
            .symlink("d", "/")
            .file("d/etc/x", "through")
            .file("twice", "first content, and longer")
            .file("twice", "second")
            .file("tree/a/b/c", "gone")
            .file("tree", "now a file")
            .file("file", "gone")
            .directory("file")
            .file("a", "shared")
            .hard_link("b", "a")
            .file("b", "new"),
    );
    assert!(image.metadata("l").is_dir());
    assert_eq!((image.mode("l"), image.mode("etc")), (0o777, 0o750));
    assert_eq!(image.text("etc/x"), "through");
    assert!(image.metadata("d").is_symlink());
    assert_eq!(image.text("twice"), "second");
    assert_eq!(image.text("tree"), "now a file");
    assert!(image.metadata("file").is_dir());
    assert_eq!(
        (image.text("a"), image.text("b")),
        ("shared".into(), "new".into())
    );
    assert_eq!(image.metadata("a").nlink(), 1);
}

#[test]
fn directories_merge() {
    let image = mount(
        Archive::new()
            .directory("d")
            .file("d/a", "1")
            .pax(&[("SCHILY.xattr.user.note", b"late")])
            .entry(Header::new(b'5', b"d").mode(0o700).mtime(5), b"")
            .file("d/b", "2"),
    );
    assert_eq!((image.text("d/a"), image.text("d/b")), ("1".into(), "2".into()));
    assert_eq!((image.mode("d"), image.metadata("d").mtime()), (0o700, 5));
    assert_eq!(image.xattr("d", "user.note").unwrap(), b"late");
}

#[test]
fn hard_links_share_an_inode() {
    let image = mount(
        Archive::new()
            .file("usr/bin/x", "content")
            .hard_link("absolute", "/usr/bin/x")
            .hard_link("etc/other", "./usr//bin/x")
            .symlink("s", "usr/bin/x")
            .hard_link("t", "s")
            .file("etc/p", "p")
            .symlink("l", "/etc")
            .hard_link("through", "l/p")
            .hard_link("through", "l/p")
            .file("first", "kept")
            .hard_link("second", "first")
            .file("first", "new")
            .fifo("pipe")
            .hard_link("pipe2", "pipe"),
    );
    assert_eq!(image.metadata("usr/bin/x").nlink(), 3);
    assert_eq!(
        image.metadata("absolute").ino(),
        image.metadata("etc/other").ino()
    );
    assert_eq!(image.metadata("s").ino(), image.metadata("t").ino());
    assert!(image.metadata("t").is_symlink());
    assert_eq!(image.metadata("through").ino(), image.metadata("etc/p").ino());
    assert_eq!(image.metadata("etc/p").nlink(), 2);
    assert_eq!(
        (image.text("first"), image.text("second")),
        ("new".into(), "kept".into())
    );
    assert!(image.metadata("pipe2").file_type().is_fifo());
}

#[test]
fn hard_links_need_a_target_in_this_layer() {
    let file = || Archive::new().file("a", "x");
    for (target, why) in [
        ("../../etc/passwd", "climbs"),
        ("nothing", "missing"),
        ("later", "later"),
        ("d", "directory"),
        ("self", "itself"),
        ("a/b", "below a file"),
        ("", "empty"),
        ("/", "root"),
    ] {
        let archive = file().directory("d").hard_link("self", target).file("later", "");
        assert_eq!(refused(archive), "bad-link", "{why}");
    }
    assert_eq!(
        refused(Archive::new().file(".wh.x", "").hard_link("y", "x")),
        "bad-link"
    );
    assert_eq!(refused(file().hard_link("a", "a")), "bad-link");
    assert_eq!(refused(file().hard_link("a", "./a")), "bad-link");
}

#[test]
fn a_file_has_64000_names_and_no_more() {
    let links = |count: usize| {
        (1..count).fold(Archive::new().file("f", "x"), |archive, n| {
            archive.hard_link(format!("d/{n}"), "f")
        })
    };
    let image = mount(links(64_000));
    assert_eq!(image.metadata("f").nlink(), 64_000);
    assert_eq!(refused(links(64_001)), "limit");
}

#[test]
fn the_root_is_a_directory() {
    let image = mount(
        Archive::new()
            .entry(Header::new(b'5', b"./").mode(0o700).mtime(7), b"")
            .file("a", ""),
    );
    assert_eq!((image.mode(""), image.metadata("").mtime()), (0o700, 7));
    for archive in [
        Archive::new().symlink(".", "/etc"),
        Archive::new().file("", ""),
        Archive::new().symlink("///", "x"),
        Archive::new().file("a", "").hard_link("./", "a"),
    ] {
        assert_eq!(refused(archive), "bad-name");
    }
}

#[test]
fn lengths_have_limits() {
    let image = mount(
        Archive::new()
            .file("n".repeat(255), "x")
            .symlink("l", "t".repeat(4095)),
    );
    assert_eq!(image.text("n".repeat(255)), "x");
    assert_eq!(image.target("l"), "t".repeat(4095).as_bytes());
    assert_eq!(refused(Archive::new().file("n".repeat(256), "")), "bad-name");
    let path = "d/".repeat(2048);
    assert_eq!(refused(Archive::new().file(format!("{path}d"), "")), "bad-name");
    assert_eq!(refused(Archive::new().symlink("l", "t".repeat(4096))), "bad-link");
    assert_eq!(refused(Archive::new().symlink("l", "")), "bad-link");
    assert_eq!(
        refused(Archive::new().symlink("l", "t/".repeat(200)).file("l/f", "")),
        "ok"
    );
    assert_eq!(
        refused(Archive::new().symlink("l", "t".repeat(256)).file("l/f", "")),
        "bad-parent"
    );
}

#[test]
fn whiteout_names_must_name_something() {
    for name in [".wh..", "etc/.wh...", ".wh.", ".wh.a/b", ".wh.a/"] {
        assert_eq!(refused(Archive::new().file(name, "")), "bad-whiteout", "{name}");
    }
    assert_eq!(refused(Archive::new().directory(".wh.x/")), "bad-whiteout");
    assert_eq!(refused(Archive::new().directory(".wh..wh..opq")), "bad-whiteout");
}

#[test]
fn whiteouts_hide_what_is_below() {
    let lower = mount(
        Archive::new()
            .file("gone", "1")
            .file("kept", "2")
            .file("replaced", "3")
            .file("dir/old", "4")
            .file("late/old", "5")
            .file("tree/old", "6")
            .file("implied/deep/old", "7"),
    );
    let upper = mount(
        Archive::new()
            .file(".wh.gone", "")
            .file(".wh.nothing", vec![1; 1 << 20])
            .file("kept", "new")
            .file(".wh.kept", "")
            .file(".wh.replaced", "")
            .file("replaced", "new")
            .file(".wh.dir", "")
            .directory("dir")
            .file("dir/new", "x")
            .directory("tree")
            .file("tree/new", "x")
            .file(".wh.tree", "")
            .file("late/kept", "x")
            .file("late/.wh..wh..opq", "")
            .file("implied/deep/.wh..wh..opq", "")
            .file(".wh..wh.plnk/1.2", "residue")
            .file(".wh..wh.aufs", "residue")
            .directory(".wh..wh.orph"),
    );
    assert!(upper.metadata("gone").file_type().is_char_device());
    assert_eq!(upper.metadata("gone").rdev(), 0);
    let names: Vec<String> = upper.list().into_keys().collect();
    assert!(names.iter().all(|name| !name.contains(".wh.")), "{names:?}");

    let merged = Mounted::overlay(&[&upper, &lower]).list();
    let merged: Vec<(&str, &str)> = merged
        .iter()
        .map(|(name, what)| (name.as_str(), what.as_str()))
        .collect();
    assert_eq!(
        merged,
        [
            ("dir", "directory"),
            ("dir/new", "1 links: x"),
            ("implied", "directory"),
            ("implied/deep", "directory"),
            ("kept", "1 links: new"),
            ("late", "directory"),
            ("late/kept", "1 links: x"),
            ("replaced", "1 links: new"),
            ("tree", "directory"),
            ("tree/new", "1 links: x"),
        ]
    );
}

#[test]
fn an_opaque_root_is_reported() {
    let opaque = Archive::new().file("a", "").file(".wh..wh..opq", "").end();
    let (converted, image) = convert(&opaque).unwrap();
    assert!(converted.opaque_root);
    let upper = Mounted::new(image);
    let lower = mount(Archive::new().file("below", ""));
    // The kernel merges roots all the same, which is why it is reported.
    assert!(Mounted::overlay(&[&upper, &lower]).exists("below"));
    assert!(
        !convert(&Archive::new().file("a", "").end())
            .unwrap()
            .0
            .opaque_root
    );
}

#[test]
fn a_directory_that_replaces_a_whiteout_hides_what_was_below() {
    let image = mount(
        Archive::new()
            .file(".wh.d", "")
            .file("d/f", "")
            .file("x", "")
            .file(".wh.x", "")
            .file("x", ""),
    );
    assert_eq!(image.list()["d"], "opaque directory");
    assert_eq!(image.list()["x"], "1 links: ");
    let again = mount(
        Archive::new()
            .file(".wh.d", "")
            .file("d", "")
            .directory("d")
            .file("d/f", ""),
    );
    assert_eq!(again.list()["d"], "opaque directory");
}

#[test]
fn many_whiteouts_share_inodes() {
    let image = mount((0..61_000).fold(Archive::new(), |archive, n| {
        archive.file(format!("d/.wh.{n}"), "")
    }));
    assert_eq!(image.metadata("d/0").nlink(), 60_000);
    assert_eq!(image.metadata("d/60999").rdev(), 0);
}

#[test]
fn devices_are_inodes_within_the_range_of_the_kernel() {
    let image = mount(
        Archive::new()
            .entry(Header::new(b'3', b"null").device(1, 3), b"")
            .entry(Header::new(b'4', b"sda").device(8, 0), b"")
            .entry(Header::new(b'3', b"last").device(4095, 0xf_ffff), b"")
            .fifo("pipe"),
    );
    assert_eq!(image.metadata("null").rdev(), rustix::fs::makedev(1, 3));
    assert!(image.metadata("sda").file_type().is_block_device());
    assert_eq!(image.metadata("sda").rdev(), rustix::fs::makedev(8, 0));
    assert_eq!(image.metadata("last").rdev(), rustix::fs::makedev(4095, 0xf_ffff));
    assert!(image.metadata("pipe").file_type().is_fifo());
    let device =
        |flag, major, minor| refused(Archive::new().entry(Header::new(flag, b"x").device(major, minor), b""));
    assert_eq!(device(b'3', 4096, 0), "bad-attribute");
    assert_eq!(device(b'4', 0, 1 << 20), "bad-attribute");
    assert_eq!(device(b'3', 0, 0), "bad-attribute");
    assert_eq!(device(b'4', 0, 0), "ok");
}

#[test]
fn modes_owners_and_times_are_kept() {
    let archive = [
        ("setuid", 0o4755),
        ("setgid", 0o2755),
        ("sticky", 0o1777),
        ("none", 0),
    ]
    .into_iter()
    .fold(Archive::new(), |archive, (name, mode)| {
        archive.entry(Header::new(b'0', name.as_bytes()).mode(mode | 0o120_000), b"")
    });
    let times = [
        ("before", "-1.25", -2, 750_000_000),
        ("old", "-2147483648", -(1 << 31), 0),
        ("now", "1700000000.123456789", 1_700_000_000, 123_456_789),
        ("later", "4294967296.5", 1 << 32, 500_000_000),
        ("last", "15032385535.999999999", 0x3_7fff_ffff, 999_999_999),
        ("beyond", "99999999999999999999", 0x3_7fff_ffff, 999_999_999),
        ("earlier", "-99999999999.5", -(1 << 31), 0),
    ];
    let archive = times.iter().fold(archive, |archive, (name, time, ..)| {
        archive
            .pax(&[("mtime", time.as_bytes()), ("atime", b"1.5"), ("ctime", b"2.5")])
            .file(name, "")
    });
    let image = mount(
        archive
            .pax(&[("uid", b"4294967294"), ("gid", b"70000")])
            .file("owned", ""),
    );
    assert_eq!(image.mode("setuid"), 0o4755);
    assert_eq!(image.mode("setgid"), 0o2755);
    assert_eq!(image.mode("sticky"), 0o1777);
    assert_eq!(image.mode("none"), 0);
    for (name, _, seconds, nanoseconds) in times {
        let metadata = image.metadata(name);
        assert_eq!(
            (metadata.mtime(), metadata.mtime_nsec()),
            (seconds, nanoseconds),
            "{name}"
        );
        assert_eq!((metadata.atime(), metadata.atime_nsec()), (1, 500_000_000));
        assert_eq!((metadata.ctime(), metadata.ctime_nsec()), (2, 500_000_000));
    }
    assert_eq!(
        (image.metadata("owned").uid(), image.metadata("owned").gid()),
        (4_294_967_294, 70_000)
    );
}

#[test]
fn attributes_are_kept_byte_for_byte() {
    let capability = [
        1, 0, 0, 2, 0x0a, 0x20, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0,
    ];
    let list = [
        &[2, 0, 0, 0][..],
        &[1, 0, 7, 0, 255, 255, 255, 255],
        &[2, 0, 5, 0, 0xe8, 3, 0, 0],
        &[4, 0, 5, 0, 255, 255, 255, 255],
        &[0x10, 0, 5, 0, 255, 255, 255, 255],
        &[0x20, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    let image = mount(
        Archive::new()
            .pax(&[("SCHILY.xattr.security.capability", &capability)])
            .file("ping", "x")
            .pax(&[
                ("SCHILY.xattr.user.a", &[1; 2000]),
                ("SCHILY.xattr.user.b", &[2; 1900]),
                ("SCHILY.xattr.user.c", b"3"),
            ])
            .file("many", "x")
            .pax(&[("SCHILY.xattr.system.posix_acl_access", &list)])
            .file("listed", "x")
            .pax(&[
                ("SCHILY.xattr.system.posix_acl_default", &list),
                ("SCHILY.xattr.trusted.t", b"t"),
            ])
            .directory("defaults")
            .pax(&[
                ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ])
            .directory("plain")
            .pax(&[("SCHILY.xattr.security.selinux", b"system_u:object_r:bin_t:s0\0")])
            .symlink("link", "ping"),
    );
    assert_eq!(image.xattr("ping", "security.capability").unwrap(), capability);
    assert_eq!(image.xattr("many", "user.a").unwrap(), [1; 2000]);
    assert_eq!(image.xattr("many", "user.b").unwrap(), [2; 1900]);
    assert_eq!(image.xattr("many", "user.c").unwrap(), b"3");
    assert_eq!(image.xattr("listed", "system.posix_acl_access").unwrap(), list);
    assert_eq!(image.xattr("defaults", "system.posix_acl_default").unwrap(), list);
    assert_eq!(image.xattr("defaults", "trusted.t").unwrap(), b"t");
    assert_eq!(image.xattr("plain", "trusted.overlay.opaque"), None);
    assert_eq!(image.xattr("plain", "trusted.overlay.redirect"), None);
    assert!(image.xattr("link", "security.selinux").is_some());
}

#[test]
fn attributes_have_limits() {
    let with = |records: &[(&str, &[u8])]| refused(Archive::new().pax(records).file("a", ""));
    assert_eq!(with(&[("SCHILY.xattr.user.big", &vec![1; 70 << 10])]), "limit");
    assert_eq!(with(&[("SCHILY.xattr.foo", b"1")]), "bad-attribute");
    let three: Vec<(&str, &[u8])> = [
        "SCHILY.xattr.user.a",
        "SCHILY.xattr.user.b",
        "SCHILY.xattr.user.c",
    ]
    .map(|name| (name, &[1; 2000][..]))
    .into();
    let error = convert(&Archive::new().pax(&three).file("the-file", "").end()).unwrap_err();
    assert_eq!(
        (error.code(), &error.place().unwrap().name[..]),
        ("limit", &b"the-file"[..])
    );
}

#[test]
fn blocks_of_attributes_are_shared_and_freed() {
    let value = vec![7; 1000];
    let archive = (0..1100).fold(Archive::new(), |archive, n| {
        archive
            .pax(&[("SCHILY.xattr.user.shared", &value)])
            .file(format!("f{n}"), "")
    });
    // The only user of this block is replaced.
    let archive = archive
        .pax(&[("SCHILY.xattr.user.lost", &value)])
        .file("x", "")
        .file("x", "");
    let image = mount(archive);
    assert_eq!(image.xattr("f0", "user.shared").unwrap(), value);
    assert_eq!(image.xattr("f1099", "user.shared").unwrap(), value);
    assert_eq!(image.xattr("x", "user.lost"), None);
}

#[test]
fn strange_names_are_ordinary() {
    let names: [&[u8]; 9] = [
        b"\\",
        b"CON",
        b"x. ",
        b"\x1b[31m",
        "\u{202e}rtl".as_bytes(),
        b"\xff\xfe",
        b"a\nb",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
    ];
    let archive = names
        .iter()
        .fold(Archive::new(), |archive, name| archive.file(name, name));
    let image = mount(archive.file("A", "upper").file("a", "lower"));
    for name in names {
        assert_eq!(image.read(name), name);
    }
    assert_eq!(
        (image.text("A"), image.text("a")),
        ("upper".into(), "lower".into())
    );
}

#[test]
fn the_parts_of_an_entry_are_judged_together() {
    let image = mount(
        Archive::new()
            .symlink("d/l", "/etc")
            .entry(Header::new(b'5', b"d/l").mode(0o777), b"")
            .file("d/a", "kept")
            .hard_link("d/b", "d/a")
            .file("d/b", "new")
            .file("d/.wh..wh..opq", ""),
    );
    assert!(!image.exists("etc"));
    assert_eq!(image.list()["d"], "opaque directory");
    assert_eq!(
        (image.text("d/a"), image.text("d/b")),
        ("kept".into(), "new".into())
    );
}

#[test]
fn what_no_entry_describes_gets_plain_directories() {
    let image = mount(Archive::new().entry(Header::new(b'0', b"a/b/c").mtime(99), b""));
    for name in ["a", "a/b"] {
        let metadata = image.metadata(name);
        assert_eq!(
            (image.mode(name), metadata.uid(), metadata.gid(), metadata.mtime()),
            (0o755, 0, 0, 99)
        );
    }
}
