//! Networks of Windows containers on Windows: addresses, published ports, and what becomes of them when something ends or fails.
//!
//! Run by `scripts/test wine`, over the doubles of the DLLs; see `tests/doubles/computenetwork`. The double of computecore.dll
//! refuses a container whose namespace is not there.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::{Value, json};
use tests::wait;
use tests::windows::windows_image;
use tests::wine::WineDaemon;

/// The double's choice when any free port will do.
const CHOSEN: &str = "49700";

fn inspect(daemon: &WineDaemon, name: &str) -> Value {
    let document: Value = serde_json::from_str(&daemon.cli(&["inspect", name]).ok()).unwrap();
    document[0].clone()
}

fn ports(daemon: &WineDaemon, name: &str) -> String {
    let filter = format!("name={name}");
    daemon
        .cli(&["ps", "-a", "--filter", &filter, "--format", "{{.Ports}}"])
        .ok()
        .trim_end()
        .to_owned()
}

/// Starts a container that runs until it is told to end, with more flags.
fn started(daemon: &WineDaemon, image: &str, name: &str, flags: &[&str]) {
    let words = [
        &["run", "-d", "--name", name],
        flags,
        &[image, "probe", "control"],
    ]
    .concat();
    daemon.cli(&words).ok();
}

#[test]
fn a_container_has_an_address_and_its_ports_while_it_runs() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    let flags = ["-p", "8080:80", "-p", "5353:53/udp", "-p", "443"];
    started(&daemon, &image, "web", &flags);
    let web = inspect(&daemon, "web");
    let settings = &web["NetworkSettings"];
    let nat = &settings["Networks"]["nat"];
    assert_eq!(nat["IPAddress"], "172.28.0.2", "{settings}");
    assert_eq!(
        (&nat["Gateway"], &nat["IPPrefixLen"]),
        (&json!("172.28.0.1"), &json!(16))
    );
    assert_eq!(settings["IPAddress"], "172.28.0.2", "for older clients");
    let everywhere = |port: &str| json!([{"HostIp": "0.0.0.0", "HostPort": port}]);
    assert_eq!(
        settings["Ports"],
        json!({"80/tcp": everywhere("8080"), "53/udp": everywhere("5353"), "443/tcp": everywhere(CHOSEN)})
    );
    assert_eq!(web["HostConfig"]["NetworkMode"], "nat");
    assert_eq!(daemon.joined(), [settings["SandboxID"].as_str().unwrap()]);
    assert_eq!(
        web["HostConfig"]["PortBindings"]["443/tcp"],
        json!([{"HostIp": "", "HostPort": ""}])
    );
    assert_eq!(
        ports(&daemon, "web"),
        format!("0.0.0.0:8080->80/tcp, 0.0.0.0:5353->53/udp, 0.0.0.0:{CHOSEN}->443/tcp")
    );

    started(&daemon, &image, "other", &["--network", "nat"]);
    assert_eq!(
        inspect(&daemon, "other")["NetworkSettings"]["IPAddress"],
        "172.28.0.3"
    );
    assert_eq!(daemon.networks(), (2, 2));

    daemon.cli(&["stop", "-t", "1", "web"]).ok();
    let stopped = inspect(&daemon, "web");
    assert_eq!(stopped["NetworkSettings"]["Ports"], json!({}));
    assert_eq!(stopped["NetworkSettings"]["Networks"]["nat"]["IPAddress"], "");
    assert_eq!(
        stopped["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"],
        "8080"
    );
    assert_eq!(ports(&daemon, "web"), "");
    assert_eq!(daemon.networks(), (1, 1), "its ports are free");
    daemon.cli(&["start", "web"]).ok();
    assert!(ports(&daemon, "web").starts_with("0.0.0.0:8080->80/tcp"));
    daemon.cli(&["rm", "-f", "web", "other"]).ok();
    assert_eq!(daemon.networks(), (0, 0));

    // Whoever has seen the end of one can start the next on the same port.
    for _ in 0..3 {
        daemon
            .cli(&["run", "--rm", "-p", "8080:80", &image, "probe", "exit", "0"])
            .ok();
        assert_eq!(daemon.networks(), (0, 0));
    }
}

#[test]
fn a_container_without_a_network_has_none_and_what_there_is_not_is_refused() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    started(&daemon, &image, "alone", &["--network", "none"]);
    assert_eq!((daemon.networks(), daemon.joined().len()), ((0, 0), 0));
    let alone = inspect(&daemon, "alone");
    assert_eq!(alone["NetworkSettings"]["Networks"]["none"]["IPAddress"], "");
    for (flags, says) in [
        (
            &["--network", "none", "-p", "80:80"][..],
            "conflicting options: port publishing and the container type network mode",
        ),
        (&["--network", "back"], "network back not found"),
        (&["--network", "host"], "do not support --network host"),
        (
            &["-p", "127.0.0.1:80:80"],
            "publishing on the address 127.0.0.1 alone",
        ),
        (&["-p", "80:80/sctp"], "publishing sctp ports"),
        (&["-P"], "--publish-all"),
    ] {
        let words = [&["create"], flags, &[&image, "probe", "cat"]].concat();
        let refused = daemon.cli(&words).code(1);
        assert!(refused.stderr.contains(says), "{flags:?}: {}", refused.stderr);
    }
    daemon.cli(&["rm", "-f", "alone"]).ok();
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn a_port_that_is_taken_is_told_in_the_words_that_tools_look_for() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    started(&daemon, &image, "first", &["-p", "8080:80"]);
    let refused = daemon
        .cli(&[
            "run", "-d", "--name", "second", "-p", "8080:81", &image, "probe", "control",
        ])
        .code(125);
    let says = "driver failed programming external connectivity on endpoint second: Bind for 0.0.0.0:8080 failed: \
                port is already allocated";
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
    assert!(refused.stderr.contains("0x803B0013"), "{}", refused.stderr);
    assert_eq!(refused.stdout.trim_end().len(), 64, "the id of what was made");
    assert_eq!(daemon.networks(), (1, 1));
    assert_eq!(inspect(&daemon, "second")["State"]["ExitCode"], 128);
    // It starts when the port is free.
    daemon.cli(&["rm", "-f", "first"]).ok();
    daemon.cli(&["start", "second"]).ok();
    assert_eq!(ports(&daemon, "second"), "0.0.0.0:8080->81/tcp");
    daemon.cli(&["rm", "-f", "second"]).ok();
}

#[test]
fn a_killed_daemon_leaves_running_containers_their_network_and_nothing_else() {
    let mut daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    started(&daemon, &image, "keeper", &["-p", "8080:80"]);
    let before = inspect(&daemon, "keeper")["NetworkSettings"].clone();
    // Another one is being attached when the daemon dies.
    daemon.order("HcnModifyNamespace=hang");
    let calls = daemon.calls("HcnModifyNamespace");
    let starting = daemon.spawn(&["run", "-d", "-p", "8081:80", &image, "probe", "control"]);
    wait::until("it is attached", || {
        (daemon.calls("HcnModifyNamespace") > calls).then_some(())
    });
    assert_eq!(daemon.networks(), (2, 2));
    daemon.restart();
    starting.wait();
    daemon.order("");
    wait::until("the leftovers are reaped", || {
        (daemon.networks() == (1, 1)).then_some(())
    });
    assert_eq!(inspect(&daemon, "keeper")["NetworkSettings"], before);
    assert_eq!(ports(&daemon, "keeper"), "0.0.0.0:8080->80/tcp");
    daemon.cli(&["stop", "-t", "1", "keeper"]).ok();
    assert_eq!(daemon.networks(), (0, 0));
}

#[test]
fn a_host_without_networks_runs_containers_without_and_says_so() {
    let daemon = WineDaemon::without("computenetwork");
    let image = windows_image(&daemon);
    let run = daemon
        .cli(&["run", "--rm", &image, "probe", "read", "old.txt"])
        .code(0);
    assert_eq!(run.stdout, "replaced");
    for words in [
        "the container has no network",
        "computenetwork.dll cannot be loaded",
    ] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    let quiet = daemon
        .cli(&["run", "--rm", "--network", "none", &image, "probe", "exit", "0"])
        .code(0);
    assert_eq!(quiet.stderr, "", "it was asked for");
    for flags in [&["--network", "nat"][..], &["-p", "8080:80"]] {
        let words = [&["create"], flags, &[&image, "probe", "cat"]].concat();
        let refused = daemon.cli(&words).code(1);
        for words in ["this host has no networks for containers", "Containers"] {
            assert!(refused.stderr.contains(words), "{flags:?}: {}", refused.stderr);
        }
    }
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn calls_that_fail_are_told_and_leave_nothing() {
    let mut daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    daemon
        .cli(&[
            "create", "--name", "one", "-p", "8080:80", &image, "probe", "control",
        ])
        .ok();
    for (order, told) in [
        ("HcnEnumerateNetworks=80070005 x1", "0x80070005"),
        ("HcnCreateNetwork=80070422 x1", "0x80070422"),
        ("HcnCreateEndpoint=803B0020 x1", "0x803B0020"),
        ("HcnCreateNamespace=late:80004005 x1", "0x80004005"),
        ("HcnModifyNamespace=late:803B002E x1", "0x803B002E"),
    ] {
        daemon.order(order);
        let refused = daemon.cli(&["start", "one"]).code(1).stderr;
        let function = order.split('=').next().unwrap();
        assert!(
            refused.contains(told) && refused.contains(function),
            "{order}: {refused}"
        );
        assert_eq!(daemon.networks(), (0, 0), "{order}");
    }
    // A program that does not start gives its network back.
    let missing = daemon.cli(&["run", "--rm", "-p", "8080:80", &image, "no-such-program"]);
    assert_eq!((missing.status, daemon.networks()), (127, (0, 0)));

    // What cannot be taken away goes with the next daemon.
    daemon.cli(&["start", "one"]).ok();
    daemon.order("HcnDeleteNamespace=8007045D x1");
    daemon.cli(&["rm", "-f", "one"]).ok();
    assert_eq!(daemon.networks(), (0, 1));
    daemon.restart();
    wait::until("the leftovers are reaped", || {
        (daemon.networks() == (0, 0)).then_some(())
    });
}

#[test]
fn a_network_service_that_hangs_holds_up_no_other_container() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    started(&daemon, &image, "calm", &[]);
    daemon
        .cli(&["create", "--name", "stuck", &image, "probe", "control"])
        .ok();
    let calls = daemon.calls("HcnCreateEndpoint");
    daemon.order("HcnCreateEndpoint=hang");
    let starting = daemon.spawn(&["start", "stuck"]);
    wait::until("the call hangs", || {
        (daemon.calls("HcnCreateEndpoint") > calls).then_some(())
    });
    assert!(daemon.cli(&["ps"]).ok().contains("calm"));
    assert_eq!(daemon.cli(&["exec", "calm", "probe", "exit", "5"]).status, 5);
    daemon.cli(&["stop", "-t", "1", "calm"]).ok();
    daemon
        .cli(&["run", "--rm", "--network", "none", &image, "probe", "exit", "0"])
        .ok();
    daemon.order("");
    // The start goes on, or was given up and what it made is taken away.
    let went_on = starting.wait() == 0;
    let left = usize::from(went_on);
    wait::until("what runs has its network, and nothing else", || {
        (daemon.networks() == (left, left)).then_some(())
    });
    daemon.cli(&["rm", "-f", "calm", "stuck"]).ok();
}
