//! Linux containers in virtual machines: `--isolation hyperv` as a user types it, and what happens when a machine dies.
//!
//! The suites of the main job run over a shared virtual machine as well (`./scripts/test vm`); here is what only machines have.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use tests::{BUSYBOX, DEBIAN_PYTHON, TestDaemon, images, leaks, wait};

fn inspect(daemon: &TestDaemon, name: &str) -> Value {
    let text = daemon.cli(["inspect", name]).ok();
    let mut documents: Value = serde_json::from_str(&text).unwrap();
    documents[0].take()
}

/// Process ids of the machines of sandboxes that live now.
fn machines(daemon: &TestDaemon) -> Vec<i32> {
    let sandboxes: Vec<String> = std::fs::read_dir(daemon.run_dir().join("sandboxes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    leaks::processes()
        .filter(|(_, line)| line.contains("qemu-system") && sandboxes.iter().any(|id| line.contains(id)))
        .map(|(pid, _)| i32::try_from(pid).unwrap())
        .collect()
}

#[test]
fn an_isolated_container_runs_under_a_kernel_of_its_own_which_ends_with_it() {
    let daemon = TestDaemon::start();
    let image = images::pushed(DEBIAN_PYTHON);
    let program = "import platform; print(platform.release())";
    let output = daemon.cli([
        "run",
        "--isolation",
        "hyperv",
        "--rm",
        &image,
        "python3",
        "-c",
        program,
    ]);
    let release = output.ok();
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_ne!(release, host.trim());
    let manifest = std::fs::read_to_string(daemon.uvm_dir().join("manifest.json")).unwrap();
    assert!(
        manifest.contains(&release),
        "{release} is not the kernel of {manifest}"
    );
    // Not only the container: the machine is gone, too.
    wait::until("the machine has ended", || {
        machines(&daemon).is_empty().then_some(())
    });
    let output = daemon.cli([
        "run",
        "--isolation",
        "hyperv",
        "--rm",
        &image,
        "sh",
        "-c",
        "exit 7",
    ]);
    output.code(7);
}

#[test]
fn a_machine_that_is_killed_ends_its_container_with_a_cause_and_no_other() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    for name in ["first", "second"] {
        daemon
            .cli([
                "run",
                "-d",
                "--isolation",
                "hyperv",
                "--name",
                name,
                &image,
                "sleep",
                "1000",
            ])
            .ok();
    }
    daemon
        .cli(["run", "-d", "--name", "third", &image, "sleep", "1000"])
        .ok();
    assert_eq!(daemon.cli(["exec", "first", "hostname"]).ok().len(), 12);
    let running = machines(&daemon);
    assert_eq!(running.len(), 2);
    let victim = rustix::process::Pid::from_raw(running[0]).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    let dead = wait::until("its end is known", || {
        ["first", "second"]
            .into_iter()
            .find(|name| inspect(&daemon, name)["State"]["Status"] == "exited")
    });
    let state = inspect(&daemon, dead)["State"].clone();
    assert_ne!(state["Error"], "", "{state}");
    let other = if dead == "first" { "second" } else { "first" };
    for alive in [other, "third"] {
        assert_eq!(daemon.cli(["exec", alive, "echo", "here"]).ok(), "here");
    }
    // It can be started again, in a new machine.
    daemon.cli(["start", dead]).ok();
    assert_eq!(daemon.cli(["exec", dead, "echo", "again"]).ok(), "again");
}

#[test]
fn isolated_containers_outlive_the_daemon() {
    let mut daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli([
            "run",
            "-d",
            "--isolation",
            "hyperv",
            "--name",
            "box",
            &image,
            "sh",
            "-c",
            "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done",
        ])
        .ok();
    daemon.kill();
    daemon.launch();
    assert_eq!(inspect(&daemon, "box")["State"]["Status"], "running");
    let before = daemon.cli(["logs", "box"]).ok().lines().count();
    wait::until("it goes on logging", || {
        (daemon.cli(["logs", "box"]).ok().lines().count() > before).then_some(())
    });
    daemon.cli(["stop", "-t", "1", "box"]).ok();
    wait::until("the machine has ended", || {
        machines(&daemon).is_empty().then_some(())
    });
}

#[test]
fn what_a_machine_needs_and_what_it_cannot_have_is_said() {
    let empty = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start_with_uvm_dir(empty.path());
    let image = images::pushed(BUSYBOX);
    let missing = daemon
        .cli(["run", "--isolation", "hyperv", "--rm", &image, "true"])
        .code(125);
    assert!(missing.stderr.contains("build-uvm"), "{}", missing.stderr);
    let host = daemon
        .cli([
            "run",
            "--isolation",
            "hyperv",
            "--network",
            "host",
            "--rm",
            &image,
            "true",
        ])
        .code(125);
    assert!(host.stderr.contains("hint:"), "{}", host.stderr);
    // The daemon and its other containers do not mind.
    assert_eq!(daemon.cli(["run", "--rm", &image, "echo", "hi"]).ok(), "hi");
}
