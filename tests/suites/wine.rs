//! The Windows programs under Wine: the daemon listens on its pipe, and images move between the registry, the store and
//! archives. What needs a compute service says that there is none.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use tests::images::{self, BUSYBOX};
use tests::wine::{WineDaemon, windows_path};

#[test]
fn the_windows_programs_pull_list_save_and_load_over_their_pipe() {
    let daemon = WineDaemon::start();
    let version = daemon.cli(&["version", "--format", "json"]).ok();
    let version: Value = serde_json::from_str(&version).unwrap();
    assert!(version.to_string().contains("windows"), "{version}");
    let info = daemon.cli(&["info"]).ok();
    assert!(info.contains("hcs") || info.contains("computecore"), "{info}");

    let image = images::pushed(BUSYBOX);
    daemon.cli(&["pull", "--platform", "linux/amd64", &image]).ok();
    let list = daemon.cli(&["images", "--format", "json"]).ok();
    assert!(list.contains("busybox"), "{list}");
    let file = daemon.folder().join("saved.tar");
    daemon.cli(&["save", "-o", &windows_path(&file), &image]).ok();
    daemon.cli(&["rmi", &image]).ok();
    assert_eq!(daemon.cli(&["images", "-q"]).ok(), "");
    daemon.cli(&["load", "-i", &windows_path(&file)]).ok();
    assert!(daemon.cli(&["images"]).ok().contains("busybox"));

    // What would need a compute service says so, and what to do.
    let run = daemon
        .cli(&["run", "--rm", "--platform", "linux/amd64", &image, "true"])
        .code(125);
    assert!(
        run.stderr.contains("Host Compute Service") || run.stderr.contains("computecore"),
        "{}",
        run.stderr
    );
    let missing = daemon.cli(&["inspect", "nothing"]).code(1);
    assert!(missing.stderr.contains("No such"), "{}", missing.stderr);
}
