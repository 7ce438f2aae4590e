//! What a sandbox leaves behind: nothing. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::unwrap_used,
    reason = "a failure of the harness is a failure of the test"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::{Boot, Sandbox};

/// Everything on this machine that belongs to a sandbox: its control groups and the processes in them.
fn traces(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let group = hierarchy.path().join("ctr-like-test").join(id);
        if group.exists() {
            found.push(group.display().to_string());
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(id)).map(str::to_owned));
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let groups = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        if groups.contains(&format!("/{id}/")) || groups.lines().any(|line| line.ends_with(&format!("/{id}")))
        {
            found.push(process.path().display().to_string());
        }
    }
    found
}

async fn gone(id: &str) {
    let vanish = async {
        while !traces(id).is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(std::time::Duration::from_secs(120), vanish)
        .await
        .is_err()
    {
        panic!("left behind: {:#?}", traces(id));
    }
}

#[tokio::test]
async fn killing_the_parent_of_the_launcher_ends_everything() {
    let agent = support::agent();
    let dir = tempfile::tempdir().unwrap();
    support::prepare(dir.path());
    let boot = Boot::listen(dir.path());
    let id = support::fresh();
    let mut parent = tokio::process::Command::new("/bin/sh")
        .args(["-c", "\"$0\" sandbox \"$1\"; true"])
        .arg(agent)
        .arg(support::document(dir.path(), &id).to_string())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (_log, _bridge) = boot.accept().await;
    assert!(!traces(&id).is_empty());
    parent.start_kill().unwrap();
    parent.wait().await.unwrap();
    gone(&id).await;
    support::clear(dir.path());
}

#[tokio::test]
async fn an_agent_whose_sockets_lose_half_close_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    support::prepare(dir.path());
    let boot = Boot::listen(dir.path());
    let id = support::fresh();
    let mut launcher = tokio::process::Command::new(support::agent())
        .arg("sandbox")
        .arg(support::document(dir.path(), &id).to_string())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = boot.silent().await;
    assert!(log.contains("sockets to the host lose half-close"), "{log}");
    launcher.wait().await.unwrap();
    gone(&id).await;
    support::clear(dir.path());
}

#[tokio::test]
async fn killing_the_launcher_ends_its_processes() {
    let sandbox = Sandbox::start().await;
    let init = sandbox.init();
    kill(Pid::from_raw(sandbox.launcher()), Signal::SIGKILL).unwrap();
    let ended = async {
        while Path::new(&format!("/proc/{init}")).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    support::soon("end of init", ended).await;
    // Nobody was left to remove the control groups.
    for group in traces(&sandbox.id) {
        remove(Path::new(&group));
    }
}

fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

#[tokio::test]
async fn stopping_a_sandbox_with_running_containers_leaves_nothing() {
    let sandbox = Sandbox::start().await;
    let container = sandbox
        .create(|specification| specification["process"]["args"] = json!(["sleep", "1000"]))
        .await
        .unwrap();
    let _init = container.start().await;
    drop(container);
    let id = sandbox.id.clone();
    let log = sandbox.stop().await;
    gone(&id).await;
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["time"].is_string() && line["level"].is_string() && line["msg"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_host_can_turn_the_machine_off() {
    let sandbox = Sandbox::start().await;
    let (id, bridge) = (sandbox.id.clone(), sandbox.bridge.clone());
    let off = bridge.shutdown(gcs::NULL_ID, true);
    assert!(support::soon("end of the bridge", off).await.is_err());
    gone(&id).await;
}

#[tokio::test]
async fn a_lost_bridge_is_dialled_again_and_containers_go_on() {
    let sandbox = Sandbox::start().await;
    let container = sandbox
        .create(|specification| specification["process"]["args"] = json!(["cat"]))
        .await
        .unwrap();
    let init = container.start().await;
    sandbox.bridge.close();
    let bridge = sandbox.reconnect().await;
    let pid = init.pid;
    bridge.signal(&container.id, pid, Some(9)).await.unwrap();
    drop(init);
    assert_eq!(
        support::soon("exit", bridge.wait(&container.id, pid))
            .await
            .unwrap(),
        137
    );
}

#[tokio::test]
async fn twenty_containers_later_the_agent_is_as_it_was() {
    let sandbox = Sandbox::start().await;
    let init = sandbox.init();
    let census = || {
        let count = |path: String| fs::read_dir(path).unwrap().count();
        let mounts = fs::read_to_string(format!("/proc/{init}/mountinfo"))
            .unwrap()
            .lines()
            .count();
        let groups = fs::read_dir(format!("/sys/fs/cgroup/memory/ctr-like-test/{}/pods", sandbox.id))
            .map_or(0, |dir| {
                dir.flatten().filter(|entry| entry.path().is_dir()).count()
            });
        let root = format!("/proc/{init}/root/run/gcs");
        let files = ["work", "state", "c"]
            .map(|name| fs::read_dir(format!("{root}/{name}")).map_or(0, Iterator::count));
        (count(format!("/proc/{init}/fd")), mounts, groups, files)
    };
    for _ in 0..2 {
        sandbox.run(&["true"]).await;
    }
    let settled = async |expected| {
        let wait = async {
            while census() != expected {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(180), wait)
            .await
            .is_ok()
    };
    // What the runs before leave to do is done when nothing changes any more.
    let (mut before, mut same) = (census(), 0);
    while same < 100 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let now = census();
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
    for number in 0..20 {
        let output = sandbox.run(&["sh", "-c", &format!("echo {number}")]).await;
        assert_eq!(output.stdout, format!("{number}\n"));
    }
    assert!(settled(before).await, "before {before:?}, after {:?}", census());
    let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 6 << 10, "the agent has {resident} KiB resident");
}
