//! Copying out of and into a container's root.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::kit::{Memory, archive, command, extract, names, pack, run, same, shell, unpack};

/// A tree with one of everything.
const EVERYTHING: &str = r#"
    mkdir -p root/dir/sub root/dir/empty root/etc
    echo content > root/dir/file; chmod 6751 root/dir/file
    head -c 700000 /dev/urandom > root/dir/large
    ln root/dir/file root/dir/sub/hard
    ln root/dir/file root/dir/zhard
    ln -s /etc/passwd root/dir/absolute; ln -s ../nowhere root/dir/dangling
    ln root/dir/dangling root/dir/dangling2
    mknod root/dir/null c 1 3; mknod root/dir/disk b 259 70000; mkfifo -m 600 root/dir/pipe
    chown -h 1000:1001 root/dir/absolute root/dir/large; chown 3000000000:2097152 root/dir/empty
    chmod 1777 root/dir/empty
    long=$(printf '%0150d' 0); mkdir "root/dir/$long"; echo x > "root/dir/$long/$long"
    ln -s "$long$long" root/dir/longlink
    printf 'umlaut' > root/dir/ümlaut; printf 'bytes' > "$(printf 'root/dir/\377\376 x\n')"
    : > root/dir/nothing
    setfattr -n user.note -v "$(printf 'line\n12 size=5\n')" root/dir/large
    setfattr -n user.onlyname root/dir/large
    setfattr -n security.capability -v 0x01000002000a0a00000000000000000000000000 root/dir/large
    setfattr -n system.posix_acl_access -v 0x0200000001000600ffffffff02000400e803000004000400ffffffff10000600ffffffff20000400ffffffff root/dir/nothing
    setfattr -n system.posix_acl_default -v 0x0200000001000700ffffffff02000700e803000004000500ffffffff10000700ffffffff20000500ffffffff root/dir/sub
    setfattr -h -n trusted.note -v link root/dir/absolute
    echo inherited > root/dir/sub/inherits
    touch -d '2001-02-03 04:05:06.7' root/dir/large; touch -d '1969-12-31 23:59:58.25' root/dir/nothing
    touch -d '2400-01-01' root/dir/ümlaut; touch -h -d '2010-01-01 00:00:00.000000001' root/dir/absolute
    touch -d '2002-02-02 02:02:02.5' root/dir/sub root/dir/empty
"#;

fn everything() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    shell(dir.path(), EVERYTHING);
    fs::create_dir(dir.path().join("out")).unwrap();
    dir
}

#[test]
fn what_is_copied_out_is_what_gnu_tar_unpacks() {
    let dir = everything();
    let bytes = archive(&dir.path().join("root"), "/dir/.");
    unpack(&dir.path().join("out"), &bytes, &[]);
    same(&dir.path().join("root/dir"), &dir.path().join("out"));
    assert_eq!(
        bytes,
        archive(&dir.path().join("root"), "/dir/."),
        "the order never changes"
    );
}

#[test]
fn what_gnu_tar_packs_is_copied_in() {
    let dir = everything();
    let out = dir.path().join("out");
    let packed = pack(
        &dir.path().join("root/dir"),
        &["--format=posix", "--xattrs", "--xattrs-include=*"],
    );
    extract(dir.path(), "/out", &packed).ok();
    // GNU tar keeps a time before 1970 and all others in records.
    same(&dir.path().join("root/dir"), &out);

    // Twice is the same: everything is replaced.
    extract(dir.path(), "/out", &packed).ok();
    same(&dir.path().join("root/dir"), &out);
}

#[test]
fn the_formats_of_older_tars_are_read() {
    let dir = everything();
    shell(
        dir.path(),
        "mkdir old; cp -r root/dir/0* old/; cp root/dir/file old/; ln -s x old/link; touch -d 2001-01-01 old/file
         cp root/dir/longlink -P old/",
    );
    for (format, link) in [("gnu", true), ("oldgnu", true), ("ustar", false), ("v7", false)] {
        if !link {
            shell(dir.path(), "rm -rf old/0* old/longlink");
        }
        shell(
            dir.path(),
            "rm -rf out; mkdir out; find old -exec touch -h -d 2001-01-01 {} +",
        );
        let packed = pack(&dir.path().join("old"), &[&format!("--format={format}")]);
        extract(dir.path(), "/out", &packed).ok();
        same(&dir.path().join("old"), &dir.path().join("out"));
    }
}

#[test]
fn what_is_copied_out_can_be_copied_in() {
    let dir = everything();
    let bytes = archive(&dir.path().join("root"), "/dir");
    extract(dir.path(), "/out", &bytes).ok();
    same(&dir.path().join("root/dir"), &dir.path().join("out/dir"));
}

#[test]
fn an_export_has_names_without_a_prefix() {
    let dir = everything();
    let bytes = run("export", &json!({"root": dir.path().join("root")}), b"").ok();
    let found = names(&bytes);
    assert_eq!(found.first().unwrap(), "dir/");
    assert_eq!(found.last().unwrap(), "etc/");
    unpack(&dir.path().join("out"), &bytes, &[]);
    same(&dir.path().join("root"), &dir.path().join("out"));
}

#[test]
fn names_in_an_archive_begin_with_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    shell(
        dir.path(),
        "mkdir -p a/b; echo x > a/b/f; ln -s /a/b link; ln -s ../../../../a/b/f a/up; ln -s nowhere dangling",
    );
    let ask = |path: &str, follow: bool| {
        names(
            &run(
                "archive",
                &json!({"root": dir.path(), "path": path, "follow": follow}),
                b"",
            )
            .ok(),
        )
    };
    assert_eq!(ask("/a/b", false), ["b/", "b/f"]);
    assert_eq!(ask("/a/b/", false), ["b/", "b/f"]);
    assert_eq!(ask("a/b/.", false), ["./", "./f"]);
    assert_eq!(ask("/a/b/f", false), ["f"]);
    assert_eq!(ask("/link", false), ["link"]);
    assert_eq!(ask("/link", true), ["link/", "link/f"]);
    assert_eq!(ask("/link/", false), ["link/", "link/f"]);
    assert_eq!(ask("/link/.", false), ["./", "./f"]);
    assert_eq!(ask("/link/f", false), ["f"]);
    assert_eq!(ask("/a/up", true), ["up"]);
    assert_eq!(ask("/../../a/b", false), ["b/", "b/f"]);
    assert_eq!(ask("/", false)[..3], ["./", "./a/", "./a/b/"]);
    for (path, follow) in [("/none", false), ("/a/none/x", false), ("/dangling", true)] {
        let done = run(
            "archive",
            &json!({"root": dir.path(), "path": path, "follow": follow}),
            b"",
        );
        assert_eq!(done.failure(), "NOT_FOUND", "{path}");
        assert_eq!(done.output, b"");
    }
}

fn stat(root: &std::path::Path, path: &str) -> Value {
    serde_json::from_slice(&run("stat", &json!({"root": root, "path": path}), b"").ok()).unwrap()
}

#[test]
fn a_path_is_described_as_docker_does() {
    let dir = tempfile::tempdir().unwrap();
    shell(
        dir.path(),
        "mkdir -p a/b; printf 12345 > a/f; chmod 4755 a/f; touch -d '2020-01-02T03:04:05.5Z' a/f; mkfifo p; chmod 600 p
         ln -s ../../../a/../a/b a/link; ln -s /a/link/deeper/none two; ln -s loop loop; chmod 1777 a/b; mknod n c 1 3",
    );
    assert_eq!(
        stat(dir.path(), "/a/f"),
        json!({"name": "f", "size": 5, "mode": 0o755 | 1 << 23, "mtime": "2020-01-02T03:04:05.5Z", "linkTarget": "",
            "kind": "file"})
    );
    let parts = |path: &str| {
        let found = stat(dir.path(), path);
        let text = |name: &str| found[name].as_str().unwrap().to_owned();
        (
            text("name"),
            text("kind"),
            text("linkTarget"),
            found["mode"].as_u64().unwrap() >> 9 << 9,
        )
    };
    let expected = |name: &str, kind: &str, target: &str, bits: u64| {
        (name.to_owned(), kind.to_owned(), target.to_owned(), bits)
    };
    assert_eq!(parts("/"), expected("/", "directory", "", 1 << 31));
    assert_eq!(parts("/a/b/"), expected("b", "directory", "", 1 << 31 | 1 << 20));
    assert_eq!(parts("/a/link"), expected("link", "symlink", "/a/b", 1 << 27));
    assert_eq!(
        parts("/a/link/"),
        expected("link", "directory", "", 1 << 31 | 1 << 20)
    );
    assert_eq!(
        parts("/two"),
        expected("two", "symlink", "/a/b/deeper/none", 1 << 27)
    );
    assert_eq!(parts("/p"), expected("p", "fifo", "", 1 << 25));
    assert_eq!(
        parts("/n"),
        expected("n", "character-device", "", 1 << 26 | 1 << 21)
    );
    for (path, code) in [
        ("/none", "NOT_FOUND"),
        ("/a/f/x", "FAILED_PRECONDITION"),
        ("/a/f/.", "FAILED_PRECONDITION"),
        ("/loop", "FAILED_PRECONDITION"),
        ("", "INVALID_ARGUMENT"),
    ] {
        assert_eq!(
            run("stat", &json!({"root": dir.path(), "path": path}), b"").failure(),
            code,
            "{path}"
        );
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let ended = {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    for (verb, request, code) in [
        ("stat", json!({"path": "/"}), "INVALID_ARGUMENT"),
        (
            "stat",
            json!({"root": "/", "pid": 1, "path": "/"}),
            "INVALID_ARGUMENT",
        ),
        (
            "stat",
            json!({"root": "relative", "path": "/"}),
            "INVALID_ARGUMENT",
        ),
        ("stat", json!([]), "INVALID_ARGUMENT"),
        ("nothing", json!({"root": "/"}), "INVALID_ARGUMENT"),
        ("stat", json!({"root": "/no/such/root", "path": "/"}), "NOT_FOUND"),
        ("stat", json!({"pid": ended, "path": "/"}), "FAILED_PRECONDITION"),
        ("layer", json!({"upper": "/no/such", "lower": []}), "NOT_FOUND"),
    ] {
        assert_eq!(run(verb, &request, b"").failure(), code, "{verb} {request}");
    }
}

#[test]
fn everything_copied_in_belongs_to_whom_the_host_says() {
    let dir = everything();
    let bytes = archive(&dir.path().join("root"), "/dir");
    let request = json!({"root": dir.path(), "path": "/out", "owner": {"uid": 7, "gid": 8}});
    run("extract", &request, &bytes).ok();
    shell(
        dir.path(),
        "test -z \"$(find out/dir ! -uid 7 -o ! -gid 8)\"; test -u out/dir/file",
    );
}

#[test]
fn missing_directories_are_made_and_present_ones_take_the_facts_of_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    shell(
        dir.path(),
        "mkdir -p in/x/y root/there root/dest/x; chmod 700 in/x; echo new > in/x/y/f; echo old > root/dest/x/keep
         chmod 755 root/dest root/dest/x; ln -s ../there root/dest/to",
    );
    let packed = crate::kit::program(&dir.path().join("in"), &["tar", "-c", "-f", "-", "x/y/f"], b"");
    let root = dir.path().join("root");
    extract(&root, "/dest", &packed).ok();
    assert_eq!(fs::read_to_string(root.join("dest/x/y/f")).unwrap(), "new\n");
    assert_eq!(root.join("dest/x/y").metadata().unwrap().mode() & 0o7777, 0o755);

    let root_time = root.join("dest").metadata().unwrap().mode();
    extract(&root, "/dest", &pack(&dir.path().join("in"), &[])).ok();
    assert_eq!(root.join("dest/x").metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_to_string(root.join("dest/x/keep")).unwrap(), "old\n");
    assert_eq!(root.join("dest").metadata().unwrap().mode(), root_time);

    // The destination may be a link, and is one in the container's eyes.
    symlink("/there", root.join("link")).unwrap();
    extract(&root, "/link", &packed).ok();
    assert!(root.join("there/x/y/f").is_file());
    for (path, code) in [
        ("/none", "NOT_FOUND"),
        ("/there/x/y/f", "INVALID_ARGUMENT"),
        ("/there/x/y/f/", "FAILED_PRECONDITION"),
    ] {
        assert_eq!(extract(&root, path, &packed).failure(), code, "{path}");
    }
}

#[test]
fn a_file_does_not_take_the_place_of_a_directory_unless_the_host_says_so() {
    let dir = tempfile::tempdir().unwrap();
    shell(
        dir.path(),
        "mkdir -p in root/name/deep/er; echo file > in/name; echo x > root/name/deep/er/f; mkdir -p in2/name
         echo inner > in2/name/inner",
    );
    let root = dir.path().join("root");
    let (file, directory) = (
        pack(&dir.path().join("in"), &[]),
        pack(&dir.path().join("in2"), &[]),
    );
    let force = |bytes: &[u8]| {
        let request = json!({"root": root, "path": "/", "owner": null, "overwrite_dir_with_file": true});
        run("extract", &request, bytes)
    };
    assert_eq!(extract(&root, "/", &file).failure(), "FAILED_PRECONDITION");
    assert!(root.join("name/deep/er/f").is_file());
    force(&file).ok();
    assert_eq!(fs::read_to_string(root.join("name")).unwrap(), "file\n");
    assert_eq!(extract(&root, "/", &directory).failure(), "FAILED_PRECONDITION");
    force(&directory).ok();
    assert_eq!(fs::read_to_string(root.join("name/inner")).unwrap(), "inner\n");

    // A mount is not the container's to lose.
    let memory = Memory::mount(&root.join("name"));
    fs::write(root.join("name/kept"), "").unwrap();
    assert_eq!(force(&file).failure(), "FAILED_PRECONDITION");
    assert!(root.join("name/kept").is_file());
    drop(memory);
}

#[test]
fn mounts_are_copied_with_a_path_and_left_out_of_an_export() {
    let dir = tempfile::tempdir().unwrap();
    shell(
        dir.path(),
        "mkdir -p proc volume sys; echo own > file; echo hosts > hosts",
    );
    let _memory = Memory::mount(&dir.path().join("volume"));
    fs::write(dir.path().join("volume/inside"), "x").unwrap();
    let none: Option<&str> = None;
    let proc = dir.path().join("proc");
    nix::mount::mount(
        Some("proc"),
        &proc,
        Some("proc"),
        nix::mount::MsFlags::empty(),
        none,
    )
    .unwrap();
    let hosts = dir.path().join("hosts");
    let source = dir.path().join("volume/inside");
    nix::mount::mount(Some(&source), &hosts, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    let copied = names(&archive(dir.path(), "/."));
    let exported = run("export", &json!({"root": dir.path()}), b"").ok();
    let kernel = run(
        "archive",
        &json!({"root": dir.path(), "path": "/proc/cpuinfo"}),
        b"",
    );
    nix::mount::umount(&hosts).unwrap();
    nix::mount::umount(&proc).unwrap();
    assert_eq!(
        copied,
        [
            "./",
            "./file",
            "./hosts",
            "./proc/",
            "./sys/",
            "./volume/",
            "./volume/inside"
        ]
    );
    assert_eq!(names(&exported), ["file", "hosts", "proc/", "sys/", "volume/"]);
    assert_eq!(kernel.failure(), "FAILED_PRECONDITION");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let dir = everything();
    let request = json!({"root": dir.path().join("root"), "path": "/", "follow": false});
    let mut child = command("archive", &request)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 100];
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut first).unwrap();
    drop(output);
    let done = child.wait_with_output().unwrap();
    assert_eq!(
        (done.status.code(), done.stderr.as_slice()),
        (Some(141), &b""[..])
    );
}

#[test]
fn a_tree_as_deep_as_names_go_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    shell(
        dir.path(),
        "mkdir root out; cd -P root; i=0; while [ $i -lt 1900 ]; do mkdir d; cd -P d; i=$((i+1)); done; echo x > f",
    );
    let bytes = archive(&dir.path().join("root"), "/d");
    extract(dir.path(), "/out", &bytes).ok();
    let again = archive(&dir.path().join("out"), "/d");
    assert!(bytes == again, "the copy of the copy differs");
}
