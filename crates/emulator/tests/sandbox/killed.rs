//! What remains when the process that holds a sandbox is killed, and how it is cleaned.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::host::{Host, READY, cgroups, disk, image, leftovers, loops};

const DIRECTORY: &str = "CTR_LIKE_TEST_VICTIM";

/// Not a test: the process that the test below kills.
#[tokio::test]
#[ignore = "started by killing_the_process_leaves_nothing_that_reap_does_not_remove"]
async fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let emulator = Host::emulator_in(&directory, READY);
    use compute::ComputeService;
    let system = emulator
        .create("victim", &crate::host::document().to_string())
        .await
        .unwrap();
    let _listener = system.listen(7).await.unwrap();
    system.start().await.unwrap();
    let (layer, scratch) = (
        image(&directory, "layer.vhd", 4096, 1),
        image(&directory, "scratch.vhd", 4096, 2),
    );
    system
        .modify(&disk("Add", 0, 0, Some((&layer, true))))
        .await
        .unwrap();
    system
        .modify(&disk("Add", 0, 1, Some((&scratch, false))))
        .await
        .unwrap();
    let volume = directory.join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("precious"), "").unwrap();
    let share = serde_json::json!({ "ResourcePath": "VirtualMachine/Devices/Plan9/Shares", "RequestType": "Add",
        "Settings": { "Name": "volume", "Path": volume, "Flags": 1 } });
    system.modify(&share.to_string()).await.unwrap();
    tokio::fs::read(directory.join("ready")).await.unwrap();
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
    assert_eq!(loops(directory.path()).len(), 2);
    assert!(
        emulator::reap(&run).unwrap().is_empty(),
        "a living owner's sandbox was reaped"
    );
    assert_eq!(loops(directory.path()).len(), 2);

    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(!leftovers(directory.path()).is_empty(), "the test is too kind");
    assert_eq!(emulator::reap(&run).unwrap(), ["victim"]);
    assert_eq!(leftovers(directory.path()), Vec::<String>::new());
    assert!(cgroups("victim").is_empty());
    assert!(directory.path().join("volume/precious").exists());
}
