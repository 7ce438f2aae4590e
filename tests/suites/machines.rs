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

/// The ends of a machine's containers are told while it is being cleared away.
fn no_machine_is_listed(daemon: &TestDaemon) {
    wait::until("the machine is gone from the list", || {
        let list = daemon.cli(["system", "vm", "ls", "-q"]).ok();
        list.is_empty().then_some(())
    });
}

#[test]
fn containers_share_a_machine_that_can_be_looked_into_and_ended() {
    let daemon = TestDaemon::start_with_shared_machine();
    let image = images::pushed(BUSYBOX);
    for name in ["first", "second"] {
        daemon
            .cli(["run", "-d", "--name", name, &image, "sleep", "1000"])
            .ok();
    }
    let list = daemon
        .cli(["system", "vm", "ls", "--no-trunc", "--format", "json"])
        .ok();
    assert_eq!(list.lines().count(), 1, "{list}");
    let machine: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(machine["Containers"], "2", "{list}");
    assert_eq!(machine["Scope"], "shared", "{list}");
    let id = machine["ID"].as_str().unwrap();
    let homes = daemon
        .cli(["ps", "--no-trunc", "--format", "{{.Names}} {{.VM}}"])
        .ok();
    assert!(
        homes.contains(&format!("first {id}")) && homes.contains(&format!("second {id}")),
        "{homes}"
    );
    assert_eq!(inspect(&daemon, "first")["Sandbox"], id);
    let usage = daemon
        .cli([
            "system",
            "df",
            "--format",
            "{{.Type}} {{.TotalCount}} {{.Active}}",
        ])
        .ok();
    assert!(usage.contains("VM Memory 1 1"), "{usage}");

    // A program beside the containers sees the machine's kernel and their processes.
    let kernel = daemon.cli(["system", "vm", "shell", "first", "uname", "-r"]).ok();
    let manifest = std::fs::read_to_string(daemon.uvm_dir().join("manifest.json")).unwrap();
    assert!(
        manifest.contains(&kernel),
        "{kernel} is not the kernel of {manifest}"
    );
    daemon
        .cli(["system", "vm", "shell", &id[..12], "sh", "-c", "exit 3"])
        .code(3);
    let listed = daemon
        .cli_with(["system", "vm", "shell", id], b"ps | grep -c '[s]leep 1000'\n")
        .ok();
    assert_eq!(listed, "2");
    daemon
        .cli(["system", "vm", "shell", id, "no-such-program"])
        .code(127);
    daemon.cli(["system", "vm", "shell", "nobody"]).code(1);
    daemon.cli(["system", "vm", "logs", id]).ok();

    let refused = daemon.cli(["system", "vm", "rm", id]).code(1);
    assert!(
        refused.stderr.contains("first") && refused.stderr.contains("hint:"),
        "{}",
        refused.stderr
    );
    let victim = rustix::process::Pid::from_raw(machines(&daemon)[0]).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    for name in ["first", "second"] {
        daemon.cli(["wait", name]).ok();
        let state = inspect(&daemon, name)["State"].clone();
        assert_ne!(state["Error"], "", "{state}");
    }
    no_machine_is_listed(&daemon);
    // Its last words are still there, also under the name of a container.
    daemon.cli(["system", "vm", "logs", "--tail", "5", "second"]).ok();

    // The next start has another machine, which ends by force.
    daemon.cli(["start", "first"]).ok();
    let next = daemon.cli(["system", "vm", "ls", "-q", "--no-trunc"]).ok();
    assert_ne!(next, id);
    assert_eq!(daemon.cli(["system", "vm", "rm", "-f", "first"]).ok(), next);
    daemon.cli(["wait", "first"]).ok();
    no_machine_is_listed(&daemon);
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

/// The boot files with one of them cut off after so many bytes.
fn boot_files_with(name: &str, length: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["vmlinux", "initrd.img", "manifest.json"] {
        std::fs::copy(tests::programs::boot_files().join(file), folder.path().join(file)).unwrap();
    }
    let cut = std::fs::File::options()
        .write(true)
        .open(folder.path().join(name))
        .unwrap();
    cut.set_len(length).unwrap();
    folder
}

#[test]
fn boot_files_that_are_damaged_are_named_and_nothing_is_left() {
    let image = images::pushed(BUSYBOX);
    for (name, length, said) in [
        ("vmlinux", 1 << 20, "build-uvm"),
        ("vmlinux", 10, "build-uvm"),
        ("initrd.img", 12 << 20, "its console ends with:"),
    ] {
        let files = boot_files_with(name, length);
        let daemon = TestDaemon::start_with_uvm_dir(files.path());
        let failed = daemon
            .cli(["run", "--isolation", "hyperv", "--rm", &image, "true"])
            .code(125);
        assert!(
            failed.stderr.contains(said),
            "{name} of {length} bytes: {}",
            failed.stderr
        );
        assert!(machines(&daemon).is_empty());
        assert_eq!(daemon.cli(["ps", "-aq"]).ok(), "", "{name}");
    }
}

#[test]
fn a_machine_that_takes_longer_than_the_daemon_allows_is_ended_and_the_setting_is_named() {
    // No kernel gets to its first process in that time where a program makes the processors.
    let daemon = TestDaemon::start_with_timeout("1");
    let image = images::pushed(BUSYBOX);
    let failed = daemon
        .cli(["run", "--isolation", "hyperv", "--rm", &image, "true"])
        .code(125);
    for said in ["did not connect within 1s", "uvm.timeout_seconds"] {
        assert!(failed.stderr.contains(said), "{}", failed.stderr);
    }
    assert!(machines(&daemon).is_empty());
    assert_eq!(daemon.cli(["ps", "-aq"]).ok(), "");
}

#[test]
fn a_layer_that_is_damaged_and_memory_that_cannot_be_had_end_one_start_only() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    let greedy = daemon
        .cli(["run", "--isolation", "hyperv", "-m", "1t", "--rm", &image, "true"])
        .code(125);
    assert!(
        greedy.stderr.contains("emory") && greedy.stderr.contains("hint:"),
        "{}",
        greedy.stderr
    );

    let layers = std::fs::read_dir(daemon.root().join("layers")).unwrap();
    let mut damaged = 0;
    for layer in layers {
        let disk = layer.unwrap().path().join("layer.vhd");
        if let Ok(file) = std::fs::File::options().write(true).open(&disk) {
            std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 64 << 10], 0).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let failed = daemon
        .cli(["run", "--isolation", "hyperv", "--rm", &image, "true"])
        .code(125);
    assert!(failed.stderr.contains("mount"), "{}", failed.stderr);
    wait::until("the machine has ended", || {
        machines(&daemon).is_empty().then_some(())
    });
    assert_eq!(daemon.cli(["ps", "-aq"]).ok(), "");
    // Other images are not touched by it.
    let other = images::pushed(DEBIAN_PYTHON);
    assert_eq!(daemon.cli(["run", "--rm", &other, "echo", "hi"]).ok(), "hi");
}

#[test]
fn files_of_an_isolated_container_are_reached_where_it_runs_or_in_a_service_machine() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    let here = daemon.scratch().join("here");
    std::fs::write(&here, "from here").unwrap();
    let here = here.to_str().unwrap();
    let script = "echo inside > /inside; exec sleep 1000";
    daemon
        .cli([
            "create",
            "--isolation",
            "hyperv",
            "--name",
            "box",
            &image,
            "sh",
            "-c",
            script,
        ])
        .ok();
    // What a kernel of its own will write is never mounted by the host's.
    daemon.cli(["cp", here, "box:/etc/new"]).ok();
    assert_eq!(machines(&daemon).len(), 1, "a service machine");
    daemon.cli(["start", "box"]).ok();
    assert_eq!(machines(&daemon).len(), 2);
    wait::until("the script is done", || {
        daemon
            .cli(["exec", "box", "test", "-s", "/inside"])
            .status
            .eq(&0)
            .then_some(())
    });
    let back = daemon.scratch().join("back");
    let copy = |path: &str| {
        daemon.cli(["cp", "-q", path, back.to_str().unwrap()]).ok();
        std::fs::read_to_string(&back).unwrap()
    };
    assert_eq!(copy("box:/etc/new"), "from here");
    assert_eq!(copy("box:/inside"), "inside\n");
    daemon.cli(["stop", "-t", "0", "box"]).ok();
    assert_eq!(copy("box:/inside"), "inside\n");
    assert_eq!(daemon.cli(["diff", "box"]).ok(), "C /etc\nA /etc/new\nA /inside");
    wait::until("the container's machine has ended", || {
        (machines(&daemon).len() == 1).then_some(())
    });
}
