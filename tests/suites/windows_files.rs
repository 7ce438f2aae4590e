//! Files of Windows containers: what they write comes back through `diff`, `cp`, `export` and `commit`, and the committed
//! layer has what a Windows host needs, as Python's tarfile reads it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use tests::{BUSYBOX, Registry, TestDaemon, WINDOWS_TOOLS, images, layers};

/// Writes, replaces, deletes and makes directories, one program after another in one container.
fn changed(daemon: &TestDaemon, name: &str) {
    let image = images::pushed(WINDOWS_TOOLS);
    daemon
        .cli(["run", "-d", "--name", name, &image, "probe", "sleep", "600"])
        .ok();
    for command in [
        ["write", r"C:\work\new.txt", "written"],
        ["write", r"C:\docs\readme.txt", "third"],
        ["mkdir", r"C:\work\deep", ""],
        ["write", r"C:\work\deep\a.txt", "in a directory"],
        ["delete", r"C:\license.txt", ""],
    ] {
        let words: Vec<&str> = ["exec", name, "probe"]
            .into_iter()
            .chain(command.into_iter().filter(|word| !word.is_empty()))
            .collect();
        daemon.cli(words).ok();
    }
}

#[test]
fn what_a_container_wrote_and_deleted_comes_back_from_the_registry() {
    let daemon = TestDaemon::start();
    changed(&daemon, "box");
    let diff = daemon.cli(["diff", "box"]).ok();
    let mut lines: Vec<&str> = diff.lines().collect();
    lines.sort_unstable();
    for line in [
        r"A C:\work\deep",
        r"A C:\work\deep\a.txt",
        r"A C:\work\new.txt",
        r"D C:\license.txt",
    ] {
        assert!(lines.contains(&line), "{line} is not in {lines:#?}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.to_lowercase() == r"c c:\docs\readme.txt"),
        "{lines:#?}"
    );
    assert!(
        !lines
            .iter()
            .any(|line| line.to_lowercase().contains(r"c:\windows")),
        "what Wine does by itself is no change: {lines:#?}"
    );
    daemon.cli(["stop", "-t", "1", "box"]).ok();
    let name = Registry::shared().name("windows-changed:1");
    daemon.cli(["commit", "-m", "changes", "box", &name]).ok();
    daemon.cli(["push", &name]).ok();
    daemon.cli(["rm", "box"]).ok();
    let entries = layers::top(daemon.scratch(), &name, 4);
    carries_what_windows_needs(&entries);

    // Everything goes, and comes from the registry alone.
    let other = TestDaemon::start();
    let read = |path: &str| other.cli(["run", "--rm", &name, "probe", "read", path]);
    other.cli(["pull", "--platform", "windows/amd64", &name]).ok();
    assert_eq!(read(r"C:\work\new.txt").ok(), "written");
    assert_eq!(read(r"C:\work\deep\a.txt").ok(), "in a directory");
    assert_eq!(read(r"C:\docs\README.TXT").ok(), "third");
    assert_ne!(read(r"C:\license.txt").status, 0);
    assert_eq!(
        read(r"C:\license-again.txt").ok(),
        "Everybody may use this image.\r"
    );
}

fn carries_what_windows_needs(entries: &[Value]) {
    let named = |name: &str| {
        let found = entries.iter().find(|entry| {
            entry["name"]
                .as_str()
                .is_some_and(|known| known.eq_ignore_ascii_case(name))
        });
        found.unwrap_or_else(|| panic!("{name} is not in {entries:#?}"))
    };
    for (name, attributes) in [
        ("Files", 0x10),
        ("Files/work/deep", 0x10),
        ("Files/work/new.txt", 0x20),
        ("Files/docs/readme.txt", 0x20),
    ] {
        let entry = named(name);
        let given: u32 = entry["MSWINDOWS.fileattr"].as_str().unwrap().parse().unwrap();
        assert_eq!(given & 0x30, attributes, "{entry}");
        assert_eq!(
            entry["control"].as_u64().unwrap() & 0x8000,
            0x8000,
            "self-relative: {entry}"
        );
        assert!(entry["LIBARCHIVE.creationtime"].is_string(), "{entry}");
    }
    // A file that was replaced by its name keeps who may use it; the image's creation time was in 2019.
    assert_eq!(named("Files/.wh.license.txt")["size"], 0);
    assert_eq!(named("Hives")["type"], "5");
}

#[test]
fn copies_work_in_every_state() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    let file = daemon.scratch().join("given.txt");
    std::fs::write(&file, "given").unwrap();
    let file = file.to_str().unwrap();
    let out = daemon.scratch().join("out");
    let look = |name: &str, path: &str| {
        let target = out.to_str().unwrap();
        daemon.cli(["cp", "-q", &format!("{name}:{path}"), target]).ok();
        let text = std::fs::read_to_string(&out).unwrap();
        std::fs::remove_file(&out).unwrap();
        text
    };
    daemon
        .cli([
            "create",
            "--name",
            "made",
            &image,
            "probe",
            "read",
            r"C:\work\given.txt",
        ])
        .ok();
    daemon.cli(["cp", "-q", file, r"made:C:\work"]).ok();
    assert_eq!(look("made", r"c:\WORK\Given.txt"), "given");
    assert_eq!(daemon.cli(["start", "-a", "made"]).ok(), "given");
    assert_eq!(look("made", "/work/given.txt"), "given");

    daemon
        .cli(["run", "-d", "--name", "runs", &image, "probe", "sleep", "600"])
        .ok();
    daemon.cli(["cp", "-q", file, r"runs:C:\tools\other.txt"]).ok();
    let read = daemon.cli(["exec", "runs", "probe", "read", r"C:\tools\other.txt"]);
    assert_eq!(read.ok(), "given");
    daemon
        .cli(["exec", "runs", "probe", "write", r"C:\work\x.txt", "from inside"])
        .ok();
    assert_eq!(look("runs", r"C:\work\x.txt"), "from inside");
    let missing = daemon.cli(["cp", r"runs:C:\nothing", "-"]).code(1);
    assert!(
        missing.stderr.contains("Could not find the file"),
        "{}",
        missing.stderr
    );
    let outside = daemon.cli(["cp", "-q", r"runs:C:\..\..\..\etc\passwd", "-"]);
    assert_ne!(outside.status, 0);
    daemon.cli(["rm", "-f", "runs", "made"]).ok();
}

#[test]
fn an_export_holds_the_drive_and_images_of_both_systems_share_an_archive() {
    let daemon = TestDaemon::start();
    let (windows, linux) = (images::pushed(WINDOWS_TOOLS), images::pushed(BUSYBOX));
    daemon
        .cli(["create", "--name", "box", &windows, "probe", "cwd"])
        .ok();
    let archive = daemon.command(["export", "box"]).output().unwrap();
    assert!(archive.status.success());
    let mut archive = tar::Archive::new(&archive.stdout[..]);
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(
        names.iter().any(|name| name.ends_with("tools/ruff.exe")),
        "{names:?}"
    );
    daemon.cli(["rm", "box"]).ok();

    daemon.cli(["pull", &linux]).ok();
    let file = daemon.scratch().join("both.tar");
    let file = file.to_str().unwrap();
    daemon.cli(["save", "-o", file, &windows, &linux]).ok();
    let other = TestDaemon::start();
    other.cli(["load", "-i", file]).ok();
    assert_eq!(
        other.cli(["run", "--rm", &windows, "probe", "cwd"]).ok(),
        "C:\\work\r"
    );
    assert_eq!(other.cli(["run", "--rm", &linux, "echo", "hi"]).ok(), "hi");
    let inspected = other.cli(["image", "inspect", &windows]).ok();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected[0]["OsVersion"], "10.0.20348.2402");
    // One collector for both: nothing unpacked stays when nothing is left.
    other.cli(["rmi", "-f", &windows, &linux]).ok();
    for folder in ["windows/layers", "layers"] {
        let left = std::fs::read_dir(other.root().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}

#[test]
fn a_registry_change_is_told_when_it_cannot_be_committed() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    daemon
        .cli([
            "run",
            "--name",
            "box",
            &image,
            "reg",
            "add",
            r"HKLM\Software\Probe",
            "/v",
            "x",
            "/d",
            "1",
            "/f",
        ])
        .ok();
    let made = daemon.cli(["commit", "box", "made:1"]).code(0);
    assert!(made.stderr.contains("registry"), "{}", made.stderr);
    // The container itself keeps it.
    daemon.cli(["commit", "box", "made:2"]).code(0);
    daemon.cli(["rm", "box"]).ok();
}
