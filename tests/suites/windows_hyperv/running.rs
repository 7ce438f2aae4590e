//! What containers in machines of their own do, as those that share the kernel do it.

use serde_json::Value;
use tests::windows::{pushed_for, windows_image};
use tests::wine::{WineDaemon, windows_path};
use tests::{idle, wait};

use crate::{OLDER, disks_of_machines, inspect, machines, run, started};

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
    wait::until("it is ready once more", || {
        let logs = daemon.cli(&["logs", "apart"]).ok();
        (logs.matches("ready").count() == 2).then_some(())
    });
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
