//! Faults of Windows' own layer store, ordered call by call: users are told, others are not disturbed, nothing is left.
//!
//! Run by `scripts/test wine`, over the doubles of the DLLs; see `tests/doubles/layerstore` for the orders.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use tests::wait;
use tests::windows::{pushed, windows_image};
use tests::wine::WineDaemon;

/// Names of the directories that layers or scratches have.
fn kept(daemon: &WineDaemon, what: &str) -> Vec<String> {
    let folder = daemon.folder().join("root/windows").join(what);
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_layer_that_windows_refuses_is_told_and_leaves_nothing() {
    let daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    for (order, told) in [
        ("ProcessBaseImage=80070005", "0x80070005"),
        ("HcsImportLayer=80070003", "0x80070003"),
        ("HcsImportLayer=80070070", "0x80070070"),
        ("HcsImportLayer=late:80004005", "0x80004005"),
        ("NameToGuid=8007000E", "0x8007000E"),
    ] {
        daemon.order(order);
        let refused = daemon.cli(&["pull", &image]).code(1);
        assert!(refused.stderr.contains(told), "{order}: {}", refused.stderr);
        // Whole layers may stay, for the next attempt; half ones do not.
        for layer in kept(&daemon, "layers") {
            let record = daemon.folder().join("root/windows/layers").join(&layer);
            assert!(record.join("layer.json").exists(), "{order}: {layer}");
        }
    }
    daemon.order("");
    daemon.cli(&["pull", &image]).ok();
    assert_eq!(kept(&daemon, "layers").len(), 3);
    assert_eq!(
        daemon
            .cli(&["run", "--rm", &image, "probe", "read", "old.txt"])
            .ok(),
        "replaced"
    );
}

#[test]
fn a_scratch_that_windows_refuses_is_told_and_the_next_start_works() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    // Windows may be behind with a disk, or a killed process may have left it attached: that is nobody's concern.
    for order in [
        "PrepareLayer=80070015 x2",
        "GetLayerMountPath=8007048F x2",
        "ActivateLayer=80070020 x1",
    ] {
        daemon.order(order);
        let said = daemon
            .cli(&["run", "--rm", &image, "probe", "read", "old.txt"])
            .ok();
        assert_eq!(said, "replaced", "{order}");
    }
    for (order, told) in [
        ("CreateSandboxLayer=80370112", "0x80370112"),
        ("ActivateLayer=80070005", "0x80070005"),
        ("PrepareLayer=80070001", "0x80070001"),
        ("GetLayerMountPath=80004005", "0x80004005"),
    ] {
        daemon.order(order);
        let refused = daemon
            .cli(&["run", "--name", "one", &image, "probe", "read", "old.txt"])
            .code(125);
        assert!(refused.stderr.contains(told), "{order}: {}", refused.stderr);
        daemon.order("");
        // It was made, and its start was refused.
        let started = daemon.cli(&["start", "-a", "one"]).ok();
        assert_eq!(started, "replaced", "{order}");
        daemon.cli(&["rm", "one"]).ok();
    }
    assert_eq!(kept(&daemon, "scratch"), Vec::<String>::new());
}

#[test]
fn what_windows_does_not_remove_goes_with_the_next_start() {
    let mut daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    daemon
        .cli(&["run", "--name", "one", &image, "probe", "read", "old.txt"])
        .ok();
    daemon.order("HcsDestroyLayer=80070005");
    daemon.cli(&["rm", "one"]).ok();
    // It has lost its name, so nothing takes it for a scratch.
    let left = kept(&daemon, "scratch");
    assert!(left.len() == 1 && left[0].starts_with(".rm-"), "{left:?}");
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
    daemon.order("");
    daemon.restart();
    assert_eq!(kept(&daemon, "scratch"), Vec::<String>::new());
}

#[test]
fn a_call_that_hangs_holds_up_nobody_else() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    daemon
        .cli(&["run", "-d", "--name", "calm", &image, "probe", "control"])
        .ok();
    daemon
        .cli(&["create", "--name", "stuck", &image, "probe", "control"])
        .ok();
    daemon.order("PrepareLayer=hang");
    let mut starting = daemon.spawn(&["start", "stuck"]);
    wait::until("the call hangs", || {
        (daemon.calls("PrepareLayer") == 2).then_some(())
    });
    // A start waits for nobody's: the list, a process beside, a stop.
    assert!(daemon.cli(&["ps"]).ok().contains("calm"));
    assert_eq!(daemon.cli(&["exec", "calm", "probe", "exit", "5"]).status, 5);
    daemon.cli(&["stop", "-t", "1", "calm"]).ok();
    assert!(starting.runs(), "it hangs");
    daemon.order("");
    assert_eq!(starting.wait(), 0);
    daemon.cli(&["rm", "-f", "calm", "stuck"]).ok();
}

#[test]
fn a_commit_that_windows_refuses_is_told_and_the_container_is_as_it_was() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    daemon
        .cli(&[
            "run", "--name", "box", &image, "probe", "write", "note.txt", "kept",
        ])
        .ok();
    for (order, told) in [
        ("ExportLayer=80070005", "0x80070005"),
        ("ExportLayer=80070070", "0x80070070"),
        ("ExportLayer=late:80004005", "0x80004005"),
    ] {
        daemon.order(order);
        for words in [&["commit", "box", "made:1"][..], &["diff", "box"]] {
            let refused = daemon.cli(words).code(1);
            assert!(refused.stderr.contains(told), "{order}: {}", refused.stderr);
        }
        assert_eq!(kept(&daemon, "scratch").len(), 1, "{order}");
    }
    daemon.order("");
    let diff = daemon.cli(&["diff", "box"]).ok();
    assert_eq!(diff, "C C:\\app\nA C:\\app\\note.txt");
    daemon.cli(&["commit", "box", "made:1"]).ok();
    assert_eq!(
        daemon
            .cli(&["run", "--rm", "made:1", "probe", "read", "note.txt"])
            .ok(),
        "kept"
    );
}
