//! Containers in the states that files are copied in, and archives as the command line gives them.

use std::collections::BTreeMap;
use std::io::Read;

use tests::{BUSYBOX, Output, TestDaemon, images};

/// A container of a small image in one of its states.
pub(crate) fn container(daemon: &TestDaemon, image: &str, state: &str, name: &str, script: &str) {
    let script = format!("{script}\nexec sleep 1000");
    match state {
        "created" => {
            daemon
                .cli(["create", "--name", name, image, "sh", "-c", &script])
                .ok();
        }
        _ => {
            daemon
                .cli(["run", "-d", "--name", name, image, "sh", "-c", &script])
                .ok();
            settled(daemon, name);
            if state == "stopped" {
                daemon.cli(["stop", "-t", "0", name]).ok();
            }
        }
    }
}

/// Waits until the script of a container has come to its end.
fn settled(daemon: &TestDaemon, name: &str) {
    tests::wait::until("the script is done", || {
        let top = daemon.cli(["exec", name, "sh", "-c", "cat /proc/1/cmdline"]);
        top.stdout.starts_with("sleep\0").then_some(())
    });
}

/// Standard output of the CLI as it is.
pub(crate) fn bytes(daemon: &TestDaemon, arguments: &[&str]) -> Vec<u8> {
    let output = daemon.command(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Names in an archive, and for each its header's kind and content.
pub(crate) fn entries(archive: &[u8]) -> BTreeMap<String, (tar::EntryType, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    let entry = |entry: Result<tar::Entry<'_, &[u8]>, std::io::Error>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let kind = entry.header().entry_type();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, (kind, content))
    };
    entries.map(entry).collect()
}

/// Asserts that the CLI failed with this text.
#[track_caller]
pub(crate) fn refused(output: Output, text: &str) {
    let output = output.code(1);
    assert!(output.stderr.contains(text), "{}", output.stderr);
    assert!(output.stdout.is_empty(), "{}", output.stdout);
}

/// A daemon with the small image, and its name.
pub(crate) fn house() -> (TestDaemon, String) {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    (daemon, image)
}
