//! Our host side with Microsoft's agent, unchanged, in a shared virtual machine: what a user does with containers there.
//!
//! The initrds come from whoever runs this (`./scripts/test stock`). Two generations of the agent: the newer keeps containers in
//! version 2 of control groups, the older insists on version 1.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use tests::terminal::Terminal;
use tests::{BUSYBOX, TestDaemon, images, programs, wait};

const NEWER: &str = "newer.img";
const OLDER: &str = "older.img";

fn state(daemon: &TestDaemon, name: &str) -> Value {
    let text = daemon.cli(["inspect", name]).ok();
    let mut documents: Value = serde_json::from_str(&text).unwrap();
    documents[0]["State"].take()
}

#[test]
fn containers_live_and_die_under_microsofts_agent() {
    let daemon = TestDaemon::start_with_initrd(&programs::stock_initrd(NEWER));
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    let script = "echo out; echo err >&2; exit 7";
    let output = daemon.cli(["run", "--rm", &image, "sh", "-c", script]).code(7);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    let echoed = daemon.cli_with(["run", "-i", "--rm", &image, "cat"], b"from stdin\n");
    assert_eq!(echoed.ok(), "from stdin");
    let missing = daemon.cli(["run", "--rm", &image, "/no/such/program"]);
    assert!(matches!(missing.status, 125..=127), "{missing:?}");
    let log = daemon.log();
    assert!(
        log.contains("GCS started"),
        "this is not Microsoft's agent: {log}"
    );
    // A failure leaves nothing that is in the way of the next one.
    assert_eq!(daemon.cli(["run", "--rm", &image, "echo", "again"]).ok(), "again");

    let script = "trap 'echo told; exit 3' USR1; echo ready; while :; do sleep 0.1; done";
    for name in ["one", "two"] {
        daemon
            .cli(["run", "-d", "--name", name, &image, "sh", "-c", script])
            .ok();
    }
    for name in ["one", "two"] {
        wait::until("it runs", || {
            daemon.cli(["logs", name]).ok().contains("ready").then_some(())
        });
        assert_eq!(daemon.cli(["exec", name, "sh", "-c", "hostname"]).ok().len(), 12);
    }
    daemon.cli(["exec", "one", "sh", "-c", "exit 9"]).code(9);
    let fed = daemon.cli_with(["exec", "-i", "one", "wc", "-c"], &[b'x'; 100_000]);
    assert_eq!(fed.ok().trim(), "100000");
    daemon.cli(["exec", "one", "touch", "/only-here"]).ok();
    daemon.cli(["exec", "two", "ls", "/only-here"]).code(1);

    daemon.cli(["kill", "-s", "USR1", "one"]).ok();
    wait::until("it ends", || {
        (state(&daemon, "one")["Status"] == "exited").then_some(())
    });
    assert_eq!(state(&daemon, "one")["ExitCode"], 3);
    assert!(daemon.cli(["logs", "one"]).ok().ends_with("told"));
    // The other one does not mind, and the first one can be started again.
    assert_eq!(daemon.cli(["exec", "two", "echo", "here"]).ok(), "here");
    daemon.cli(["start", "one"]).ok();
    daemon.cli(["exec", "one", "ls", "/only-here"]).ok();
    daemon.cli(["stop", "-t", "1", "one"]).ok();
    assert_eq!(state(&daemon, "one")["ExitCode"], 137);
    daemon.cli(["rm", "one"]).ok();
    daemon.cli(["rm", "-f", "two"]).ok();
    assert_eq!(daemon.cli(["ps", "-aq"]).ok(), "");
}

#[test]
fn terminals_and_shared_directories_work_under_microsofts_agent() {
    let daemon = TestDaemon::start_with_initrd(&programs::stock_initrd(NEWER));
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    let command = daemon.command(["run", "-it", "--rm", &image, "sh"]);
    let mut terminal = Terminal::spawn(&command, 33, 99);
    terminal.type_in("stty size\n");
    terminal.expect("33 99");
    terminal.resize(40, 120);
    terminal.type_in("until [ \"$(stty size)\" = '40 120' ]; do sleep 0.1; done; echo re''sized\n");
    terminal.expect("resized");
    terminal.type_in("exit 4\n");
    assert_eq!(terminal.exit_code(), 4);

    let shared = daemon.scratch().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("greeting"), "hello\n").unwrap();
    let binding = format!("{}:/mnt", shared.display());
    let script = "cat /mnt/greeting; echo answer > /mnt/answer";
    let said = daemon.cli(["run", "--rm", "-v", &binding, &image, "sh", "-c", script]);
    assert_eq!(said.ok(), "hello");
    assert_eq!(
        std::fs::read_to_string(shared.join("answer")).unwrap(),
        "answer\n"
    );
    let file = format!("{}/greeting:/etc/greeting:ro", shared.display());
    let script = "cat /etc/greeting; ! echo no > /etc/greeting";
    let said = daemon.cli(["run", "--rm", "-v", &file, &image, "sh", "-c", script]);
    assert_eq!(said.ok(), "hello");
}

#[test]
fn limits_and_an_older_agent_work_too() {
    let daemon = TestDaemon::start_with_initrd(&programs::stock_initrd(OLDER));
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes; exit 7";
    let output = daemon
        .cli(["run", "--rm", "-m", "64m", &image, "sh", "-c", script])
        .code(7);
    assert_eq!(output.stdout, "67108864\n");
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sleep", "1000"])
        .ok();
    assert_eq!(daemon.cli(["exec", "box", "echo", "here"]).ok(), "here");
    daemon.cli(["kill", "box"]).ok();
    wait::until("it ends", || {
        (state(&daemon, "box")["Status"] == "exited").then_some(())
    });
    assert_eq!(state(&daemon, "box")["ExitCode"], 137);
}

#[test]
fn files_are_refused_under_an_agent_without_tools_and_the_reason_is_told() {
    let daemon = TestDaemon::start_with_initrd(&programs::stock_initrd(NEWER));
    let image = images::pushed(BUSYBOX);
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sleep", "1000"])
        .ok();
    daemon.cli(["create", "--name", "fresh", &image]).ok();
    for arguments in [
        &["cp", "box:/etc/passwd", "-"][..],
        &["cp", "fresh:/etc/passwd", "-"],
        &["diff", "box"],
        &["export", "box"],
        &["commit", "fresh"],
    ] {
        let refused = daemon.cli(arguments).code(1);
        assert!(
            refused.stderr.contains("no file tools") && refused.stderr.contains("hint:"),
            "{arguments:?}: {}",
            refused.stderr
        );
    }
    // Nothing of it is in the way.
    daemon.cli(["start", "fresh"]).ok();
    assert_eq!(daemon.cli(["exec", "box", "echo", "here"]).ok(), "here");
}
