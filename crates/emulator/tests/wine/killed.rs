//! What remains when the process that holds a container is killed, and how it is cleaned.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use compute::ComputeService;
use serde_json::json;

use crate::host::{Host, document, leftovers, processes, spawn, until, volume};

const DIRECTORY: &str = "CTR_LIKE_TEST_VICTIM";
const ID: &str = "wine-victim";

/// Not a test: the process that the test below kills.
#[tokio::test]
#[ignore = "started by killing_the_process_leaves_nothing_that_reap_does_not_remove"]
async fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let emulator = Host::emulator_in(&directory);
    let volume = volume(&directory);
    let text = document(&volume, json!({})).to_string();
    let system = emulator.create(ID, &text).await.unwrap();
    system.start().await.unwrap();
    let (_process, mut stdio) = spawn(&*system, "sleep").await;
    until(stdio.stdout.as_mut().unwrap(), "ready").await;
    println!("\nREADY");
    std::future::pending::<()>().await;
}

#[test]
fn killing_the_process_leaves_nothing_that_reap_does_not_remove() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::victim", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "READY"), "the victim failed");
    assert!(
        emulator::reap(&run).unwrap().is_empty(),
        "a living owner's container was reaped"
    );
    assert!(
        processes(ID).len() >= 3,
        "the test is too kind: {:?}",
        processes(ID)
    );

    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(emulator::reap(&run).unwrap(), [ID]);
    assert_eq!(
        leftovers(directory.path(), &[ID.to_owned()]),
        Vec::<String>::new()
    );
    assert!(processes(ID).is_empty());
    let written = directory.path().join("scratch-0/upper");
    assert!(
        Path::new(&written).is_dir(),
        "what the container wrote is not ours to remove"
    );
}
