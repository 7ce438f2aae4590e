//! Networks of Linux containers on Windows: the same as those of Windows containers, in guests that are real. The machines of the
//! doubles are plugged into interfaces of a network that `tests/doubles/machine-host` has for itself.
//!
//! Run by `scripts/test wine`; needs root, as Linux containers do. That addresses, ports and leftovers are kept right is shown by
//! `windows_network` for both kinds of containers, because the daemon has one way for them.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::{Value, json};
use tests::windows::pushed;
use tests::wine::WineDaemon;
use tests::{BUSYBOX, MachineHost, images, wait};

const GATEWAY: &str = "172.28.0.1";

/// What is asked in a container about its network.
const LOOK: &str = "ip -o -4 addr show dev eth0; ip link show dev eth0; ip route; cat /etc/resolv.conf";

/// Starts a container of busybox that runs until it is killed, with more flags.
fn started(daemon: &WineDaemon, name: &str, flags: &[&str]) {
    let image = images::pushed(BUSYBOX);
    let first = ["run", "-d", "--platform", "linux/amd64", "--name", name];
    let words = [&first, flags, &[&image, "sleep", "1000"]].concat();
    daemon.cli(&words).ok();
}

fn settings(daemon: &WineDaemon, name: &str) -> Value {
    let inspect: Value = serde_json::from_str(&daemon.cli(&["inspect", name]).ok()).unwrap();
    inspect[0]["NetworkSettings"].clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The address of a container, which is the same outside and inside.
fn address(daemon: &WineDaemon, name: &str) -> String {
    let settings = settings(daemon, name);
    let nat = &settings["Networks"]["nat"];
    let inside = daemon.cli(&["exec", name, "sh", "-c", LOOK]).ok();
    let own = text(&nat["IPAddress"]).to_owned();
    for expected in [
        format!("inet {own}/{}", nat["IPPrefixLen"]),
        format!("link/ether {}", text(&nat["MacAddress"])),
        format!("default via {} dev eth0", text(&nat["Gateway"])),
    ] {
        assert!(
            !own.is_empty() && inside.contains(&expected),
            "{expected}: {inside}\n{settings}"
        );
    }
    assert_eq!(nat["Gateway"], GATEWAY);
    // What the host asks is what the container asks.
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = host.lines().filter_map(|line| line.strip_prefix("nameserver "));
    for server in servers.map(str::trim).filter(|server| {
        server
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|server| !server.is_loopback())
    }) {
        assert!(
            inside.contains(&format!("nameserver {server}")),
            "{server}: {inside}"
        );
    }
    own
}

fn ping(daemon: &WineDaemon, name: &str, to: &str) {
    daemon
        .cli(&["exec", name, "ping", "-c", "1", "-W", "60", to])
        .ok();
}

#[test]
fn linux_containers_have_addresses_ports_and_each_other() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let windows = pushed(&daemon);
    started(&daemon, "web", &["-p", "8080:80", "-p", "5353:53/udp"]);
    started(&daemon, "other", &[]);
    daemon
        .cli(&["run", "-d", "--name", "pane", &windows, "probe", "control"])
        .ok();
    assert_eq!(host.machines().len(), 1);
    assert_eq!((daemon.networks(), daemon.plugged()), ((3, 3), 2));
    let (web, other) = (address(&daemon, "web"), address(&daemon, "other"));
    let pane = settings(&daemon, "pane");
    assert_eq!(
        [&web, &other, text(&pane["IPAddress"])],
        ["172.28.0.2", "172.28.0.3", "172.28.0.4"]
    );
    ping(&daemon, "web", GATEWAY);
    ping(&daemon, "other", &web);

    let shown = settings(&daemon, "web");
    assert_eq!(
        shown["Ports"],
        json!({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5353"}]})
    );
    let ports = ["ps", "--filter", "name=web", "--format", "{{.Ports}}"];
    assert_eq!(
        daemon.cli(&ports).ok().trim_end(),
        "0.0.0.0:8080->80/tcp, 0.0.0.0:5353->53/udp"
    );
    let image = images::pushed(BUSYBOX);
    let refused = daemon
        .cli(&[
            "run",
            "--platform",
            "linux/amd64",
            "--name",
            "late",
            "-p",
            "8080:81",
            &image,
            "true",
        ])
        .code(125);
    let says = "endpoint late: Bind for 0.0.0.0:8080 failed: port is already allocated";
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
    assert_eq!((daemon.networks(), daemon.plugged()), ((3, 3), 2));

    // Whoever has seen its end finds its ports free; started again it has an endpoint again.
    daemon.cli(&["kill", "web"]).ok();
    daemon.cli(&["wait", "web"]).ok();
    assert_eq!((daemon.networks(), daemon.plugged()), ((2, 2), 1));
    assert_eq!(settings(&daemon, "web")["Networks"]["nat"]["IPAddress"], "");
    daemon.cli(&["start", "late"]).ok();
    daemon.cli(&["wait", "late"]).ok();
    daemon.cli(&["start", "web"]).ok();
    ping(&daemon, "web", &address(&daemon, "other"));
    daemon.cli(&["restart", "-t", "0", "web"]).ok();
    ping(&daemon, "other", &address(&daemon, "web"));
    daemon.cli(&["rm", "-f", "web", "other", "late", "pane"]).ok();
    assert_eq!((daemon.networks(), daemon.plugged()), ((0, 0), 0));
}

#[test]
fn a_container_without_a_network_has_its_loopback_and_what_fails_leaves_nothing() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    let run = |words: &[&str]| daemon.cli(&[&["run", "--rm", "--platform", "linux/amd64"], words].concat());
    let listed = run(&["--network", "none", &image, "ls", "/sys/class/net"]);
    assert_eq!(listed.ok(), "lo");
    assert_eq!(daemon.calls("HcnCreateEndpoint"), 0);
    let refused = run(&["--network", "none", "-p", "80:80", &image, "true"]).code(125);
    assert!(
        refused.stderr.contains("conflicting options"),
        "{}",
        refused.stderr
    );
    // The container is not made, or its program does not start.
    daemon.order("HcnModifyNamespace=late:803B002E x1");
    let refused = run(&[&image, "true"]).code(125);
    assert!(refused.stderr.contains("0x803B002E"), "{}", refused.stderr);
    assert_eq!((daemon.networks(), daemon.plugged()), ((0, 0), 0));
    run(&["-p", "8080:80", &image, "no-such-program"]).code(127);
    assert_eq!((daemon.networks(), daemon.plugged()), ((0, 0), 0));
    run(&["-p", "8080:80", &image, "true"]).code(0);
    assert_eq!((daemon.networks(), daemon.plugged()), ((0, 0), 0));
}

#[test]
fn networks_outlive_the_daemon_and_end_with_their_machine() {
    let host = MachineHost::start();
    let mut daemon = WineDaemon::with_machines(&host);
    started(&daemon, "shares", &["-p", "8080:80"]);
    started(&daemon, "alone", &["--isolation", "hyperv"]);
    assert_eq!(host.machines().len(), 2);
    let before = (address(&daemon, "shares"), address(&daemon, "alone"));
    ping(&daemon, "alone", &before.0);
    daemon.restart();
    assert_eq!((address(&daemon, "shares"), address(&daemon, "alone")), before);
    assert_eq!((daemon.networks(), daemon.plugged()), ((2, 2), 2));
    daemon.cli(&["rm", "-f", "alone"]).ok();
    assert_eq!((daemon.networks(), daemon.plugged()), ((1, 1), 1));
    let machines = daemon
        .cli(&["system", "vm", "ls", "--no-trunc", "--format", "json"])
        .ok();
    let machine: Value = serde_json::from_str(machines.lines().next().unwrap()).unwrap();
    daemon
        .cli(&["system", "vm", "rm", "-f", text(&machine["ID"])])
        .ok();
    daemon.cli(&["wait", "shares"]).ok();
    assert_eq!((daemon.networks(), daemon.plugged()), ((0, 0), 0));
    // One that dies takes its adapters with it.
    daemon.cli(&["start", "shares"]).ok();
    host.crash_machines();
    daemon.cli(&["wait", "shares"]).ok();
    wait::until("its endpoint is free", || {
        ((daemon.networks(), daemon.plugged()) == ((0, 0), 0)).then_some(())
    });
    daemon.cli(&["rm", "shares"]).ok();
}

#[test]
fn a_daemon_that_is_killed_while_a_container_starts_leaves_no_endpoint_in_a_machine() {
    let host = MachineHost::start();
    let mut daemon = WineDaemon::with_machines(&host);
    let image = images::pushed(BUSYBOX);
    started(&daemon, "keeper", &["-p", "8080:80"]);
    let before = address(&daemon, "keeper");
    let words = [
        "run",
        "-d",
        "--platform",
        "linux/amd64",
        "--name",
        "late",
        &image,
        "sleep",
        "1000",
    ];
    let starting = daemon.spawn(&words);
    wait::until("the machine is plugged in", || {
        (daemon.plugged() == 2).then_some(())
    });
    daemon.restart();
    starting.wait();
    // It runs if that was known in time.
    wait::until("what runs has its network, and nothing else", || {
        let running = daemon.cli(&["ps", "-q"]).ok().lines().count();
        ((daemon.networks(), daemon.plugged()) == ((running, running), running)).then_some(())
    });
    assert_eq!(address(&daemon, "keeper"), before);
    daemon.cli(&["start", "late"]).ok();
    ping(&daemon, "late", &before);
    daemon.cli(&["rm", "-f", "keeper", "late"]).ok();
    assert_eq!((daemon.networks(), daemon.plugged()), ((0, 0), 0));
}

#[test]
fn a_machine_with_a_kernel_of_its_own_has_adapters() {
    let host = MachineHost::with_kernels();
    let daemon = WineDaemon::with_machines(&host);
    started(&daemon, "first", &[]);
    started(&daemon, "second", &[]);
    let first = address(&daemon, "first");
    assert_ne!(first, address(&daemon, "second"));
    ping(&daemon, "first", GATEWAY);
    ping(&daemon, "second", &first);
    daemon.cli(&["stop", "-t", "0", "first"]).ok();
    daemon.cli(&["start", "first"]).ok();
    ping(&daemon, "second", &address(&daemon, "first"));
    daemon.cli(&["rm", "-f", "first", "second"]).ok();
    assert_eq!((daemon.networks(), daemon.plugged()), ((0, 0), 0));
}
