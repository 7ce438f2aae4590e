//! Networks that users make on Windows: made, listed, joined by containers of both kinds, made again after a reboot, and removed.
//!
//! Run by `scripts/test wine`, over the doubles of the DLLs; see `tests/doubles/computenetwork`. Linux containers need root.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;

use serde_json::{Value, json};
use tests::windows::{pushed, windows_image};
use tests::wine::WineDaemon;
use tests::{BUSYBOX, MachineHost, images, wait};

fn inspect(daemon: &WineDaemon, words: &[&str]) -> Value {
    let document: Value = serde_json::from_str(&daemon.cli(words).ok()).unwrap();
    document[0].clone()
}

fn network(daemon: &WineDaemon, name: &str) -> Value {
    inspect(daemon, &["network", "inspect", name])
}

/// What a container has of a network.
fn attached(daemon: &WineDaemon, container: &str, network: &str) -> Value {
    inspect(daemon, &["inspect", container])["NetworkSettings"]["Networks"][network].clone()
}

/// Makes a network and says its id.
fn created(daemon: &WineDaemon, words: &[&str]) -> String {
    let id = daemon.cli(&[&["network", "create"], words].concat()).ok();
    assert_eq!(id.trim_end().len(), 64, "{id}");
    id.trim_end().to_owned()
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

/// Asserts that something is refused with this exit code and these words.
fn refused(daemon: &WineDaemon, words: &[&str], code: i32, says: &str) {
    let output = daemon.cli(words).code(code);
    assert!(output.stderr.contains(says), "{words:?}: {}", output.stderr);
}

fn records(daemon: &WineDaemon) -> PathBuf {
    daemon.folder().join("networks.json")
}

/// The networks that the double has.
fn made(daemon: &WineDaemon) -> usize {
    let records: Value = serde_json::from_slice(&std::fs::read(records(daemon)).unwrap()).unwrap();
    records["networks"].as_object().unwrap().len()
}

#[test]
fn a_network_is_made_listed_joined_and_removed() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    let id = created(&daemon, &["--label", "a=1", "--subnet", "10.9.0.0/24", "back"]);
    let seen = network(&daemon, &id[..12]);
    assert_eq!(
        (&seen["Name"], &seen["Id"], &seen["Driver"], &seen["Scope"]),
        (&json!("back"), &json!(id), &json!("nat"), &json!("local"))
    );
    assert_eq!(
        (&seen["IPAM"]["Config"], &seen["Containers"]),
        (
            &json!([{"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1"}]),
            &json!({})
        )
    );
    let list = ["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Labels}}"];
    assert_eq!(daemon.cli(&list).ok(), "back nat a=1\nnat nat \nnone null ");
    let quiet = ["network", "ls", "-q", "--no-trunc", "--filter", "label=a=1"];
    assert_eq!(daemon.cli(&quiet).ok().trim_end(), id);

    started(&daemon, &image, "web", &["--network", &id, "-p", "8080:80"]);
    started(
        &daemon,
        &image,
        "nine",
        &["--network", "back", "--ip", "10.9.0.9"],
    );
    let web = attached(&daemon, "web", "back");
    assert_eq!(
        (&web["IPAddress"], &web["Gateway"], &web["NetworkID"]),
        (&json!("10.9.0.2"), &json!("10.9.0.1"), &json!(id))
    );
    let nine = attached(&daemon, "nine", "back");
    assert_eq!(
        (&nine["IPAddress"], &nine["IPAMConfig"]["IPv4Address"]),
        (&json!("10.9.0.9"), &json!("10.9.0.9"))
    );
    let ps = [
        "ps",
        "--filter",
        &format!("network={id}"),
        "--format",
        "{{.Names}} {{.Networks}} {{.Ports}}",
    ];
    assert_eq!(
        daemon.cli(&ps).ok().trim_end(),
        "nine back \nweb back 0.0.0.0:8080->80/tcp"
    );
    let containers = network(&daemon, "back")["Containers"].clone();
    let addresses: Vec<&Value> = containers
        .as_object()
        .unwrap()
        .values()
        .map(|container| &container["IPv4Address"])
        .collect();
    assert!(
        addresses.len() == 2 && addresses.contains(&&json!("10.9.0.9/24")),
        "{containers}"
    );

    // What is taken, is told.
    let taken = [
        "run",
        "-d",
        "--name",
        "late",
        "--network",
        "back",
        "--ip",
        "10.9.0.9",
        &image,
        "probe",
        "control",
    ];
    refused(&daemon, &taken, 125, "address 10.9.0.9 is in use or reserved");
    let port = [
        "run",
        "-d",
        "--network",
        "nat",
        "-p",
        "8080:80",
        &image,
        "probe",
        "control",
    ];
    refused(&daemon, &port, 125, "port is already allocated");
    refused(
        &daemon,
        &["network", "rm", "back"],
        1,
        "network back has active endpoints (name:",
    );
    refused(
        &daemon,
        &["network", "create", "back"],
        1,
        "network with name back already exists",
    );
    refused(
        &daemon,
        &["network", "create", "--subnet", "10.9.0.0/16", "wide"],
        1,
        "Pool overlaps with other one",
    );
    refused(
        &daemon,
        &["network", "rm", "nat"],
        1,
        "nat is a pre-defined network and cannot be removed",
    );
    refused(&daemon, &["network", "rm", "nope"], 1, "network nope not found");
    assert_eq!(daemon.cli(&["network", "rm", "-f", "nope"]).status, 0);

    daemon.cli(&["stop", "-t", "1", "web", "nine"]).ok();
    assert_eq!(daemon.networks(), (0, 0));
    assert_eq!(daemon.cli(&["network", "rm", &id]).ok().trim_end(), id);
    assert_eq!(made(&daemon), 1, "nat, of the one that was refused its port");
    refused(&daemon, &["start", "web"], 1, "network back not found");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let until = format!("{now:.6}");
    let events = [
        "events",
        "--since",
        "0",
        "--until",
        &until,
        "--filter",
        "type=network",
        "--format",
        "{{.Action}}",
    ];
    let events = daemon.cli(&events).ok();
    assert!(
        events.starts_with("create\nconnect\nconnect\n") && events.trim_end().ends_with("destroy"),
        "{events}"
    );
}

#[test]
fn networks_outlive_the_daemon_and_a_reboot_of_the_host() {
    let mut daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    let id = created(&daemon, &["back"]);
    created(&daemon, &["spare"]);
    started(&daemon, &image, "web", &["--network", "back"]);
    let before = attached(&daemon, "web", "back");
    daemon.restart();
    assert_eq!(attached(&daemon, "web", "back"), before);
    refused(
        &daemon,
        &["network", "rm", "back"],
        1,
        "has active endpoints (name:\"web\"",
    );
    daemon.cli(&["stop", "-t", "1", "web"]).ok();

    // The host forgets networks that translate.
    std::fs::remove_file(records(&daemon)).unwrap();
    daemon.restart();
    assert_eq!(network(&daemon, "back")["Id"], json!(id));
    daemon.cli(&["start", "web"]).ok();
    assert_eq!(attached(&daemon, "web", "back")["IPAddress"], before["IPAddress"]);
    assert_eq!(made(&daemon), 1, "only the one that is needed");

    let pruned = daemon.cli(&["network", "prune", "-f"]).ok();
    assert_eq!(pruned.trim_end(), "Deleted Networks:\nspare");
    daemon.cli(&["rm", "-f", "web"]).ok();
    let pruned = daemon.cli(&["system", "prune", "-f"]).ok();
    assert!(pruned.contains("Deleted Networks:\nback\n"), "{pruned}");
    assert_eq!((daemon.networks(), made(&daemon)), ((0, 0), 0));
}

#[test]
fn a_killed_daemon_leaves_no_network_that_nobody_knows() {
    let mut daemon = WineDaemon::with_doubles();
    // One is being made when the daemon dies.
    daemon.order("HcnCreateNetwork=hang");
    let creating = daemon.spawn(&["network", "create", "lost"]);
    wait::until("the call hangs", || {
        (daemon.calls("HcnCreateNetwork") > 0).then_some(())
    });
    daemon.restart();
    creating.wait();
    daemon.order("");
    wait::until("what nobody knows is reaped", || {
        (!records(&daemon).exists() || made(&daemon) == 0).then_some(())
    });
    let names = ["network", "ls", "--format", "{{.Name}}"];
    assert_eq!(daemon.cli(&names).ok().trim_end(), "nat\nnone");
    created(&daemon, &["lost"]);
    daemon.cli(&["network", "rm", "lost"]).ok();
}

#[test]
fn kinds_of_networks_are_what_the_service_is_told() {
    let daemon = WineDaemon::with_doubles();
    let image = windows_image(&daemon);
    created(&daemon, &["--internal", "closed"]);
    created(&daemon, &["-d", "internal", "inside"]);
    let adapter = "com.docker.network.windowsshim.interface=Ethernet";
    let outside = ["--subnet", "10.1.0.0/24", "--gateway", "10.1.0.1", "-o", adapter];
    created(
        &daemon,
        &[&["-d", "l2bridge"], &outside[..], &["bridged"]].concat(),
    );
    let servers = "com.docker.network.windowsshim.dnsservers=10.0.0.1";
    created(&daemon, &["-o", servers, "named"]);
    assert_eq!(network(&daemon, "closed")["Internal"], json!(true));
    assert_eq!(
        network(&daemon, "inside")["IPAM"]["Config"][0]["Gateway"],
        Value::Null
    );
    for name in ["closed", "inside", "bridged", "named"] {
        let run = ["run", "--rm", "--network", name, &image, "probe", "exit", "0"];
        daemon.cli(&run).code(0);
    }
    for name in ["closed", "inside", "bridged"] {
        let words = [
            "create",
            "--network",
            name,
            "-p",
            "80:80",
            &image,
            "probe",
            "control",
        ];
        refused(&daemon, &words, 1, "ports cannot be published on network");
    }
    for (words, says) in [
        (
            &["-d", "overlay", "x"][..],
            "network driver \"overlay\" is not supported",
        ),
        (&["--ipv6", "x"], "--ipv6: not supported"),
        (&["-o", "colour=red", "x"], "network option colour: not supported"),
        (&["nat"], "operation is not permitted on predefined nat network"),
    ] {
        refused(&daemon, &[&["network", "create"], words].concat(), 1, says);
    }
    refused(
        &daemon,
        &["network", "connect", "closed", "x"],
        1,
        "after it was made: not supported",
    );
    // A build that has room for one.
    daemon.cli(&["run", "--rm", &image, "probe", "exit", "0"]).code(0);
    daemon.order("HcnCreateNetwork=80070057");
    let second = daemon.cli(&["network", "create", "second"]).code(1).stderr;
    for says in [
        "the host has a NAT network already",
        "room for one NAT network only",
        "0x80070057",
    ] {
        assert!(second.contains(says), "{says}: {second}");
    }
    daemon.order("");
    daemon
        .cli(&["network", "rm", "closed", "inside", "bridged", "named"])
        .ok();
    assert_eq!(made(&daemon), 1);
}

#[test]
fn linux_and_windows_containers_share_a_network() {
    let host = MachineHost::start();
    let daemon = WineDaemon::with_machines(&host);
    let (windows, linux) = (pushed(&daemon), images::pushed(BUSYBOX));
    let dns = "com.docker.network.windowsshim.dnssuffix=corp.example";
    created(&daemon, &["-o", dns, "back"]);
    started(&daemon, &windows, "pane", &["--network", "back"]);
    for name in ["one", "two"] {
        let first = [
            "run",
            "-d",
            "--platform",
            "linux/amd64",
            "--name",
            name,
            "--network",
            "back",
        ];
        daemon
            .cli(&[&first[..], &[&linux, "sleep", "1000"]].concat())
            .ok();
    }
    assert_eq!((daemon.networks(), daemon.plugged()), ((3, 3), 2));
    let address = |name: &str| attached(&daemon, name, "back")["IPAddress"].clone();
    assert_eq!(
        [address("pane"), address("one"), address("two")],
        ["10.208.0.2", "10.208.0.3", "10.208.0.4"].map(Value::from)
    );
    let look = [
        "exec",
        "one",
        "sh",
        "-c",
        "ip -o -4 addr show dev eth0; cat /etc/resolv.conf",
    ];
    let inside = daemon.cli(&look).ok();
    assert!(
        inside.contains("inet 10.208.0.3/24") && inside.contains("search corp.example"),
        "{inside}"
    );
    let ping = ["exec", "two", "ping", "-c", "1", "-W", "60", "10.208.0.3"];
    daemon.cli(&ping).ok();
    daemon.cli(&["rm", "-f", "pane", "one", "two"]).ok();
    assert_eq!((daemon.networks(), daemon.plugged()), ((0, 0), 0));
    daemon.cli(&["network", "rm", "back"]).ok();
}
