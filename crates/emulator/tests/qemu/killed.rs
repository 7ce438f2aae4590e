//! What remains when the process that holds a machine is killed, and how it is cleaned.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::host::{Host, cgroups, leftovers};

const DIRECTORY: &str = "CTR_LIKE_TEST_VICTIM";
const ID: &str = "vm-victim";

/// Not a test: the process that the test below kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by killing_the_process_leaves_nothing_that_reap_does_not_remove"]
async fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let host = Host::in_directory(&directory);
    let _guest = host.boot(ID).await;
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
    let processes = |left: Vec<String>| left.iter().filter(|what| what.starts_with("process")).count();
    assert_eq!(processes(leftovers(directory.path())), 1);
    assert!(
        emulator::reap(&run).unwrap().is_empty(),
        "a living owner's machine was reaped"
    );
    assert_eq!(processes(leftovers(directory.path())), 1);

    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(!leftovers(directory.path()).is_empty(), "the test is too kind");
    assert_eq!(emulator::reap(&run).unwrap(), [ID]);
    assert_eq!(leftovers(directory.path()), Vec::<String>::new());
    assert!(cgroups(ID).is_empty());
}
