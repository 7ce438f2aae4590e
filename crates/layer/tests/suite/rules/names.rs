//! Names: where they lead, how long they may be, and what stands for parents that no entry describes.

use super::*;

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
