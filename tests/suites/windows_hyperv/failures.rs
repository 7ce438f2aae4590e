//! Killed daemons and shims, machines that die, guests that hang, refuse or never come, hosts without Hyper-V.

use tests::wait;
use tests::windows::{pushed, windows_image};
use tests::wine::{WineDaemon, windows_path};

use crate::{disks_of_machines, inspect, run, started};

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
    wait::until("its words are in the log", || {
        (daemon.cli(&["logs", "keeper"]).ok().trim_end() == "ready").then_some(())
    });
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
    let daemon = WineDaemon::with_hyper_v_that_boots_within(15);
    let image = windows_image(&daemon);
    daemon.order("Guest.connect=hang");
    let refused = run(&daemon, &[], &image, &["read", "old.txt"]).code(125);
    assert!(refused.stderr.contains("did not connect"), "{}", refused.stderr);
    daemon.order("");
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}
