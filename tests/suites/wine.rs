//! The Windows programs under Wine: the daemon listens on its pipe, and images move between the registry, the store and
//! archives. What needs a compute service says that there is none.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::images::{self, BUSYBOX};
use tests::{Output, programs, wait};

struct WineDaemon {
    folder: tempfile::TempDir,
    child: Child,
}

fn program(name: &str) -> PathBuf {
    let folder = programs::repository().join("target/x86_64-pc-windows-gnu/debug");
    let folder = std::env::var_os("CTR_LIKE_WINDOWS_BIN").map_or(folder, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: run ./scripts/test wine",
        path.display()
    );
    path
}

fn wine(name: &str) -> Command {
    limited(name, 600)
}

/// A hung program fails the test instead of hanging it.
fn limited(name: &str, seconds: u32) -> Command {
    let mut command = Command::new("timeout");
    command
        .args([&seconds.to_string(), "wine"])
        .arg(program(name))
        .stdin(Stdio::null())
        .env("CTR_LIKE_NO_START", "1");
    command
}

/// Runs a program to its end. Its output goes through files: the first program under Wine starts Wine's services, which
/// inherit its streams and would keep a pipe open long after it.
fn finish(command: &mut Command) -> Output {
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    command
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap());
    let status = command.status().expect("wine runs");
    let [stdout, stderr] = [&mut stdout, &mut stderr].map(|file| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    });
    std::process::Output {
        status,
        stdout,
        stderr,
    }
    .into()
}

/// A Linux path as a Windows program under Wine sees it.
fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.to_str().unwrap().replace('/', "\\"))
}

impl WineDaemon {
    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ctr-like-wine-")
            .tempdir()
            .unwrap();
        let log = std::fs::File::create(folder.path().join("daemon.log")).unwrap();
        let child = wine("ctr-liked.exe")
            .args(["--root", &windows_path(&folder.path().join("root"))])
            .args(["--run-dir", &windows_path(&folder.path().join("run"))])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("wine runs");
        let mut daemon = Self { folder, child };
        wait::until("the daemon answers on its pipe", || {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {ended:?}");
            (finish(limited("ctr-like.exe", 15).arg("version")).status == 0).then_some(())
        });
        daemon
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("daemon.log")).unwrap_or_default()
    }

    fn cli(&self, arguments: &[&str]) -> Output {
        finish(wine("ctr-like.exe").args(arguments))
    }
}

impl Drop for WineDaemon {
    #[expect(clippy::print_stderr, reason = "whoever looks into a failure needs the log")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
        drop(self.cli(&["daemon", "stop"]));
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_windows_programs_pull_list_save_and_load_over_their_pipe() {
    let daemon = WineDaemon::start();
    let version = daemon.cli(&["version", "--format", "json"]).ok();
    let version: Value = serde_json::from_str(&version).unwrap();
    assert!(version.to_string().contains("windows"), "{version}");
    let info = daemon.cli(&["info"]).ok();
    assert!(info.contains("hcs") || info.contains("computecore"), "{info}");

    let image = images::pushed(BUSYBOX);
    daemon.cli(&["pull", "--platform", "linux/amd64", &image]).ok();
    let list = daemon.cli(&["images", "--format", "json"]).ok();
    assert!(list.contains("busybox"), "{list}");
    let file = daemon.folder.path().join("saved.tar");
    daemon.cli(&["save", "-o", &windows_path(&file), &image]).ok();
    daemon.cli(&["rmi", &image]).ok();
    assert_eq!(daemon.cli(&["images", "-q"]).ok(), "");
    daemon.cli(&["load", "-i", &windows_path(&file)]).ok();
    assert!(daemon.cli(&["images"]).ok().contains("busybox"));

    // What would need a compute service says so, and what to do.
    let run = daemon
        .cli(&["run", "--rm", "--platform", "linux/amd64", &image, "true"])
        .code(125);
    assert!(
        run.stderr.contains("Host Compute Service") || run.stderr.contains("computecore"),
        "{}",
        run.stderr
    );
    let missing = daemon.cli(&["inspect", "nothing"]).code(1);
    assert!(missing.stderr.contains("No such"), "{}", missing.stderr);
}
