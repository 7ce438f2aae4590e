//! Images: pull, list, tag, remove, push, save and load, on a real registry and with other people's tools.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::images::{LayoutBuilder, tar_of};
use tests::{BUSYBOX, DEBIAN_PYTHON, Registry, TestDaemon, images};

#[test]
fn an_image_of_several_layers_is_pulled_listed_and_removed_and_the_disk_comes_back() {
    let daemon = TestDaemon::start();
    let image = images::pushed(DEBIAN_PYTHON);
    let pull = daemon.cli(["pull", &image]).code(0);
    assert!(pull.stdout.contains(&image), "{pull:?}");
    let list: Value = serde_json::from_str(&daemon.cli(["images", "--format", "json"]).ok()).unwrap();
    assert_eq!(
        format!(
            "{}:{}",
            list["Repository"].as_str().unwrap(),
            list["Tag"].as_str().unwrap()
        ),
        image
    );
    let inspect: Value = serde_json::from_str(&daemon.cli(["inspect", &image]).ok()).unwrap();
    assert_eq!(inspect[0]["RootFS"]["Layers"].as_array().unwrap().len(), 3);
    assert_eq!(
        std::fs::read_dir(daemon.root().join("layers")).unwrap().count(),
        3
    );
    let again = daemon.cli(["pull", &image]).code(0);
    assert!(
        format!("{}{}", again.stdout, again.stderr).contains("up to date"),
        "{again:?}"
    );

    daemon.cli(["tag", &image, "other:1"]).ok();
    daemon.cli(["rmi", &image]).ok();
    assert_eq!(
        daemon
            .cli(["run", "--rm", "other:1", "python3", "-c", "print(1)"])
            .ok(),
        "1"
    );
    daemon.cli(["create", "--name", "box", "other:1"]).ok();
    let used = daemon.cli(["rmi", "other:1"]).code(1);
    assert!(used.stderr.contains("using"), "{}", used.stderr);
    daemon.cli(["rm", "box"]).ok();
    daemon.cli(["rmi", "other:1"]).ok();
    assert_eq!(daemon.cli(["images", "-q"]).ok(), "");
    let blobs: Vec<_> = std::fs::read_dir(daemon.root().join("blobs/sha256"))
        .unwrap()
        .collect();
    let layers: Vec<_> = std::fs::read_dir(daemon.root().join("layers")).unwrap().collect();
    assert!(
        blobs.is_empty() && layers.is_empty(),
        "left: {blobs:?} {layers:?}"
    );
}

#[test]
fn an_image_pushed_under_another_name_is_what_skopeo_sees() {
    let daemon = TestDaemon::start();
    let image = images::pushed(DEBIAN_PYTHON);
    daemon.cli(["pull", &image]).ok();
    let copy = Registry::shared().name("copies/python:2");
    daemon.cli(["tag", &image, &copy]).ok();
    daemon.cli(["push", &copy]).ok();
    let look = |name: &str| {
        let output = Command::new("skopeo")
            .args([
                "inspect",
                "--raw",
                "--tls-verify=false",
                &format!("docker://{name}"),
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    assert_eq!(look(&copy), look(&image));
}

#[test]
fn save_and_load_pass_through_pipes_and_other_tools() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    let mut save = daemon
        .command(["save", &image])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let other = TestDaemon::start();
    let load = other
        .command(["load"])
        .stdin(save.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(
        save.wait().unwrap().success() && load.status.success(),
        "{}",
        String::from_utf8_lossy(&load.stderr)
    );
    assert_eq!(
        other.cli(["run", "--rm", &image, "echo", "loaded"]).ok(),
        "loaded"
    );

    let file = daemon.scratch().join("saved.tar");
    daemon.cli(["save", "-o", file.to_str().unwrap(), &image]).ok();
    for transport in ["oci-archive", "docker-archive"] {
        let output = Command::new("skopeo")
            .args(["inspect", &format!("{transport}:{}", file.display())])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{transport}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    let archive = daemon.scratch().join("docker.tar");
    let copied = Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("oci:{}:latest", images::layout(BUSYBOX).display()))
        .arg(format!("docker-archive:{}:from-docker:1", archive.display()))
        .status()
        .unwrap();
    assert!(copied.success());
    other.cli(["load", "-i", archive.to_str().unwrap()]).ok();
    assert_eq!(
        other.cli(["run", "--rm", "from-docker:1", "echo", "docker"]).ok(),
        "docker"
    );
    let garbage = other.cli_with(["load"], b"this is not an archive").code(1);
    assert!(garbage.stderr.contains("archive"), "{}", garbage.stderr);
}

/// An index with a Linux and two Windows images; the newer one must not run here but can be kept.
fn two_systems(daemon: &TestDaemon) -> String {
    let layout = LayoutBuilder::new(&daemon.scratch().join("layout"));
    let linux = json!({"os": "linux", "architecture": "amd64"});
    let windows = |version: &str| json!({"os": "windows", "architecture": "amd64", "os.version": version});
    let files = tar_of(&[("bin/tool", b"#!linux")]);
    let layer = |text: &str| tar_of(&[("Files/", b""), ("Files/tool.txt", text.as_bytes())]);
    let index = layout.index(&[
        (
            layout.image(&[files], &linux, &json!({"Cmd": ["/bin/tool"]})),
            linux,
        ),
        (
            layout.image(&[layer("old")], &windows("10.0.17763.1"), &json!({})),
            windows("10.0.17763.1"),
        ),
        (
            layout.image(&[layer("new")], &windows("10.0.20348.2"), &json!({})),
            windows("10.0.20348.2"),
        ),
    ]);
    layout.tag(&index, "1");
    Registry::shared().push_layout(layout.path(), "1", "two-systems:1")
}

#[test]
fn a_windows_image_is_pulled_inspected_and_saved_beside_linux_ones() {
    let daemon = TestDaemon::start();
    let image = two_systems(&daemon);
    daemon.cli(["pull", "--platform", "windows/amd64", &image]).ok();
    let inspect: Value = serde_json::from_str(&daemon.cli(["inspect", &image]).ok()).unwrap();
    assert_eq!(
        (inspect[0]["Os"].as_str(), inspect[0]["OsVersion"].as_str()),
        (Some("windows"), Some("10.0.20348.2"))
    );
    let file = daemon.scratch().join("windows.tar");
    daemon.cli(["save", "-o", file.to_str().unwrap(), &image]).ok();
    assert!(file.metadata().unwrap().len() > 1000);
    // It is Windows that looks for the program.
    let run = daemon
        .cli(["run", "--rm", "--pull", "never", &image, "tool"])
        .code(127);
    assert!(run.stderr.contains("0x80070002"), "{}", run.stderr);
}

#[test]
fn a_platform_that_an_image_does_not_have_is_named_with_those_it_has() {
    let daemon = TestDaemon::start();
    let image = two_systems(&daemon);
    let refused = daemon.cli(["pull", "--platform", "linux/s390x", &image]).code(1);
    assert!(
        refused.stderr.contains("linux/s390x") && refused.stderr.contains("linux/amd64"),
        "{}",
        refused.stderr
    );
}

#[test]
fn an_image_that_does_not_exist_says_so_without_leaving_anything() {
    let daemon = TestDaemon::start();
    let name = Registry::shared().name("no/such:image");
    let missing = daemon.cli(["pull", &name]).code(1);
    assert!(
        missing.stderr.contains("not found") || missing.stderr.contains("manifest unknown"),
        "{}",
        missing.stderr
    );
    assert_eq!(
        std::fs::read_dir(daemon.root().join("ingest")).map_or(0, Iterator::count),
        0
    );
    let refused = daemon.cli(["pull", "Not A Name"]).code(1);
    assert!(refused.stderr.contains("invalid reference"), "{}", refused.stderr);
}
