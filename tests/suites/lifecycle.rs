//! Containers over their life, and over the life of daemons and shims.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use tests::{BUSYBOX, TestDaemon, images, wait};

fn inspect(daemon: &TestDaemon, name: &str) -> Value {
    let text = daemon.cli(["inspect", name]).ok();
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

const COUNT: &str = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done";

#[test]
fn a_container_is_created_started_listed_stopped_and_removed() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let id = daemon
        .cli([
            "run", "-d", "--name", "web", "--label", "a=b", &image, "sleep", "1000",
        ])
        .ok();
    assert_eq!(id.len(), 64);
    let ps = daemon.cli(["ps"]).ok();
    assert!(
        ps.contains(&id[..12]) && ps.contains("web") && ps.contains("Up"),
        "{ps}"
    );
    let json: Value =
        serde_json::from_str(&daemon.cli(["ps", "--format", "json", "--no-trunc"]).ok()).unwrap();
    assert_eq!(
        (json["ID"].as_str(), json["Names"].as_str()),
        (Some(id.as_str()), Some("web"))
    );
    let state = inspect(&daemon, "web");
    assert_eq!(state["State"]["Running"], true);
    assert_eq!(state["Config"]["Labels"]["a"], "b");
    let conflict = daemon.cli(["create", "--name", "web", &image]).code(1);
    assert!(conflict.stderr.contains("already in use"), "{}", conflict.stderr);
    let refused = daemon.cli(["rm", "web"]).code(1);
    assert!(refused.stderr.contains("running"), "{}", refused.stderr);
    // busybox's sleep as pid 1 ignores TERM; the container is killed after the grace period.
    daemon.cli(["stop", "-t", "1", "web"]).ok();
    assert_eq!(inspect(&daemon, "web")["State"]["ExitCode"], 137);
    assert_eq!(daemon.cli(["ps", "-q"]).ok(), "");
    daemon.cli(["start", "web"]).ok();
    assert_eq!(inspect(&daemon, "web")["State"]["Status"], "running");
    // Nobody has to wait for the end of what was killed.
    daemon.cli(["kill", "web"]).ok();
    assert_eq!(inspect(&daemon, "web")["State"]["Status"], "exited");
    assert_eq!(daemon.cli(["wait", "web"]).ok(), "137");
    daemon.cli(["rm", "web"]).ok();
    assert_eq!(daemon.cli(["ps", "-aq"]).ok(), "");
    let gone = daemon.cli(["inspect", "web"]).code(1);
    assert!(gone.stderr.contains("No such"), "{}", gone.stderr);
}

#[test]
fn what_a_container_wrote_is_there_when_it_starts_again() {
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
            "echo x >> /count; wc -l < /count",
        ])
        .ok();
    assert_eq!(daemon.cli(["start", "-a", "box"]).ok(), "1");
    assert_eq!(daemon.cli(["start", "-a", "box"]).ok(), "2");
    assert_eq!(daemon.cli(["logs", "box"]).ok(), "1\n2");
}

#[test]
fn exec_runs_beside_the_first_process_with_its_own_exit_code() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli(["run", "-d", "--name", "box", "-e", "A=1", &image, "sleep", "1000"])
        .ok();
    assert_eq!(
        daemon
            .cli(["exec", "-e", "B=2", "box", "sh", "-c", "echo $A $B"])
            .ok(),
        "1 2"
    );
    assert_eq!(daemon.cli_with(["exec", "-i", "box", "cat"], b"hi").ok(), "hi");
    daemon.cli(["exec", "box", "sh", "-c", "exit 9"]).code(9);
    daemon.cli(["exec", "box", "no-such-program"]).code(127);
    assert_eq!(
        daemon
            .cli([
                "exec",
                "-u",
                "nobody",
                "-w",
                "/tmp",
                "box",
                "sh",
                "-c",
                "id -un; pwd"
            ])
            .ok(),
        "nobody\n/tmp"
    );
    daemon.cli(["exec", "-d", "box", "touch", "/made"]).ok();
    wait::until("the detached exec ran", || {
        (daemon.cli(["exec", "box", "test", "-e", "/made"]).status == 0).then_some(())
    });
    daemon.cli(["kill", "box"]).ok();
    assert_eq!(daemon.cli(["ps", "-q"]).ok(), "");
    daemon.cli(["exec", "box", "true"]).code(1);
}

#[test]
fn logs_show_both_streams_the_tail_and_what_follows() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli([
            "run",
            "--name",
            "box",
            &image,
            "sh",
            "-c",
            "echo one; echo two >&2; echo three",
        ])
        .ok();
    let logs = daemon.cli(["logs", "box"]).code(0);
    assert_eq!(
        (logs.stdout.as_str(), logs.stderr.as_str()),
        ("one\nthree\n", "two\n")
    );
    // Only the order within a stream is certain, so the tail is taken of a log of one stream.
    daemon
        .cli(["run", "--name", "counted", &image, "seq", "1", "9"])
        .ok();
    assert_eq!(daemon.cli(["logs", "--tail", "2", "counted"]).ok(), "8\n9");
    assert!(daemon.cli(["logs", "-t", "box"]).ok().starts_with("20"));
    daemon
        .cli([
            "run",
            "-d",
            "--name",
            "two",
            &image,
            "sh",
            "-c",
            "for i in 1 2 3; do echo $i; sleep 0.2; done",
        ])
        .ok();
    assert_eq!(daemon.cli(["logs", "-f", "two"]).ok(), "1\n2\n3");
}

#[test]
fn containers_survive_a_killed_daemon_and_the_next_one_finds_them() {
    let mut daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let id = daemon
        .cli(["run", "-d", "--name", "box", &image, "sh", "-c", COUNT])
        .ok();
    daemon
        .cli([
            "run",
            "-d",
            "--name",
            "short",
            &image,
            "sh",
            "-c",
            "sleep 1; exit 4",
        ])
        .ok();
    let log = daemon.root().join("containers").join(&id).join("log.json");
    let lines = || std::fs::read_to_string(&log).unwrap_or_default().lines().count();
    wait::until("it logs", || (lines() > 3).then_some(()));
    daemon.kill();
    let before = lines();
    wait::until("it logs on without a daemon", || {
        (lines() > before + 15).then_some(())
    });
    daemon.launch();
    assert_eq!(inspect(&daemon, "box")["State"]["Status"], "running");
    // The other one ended while no daemon was there to see it.
    wait::until("its end is known", || {
        (inspect(&daemon, "short")["State"]["Status"] == "exited").then_some(())
    });
    assert_eq!(inspect(&daemon, "short")["State"]["ExitCode"], 4);
    let mut follow = daemon
        .command(["logs", "-f", "--tail", "0", "box"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut followed = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert!(followed.next().unwrap().unwrap().starts_with("line "));
    assert_eq!(
        daemon.cli(["exec", "box", "echo", "still here"]).ok(),
        "still here"
    );
    daemon.cli(["stop", "-t", "0", "box"]).ok();
    assert!(
        follow.wait().unwrap().success(),
        "logs -f ends with the container"
    );
    assert_eq!(inspect(&daemon, "box")["State"]["Status"], "exited");
}

#[test]
fn a_daemon_that_is_asked_to_end_leaves_containers_running() {
    let mut daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sh", "-c", COUNT])
        .ok();
    daemon.terminate();
    daemon.launch();
    assert_eq!(inspect(&daemon, "box")["State"]["Status"], "running");
}

#[test]
fn a_daemon_that_ends_leaves_no_sandbox_in_which_nothing_runs() {
    let mut daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["run", "--rm", &image, "true"]).ok();
    assert_eq!(daemon.shims().len(), 1);
    daemon.terminate();
    wait::until("the shim has ended", || daemon.shims().is_empty().then_some(()));
    assert_eq!(
        std::fs::read_dir(daemon.run_dir().join("sandboxes"))
            .unwrap()
            .count(),
        0
    );
    daemon.launch();
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sleep", "1000"])
        .ok();
    let before = daemon.shims();
    daemon.terminate();
    assert_eq!(daemon.shims(), before);
    daemon.launch();
    assert_eq!(inspect(&daemon, "box")["State"]["Status"], "running");
}

#[test]
fn a_daemon_that_ends_with_its_containers_waits_until_nothing_is_left_of_them() {
    let mut daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    for round in 0..4 {
        if round % 2 == 1 {
            daemon.cli(["run", "-d", &image, "sleep", "1000"]).ok();
        }
        daemon.stop();
        // Asked to end before its first sandbox boots, it has not made the folder.
        let sandboxes = daemon.run_dir().join("sandboxes");
        let left = match sandboxes.exists() {
            true => std::fs::read_dir(sandboxes).unwrap().count(),
            false => 0,
        };
        assert_eq!((left, daemon.shims().len()), (0, 0), "{}", daemon.log());
        // But of a host that is slow.
        let log = daemon.log();
        let mut warnings = log.lines().filter(|line| line.contains(" WARN "));
        assert!(warnings.all(|line| line.contains("in time")), "{log}");
        daemon.launch();
    }
}

#[test]
fn a_killed_shim_ends_its_containers_with_a_reason_and_the_next_start_works() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sleep", "1000"])
        .ok();
    let run_dir = daemon.run_dir();
    let shims: Vec<i32> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains("ctr-like-shim") && line.contains(run_dir.to_str().unwrap())
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    assert!(!shims.is_empty(), "there is a shim");
    for pid in shims {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    let state = wait::until("its end is known", || {
        let state = inspect(&daemon, "box")["State"].clone();
        (state["Status"] == "exited").then_some(state)
    });
    assert_ne!(state["Error"], "", "{state}");
    daemon.cli(["start", "box"]).ok();
    assert_eq!(daemon.cli(["exec", "box", "echo", "again"]).ok(), "again");
}

#[test]
fn events_tell_what_happened_in_order() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["run", "--rm", "--name", "box", &image, "true"]).ok();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let until = format!("{now:.6}");
    let text = daemon
        .cli(["events", "--since", "0", "--until", &until, "--format", "json"])
        .ok();
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let actions: Vec<&str> = events
        .iter()
        .filter_map(|event| event["Action"].as_str())
        .collect();
    assert_eq!(actions, ["pull", "create", "start", "die", "destroy"], "{text}");
    let die = &events[3];
    assert_eq!(die["Actor"]["Attributes"]["exitCode"], "0");
    assert_eq!(die["Actor"]["Attributes"]["name"], "box");
}

#[test]
fn a_second_daemon_is_refused() {
    let daemon = TestDaemon::start();
    let output = std::process::Command::new(tests::programs::program("ctr-liked"))
        .args(["--root".as_ref(), daemon.root().as_os_str()])
        .arg("--run-dir")
        .arg(daemon.scratch().join("other-run"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("in use") && text.contains(&daemon.pid().to_string()),
        "{text}"
    );
}
