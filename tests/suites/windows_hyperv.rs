//! Windows containers with Hyper-V isolation on Windows: the daemon and the CLI under Wine, over the double of computecore.dll,
//! whose Windows machines have a guest that speaks the guest protocol and runs real processes.
//!
//! Run by `scripts/test wine`. As in suite `windows_host`, programs name files by paths without a drive. The reports of the doubles have
//! to be clean at the end of each test: nothing is left in a machine that is ended, no disk, share, adapter or grant is wrong.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use tests::windows::{pushed, pushed_for, windows_image};
use tests::wine::{WineDaemon, windows_path};
use tests::{Output, idle, wait};

/// A version that no process of the host can be isolated with.
const OLDER: &str = "10.0.17763.5576";

fn inspect(daemon: &WineDaemon, name: &str) -> Value {
    let inspect: Value = serde_json::from_str(&daemon.cli(&["inspect", name]).ok()).unwrap();
    inspect[0].clone()
}

/// Runs a program in a container of its own, which is removed.
fn run(daemon: &WineDaemon, flags: &[&str], image: &str, words: &[&str]) -> Output {
    let flags = [&["run", "--rm", "--isolation", "hyperv"], flags].concat();
    daemon.cli(&[&flags, &[image, "probe"][..], words].concat())
}

/// Starts a container that runs until it is told to end.
fn started(daemon: &WineDaemon, image: &str, name: &str, flags: &[&str]) {
    let words = ["run", "-d", "--isolation", "hyperv", "--name", name];
    daemon
        .cli(&[&words, flags, &[image, "probe", "control"]].concat())
        .ok();
}

/// How many disks of machines there are beside the scratches of their containers.
fn disks_of_machines(daemon: &WineDaemon) -> usize {
    let scratches = std::fs::read_dir(daemon.folder().join("root/windows/scratch")).unwrap();
    let disks = scratches.map(|scratch| scratch.unwrap().path().join("machine.vhdx"));
    disks.filter(|disk| disk.exists()).count()
}

/// How many machines have been started by now.
fn machines(daemon: &WineDaemon) -> usize {
    daemon.calls("HcsStartComputeSystem")
}

#[test]
fn a_program_runs_in_a_machine_of_its_own() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    let run = |words: &[&str]| run(&daemon, &[], &image, words);
    assert_eq!(run(&["read", "old.txt"]).ok(), "replaced");
    assert_eq!(run(&["read", "new.txt"]).ok(), "of the second layer");
    assert_eq!(run(&["env", "FROM"]).ok().trim_end(), "image");
    assert_eq!(run(&["exit", "7"]).status, 7);
    let both = run(&["both"]);
    assert_eq!(
        (both.stdout.trim(), both.stderr.trim()),
        ("to output", "to errors")
    );
    let missing = daemon
        .cli(&["run", "--rm", "--isolation", "hyperv", &image, "no-such-program"])
        .code(127);
    assert!(missing.stderr.contains("0x80070002"), "{}", missing.stderr);
    // The end of the input reaches the program, which still answers then.
    let said = daemon.folder().join("said");
    std::fs::write(&said, "hello\r\nthere\n").unwrap();
    let echoed = daemon.cli_with(
        &[
            "run",
            "--rm",
            "-i",
            "--isolation",
            "hyperv",
            &image,
            "probe",
            "cat",
        ],
        &said,
    );
    assert_eq!(echoed.code(0).stdout, "hello\r\nthere\n");
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
    daemon.cli(&["rmi", &image]).ok();
    assert_eq!(daemon.cli(&["images", "-q"]).ok(), "");
}

#[test]
fn containers_of_both_isolations_run_beside_each_other_and_end_when_they_are_told() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    started(&daemon, &image, "apart", &[]);
    daemon
        .cli(&[
            "run",
            "-d",
            "--isolation",
            "process",
            "--name",
            "beside",
            &image,
            "probe",
            "control",
        ])
        .ok();
    let list = daemon.cli(&["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    for name in ["apart", "beside"] {
        assert!(list.contains(&format!("{name} Up")), "{list}");
    }
    let apart = inspect(&daemon, "apart");
    assert_eq!(apart["Platform"], "windows");
    assert_eq!(apart["HostConfig"]["Isolation"], "hyperv");
    assert_eq!(apart["State"]["Running"], true);
    assert_eq!(inspect(&daemon, "beside")["HostConfig"]["Isolation"], "process");
    assert_eq!(disks_of_machines(&daemon), 1);

    // What a program writes, another one in the same container reads, and nobody elsewhere.
    let exec = |words: &[&str]| daemon.cli(&[&["exec", "apart", "probe"], words].concat());
    exec(&["write", "note.txt", "kept"]).ok();
    assert_eq!(exec(&["read", "note.txt"]).ok(), "kept");
    assert_eq!(exec(&["exit", "9"]).status, 9);
    daemon
        .cli(&["exec", "beside", "probe", "read", "note.txt"])
        .code(1);
    let said = daemon.folder().join("said");
    std::fs::write(&said, "through\n").unwrap();
    let echoed = daemon.cli_with(&["exec", "-i", "apart", "probe", "cat"], &said);
    assert_eq!(echoed.code(0).stdout, "through\n");
    let top = daemon.cli(&["top", "apart"]).ok();
    assert!(top.contains("probe.exe"), "{top}");
    let stats = daemon
        .cli(&["stats", "--no-stream", "--format", "json", "apart"])
        .ok();
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["PIDs"], "1", "{stats}");

    daemon.cli(&["kill", "apart"]).ok();
    daemon.cli(&["wait", "apart"]).ok();
    assert_eq!(inspect(&daemon, "apart")["State"]["Running"], false);
    // The files of a stopped container are there when it starts again, in another machine.
    daemon.cli(&["start", "apart"]).ok();
    assert_eq!(exec(&["read", "note.txt"]).ok(), "kept");
    daemon.cli(&["stop", "-t", "1", "apart"]).ok();
    assert_eq!(disks_of_machines(&daemon), 0);
    assert_eq!(daemon.cli(&["logs", "apart"]).ok().matches("ready").count(), 2);
    daemon.cli(&["rm", "apart"]).ok();
    daemon.cli(&["rm", "-f", "beside"]).ok();
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn output_is_followed_until_the_container_ends() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    daemon
        .cli(&[
            "create",
            "-i",
            "--isolation",
            "hyperv",
            "--name",
            "talker",
            &image,
            "probe",
            "cat",
        ])
        .ok();
    daemon.cli(&["start", "talker"]).ok();
    let said = daemon.folder().join("said");
    std::fs::write(&said, "one\ntwo\n").unwrap();
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| daemon.cli(&["logs", "-f", "talker"]));
        assert_eq!(
            daemon.cli_with(&["attach", "talker"], &said).code(0).stdout,
            "one\ntwo\n"
        );
        assert_eq!(follower.join().unwrap().code(0).stdout, "one\ntwo\n");
    });
    assert_eq!(daemon.cli(&["wait", "talker"]).ok(), "0");
    daemon.cli(&["rm", "talker"]).ok();
}

#[test]
fn files_are_reached_when_the_container_has_stopped_and_not_before() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    let given = daemon.folder().join("given.txt");
    std::fs::write(&given, "given").unwrap();
    let (given, back) = (windows_path(&given), daemon.folder().join("back.txt"));
    daemon
        .cli(&[
            "create",
            "--isolation",
            "hyperv",
            "--name",
            "box",
            &image,
            "probe",
            "control",
        ])
        .ok();
    daemon.cli(&["cp", "-q", &given, r"box:C:\app\given.txt"]).ok();
    daemon.cli(&["start", "box"]).ok();
    let read = ["exec", "box", "probe", "read", "given.txt"];
    assert_eq!(daemon.cli(&read).ok(), "given");
    daemon
        .cli(&["exec", "box", "probe", "write", "made.txt", "made"])
        .ok();
    let to = windows_path(&back);
    for words in [
        &["cp", "-q", r"box:C:\app\made.txt", &to][..],
        &["cp", "-q", &given, r"box:C:\app\late.txt"],
        &["diff", "box"],
        &["commit", "box", "mine:1"],
    ] {
        let refused = daemon.cli(words).code(1).stderr;
        assert!(refused.contains("stop it first"), "{words:?}: {refused}");
    }
    daemon.cli(&["stop", "-t", "1", "box"]).ok();
    daemon.cli(&["cp", "-q", r"box:C:\app\made.txt", &to]).ok();
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "made");
    let diff = daemon.cli(&["diff", "box"]).ok();
    for change in [r"A C:\app\made.txt", r"A C:\app\given.txt"] {
        assert!(diff.contains(change), "{change}: {diff}");
    }
    daemon.cli(&["commit", "box", "mine:1"]).ok();
    assert_eq!(run(&daemon, &[], "mine:1", &["read", "made.txt"]).ok(), "made");
    daemon.cli(&["rm", "box"]).ok();
    daemon.cli(&["rmi", "mine:1"]).ok();
}

#[test]
fn directories_and_files_of_the_host_are_seen_in_the_machine() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    let shared = daemon.folder().join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::write(shared.join("in.txt"), "from outside").unwrap();
    std::fs::write(daemon.folder().join("one.txt"), "single").unwrap();
    let directory = format!(r"{}:C:\app\shared", windows_path(&shared));
    let file = format!(
        r"{}:C:\app\one.txt:ro",
        windows_path(&daemon.folder().join("one.txt"))
    );
    let flags = ["-v", &directory, "-v", &file];
    assert_eq!(
        run(&daemon, &flags, &image, &["read", r"shared\in.txt"]).ok(),
        "from outside"
    );
    assert_eq!(run(&daemon, &flags, &image, &["read", "one.txt"]).ok(), "single");
    run(
        &daemon,
        &flags,
        &image,
        &["write", r"shared\new.txt", "from inside"],
    )
    .ok();
    assert_eq!(
        std::fs::read_to_string(shared.join("new.txt")).unwrap(),
        "from inside"
    );
    assert!(shared.join("in.txt").exists(), "it is not the container's");
}

#[test]
fn a_machine_is_plugged_into_the_network_and_out_of_it() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    started(&daemon, &image, "web", &["-p", "8080:80"]);
    let web = inspect(&daemon, "web");
    let settings = &web["NetworkSettings"];
    assert_eq!(
        settings["Networks"]["nat"]["IPAddress"], "172.28.0.2",
        "{settings}"
    );
    assert_eq!(daemon.joined(), [settings["SandboxID"].as_str().unwrap()]);
    assert_eq!((daemon.networks(), daemon.plugged()), ((1, 1), 1));
    daemon.cli(&["stop", "-t", "1", "web"]).ok();
    assert_eq!((daemon.networks(), daemon.plugged()), ((0, 0), 0));
    daemon.cli(&["rm", "web"]).ok();
    assert_eq!(
        run(&daemon, &["--network", "none"], &image, &["read", "old.txt"]).ok(),
        "replaced"
    );
}

#[test]
fn limits_and_names_reach_the_guest() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    let flags = [
        "--memory",
        "512m",
        "--cpus",
        "1",
        "--hostname",
        "web",
        "-e",
        "SAID=it",
        "-w",
        r"C:\more",
    ];
    assert_eq!(
        run(&daemon, &flags, &image, &["read", "last.txt"])
            .code(127)
            .status,
        127,
        "a program is found from the working directory"
    );
    let flags = &flags[..8];
    assert_eq!(
        run(&daemon, flags, &image, &["env", "SAID"]).ok().trim_end(),
        "it"
    );
}

#[test]
fn a_guest_that_hangs_does_not_keep_its_container() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    started(&daemon, &image, "stuck", &[]);
    started(&daemon, &image, "other", &[]);
    daemon.order("Guest.ShutdownForced=hang\nGuest.SignalProcess=hang");
    daemon.cli(&["rm", "-f", "stuck"]).ok();
    daemon.order("");
    assert_eq!(daemon.cli(&["exec", "other", "probe", "exit", "4"]).status, 4);
    assert_eq!(daemon.cli(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "other");
    daemon.cli(&["rm", "-f", "other"]).ok();
}

#[test]
fn a_shim_that_is_killed_takes_its_machine_along_and_the_files_stay() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    let shared = daemon.folder().join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::write(shared.join("in.txt"), "from outside").unwrap();
    let before = daemon.processes();
    let mount = format!(r"{}:C:\app\shared", windows_path(&shared));
    started(&daemon, &image, "box", &["-v", &mount]);
    daemon
        .cli(&["exec", "box", "probe", "write", "note.txt", "kept"])
        .ok();
    for pid in daemon.processes().iter().filter(|pid| !before.contains(pid)) {
        let killed = std::process::Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status();
        assert!(killed.unwrap().success());
    }
    daemon.cli(&["wait", "box"]).ok();
    let state = inspect(&daemon, "box")["State"].clone();
    assert_eq!(state["Status"], "exited", "{state}");
    // The scratch is nobody's, and what was mounted into it is not removed with it.
    daemon.cli(&["start", "box"]).ok();
    let read = |file: &str| daemon.cli(&["exec", "box", "probe", "read", file]).ok();
    assert_eq!(read("note.txt"), "kept");
    assert_eq!(read(r"shared\in.txt"), "from outside");
    daemon.cli(&["rm", "-f", "box"]).ok();
    assert!(shared.join("in.txt").exists());
}

#[test]
fn an_image_of_an_older_windows_has_a_machine_by_itself() {
    let daemon = WineDaemon::with_hyper_v();
    let image = pushed_for(&daemon, OLDER, "older");
    let before = machines(&daemon);
    daemon
        .cli(&["run", "-d", "--name", "old", &image, "probe", "control"])
        .ok();
    assert_eq!(inspect(&daemon, "old")["HostConfig"]["Isolation"], "hyperv");
    assert_eq!(
        daemon.cli(&["exec", "old", "probe", "read", "old.txt"]).ok(),
        "replaced"
    );
    daemon.cli(&["rm", "-f", "old"]).ok();
    assert!(machines(&daemon) > before);
    let refused = daemon
        .cli(&[
            "run",
            "--rm",
            "--isolation",
            "process",
            &image,
            "probe",
            "exit",
            "0",
        ])
        .code(125);
    assert!(refused.stderr.contains("Hyper-V isolation"), "{}", refused.stderr);
}

#[test]
fn without_hyper_v_it_is_refused_with_the_reason() {
    let daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    let refused = run(&daemon, &[], &image, &["exit", "0"]).code(125);
    assert!(refused.stderr.contains("Hyper-V"), "{}", refused.stderr);
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn a_container_outlives_the_daemon() {
    let mut daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    started(&daemon, &image, "keeper", &[]);
    daemon.restart();
    let list = daemon.cli(&["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    assert!(list.starts_with("keeper Up"), "{list}");
    assert_eq!(daemon.cli(&["exec", "keeper", "probe", "exit", "3"]).status, 3);
    assert_eq!(daemon.cli(&["logs", "keeper"]).ok().trim_end(), "ready");
    assert_eq!(inspect(&daemon, "keeper")["HostConfig"]["Isolation"], "hyperv");
    daemon.cli(&["rm", "-f", "keeper"]).ok();
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn a_daemon_that_is_killed_while_a_machine_boots_leaves_nothing_half() {
    let mut daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    let words = ["run", "-d", "--isolation", "hyperv", "--name", "keeper"];
    daemon
        .cli(&[&words, &[&image[..], "probe", "sleep", "600"][..]].concat())
        .ok();
    daemon.order("Guest.Create=hang");
    let words = ["run", "-d", "--isolation", "hyperv", "--name", "late"];
    let starting = daemon.spawn(&[&words, &[&image[..], "probe", "control"][..]].concat());
    // Wine forgets a process whose parent is killed before it runs.
    wait::until("its machine has a disk", || {
        (disks_of_machines(&daemon) == 2).then_some(())
    });
    daemon.restart();
    starting.wait();
    daemon.order("");
    // What did not get far enough to be known has ended.
    wait::until("what runs has its network, and nothing else", || {
        let running = daemon.cli(&["ps", "-q"]).ok().lines().count();
        ((daemon.networks(), daemon.plugged()) == ((running, running), running)).then_some(())
    });
    assert_eq!(daemon.cli(&["exec", "keeper", "probe", "exit", "3"]).status, 3);
    let list = daemon.cli(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    assert!(list.contains("late"), "{list}");
    daemon.cli(&["start", "late"]).ok();
    assert_eq!(
        daemon.cli(&["exec", "late", "probe", "read", "old.txt"]).ok(),
        "replaced"
    );
    daemon.cli(&["rm", "-f", "late", "keeper"]).ok();
}

#[test]
fn a_machine_that_dies_ends_its_container_with_a_cause_and_no_other() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    started(&daemon, &image, "apart", &[]);
    daemon
        .cli(&[
            "run",
            "-d",
            "--isolation",
            "process",
            "--name",
            "beside",
            &image,
            "probe",
            "control",
        ])
        .ok();
    // Who is with a program in it hears of it, too.
    let with = daemon.spawn(&["exec", "apart", "probe", "sleep", "600"]);
    wait::until("the program runs", || {
        let top = daemon.cli(&["top", "apart"]).ok();
        (top.matches("probe.exe").count() == 2).then_some(())
    });
    daemon.order("Machine.die=now");
    daemon.cli(&["wait", "apart"]).ok();
    assert_ne!(with.wait(), 0);
    daemon.order("");
    let state = inspect(&daemon, "apart")["State"].clone();
    assert_eq!(state["Status"], "exited", "{state}");
    assert_ne!(state["Error"], "", "{state}");
    assert_eq!(daemon.cli(&["exec", "beside", "probe", "exit", "4"]).status, 4);
    daemon.cli(&["start", "apart"]).ok();
    assert_eq!(
        daemon.cli(&["exec", "apart", "probe", "read", "old.txt"]).ok(),
        "replaced"
    );
    daemon.cli(&["rm", "-f", "apart", "beside"]).ok();
}

#[test]
fn a_guest_that_does_not_work_is_told_and_leaves_nothing() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    for (order, told) in [
        // It connects and hangs up; it refuses something; it is lost in the middle.
        ("Guest.connect=80004005 x1", "did not boot"),
        ("Guest.NegotiateProtocol=8007000E x1", ""),
        ("Guest.Create=8007000E x1", "0x8007000e"),
        ("Guest.ModifySettings=80070005 x1", "0x80070005"),
        ("Guest.ExecuteProcess=die", ""),
        ("Guest.Start=8007000E x1", "0x8007000e"),
    ] {
        daemon.order(order);
        let refused = daemon.cli(&[
            "run",
            "--rm",
            "--isolation",
            "hyperv",
            &image,
            "probe",
            "read",
            "old.txt",
        ]);
        assert_ne!(refused.status, 0, "{order}: {refused:?}");
        let said = refused.stderr.to_lowercase();
        assert!(said.contains(told), "{order}: {said}");
        daemon.order("");
        assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "", "{order}");
        assert_eq!(daemon.plugged(), 0, "{order}");
    }
    assert_eq!(run(&daemon, &[], &image, &["read", "old.txt"]).ok(), "replaced");
}

#[test]
fn a_guest_that_never_comes_is_not_waited_for_without_end() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    daemon.order("Guest.connect=hang");
    let refused = run(&daemon, &[], &image, &["read", "old.txt"]).code(125);
    assert!(refused.stderr.contains("did not connect"), "{}", refused.stderr);
    daemon.order("");
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn a_terminal_in_a_machine_echoes_and_has_its_size() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    let mut console = daemon.at_console(&[
        "run",
        "-it",
        "--rm",
        "--isolation",
        "hyperv",
        &image,
        "probe",
        "keys",
    ]);
    console.terminal.expect("size 2000x50;");
    console.terminal.type_in("a");
    console.terminal.expect("[61]");
    console.resize(1900, 40);
    console.terminal.expect("size 1900x40;");
    console.interrupt();
    console.terminal.expect("CTRL_C");
    console.terminal.type_in("!");
    assert_eq!(console.exit_code(), 9);
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn the_shims_of_idle_machines_wake_up_for_nobody() {
    let daemon = WineDaemon::with_hyper_v();
    let image = windows_image(&daemon);
    for name in ["one", "two"] {
        let words = ["run", "-d", "--isolation", "hyperv", "--name", name];
        daemon
            .cli(&[&words, &[&image[..], "probe", "sleep", "600"][..]].concat())
            .ok();
    }
    let processes = daemon.processes();
    assert_eq!(processes.len(), 3, "the daemon and a shim for each container");
    idle::settles(&processes);
    daemon.cli(&["rm", "-f", "one", "two"]).ok();
}
