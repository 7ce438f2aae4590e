//! What hides the layers below.

use super::*;

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
