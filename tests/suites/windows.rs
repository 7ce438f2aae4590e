//! Windows containers on a Linux host, as a user types it: images of Windows from a registry, their programs under Wine.
//!
//! The image's programs are other people's (`ruff`, `ninja`, `shfmt`) and `tests/wine/probe.c`, which says one thing at a time.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Stdio;

use serde_json::Value;
use tests::terminal::Terminal;
use tests::{BUSYBOX, TestDaemon, WINDOWS_TOOLS, images, wait};

/// A container that runs until it is told to end.
fn sleeper(daemon: &TestDaemon, name: &str) {
    let image = images::pushed(WINDOWS_TOOLS);
    daemon
        .cli(["run", "-d", "--name", name, &image, "probe", "sleep", "600"])
        .ok();
}

fn inspect(daemon: &TestDaemon, name: &str) -> Value {
    let text = daemon.cli(["inspect", name]).ok();
    let list: Value = serde_json::from_str(&text).unwrap();
    list[0].clone()
}

#[test]
fn published_programs_run_from_an_image_of_three_layers() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    let run = |command: &[&str]| {
        let words = [
            &["run", "--rm", "--platform", "windows/amd64", image.as_str()],
            command,
        ]
        .concat();
        daemon.cli(words).ok()
    };
    assert!(run(&["ruff", "--version"]).starts_with("ruff 0."));
    assert!(run(&["ninja", "--version"]).starts_with("1."));
    assert!(run(&["shfmt", "--version"]).starts_with('v'));
    // The image's own command, and what the third layer replaced and deleted.
    let output = daemon.cli(["run", "--rm", &image]).code(0);
    assert_eq!(output.stdout, "to output\r\n");
    assert_eq!(output.stderr, "to errors\r\n");
    assert_eq!(run(&["probe", "read", r"C:\docs\readme.txt"]), "second\r");
    let names = run(&["probe", "list", r"C:\docs\*"]);
    let mut names: Vec<&str> = names.lines().map(|line| line.trim_end_matches('\r')).collect();
    names.sort_unstable();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().any(|name| name.eq_ignore_ascii_case("readme.txt")));
}

#[test]
fn exit_codes_of_32_bits_pass_through_and_are_shown_signed() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    daemon.cli(["run", "--rm", &image, "probe", "exit", "7"]).code(7);
    // A process of Linux has eight bits for it.
    daemon
        .cli(["run", "--name", "codes", &image, "probe", "exit", "0xC000013A"])
        .code(0x3A);
    let state = inspect(&daemon, "codes")["State"].clone();
    assert_eq!(state["ExitCode"], -1_073_741_510);
    let said = state["Error"].as_str().unwrap();
    assert!(
        said.contains("STATUS_CONTROL_C_EXIT") && said.contains("0xC000013A"),
        "{said}"
    );
    assert_eq!(daemon.cli(["wait", "codes"]).ok(), "-1073741510");
}

#[test]
fn a_missing_program_is_told_from_one_that_cannot_be_executed() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    let missing = daemon.cli(["run", "--rm", &image, "no-such-program"]).code(127);
    assert!(missing.stderr.contains("no-such-program"), "{}", missing.stderr);
    daemon
        .cli(["run", "--rm", &image, r"C:\docs\readme.txt"])
        .code(126);
    assert_eq!(daemon.cli(["ps", "-aq"]).ok(), "");
}

#[test]
fn options_shape_what_the_program_sees() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    let run = |options: &[&str], command: &[&str]| {
        let words = [&["run", "--rm"], options, &[image.as_str()], command].concat();
        daemon.cli(words).ok().trim_end_matches('\r').to_owned()
    };
    assert_eq!(run(&["-e", "Colour=red"], &["probe", "env", "COLOUR"]), "red");
    assert_eq!(run(&[], &["probe", "env", "colour"]), "blue");
    assert_eq!(run(&[], &["probe", "cwd"]), r"C:\work");
    assert_eq!(run(&["-w", r"C:\tools"], &["probe", "cwd"]), r"C:\tools");
    assert_eq!(run(&["-h", "winhost"], &["probe", "host"]), "winhost");
    // No other drive: the host's files have none.
    for path in [r"D:\*", r"Z:\*"] {
        let words = ["run", "--rm", &image, "probe", "list", path];
        assert_ne!(daemon.cli(words).status, 0, "{path}");
    }
    let hard = ["a b", r#"c"d"#, r"e\", "", r#"f\"g"#, "h&i|j", "%PATH%", "ä€"];
    let words = [&["probe", "args"], &hard[..]].concat();
    let said = run(&[], &words);
    let said: Vec<&str> = said.split("\r\n").collect();
    assert_eq!(said, hard);
}

#[test]
fn streams_are_byte_exact_and_end() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let mut command = daemon.command(["run", "-i", "--rm", &image, "probe", "cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &sent));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    assert!(
        output.stdout == bytes,
        "{} of {} bytes",
        output.stdout.len(),
        bytes.len()
    );
    // Without -i the program sees the end at once.
    assert_eq!(
        daemon
            .cli_with(["run", "--rm", &image, "probe", "cat"], b"ignored")
            .ok(),
        ""
    );
}

#[test]
fn both_systems_run_side_by_side_in_one_list() {
    let daemon = TestDaemon::start();
    let (windows, linux) = (images::pushed(WINDOWS_TOOLS), images::pushed(BUSYBOX));
    daemon.cli(["pull", &windows]).ok();
    daemon.cli(["pull", &linux]).ok();
    sleeper(&daemon, "win");
    daemon
        .cli(["run", "-d", "--name", "lin", &linux, "sleep", "600"])
        .ok();
    let list = daemon.cli(["ps", "--format", "{{.Names}} {{.State}}"]).ok();
    let mut list: Vec<&str> = list.lines().collect();
    list.sort_unstable();
    assert_eq!(list, ["lin running", "win running"]);
    let (win, lin) = (inspect(&daemon, "win"), inspect(&daemon, "lin"));
    assert_eq!(
        (&win["Platform"], &lin["Platform"]),
        (&"windows".into(), &"linux".into())
    );
    assert_eq!(win["Path"], "probe");
    daemon.cli(["rm", "-f", "win", "lin"]).ok();
}

#[test]
fn exec_runs_beside_the_first_program_and_logs_are_kept() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    daemon
        .cli(["run", "-d", "--name", "two", &image, "probe", "control"])
        .ok();
    wait::until("the program says it is ready", || {
        (daemon.cli(["logs", "two"]).ok() == "ready\r").then_some(())
    });
    assert_eq!(daemon.cli(["exec", "two", "probe", "cwd"]).ok(), "C:\\work\r");
    daemon
        .cli(["exec", "two", "probe", "exit", "300"])
        .code(300 & 0xff);
    daemon.cli(["exec", "two", "nothing-like-it"]).code(127);
    assert_eq!(
        daemon.cli_with(["exec", "-i", "two", "probe", "cat"], b"in").ok(),
        "in"
    );
    daemon.cli(["stop", "-t", "120", "two"]).ok();
    let logs = daemon.cli(["logs", "two"]).ok();
    assert!(logs.contains("CTRL_SHUTDOWN"), "{logs}");
    assert_eq!(inspect(&daemon, "two")["State"]["ExitCode"], 42);
}

#[test]
fn signals_of_windows_reach_the_program_and_kill_ends_its_children() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    for (signal, said) in [
        ("CTRLC", "CTRL_C"),
        ("CTRLBREAK", "CTRL_BREAK"),
        ("INT", "CTRL_C"),
    ] {
        daemon
            .cli(["run", "-d", "--name", "told", &image, "probe", "control"])
            .ok();
        wait::until("the program is ready", || {
            (daemon.cli(["logs", "told"]).ok() == "ready\r").then_some(())
        });
        daemon.cli(["kill", "--signal", signal, "told"]).ok();
        assert_eq!(daemon.cli(["wait", "told"]).ok(), "42", "{signal}");
        let logs = daemon.cli(["logs", "told"]).ok();
        assert!(logs.contains(said), "{signal}: {logs}");
        daemon.cli(["rm", "told"]).ok();
    }
    daemon
        .cli(["run", "-d", "--name", "tree", &image, "probe", "tree"])
        .ok();
    wait::until("the child runs", || {
        daemon
            .cli(["logs", "tree"])
            .ok()
            .starts_with("child ")
            .then_some(())
    });
    let bad = daemon.cli(["kill", "--signal", "USR1", "tree"]);
    assert!(
        bad.status != 0 && bad.stderr.contains("CTRLBREAK"),
        "{}",
        bad.stderr
    );
    daemon.cli(["kill", "tree"]).ok();
    daemon.cli(["wait", "tree"]).ok();
    daemon.cli(["rm", "tree"]).ok();
}

#[test]
fn a_terminal_has_the_size_of_the_client() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    daemon.cli(["pull", &image]).ok();
    let command = daemon.command(["run", "-it", "--rm", &image, "probe", "console"]);
    let mut terminal = Terminal::spawn(&command, 33, 111);
    terminal.expect("111x33");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn containers_outlive_the_daemon() {
    let mut daemon = TestDaemon::start();
    sleeper(&daemon, "lasting");
    daemon.kill();
    daemon.launch();
    assert_eq!(daemon.cli(["ps", "--format", "{{.Names}}"]).ok(), "lasting");
    assert_eq!(daemon.cli(["exec", "lasting", "probe", "cwd"]).ok(), "C:\\work\r");
    daemon.cli(["rm", "-f", "lasting"]).ok();
}

#[test]
fn limits_hold() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    let over = daemon.cli(["run", "--rm", "-m", "128m", &image, "probe", "memory", "400"]);
    assert!(over.status != 0 && !over.stdout.contains("touched"), "{over:?}");
    let refused = daemon
        .cli(["run", "--rm", "--cap-add", "SYS_ADMIN", &image, "probe", "cwd"])
        .code(125);
    assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);
    let refused = daemon
        .cli(["run", "--rm", "--isolation", "hyperv", &image, "probe", "cwd"])
        .code(125);
    assert!(refused.stderr.contains("Wine"), "{}", refused.stderr);
}

#[test]
fn directories_and_files_of_the_host_are_mounted() {
    let daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    let shared = daemon.scratch().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("in.txt"), "from the host").unwrap();
    let shared = shared.to_str().unwrap();
    let run = |options: &[&str], command: &[&str]| {
        let words = [&["run", "--rm"], options, &[image.as_str()], command].concat();
        daemon.cli(words)
    };
    let mount = format!(r"{shared}:C:\data");
    assert_eq!(
        run(&["-v", &mount], &["probe", "read", r"C:\Data\IN.txt"]).ok(),
        "from the host"
    );
    run(
        &["-v", &mount],
        &["probe", "write", r"C:\data\out.txt", "from Windows"],
    )
    .code(0);
    assert_eq!(
        std::fs::read_to_string(format!("{shared}/out.txt")).unwrap(),
        "from Windows"
    );
    let read_only = format!(r"{shared}:C:\data:ro");
    let refused = run(&["-v", &read_only], &["probe", "write", r"C:\data\no.txt", "x"]);
    assert_ne!(refused.status, 0);
    let drive = format!(r"{shared}:D:\");
    assert_eq!(
        run(&["-v", &drive], &["probe", "read", r"D:\in.txt"]).ok(),
        "from the host"
    );
    let file = format!(r"{shared}/in.txt:C:\one.txt");
    assert_eq!(
        run(&["-v", &file], &["probe", "read", r"C:\one.txt"]).ok(),
        "from the host"
    );
}

#[test]
fn a_daemon_that_is_killed_while_it_unpacks_leaves_whole_layers_or_none() {
    let mut daemon = TestDaemon::start();
    let image = images::pushed(WINDOWS_TOOLS);
    let layers = daemon.root().join("windows/layers");
    let listed = || std::fs::read_dir(&layers).map_or(0, Iterator::count);
    for at_least in [1, 2] {
        let mut pull = daemon
            .command(["pull", "-q", &image])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait::until("a layer begins", || (listed() >= at_least).then_some(()));
        daemon.kill();
        // It may have been faster.
        let _ = pull.wait().unwrap();
        daemon.launch();
        // It listens early, and answers when it has cleaned up.
        daemon.cli(["images", "-q"]).ok();
        let names = std::fs::read_dir(&layers).unwrap().flatten();
        for entry in names {
            let name = entry.file_name().into_string().unwrap();
            assert_eq!(name.len(), 64, "{name} is no layer");
            assert!(entry.path().join("layer.json").is_file(), "{name} is not whole");
        }
    }
    assert_eq!(
        daemon.cli(["run", "--rm", &image, "probe", "cwd"]).ok(),
        "C:\\work\r"
    );
}
