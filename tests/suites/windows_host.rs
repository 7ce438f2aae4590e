//! Windows containers on Windows: the daemon and the CLI under Wine, over strict doubles of the DLLs of the container platform.
//!
//! Run by `scripts/test wine`, which makes the prefix with the doubles. A container of the double is a set of real processes
//! whose C: is a folder: programs of the tests name files by paths without a drive.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tests::images::{LayoutBuilder, tar_of};
use tests::wine::WineDaemon;
use tests::{Registry, programs};

/// The program of the images, compiled.
fn probe() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let program: PathBuf = folder.path().join("probe.exe");
    let status = Command::new("x86_64-w64-mingw32-gcc")
        .args(["-O1", "-municode", "-o"])
        .arg(&program)
        .arg(programs::repository().join("tests/wine/probe.c"))
        .status()
        .expect("this suite needs mingw: apt-get install gcc-mingw-w64-x86-64");
    assert!(status.success());
    std::fs::read(program).unwrap()
}

/// An image of three layers for the version of Windows that the daemon says it has.
fn pushed(daemon: &WineDaemon) -> String {
    let version: Value = serde_json::from_str(&daemon.cli(&["info", "--format", "json"]).ok()).unwrap();
    let version = version["OSVersion"].as_str().unwrap().to_owned();
    let layout = LayoutBuilder::new(&daemon.folder().join("layout"));
    let hives = ["SYSTEM", "SOFTWARE", "SAM", "SECURITY", "DEFAULT"];
    let hives: Vec<String> = hives
        .iter()
        .map(|hive| format!("Files/Windows/System32/config/{hive}"))
        .collect();
    let program = probe();
    let mut base: Vec<(&str, &[u8])> = hives.iter().map(|hive| (hive.as_str(), &b"regf"[..])).collect();
    base.extend([
        ("Files/app/probe.exe", &program[..]),
        ("Files/app/old.txt", b"of the base"),
        ("Files/app/gone.txt", b"to be deleted"),
        ("Files/app/dir/below.txt", b"below"),
    ]);
    let changes: &[(&str, &[u8])] = &[
        ("Files/app/new.txt", b"of the second layer"),
        ("Files/app/old.txt", b"replaced"),
        ("Files/app/.wh.gone.txt", b""),
    ];
    let more: &[(&str, &[u8])] = &[("Files/app/.wh.dir", b""), ("Files/more/last.txt", b"last")];
    let platform = json!({"os": "windows", "architecture": "amd64", "os.version": version});
    let config = json!({"Cmd": ["probe", "cat"], "WorkingDir": "C:\\app", "Env": ["FROM=image"]});
    let image = layout.image(
        &[tar_of(&base), tar_of(changes), tar_of(more)],
        &platform,
        &config,
    );
    let index = layout.index(&[(image, platform)]);
    layout.tag(&index, "1");
    Registry::shared().push_layout(layout.path(), "1", "windows-host:1")
}

#[test]
fn a_windows_image_is_pulled_and_its_programs_run() {
    let daemon = WineDaemon::with_doubles(&[]);
    let image = pushed(&daemon);
    daemon.cli(&["pull", &image]).ok();
    let run = |words: &[&str]| daemon.cli(&[&["run", "--rm", &image, "probe"], words].concat());
    assert_eq!(run(&["read", "old.txt"]).ok(), "replaced");
    assert_eq!(run(&["read", "new.txt"]).ok(), "of the second layer");
    assert_eq!(run(&["read", r"..\more\last.txt"]).ok(), "last");
    for gone in ["gone.txt", r"dir\below.txt"] {
        assert!(
            run(&["read", gone]).code(1).stderr.contains("open: error"),
            "{gone}"
        );
    }
    assert_eq!(run(&["env", "FROM"]).ok().trim_end(), "image");
    assert_eq!(run(&["exit", "7"]).status, 7);
    let both = run(&["both"]);
    assert_eq!(
        (both.stdout.trim(), both.stderr.trim()),
        ("to output", "to errors")
    );
    let missing = daemon.cli(&["run", "--rm", &image, "no-such-program"]).code(127);
    assert!(missing.stderr.contains("0x80070002"), "{}", missing.stderr);
    // Nothing is left of any of them.
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
    daemon.cli(&["rmi", &image]).ok();
    assert_eq!(daemon.cli(&["images", "-q"]).ok(), "");
}

#[test]
fn containers_run_beside_each_other_and_end_when_they_are_told() {
    let daemon = WineDaemon::with_doubles(&[]);
    let image = pushed(&daemon);
    let id = daemon
        .cli(&["run", "-d", "--name", "sleeper", &image, "probe", "control"])
        .ok();
    assert_eq!(id.len(), 64, "{id}");
    let list = daemon.cli(&["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    assert!(list.starts_with("sleeper Up"), "{list}");
    let inspect: Value = serde_json::from_str(&daemon.cli(&["inspect", "sleeper"]).ok()).unwrap();
    assert_eq!(inspect[0]["Platform"], "windows");
    assert_eq!(inspect[0]["State"]["Running"], true);

    // What a program writes, another one in the same container reads, and nobody elsewhere.
    daemon
        .cli(&["exec", "sleeper", "probe", "write", "note.txt", "kept"])
        .ok();
    assert_eq!(
        daemon.cli(&["exec", "sleeper", "probe", "read", "note.txt"]).ok(),
        "kept"
    );
    assert_eq!(daemon.cli(&["exec", "sleeper", "probe", "exit", "9"]).status, 9);
    daemon
        .cli(&["run", "--rm", &image, "probe", "read", "note.txt"])
        .code(1);

    daemon.cli(&["kill", "sleeper"]).ok();
    let inspect: Value = serde_json::from_str(&daemon.cli(&["inspect", "sleeper"]).ok()).unwrap();
    assert_eq!(inspect[0]["State"]["Running"], false);

    // The files of a stopped container are there when it starts again.
    daemon.cli(&["start", "sleeper"]).ok();
    assert_eq!(
        daemon.cli(&["exec", "sleeper", "probe", "read", "note.txt"]).ok(),
        "kept"
    );
    daemon.cli(&["stop", "-t", "1", "sleeper"]).ok();
    daemon.cli(&["rm", "sleeper"]).ok();
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn a_container_outlives_the_daemon_and_its_output_is_kept() {
    let mut daemon = WineDaemon::with_doubles(&[]);
    let image = pushed(&daemon);
    daemon
        .cli(&["run", "-d", "--name", "keeper", &image, "probe", "control"])
        .ok();
    daemon.restart();
    let list = daemon.cli(&["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    assert!(list.starts_with("keeper Up"), "{list}");
    assert_eq!(daemon.cli(&["exec", "keeper", "probe", "exit", "3"]).status, 3);
    let logs = daemon.cli(&["logs", "keeper"]).ok();
    assert_eq!(logs.trim_end(), "ready");
    daemon.cli(&["rm", "-f", "keeper"]).ok();
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}
