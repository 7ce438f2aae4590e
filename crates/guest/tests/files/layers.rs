//! What a container has written: as changes, and as a layer.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tar::Archive;

use crate::kit::{Overlay, names, program, run, same, shell, unpack};

/// Two layers below: the top one deletes and replaces things of the bottom one.
const BELOW: &str = r#"
    mkdir -p bottom/etc/conf.d bottom/usr/lib bottom/var/cache/a/b bottom/replaced bottom/gone bottom/opaque bottom/todir
    echo one > bottom/etc/one; echo two > bottom/etc/two; echo lib > bottom/usr/lib/lib; echo c > bottom/var/cache/a/b/c
    echo x > bottom/replaced/x; echo x > bottom/gone/x; echo old > bottom/opaque/old; echo f > bottom/tofile-was-dir
    echo file > bottom/file; ln bottom/file bottom/hard; ln -s etc bottom/link; mkfifo bottom/pipe
    mkdir -p bottom/tree/sub/deep; echo 1 > bottom/tree/1; echo 2 > bottom/tree/sub/2; echo 3 > bottom/tree/sub/deep/3
    echo untouched > bottom/usr/untouched; mkdir bottom/unchanged; echo u > bottom/unchanged/u
    mkdir -p top/opaque top/etc; mknod top/gone c 0 0; setfattr -n trusted.overlay.opaque -v y top/opaque
    echo new > top/opaque/new; echo ontop > top/etc/ontop; mkdir -p top/tree/sub; echo 4 > top/tree/sub/4
    find bottom top -exec touch -h -d '2020-02-02 02:02:02.5' {} +
"#;

/// What the container does.
const WRITES: &str = r#"
    echo changed >> etc/one; rm etc/two; echo added > etc/added; rm -r var/cache/a
    rm -r replaced; mkdir replaced; echo fresh > replaced/fresh; chmod 700 replaced
    mkdir gone; echo back > gone/back; mkdir opaque/inner; rm opaque/new
    rm -r todir; echo file > todir; rm file; mkdir file; echo in > file/in
    rm -r tree; mkdir -p tree/sub; echo 2b > tree/sub/2; echo 5 > tree/5
    chmod 600 hard; rm link; ln -s /nowhere link; mknod null c 1 3; mkfifo pipe2
    mkdir -p fresh/a/b; echo 1 > fresh/a/b/1; ln fresh/a/b/1 fresh/a/b/2; ln fresh/a/b/1 fresh/zero
    rm usr/lib/lib; echo lib > usr/lib/lib; mkdir fresh-x; echo x > fresh-x/x
    setfattr -n user.note -v "$(printf 'a\nb')" etc/ontop
    cp /bin/true fresh/true
    setfattr -n security.capability -v 0x01000002000a0a00000000000000000000000000 fresh/true
    setfattr -n system.posix_acl_access -v 0x0200000001000600ffffffff02000400e803000004000400ffffffff10000600ffffffff20000400ffffffff fresh/zero
    chown 3000000000:70000 fresh-x; touch -d '2001-02-03 04:05:06.789' fresh/true fresh/a
    echo temporary > unchanged/t; rm unchanged/t; touch -d '2020-02-02 02:02:02.5' unchanged
"#;

fn written() -> Overlay {
    let overlay = Overlay::new(BELOW);
    shell(&overlay.merged(), WRITES);
    overlay
}

fn changes(overlay: &Overlay) -> Vec<String> {
    let output = run("changes", &overlay.request(), b"").ok();
    let text = String::from_utf8(output).unwrap();
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            format!(
                "{} {}",
                line["kind"].as_str().unwrap(),
                line["path"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn nothing_written_is_nothing_changed() {
    let overlay = Overlay::new(BELOW);
    assert_eq!(changes(&overlay), [""; 0]);
    assert_eq!(names(&run("layer", &overlay.request(), b"").ok()), [""; 0]);
    // Copied up, but as it was.
    shell(
        &overlay.merged(),
        "echo > unchanged/t; rm unchanged/t; touch -d '2020-02-02 02:02:02.5' unchanged",
    );
    assert!(overlay.at("upper/unchanged").is_dir());
    assert_eq!(changes(&overlay), [""; 0]);
}

#[test]
fn changes_are_what_docker_diff_says() {
    let overlay = written();
    assert_eq!(
        changes(&overlay),
        [
            "C /etc",
            "A /etc/added",
            "C /etc/one",
            "C /etc/ontop",
            "D /etc/two",
            "C /file",
            "A /file/in",
            "A /fresh",
            "A /fresh-x",
            "A /fresh-x/x",
            "A /fresh/a",
            "A /fresh/a/b",
            "A /fresh/a/b/1",
            "A /fresh/a/b/2",
            "A /fresh/true",
            "A /fresh/zero",
            "A /gone",
            "A /gone/back",
            "C /hard",
            "C /link",
            "A /null",
            "C /opaque",
            "A /opaque/inner",
            "D /opaque/new",
            "A /pipe2",
            "C /replaced",
            "A /replaced/fresh",
            "D /replaced/x",
            "C /todir",
            "C /tree",
            "D /tree/1",
            "A /tree/5",
            "C /tree/sub",
            "C /tree/sub/2",
            "D /tree/sub/4",
            "D /tree/sub/deep",
            "C /usr",
            "C /usr/lib",
            "C /usr/lib/lib",
            "C /var",
            "C /var/cache",
            "D /var/cache/a",
        ]
    );
}

/// Applies a layer as engines do: marks first, then what is in it with GNU tar.
fn apply(target: &Path, layer: &[u8]) {
    let mut archive = Archive::new(layer);
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let path = target.join(entry.path().unwrap());
        let name = path.file_name().unwrap().to_str().unwrap_or_default().to_owned();
        let clear = |path: &Path| match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => {}
        };
        if name == ".wh..wh..opq" {
            let parent = path.parent().unwrap();
            assert!(parent.is_dir(), "the mark hides nothing: {}", path.display());
            for child in fs::read_dir(parent).unwrap() {
                clear(&child.unwrap().path());
            }
        } else if let Some(hidden) = name.strip_prefix(".wh.") {
            let hidden = path.with_file_name(hidden);
            assert!(
                fs::symlink_metadata(&hidden).is_ok(),
                "the mark hides nothing: {}",
                path.display()
            );
            clear(&hidden);
        } else {
            let directory = entry.header().entry_type().is_dir();
            if !directory || fs::symlink_metadata(&path).is_ok_and(|found| !found.is_dir()) {
                clear(&path);
            }
        }
    }
    unpack(target, layer, &["--exclude=.wh.*"]);
}

/// The layers below, as a container without writes sees them.
fn copy_of_below(overlay: &Overlay) -> tempfile::TempDir {
    let fresh = Overlay::new(BELOW);
    let copy = tempfile::tempdir().unwrap();
    let bytes = program(
        &fresh.merged(),
        &[
            "tar",
            "-c",
            "--format=posix",
            "--xattrs",
            "--xattrs-include=user.*",
            "-f",
            "-",
            ".",
        ],
        b"",
    );
    unpack(copy.path(), &bytes, &[]);
    drop(fresh);
    assert!(overlay.merged().is_dir());
    copy
}

#[test]
fn a_layer_over_the_layers_below_is_what_the_container_sees() {
    let overlay = written();
    let layer = run("layer", &overlay.request(), b"").ok();
    let copy = copy_of_below(&overlay);
    apply(copy.path(), &layer);
    same(&overlay.merged(), copy.path());
    assert!(
        layer == run("layer", &overlay.request(), b"").ok(),
        "the order never changes"
    );
}

#[test]
fn a_layer_has_marks_only_where_there_is_something_to_hide() {
    let overlay = written();
    let found = names(&run("layer", &overlay.request(), b"").ok());
    let marks: Vec<&String> = found.iter().filter(|name| name.contains(".wh.")).collect();
    assert_eq!(
        marks,
        [
            "etc/.wh.two",
            "opaque/.wh.new",
            "replaced/.wh..wh..opq",
            "tree/.wh..wh..opq",
            "var/cache/.wh.a"
        ]
    );
    let position = |name: &str| found.iter().position(|found| found == name).unwrap();
    assert_eq!(position("replaced/") + 1, position("replaced/.wh..wh..opq"));
    assert!(position("fresh/a/b/1") < position("fresh/zero"));
}

#[test]
fn places_for_mounts_are_not_the_containers_doing() {
    let overlay = Overlay::new(BELOW);
    shell(
        &overlay.merged(),
        "mkdir dev proc sys; touch etc/hosts etc/hostname etc/resolv.conf",
    );
    assert_eq!(changes(&overlay), [""; 0]);
    assert_eq!(names(&run("layer", &overlay.request(), b"").ok()), ["etc/"]);
    shell(&overlay.merged(), "echo mine > etc/hosts; touch dev/null");
    assert_eq!(
        changes(&overlay),
        ["A /dev", "A /dev/null", "C /etc", "A /etc/hosts"]
    );
}

#[test]
fn a_container_cannot_forge_marks() {
    let overlay = Overlay::new(BELOW);
    shell(&overlay.merged(), "mkdir new; touch new/.wh.file");
    let done = run("layer", &overlay.request(), b"");
    assert_eq!(done.failure(), "FAILED_PRECONDITION");
    assert!(done.errors.contains("new/.wh.file"), "{}", done.errors);
    assert_eq!(changes(&overlay), ["A /new", "A /new/.wh.file"]);
}

#[test]
fn what_the_overlay_keeps_elsewhere_is_refused() {
    for (mark, value) in [
        ("trusted.overlay.redirect", "/etc"),
        ("trusted.overlay.metacopy", ""),
    ] {
        let overlay = Overlay::new(BELOW);
        fs::create_dir(overlay.at("upper/moved")).unwrap();
        let words = ["setfattr", "-n", mark, "-v", value, "upper/moved"];
        program(&overlay.at(""), &words, b"");
        assert_eq!(
            run("layer", &overlay.request(), b"").failure(),
            "FAILED_PRECONDITION"
        );
    }
}

#[test]
fn without_layers_below_everything_is_added() {
    let overlay = Overlay::new("mkdir -p upper/a; echo x > upper/a/f; mknod upper/white c 0 0");
    let request = serde_json::json!({"upper": overlay.at("upper"), "lower": []});
    let found = names(&run("layer", &request, b"").ok());
    assert_eq!(found, ["a/", "a/f"]);
    let lines = String::from_utf8(run("changes", &request, b"").ok()).unwrap();
    assert_eq!(
        lines,
        "{\"kind\":\"A\",\"path\":\"/a\"}\n{\"kind\":\"A\",\"path\":\"/a/f\"}\n"
    );
}
