//! Linux containers on Windows: the daemon and the CLI under Wine, and guests that are real. The double of computecore has its
//! virtual machines run by a program of the tests, where the agent that we ship serves them; see `tests/doubles/machine-host`.
//!
//! Run by `scripts/test wine`; needs root, as Linux containers do.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use tests::windows::{pushed, windows_image};
use tests::wine::{WineDaemon, windows_path};
use tests::{BUSYBOX, MachineHost, images, wait};

const LINUX: [&str; 2] = ["--platform", "linux/amd64"];

/// The words of a command about a Linux image: the platform comes behind the verb.
fn linux<'a>(verb: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&[verb], &LINUX[..], words].concat()
}

fn inspect(daemon: &WineDaemon, name: &str) -> Value {
    let inspect: Value = serde_json::from_str(&daemon.cli(&["inspect", name]).ok()).unwrap();
    inspect[0].clone()
}

#[test]
fn a_linux_image_is_pulled_and_its_programs_run_in_a_machine() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let run = |words: &[&str]| daemon.cli(&linux("run", &[&["--rm", &image], words].concat()));
    assert_eq!(run(&["echo", "hello"]).ok(), "hello");
    assert_eq!(run(&["uname", "-s"]).ok(), "Linux");
    assert_eq!(run(&["sh", "-c", "exit 7"]).status, 7);
    let both = run(&["sh", "-c", "echo out; echo err >&2"]).code(0);
    assert_eq!((both.stdout.trim(), both.stderr.trim()), ("out", "err"));
    run(&["no-such-program"]).code(127);
    // The end of the input reaches the program, which still answers then.
    let said = daemon.folder().join("said");
    std::fs::write(&said, "one\ntwo\n").unwrap();
    let counted = daemon.cli_with(
        &linux("run", &["--rm", "-i", &image, "sh", "-c", "cat; echo end"]),
        &said,
    );
    assert_eq!(counted.code(0).stdout, "one\ntwo\nend\n");
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn containers_of_both_systems_run_beside_each_other() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let (busybox, windows) = (images::pushed(BUSYBOX), pushed(&daemon));
    let platforms = daemon.cli(&["info", "-f", "{{json .Platforms}}"]).ok();
    assert_eq!(platforms, r#"["windows/amd64","linux/amd64"]"#);
    daemon
        .cli(&["run", "-d", "--name", "pane", &windows, "probe", "control"])
        .ok();
    let script = "echo ready; trap 'echo bye; exit 3' TERM; while :; do sleep 1; done";
    for name in ["penguin", "other"] {
        daemon
            .cli(&linux(
                "run",
                &["-d", "--name", name, &busybox, "sh", "-c", script],
            ))
            .ok();
    }
    let list = daemon.cli(&["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    for name in ["pane", "penguin", "other"] {
        assert!(list.contains(&format!("{name} Up")), "{list}");
    }
    for (name, platform) in [("pane", "windows"), ("penguin", "linux")] {
        assert_eq!(inspect(&daemon, name)["Platform"], platform);
    }
    // One machine has both Linux containers, and it is all that the host runs.
    let list = daemon
        .cli(&["system", "vm", "ls", "--no-trunc", "--format", "json"])
        .ok();
    assert_eq!(list.lines().count(), 1, "{list}");
    let machine: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(machine["Containers"], "2", "{list}");
    assert_eq!(host.machines(), [machine["ID"].as_str().unwrap()]);

    // A program in a running container, with its own input, and its exit code.
    let said = daemon.folder().join("said");
    std::fs::write(&said, "through\n").unwrap();
    let exec = daemon.cli_with(
        &["exec", "-i", "penguin", "sh", "-c", "cat >/note; cat /note"],
        &said,
    );
    assert_eq!(exec.ok(), "through");
    assert_eq!(daemon.cli(&["exec", "penguin", "sh", "-c", "exit 9"]).status, 9);
    daemon.cli(&["exec", "other", "cat", "/note"]).code(1);
    daemon.cli(&["exec", "pane", "probe", "exit", "9"]).code(9);

    // Its disk grows, and is nobody else's while the machine has it.
    let id = inspect(&daemon, "penguin")["Id"].as_str().unwrap().to_owned();
    let disk = daemon.folder().join("root/scratch").join(id).join("scratch.vhdx");
    assert!(disk.metadata().unwrap().len() < 64 << 20, "{disk:?}");
    daemon.cli(&["ps", "-as"]).ok();
    daemon.cli(&["system", "df"]).ok();

    wait::until("it has said that it is ready", || {
        (daemon.cli(&["logs", "penguin"]).ok() == "ready").then_some(())
    });
    daemon.cli(&["stop", "-t", "120", "penguin"]).ok();
    assert_eq!(daemon.cli(&["logs", "penguin"]).ok(), "ready\nbye");
    assert_eq!(inspect(&daemon, "penguin")["State"]["ExitCode"], 3);
    // What it wrote is there when it starts again.
    daemon.cli(&["start", "penguin"]).ok();
    assert_eq!(daemon.cli(&["exec", "penguin", "cat", "/note"]).ok(), "through");
    daemon.cli(&["kill", "penguin"]).ok();
    assert_eq!(daemon.cli(&["wait", "penguin"]).ok(), "137");
    daemon.cli(&["rm", "-f", "penguin", "other", "pane"]).ok();
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn files_go_into_and_out_of_linux_containers() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let given = daemon.folder().join("given");
    std::fs::create_dir_all(given.join("deep")).unwrap();
    std::fs::write(given.join("deep/two.txt"), "two").unwrap();
    let out = daemon.folder().join("out");
    let (all, back) = (windows_path(&given), windows_path(&out));

    daemon
        .cli(&linux(
            "create",
            &["--name", "made", &image, "sh", "-c", "cat /given/deep/two.txt"],
        ))
        .ok();
    daemon.cli(&["cp", "-q", &all, "made:/"]).ok();
    assert_eq!(daemon.cli(&["start", "-a", "made"]).ok(), "two");
    daemon.cli(&["cp", "-q", "made:/given/deep/two.txt", &back]).ok();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "two");
    daemon.cli(&["rm", "made"]).ok();

    // A directory of Windows, seen by Linux: what either writes the other reads.
    let mount = format!("type=bind,source={all},target=/data");
    let script = "cat /data/deep/two.txt; echo from inside >/data/new.txt";
    let run = daemon.cli(&linux(
        "run",
        &["--rm", "--mount", &mount, &image, "sh", "-c", script],
    ));
    assert_eq!(run.ok(), "two");
    assert_eq!(
        std::fs::read_to_string(given.join("new.txt")).unwrap(),
        "from inside\n"
    );
    let read_only = format!("{mount},readonly");
    let refused = daemon.cli(&linux(
        "run",
        &["--rm", "--mount", &read_only, &image, "touch", "/data/x"],
    ));
    assert!(
        refused.clone().code(1).stderr.contains("Read-only"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_linux_container_outlives_the_daemon() {
    let host = MachineHost::start();
    let mut daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let script = "echo before; while [ ! -e /go ]; do sleep 1; done; echo after; exit 4";
    daemon
        .cli(&linux(
            "run",
            &["-d", "--name", "keeper", &image, "sh", "-c", script],
        ))
        .ok();
    daemon.restart();
    let list = daemon.cli(&["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    assert!(list.starts_with("keeper Up"), "{list}");
    daemon.cli(&["exec", "keeper", "touch", "/go"]).ok();
    assert_eq!(daemon.cli(&["wait", "keeper"]).ok(), "4");
    assert_eq!(daemon.cli(&["logs", "keeper"]).ok(), "before\nafter");
    daemon.cli(&["rm", "keeper"]).ok();
}

#[test]
fn a_machine_that_dies_ends_its_containers_with_a_cause_and_no_others() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let (busybox, windows) = (images::pushed(BUSYBOX), pushed(&daemon));
    daemon
        .cli(&["run", "-d", "--name", "pane", &windows, "probe", "control"])
        .ok();
    for name in ["first", "second"] {
        daemon
            .cli(&linux("run", &["-d", "--name", name, &busybox, "sleep", "1000"]))
            .ok();
    }
    host.crash_machines();
    for name in ["first", "second"] {
        daemon.cli(&["wait", name]).ok();
        let state = inspect(&daemon, name)["State"].clone();
        assert_eq!(state["Status"], "exited", "{state}");
        assert_ne!(state["Error"], "", "{state}");
    }
    daemon.cli(&["exec", "pane", "probe", "exit", "0"]).ok();
    // It can be started again, in a new machine.
    daemon.cli(&["start", "first"]).ok();
    assert_eq!(daemon.cli(&["exec", "first", "echo", "again"]).ok(), "again");
    daemon.cli(&["rm", "-f", "first", "second", "pane"]).ok();
}

#[test]
fn an_isolated_container_has_a_machine_of_its_own_which_ends_with_it() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let isolated = ["--isolation", "hyperv"];
    daemon
        .cli(&linux(
            "run",
            &["-d", "--name", "shares", &image, "sleep", "1000"],
        ))
        .ok();
    let alone = linux("run", &["-d", "--name", "alone", &image, "sleep", "1000"]);
    daemon
        .cli(&[&alone[..1], &isolated[..], &alone[1..]].concat())
        .ok();
    assert_eq!(host.machines().len(), 2);
    daemon.cli(&["rm", "-f", "alone"]).ok();
    wait::until("the machine has ended", || {
        (host.machines().len() == 1).then_some(())
    });
    daemon.cli(&["rm", "-f", "shares"]).ok();
}

#[test]
fn an_isolated_container_gets_a_machine_that_was_booted_before_it_came() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_settings(&host, "[uvm]\npool = 1\n");
    let image = images::pushed(BUSYBOX);
    let pooled = || {
        let list = daemon.cli(&["system", "vm", "ls", "--no-trunc"]).ok();
        let row = list.lines().find(|line| line.contains("pool"))?;
        row.split(' ').next().map(str::to_owned)
    };
    let waiting = wait::until("a machine waits", pooled);
    let flags = [
        "--isolation",
        "hyperv",
        "-d",
        "--name",
        "quick",
        &image,
        "sleep",
        "1000",
    ];
    daemon.cli(&linux("run", &flags)).ok();
    assert!(host.machines().contains(&waiting), "{:?}", host.machines());
    assert_eq!(inspect(&daemon, "quick")["State"]["Status"], "running");
    let next = wait::until("the next one waits", || pooled().filter(|id| *id != waiting));
    assert_ne!(next, waiting);
    daemon.cli(&["rm", "-f", "quick"]).ok();
    wait::until("its machine has ended", || {
        (!host.machines().contains(&waiting)).then_some(())
    });
}

#[test]
fn sandboxes_in_the_daemon_itself_end_with_it() {
    let host = MachineHost::start();
    let mut daemon = WineDaemon::with_settings(&host, "local = true\n");
    let (windows, image) = (windows_image(&daemon), images::pushed(BUSYBOX));
    assert_eq!(
        daemon
            .cli(&linux("run", &["--rm", &image, "echo", "inside"]))
            .ok(),
        "inside"
    );
    let read = daemon.cli(&["run", "--rm", &windows, "probe", "read", "old.txt"]);
    assert_eq!(read.ok(), "replaced");
    daemon
        .cli(&linux(
            "run",
            &["-d", "--name", "penguin", &image, "sleep", "1000"],
        ))
        .ok();
    daemon
        .cli(&["run", "-d", "--name", "pane", &windows, "probe", "control"])
        .ok();
    assert_eq!(daemon.cli(&["exec", "penguin", "echo", "again"]).ok(), "again");
    assert_eq!(daemon.cli(&["exec", "pane", "probe", "exit", "5"]).status, 5);
    assert_eq!(daemon.processes().len(), 1, "no shims");
    daemon.restart();
    for name in ["penguin", "pane"] {
        let state = &inspect(&daemon, name)["State"];
        assert_eq!(state["Status"], "exited", "{state}");
        assert_ne!(state["Error"], "", "{state}");
        daemon.cli(&["start", name]).ok();
        daemon.cli(&["rm", "-f", name]).ok();
    }
}

#[test]
fn a_machine_that_cannot_boot_says_why_and_leaves_nothing() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let run = || daemon.cli(&linux("run", &["--rm", &image, "true"]));
    let initrd = daemon.folder().join("root/uvm/initrd.img");
    std::fs::remove_file(&initrd).unwrap();
    let refused = run().code(125).stderr;
    for word in ["initrd.img", "build-uvm"] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
    std::fs::write(&initrd, "back again").unwrap();
    let network = daemon.cli(&linux("run", &["--rm", "--network", "host", &image, "true"]));
    assert!(
        network.clone().code(125).stderr.contains("--network host"),
        "{}",
        network.stderr
    );
    run().code(0);
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn the_kernel_and_the_agent_that_we_ship_boot_for_a_container_on_windows() {
    let host = MachineHost::with_kernels();
    let daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let release = daemon.cli(&linux("run", &["--rm", &image, "uname", "-r"])).ok();
    let ours = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_ne!(release, ours.trim());
    assert!(release.contains("-amd64"), "{release}");
    daemon
        .cli(&linux("run", &["-d", "--name", "stays", &image, "sleep", "1000"]))
        .ok();
    let beside = daemon.cli(&["system", "vm", "shell", "stays", "uname", "-r"]);
    assert_eq!(beside.ok(), release);
    let word = [
        "system",
        "vm",
        "shell",
        "stays",
        "sh",
        "-c",
        "echo from the console > /dev/console",
    ];
    daemon.cli(&word).ok();
    wait::until("the console is kept", || {
        let console = daemon.cli(&["system", "vm", "logs", "stays"]).ok();
        console.contains("from the console").then_some(())
    });
    daemon.cli(&["rm", "-f", "stays"]).ok();
    let said = daemon.folder().join("said");
    std::fs::write(&said, "to the end\n").unwrap();
    let echoed = daemon.cli_with(&linux("run", &["--rm", "-i", &image, "cat"]), &said);
    assert_eq!(echoed.ok(), "to the end");
}

#[test]
fn a_kernel_that_panics_is_quoted() {
    let host = MachineHost::with_kernels();
    let daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let initrd = daemon.folder().join("root/uvm/initrd.img");
    let initrd = std::fs::File::options().write(true).open(initrd).unwrap();
    initrd.set_len(12 << 20).unwrap();
    let refused = daemon
        .cli(&linux("run", &["--rm", &image, "true"]))
        .code(125)
        .stderr;
    assert!(refused.contains("Kernel panic"), "{refused}");
    assert!(refused.contains("its console ends with"), "{refused}");
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn the_rest_of_the_commands_answer_for_linux_containers() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let script = "echo started; echo new >/note; rm /bin/ash; while read line; do echo got $line; done";
    daemon
        .cli(&linux(
            "create",
            &["-i", "--name", "talker", &image, "sh", "-c", script],
        ))
        .ok();
    daemon.cli(&["start", "talker"]).ok();
    wait::until("it has started", || {
        (daemon.cli(&["logs", "talker"]).ok() == "started").then_some(())
    });
    let top = daemon.cli(&["top", "talker"]).ok();
    assert!(top.contains("while read line"), "{top}");
    let stats = daemon
        .cli(&["stats", "--no-stream", "--format", "json", "talker"])
        .ok();
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["Name"], "talker");
    assert_eq!(stats["PIDs"], "1");
    daemon
        .cli(&["exec", "-d", "talker", "sh", "-c", "echo later >/later"])
        .ok();
    wait::until("the detached program has run", || {
        (daemon.cli(&["exec", "talker", "cat", "/later"]).stdout == "later\n").then_some(())
    });

    // The end of its input is its own end.
    let said = daemon.folder().join("said");
    std::fs::write(&said, "one\ntwo\n").unwrap();
    assert_eq!(
        daemon.cli_with(&["attach", "talker"], &said).ok(),
        "got one\ngot two"
    );
    assert_eq!(daemon.cli(&["wait", "talker"]).ok(), "0");
    let changes = daemon.cli(&["diff", "talker"]).ok();
    for change in ["A /note", "A /later", "D /bin/ash"] {
        assert!(changes.contains(change), "{change}: {changes}");
    }
    daemon.cli(&["commit", "talker", "mine:1"]).ok();
    let run = |words: &[&str]| daemon.cli(&[&["run", "--rm", "mine:1"], words].concat());
    assert_eq!(run(&["cat", "/note"]).ok(), "new");
    run(&["ash"]).code(127);
    let archive = daemon.folder().join("all.tar");
    daemon
        .cli(&["export", "-o", &windows_path(&archive), "talker"])
        .ok();
    let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
    let mut entries = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().into_owned());
    assert!(entries.any(|path| path.ends_with("later")));
    daemon.cli(&["rm", "talker"]).ok();
    daemon.cli(&["rmi", "mine:1", &image]).ok();
    assert_eq!(daemon.cli(&["images", "-q"]).ok(), "");
}
