//! Attaching to containers: output, input, the keys that leave, and whose exit code it is.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tests::terminal::Terminal;
use tests::{BUSYBOX, TestDaemon, images};

/// What leaves a container: ctrl-p, ctrl-q.
const DETACH: &str = "\x10\x11";

#[test]
fn attach_shows_what_is_said_from_now_on_and_ends_with_the_container() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli([
            "run",
            "-d",
            "--name",
            "box",
            &image,
            "sh",
            "-c",
            "until [ -e /end ]; do echo out; echo err >&2; sleep 0.1; done; exit 6",
        ])
        .ok();
    let mut child = daemon
        .command(["attach", "--no-stdin", "box"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(out.next().unwrap().unwrap(), "out");
    assert_eq!(err.next().unwrap().unwrap(), "err");
    daemon.cli(["exec", "box", "touch", "/end"]).ok();
    assert!(out.all(|line| line.unwrap() == "out"));
    assert!(err.all(|line| line.unwrap() == "err"));
    assert_eq!(child.wait().unwrap().code(), Some(6), "the container's exit code");
}

#[test]
fn what_is_typed_reaches_the_container() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let script = "read line; echo got $line; exit 5";
    daemon
        .cli(["run", "-di", "--name", "box", &image, "sh", "-c", script])
        .ok();
    let output = daemon.cli_with(["attach", "box"], b"hello\n").code(5);
    assert_eq!(output.stdout, "got hello\n");
    // The same by start, which misses nothing.
    daemon
        .cli(["create", "-i", "--name", "other", &image, "sh", "-c", script])
        .ok();
    let output = daemon.cli_with(["start", "-ai", "other"], b"again\n").code(5);
    assert_eq!(output.stdout, "got again\n");
}

#[test]
fn signals_reach_the_container_through_attach() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let script = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    daemon
        .cli(["create", "--name", "box", &image, "sh", "-c", script])
        .ok();
    let mut child = daemon
        .command(["start", "-a", "box"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "bye");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn the_detach_keys_leave_and_one_can_come_back() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["run", "-dit", "--name", "box", &image, "sh"]).ok();
    let mut terminal = Terminal::spawn(&daemon.command(["attach", "box"]), 24, 80);
    terminal.type_in("echo one$((1+1))\n");
    terminal.expect("one2");
    terminal.type_in(DETACH);
    assert_eq!(terminal.exit_code(), 0, "leaving is no failure");
    assert_eq!(daemon.cli(["ps", "--format", "{{.Names}}"]).ok(), "box");
    // Other keys, when asked for; then the usual ones are keys like any other.
    let again = daemon.command(["attach", "--detach-keys", "ctrl-x,y", "box"]);
    let mut terminal = Terminal::spawn(&again, 24, 80);
    terminal.type_in("echo two$((1+2))\n");
    terminal.expect("two3");
    terminal.type_in("\x18y");
    assert_eq!(terminal.exit_code(), 0);
    let mut terminal = Terminal::spawn(&daemon.command(["attach", "box"]), 24, 80);
    terminal.type_in("exit 3\n");
    assert_eq!(terminal.exit_code(), 3, "the exit code of the shell");
    // By start as by attach.
    let mut terminal = Terminal::spawn(&daemon.command(["start", "-ai", "box"]), 24, 80);
    terminal.type_in("echo three$((1+3))\n");
    terminal.expect("three4");
    terminal.type_in(DETACH);
    assert_eq!(terminal.exit_code(), 0);
    assert_eq!(daemon.cli(["ps", "--format", "{{.Names}}"]).ok(), "box");
}

#[test]
fn only_what_runs_can_be_attached_to() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["create", "--name", "box", &image, "true"]).ok();
    let refused = daemon.cli(["attach", "box"]).code(1);
    assert!(refused.stderr.contains("stopped container"), "{}", refused.stderr);
    assert!(refused.stderr.contains("start -a box"), "{}", refused.stderr);
    daemon.cli(["attach", "nobody"]).code(1);
    // A terminal cannot be taken over from a pipe.
    daemon.cli(["run", "-dit", "--name", "shell", &image, "sh"]).ok();
    let refused = daemon.cli_with(["attach", "shell"], b"exit\n").code(1);
    assert!(refused.stderr.contains("not a TTY"), "{}", refused.stderr);
}
