//! Entries of one name, and names of one entry: later ones replace, directories merge, hard links share.

use super::*;

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
