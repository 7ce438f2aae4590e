//! Windows containers with Hyper-V isolation on Windows: the daemon and the CLI under Wine, over the double of computecore.dll,
//! whose Windows machines have a guest that speaks the guest protocol and runs real processes.
//!
//! Run by `scripts/test wine`. As in suite `windows_host`, programs name files by paths without a drive. The reports of the doubles have
//! to be clean at the end of each test: nothing is left in a machine that is ended, no disk, share, adapter or grant is wrong.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod failures;
mod running;

use serde_json::Value;
use tests::Output;
use tests::wine::WineDaemon;

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
