//! Devices, modes, owners, times and extended attributes.

use super::*;

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
