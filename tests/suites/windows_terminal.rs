//! Consoles on Windows: the CLI at a console of Wine, and containers at pseudo consoles, or at terminals of a guest.
//!
//! Run by `scripts/test wine`, as `windows_host` and `windows_linux` are. Each end of a program asserts that the console is as it was before.
//! Not shown, because consoles of Wine 8 do not have them: escape sequences of keys, and what a window makes of those of output.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use tests::windows::windows_image;
use tests::wine::WineDaemon;
use tests::{BUSYBOX, MachineHost, images};

/// What leaves a container: ctrl-p, ctrl-q.
const DETACH: &str = "\x10\x11";

#[test]
fn a_terminal_in_a_windows_container_echoes_and_has_its_size() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    let mut console = daemon.at_console(&["run", "-it", "--rm", &image, "probe", "keys"]);
    console.terminal.expect("size 2000x50;");
    assert!(console.modes().are_raw(), "{:?}", console.modes());
    console.terminal.type_in("a");
    console.terminal.expect("[61]");
    console.terminal.type_in("é");
    console.terminal.expect("[e9]");
    // New sizes are heard of, not looked for.
    for (columns, lines) in [(1900, 40), (1950, 60)] {
        console.resize(columns, lines);
        console.terminal.expect(&format!("size {columns}x{lines};"));
    }
    // Ctrl-C is the container's.
    console.interrupt();
    console.terminal.expect("CTRL_C");
    console.terminal.type_in("b");
    console.terminal.expect("[62]");
    console.terminal.type_in("!");
    assert_eq!(console.exit_code(), 9);
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn the_detach_keys_leave_and_one_can_come_back_to_a_windows_container() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    let mut console = daemon.at_console(&["run", "-it", "--name", "box", &image, "probe", "keys"]);
    console.terminal.expect("size 2000x50;");
    console.terminal.type_in(DETACH);
    assert_eq!(console.exit_code(), 0, "leaving is no failure");
    assert_eq!(daemon.cli(&["ps", "--format", "{{.Names}}"]).ok(), "box");

    // A second terminal in it, with a size of its own.
    let mut exec = daemon.at_console(&["exec", "-it", "box", "probe", "keys"]);
    exec.terminal.expect("size 2000x50;");
    exec.resize(1900, 30);
    exec.terminal.expect("size 1900x30;");
    exec.terminal.type_in("x!");
    exec.terminal.expect("[78]");
    assert_eq!(exec.exit_code(), 9);

    let mut console = daemon.at_console(&["attach", "box"]);
    console.terminal.type_in("c");
    console.terminal.expect("[63]");
    console.terminal.type_in("!");
    assert_eq!(console.exit_code(), 9, "the exit code of the program");
    let mut console = daemon.at_console(&["start", "-ai", "box"]);
    console.terminal.expect("size 2000x50;");
    console.terminal.type_in("!");
    assert_eq!(console.exit_code(), 9);
    daemon.cli(&["rm", "box"]).ok();
}

#[test]
fn what_ends_the_command_line_gives_the_console_back() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    let mut console = daemon.at_console(&["run", "-it", "--name", "box", &image, "probe", "keys"]);
    console.terminal.expect("size 2000x50;");
    assert!(console.modes().are_raw());
    console.send_break();
    assert_eq!(console.exit_code(), 143);
    // Whoever is at the console at the time is thrown out with the container.
    let mut console = daemon.at_console(&["attach", "box"]);
    console.terminal.type_in("d");
    console.terminal.expect("[64]");
    daemon.cli(&["kill", "box"]).ok();
    assert_ne!(console.exit_code(), 0);
    daemon.cli(&["rm", "box"]).ok();
}

#[test]
fn a_terminal_is_refused_where_there_is_no_console() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    let refused = daemon
        .cli(&["run", "-it", "--rm", &image, "probe", "keys"])
        .code(125);
    let text = "the input device is not a TTY";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
    assert!(refused.stderr.contains("leave out -t"), "{}", refused.stderr);
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
    // Without input it needs no console of the user's.
    let run = daemon.cli(&["run", "-t", "--rm", &image, "probe", "console"]);
    assert!(run.clone().code(0).stdout.contains("80x24"), "{run:?}");
    // Without a terminal there is nothing to resize, and both outputs are apart, at a console as elsewhere.
    let mut console = daemon.at_console(&["run", "--rm", &image, "probe", "both"]);
    console.terminal.expect("to output");
    assert_eq!(console.exit_code(), 0);
}

#[test]
fn a_terminal_in_a_linux_container_on_windows_is_that_of_the_guest() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let run = [
        "run",
        "-it",
        "--name",
        "box",
        "--platform",
        "linux/amd64",
        &image,
        "sh",
    ];
    let mut console = daemon.at_console(&run);
    console.terminal.type_in("stty size\r");
    console.terminal.expect("50 2000");
    console.resize(1900, 40);
    // The change travels on its own way, so it is asked for until it is there.
    console
        .terminal
        .type_in("until [ \"$(stty size)\" = '40 1900' ]; do sleep 0.1; done; echo now $((20+22))\r");
    console.terminal.expect("now 42");
    console.terminal.type_in("trap 'echo caught $((6*7))' INT\r");
    console.terminal.type_in("echo armed $((1+1))\r");
    console.terminal.expect("armed 2");
    console.interrupt();
    console.terminal.type_in("\r");
    console.terminal.expect("caught 42");
    console.terminal.type_in(DETACH);
    assert_eq!(console.exit_code(), 0);
    let console = daemon.at_console(&["exec", "-it", "box", "sh", "-c", "test -t 0 && exit 4"]);
    assert_eq!(console.exit_code(), 4);
    let mut console = daemon.at_console(&["attach", "box"]);
    console.terminal.type_in("exit 3\r");
    assert_eq!(console.exit_code(), 3);
    daemon.cli(&["rm", "box"]).ok();
}
