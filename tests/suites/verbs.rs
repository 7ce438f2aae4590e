//! Verbs of the command line that other suites only pass by: restart, rename, completion, following logs, wrong options.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use tests::{BUSYBOX, TestDaemon, images, wait};

fn inspect(daemon: &TestDaemon, name: &str) -> Value {
    let text = daemon.cli(["inspect", name]).ok();
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

/// Says in which run it is, and stays.
const RUNS: &str = "echo x >> /runs; echo run $(wc -l < /runs); exec sleep 1000";

/// How many directories the daemon watches.
fn watches(daemon: &TestDaemon) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    files
        .flatten()
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .filter(|link| link.to_string_lossy().contains("inotify"))
        .count()
}

/// `logs -f`, from the moment at which the daemon watches the log.
fn follow(daemon: &TestDaemon, name: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    wait::until("nobody follows", || (watches(daemon) == 0).then_some(()));
    let mut child = daemon
        .command(["logs", "-f", name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("the daemon watches the log", || {
        (watches(daemon) > 0).then_some(())
    });
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[test]
fn restart_begins_again_with_what_was_written() {
    let mut daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sh", "-c", RUNS])
        .ok();
    let logged = |text: &str| {
        wait::until("it has logged", || {
            (daemon.cli(["logs", "box"]).ok() == text).then_some(())
        });
    };
    logged("run 1");
    let before = inspect(&daemon, "box");
    assert_eq!(daemon.cli(["restart", "-t", "0", "box"]).ok(), "box");
    let after = inspect(&daemon, "box");
    assert_eq!(after["Id"], before["Id"]);
    assert_eq!(after["State"]["Status"], "running");
    assert_ne!(after["State"]["StartedAt"], before["State"]["StartedAt"]);
    logged("run 1\nrun 2");
    // One that does not run is started, and several are restarted at once.
    daemon.cli(["kill", "box"]).ok();
    assert_eq!(daemon.cli(["wait", "box"]).ok(), "137");
    daemon
        .cli(["create", "--name", "other", &image, "sleep", "1000"])
        .ok();
    assert_eq!(
        daemon.cli(["restart", "-t", "0", "box", "other"]).ok(),
        "box\nother"
    );
    for name in ["box", "other"] {
        assert_eq!(inspect(&daemon, name)["State"]["Status"], "running");
    }
    let missing = daemon.cli(["restart", "nobody"]).code(1);
    assert!(missing.stderr.contains("No such container"), "{}", missing.stderr);
    // What was restarted is what the next daemon finds.
    daemon.kill();
    daemon.launch();
    assert_eq!(inspect(&daemon, "box")["State"]["Status"], "running");
}

#[test]
fn a_container_that_removes_itself_survives_a_restart_and_not_a_stop() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli(["run", "-d", "--rm", "--name", "box", &image, "sh", "-c", RUNS])
        .ok();
    daemon.cli(["restart", "-t", "0", "box"]).ok();
    assert_eq!(inspect(&daemon, "box")["State"]["Status"], "running");
    daemon.cli(["stop", "-t", "0", "box"]).ok();
    wait::until("it is gone", || {
        daemon.cli(["ps", "-aq"]).ok().is_empty().then_some(())
    });
}

#[test]
fn rename_changes_the_name_and_nothing_else() {
    let mut daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let id = daemon
        .cli(["run", "-d", "--name", "old", &image, "sleep", "1000"])
        .ok();
    daemon.cli(["create", "--name", "taken", &image]).ok();
    daemon.cli(["rename", "old", "new"]).ok();
    assert_eq!(inspect(&daemon, "new")["Id"], id.as_str());
    daemon.cli(["exec", "new", "true"]).ok();
    daemon.cli(["inspect", "old"]).code(1);
    // The old name is free again; a taken one is refused, and so is what is no name.
    daemon.cli(["create", "--name", "old", &image]).ok();
    let taken = daemon.cli(["rename", "new", "taken"]).code(1);
    assert!(taken.stderr.contains("already in use"), "{}", taken.stderr);
    let bad = daemon.cli(["rename", "new", "not/a name"]).code(1);
    assert!(bad.stderr.contains("Invalid container name"), "{}", bad.stderr);
    daemon.cli(["rename", "nobody", "somebody"]).code(1);
    daemon.kill();
    daemon.launch();
    assert_eq!(inspect(&daemon, "new")["Id"], id.as_str());
    assert_eq!(inspect(&daemon, "new")["State"]["Status"], "running");
}

#[test]
fn networks_are_those_built_in_and_others_are_refused() {
    let mut daemon = TestDaemon::start();
    let list = ["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"];
    assert_eq!(daemon.cli(list).ok(), "host host local\nnone null local");
    let id = daemon.cli(["network", "inspect", "-f", "{{.Id}}", "host"]).ok();
    assert_eq!(id.len(), 64);
    for (words, code, says) in [
        (
            &["network", "create", "back"][..],
            1,
            "networks of users: not supported",
        ),
        (
            &["network", "rm", "host"],
            1,
            "host is a pre-defined network and cannot be removed",
        ),
        (&["network", "inspect", "back"], 1, "network back not found"),
        (
            &["network", "ls", "--filter", "colour=red"],
            1,
            "invalid filter 'colour'",
        ),
        (
            &["network", "ls", "--filter", "dangling=x"],
            1,
            "invalid filter 'dangling=x'",
        ),
    ] {
        let refused = daemon.cli(words.iter().copied()).code(code);
        assert!(refused.stderr.contains(says), "{words:?}: {}", refused.stderr);
    }
    let custom = ["network", "ls", "-q", "--filter", "type=custom"];
    assert_eq!(daemon.cli(custom).ok(), "");
    assert_eq!(daemon.cli(["network", "prune", "-f"]).ok(), "");
    daemon.kill();
    daemon.launch();
    let again = daemon
        .cli(["inspect", "--type", "network", "-f", "{{.Id}}", &id[..12]])
        .ok();
    assert_eq!(again, id);
    let pruned = daemon.cli(["system", "prune", "-f"]).ok();
    assert_eq!(pruned, "Total reclaimed space: 0B");
}

#[test]
fn logs_of_a_created_container_wait_for_its_start() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli([
            "create",
            "--name",
            "box",
            &image,
            "sh",
            "-c",
            "echo one; echo two",
        ])
        .ok();
    let (mut child, lines) = follow(&daemon, "box");
    assert_eq!(child.try_wait().unwrap(), None, "it waits for the start");
    daemon.cli(["start", "box"]).ok();
    let lines: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(lines, ["one", "two"]);
    assert!(child.wait().unwrap().success());
    // One that has ended says what it said, and that is all.
    assert_eq!(daemon.cli(["logs", "-f", "box"]).ok(), "one\ntwo");
    // One that is removed before it starts has nothing to say.
    daemon.cli(["create", "--name", "never", &image, "true"]).ok();
    let (mut child, mut lines) = follow(&daemon, "never");
    daemon.cli(["rm", "never"]).ok();
    assert!(lines.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn following_logs_goes_on_over_a_restart_until_a_stop() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sh", "-c", RUNS])
        .ok();
    let (mut child, mut lines) = follow(&daemon, "box");
    for run in 1..4 {
        assert_eq!(lines.next().unwrap().unwrap(), format!("run {run}"));
        if run < 3 {
            daemon.cli(["restart", "-t", "0", "box"]).ok();
        }
    }
    daemon.cli(["stop", "-t", "0", "box"]).ok();
    assert!(lines.next().is_none());
    assert!(child.wait().unwrap().success());
}

/// Feeds a script to a program.
fn fed(mut command: Command, script: &str) -> std::process::Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn completion_scripts_are_those_of_their_shells() {
    let daemon = TestDaemon::start();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = daemon.cli(["completion", shell]).ok();
        assert!(
            script.contains("ctr-like") && script.contains("restart"),
            "{shell}: {script}"
        );
    }
    let script = daemon.cli(["completion", "bash"]).ok();
    let mut check = Command::new("bash");
    check.arg("-n");
    let checked = fed(check, &script);
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    // And it completes.
    let mut run = Command::new("bash");
    run.args(["--norc", "-s"]);
    let asked = r#"
set -- $(complete -p ctr-like)
until [ "$1" = -F ]; do shift; done
COMP_WORDS=(ctr-like res); COMP_CWORD=1
"$2" ctr-like res ctr-like
echo "${COMPREPLY[@]}"
"#;
    let completed = fed(run, &(script + asked));
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "restart");
    let unknown = daemon.cli(["completion", "tcsh"]).code(125);
    assert!(unknown.stderr.contains("bash"), "{}", unknown.stderr);
}

#[test]
fn a_wrong_option_exits_with_125_and_is_named() {
    let daemon = TestDaemon::start();
    for arguments in [
        vec!["run", "--no-such-option", "image"],
        vec!["create", "--no-such-option", "image"],
        vec!["exec", "--no-such-option", "box", "true"],
        vec!["ps", "--no-such-option"],
        vec!["restart", "--no-such-option", "box"],
        vec!["--no-such-option", "ps"],
    ] {
        let output = daemon.cli(&arguments).code(125);
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", output.stdout);
        assert!(
            output.stderr.contains("--no-such-option"),
            "{arguments:?}: {}",
            output.stderr
        );
    }
    // A value that makes no sense, and options that exclude each other.
    daemon.cli(["run", "--memory", "lots", "image"]).code(125);
    daemon.cli(["run", "-d", "--attach", "stdout", "image"]).code(125);
    daemon.cli(["logs", "--tail", "ten", "box"]).code(125);
    // What follows the image belongs to the command in the container, and is not looked at.
    let image = images::pushed(BUSYBOX);
    assert_eq!(
        daemon
            .cli(["run", "--rm", &image, "echo", "--no-such-option"])
            .ok(),
        "--no-such-option"
    );
}

#[test]
fn doctor_says_what_is_missing_and_what_to_do() {
    let daemon = TestDaemon::start();
    let report = daemon.cli(["doctor", "--format", "json"]).ok();
    let findings: Vec<Value> = report
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let state = |check: &str| {
        let found = findings.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("{check}: {report}"))["state"].clone()
    };
    for check in [
        "user",
        "file systems",
        "loop devices",
        "guest agent",
        "shim",
        "disk",
    ] {
        assert_eq!(state(check), "ok", "{report}");
    }
    let warnings = findings.iter().filter(|finding| finding["state"] != "ok");
    for warning in warnings {
        assert_ne!(warning["advice"], "", "{warning}");
    }
    let text = daemon.cli(["doctor", "--fix"]).ok();
    assert!(text.contains("ok       garbage: "), "{text}");

    // Registries are those of the images that are here, there or not.
    let (registry, gone) = (images::pushed(BUSYBOX), "127.0.0.1:1/gone:1");
    daemon.cli(["pull", &registry]).ok();
    daemon.cli(["tag", &registry, gone]).ok();
    let host = registry.split('/').next().unwrap();
    let text = wait::until("the registry answers as soon as doctor wants it", || {
        let text = daemon.cli(["doctor"]).ok();
        text.contains(&format!("ok       registry {host}: answers"))
            .then_some(text)
    });
    assert!(text.contains("warning  registry 127.0.0.1:1: "), "{text}");
    // Without a daemon its absence is what is found.
    let nobody = daemon.scratch().join("nobody.sock");
    let output = daemon
        .command(["--host", &format!("unix://{}", nobody.display()), "doctor"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("hint: "), "{told}");
}
