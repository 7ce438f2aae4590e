//! The daemon as a Windows service, from installing to removing, through Wine's service manager.
//!
//! Wine's service manager keeps no delayed start, no restarts and no identity of a service, and restarts nothing: that the command
//! line asks for them is seen from what it says about this system.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tests::images::{self, BUSYBOX};
use tests::wine::{built, run, system, windows_path};
use tests::{Output, wait};

const HOST: &str = "npipe:////./pipe/ctr-like-service-test";
const KEY: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\ctr-like";
const EVENTS: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\ctr-like";

/// Somebody who is logged in: without anybody, Wine ends its services.
struct Session(Child);

impl Session {
    fn begin() -> Self {
        let mut shell = Command::new("wine");
        shell
            .arg("cmd.exe")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(shell.spawn().unwrap())
    }

    /// A shell ends with its input.
    fn leave(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// A place for the service of this prefix, which has one. Nothing is left of it, however the test ends.
struct Host {
    folder: tempfile::TempDir,
    program: String,
    session: Session,
    _alone: MutexGuard<'static, ()>,
}

impl Host {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::Builder::new()
            .prefix("ctr-like-service-")
            .tempdir()
            .unwrap();
        // Where programs usually are has a blank in it.
        let programs = folder.path().join("Program Files");
        std::fs::create_dir(&programs).unwrap();
        for name in ["ctr-liked.exe", "ctr-like-shim.exe"] {
            std::os::unix::fs::symlink(built(name), programs.join(name)).unwrap();
        }
        let host = Self {
            program: windows_path(&programs.join("ctr-liked.exe")),
            folder,
            session: Session::begin(),
            _alone: alone,
        };
        // What a killed run has left.
        host.cli(&["daemon", "uninstall"]).ok();
        host
    }

    fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with(&[], arguments)
    }

    fn cli_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut all = vec![
            ("CTR_LIKE_HOST", HOST),
            ("CTR_LIKE_DAEMON", self.program.as_str()),
        ];
        all.extend(environment);
        run("ctr-like.exe", &all, arguments)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("my data")
    }

    fn install(&self, more: &[&str]) -> Output {
        let root = windows_path(&self.root());
        self.cli(&[&["daemon", "install", "--root", &root], more].concat())
    }

    /// Processes of the daemon, by their command lines.
    fn processes(&self) -> Vec<String> {
        let folder = self.folder.path().file_name().unwrap().to_string_lossy();
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
            .map(|words| String::from_utf8_lossy(&words).replace('\0', " "))
            .filter(|words| words.contains("--service") && words.contains(&*folder))
            .collect()
    }
}

impl Drop for Host {
    #[expect(clippy::print_stderr, reason = "whoever looks into a failure needs the log")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.root().join("daemon.log"));
            eprintln!("--- the daemon's log\n{}", log.unwrap_or_default());
        }
        drop(self.cli(&["daemon", "uninstall"]));
        self.session.leave();
    }
}

/// What a command that succeeds says to people.
#[track_caller]
fn notes(output: Output) -> String {
    output.code(0).stderr
}

#[test]
fn the_service_is_installed_started_used_stopped_and_removed() {
    let host = Host::new();
    assert!(
        host.cli(&["daemon", "status"])
            .code(4)
            .stderr
            .contains("no daemon")
    );

    let installed = notes(host.install(&[]));
    assert!(installed.contains("installed the service"), "{installed}");
    let path = system(&["reg", "query", KEY, "/v", "ImagePath"]).ok();
    let quoted = format!("\"{}\" --service --host {HOST} --root \"", host.program);
    assert!(path.contains(&quoted), "{path} has not {quoted}");
    let start = system(&["reg", "query", KEY, "/v", "Start"]).ok();
    assert!(start.contains("0x2"), "{start}");
    let events = system(&["reg", "query", EVENTS, "/v", "EventMessageFile"]).ok();
    assert!(events.contains("EventCreate.exe"), "{events}");
    let status = host.cli(&["daemon", "status"]).code(3);
    assert!(status.stdout.contains("state    stopped"), "{}", status.stdout);

    // The same again is nothing, something else is a change.
    let again = notes(host.install(&[]));
    assert!(again.contains("already, with the same arguments"), "{again}");
    let other = notes(host.install(&["--group", "Everyone"]));
    assert!(other.contains("updated the service"), "{other}");
    let status = host.cli(&["daemon", "status"]).code(3);
    assert!(status.stdout.contains("--group Everyone"), "{}", status.stdout);

    // Its place is kept for it.
    let refused = host.cli_with(&[("CTR_LIKE_NO_START", "0")], &["ps"]).code(1);
    assert!(
        refused.stderr.contains("ctr-like daemon start"),
        "{}",
        refused.stderr
    );

    host.cli(&["daemon", "start"]).ok();
    let status = host.cli(&["daemon", "status"]).ok();
    assert!(
        status.contains("state    running") && status.contains("pid "),
        "{status}"
    );
    assert!(notes(host.cli(&["daemon", "start"])).contains("already"));
    let image = images::pushed(BUSYBOX);
    host.cli(&["pull", "--platform", "linux/amd64", &image]).ok();
    assert!(host.cli(&["images"]).ok().contains("busybox"));

    host.cli(&["daemon", "stop"]).ok();
    host.cli(&["daemon", "status"]).code(3);
    assert_eq!(host.processes(), Vec::<String>::new());
    host.cli(&["daemon", "start"]).ok();
    assert!(host.cli(&["images"]).ok().contains("busybox"));
    assert_eq!(host.processes().len(), 1);
    let log = std::fs::read_to_string(host.root().join("daemon.log")).unwrap();
    assert_eq!(log.matches("listening").count(), 2, "{log}");
    assert_eq!(log.matches("gone").count(), 1, "{log}");

    let removed = notes(host.cli(&["daemon", "uninstall"]));
    let data = format!("still in {}", windows_path(&host.root()));
    assert!(removed.contains(&data), "{removed} has not {data}");
    host.cli(&["daemon", "status"]).code(4);
    assert_eq!(host.processes(), Vec::<String>::new());
    for key in [KEY, EVENTS] {
        assert_ne!(system(&["reg", "query", key]).status, 0, "{key} is left");
    }
    assert!(host.root().join("metadata.redb").exists());
    let nothing = notes(host.cli(&["daemon", "uninstall"]));
    assert!(nothing.contains("not installed"), "{nothing}");
}

#[test]
fn a_start_that_fails_says_why() {
    let host = Host::new();
    let settings = host.folder.path().join("settings.toml");
    std::fs::write(&settings, "colour = \"red\"\n").unwrap();
    host.install(&["--config", &windows_path(&settings)]).ok();
    let failed = host.cli(&["daemon", "start"]).code(1);
    assert!(
        failed.stderr.contains("cannot understand the settings") && failed.stderr.contains("colour"),
        "{}",
        failed.stderr
    );

    let status = host.cli(&["daemon", "status"]).code(3).stdout;
    assert!(status.contains("failed   it ended with its code 1"), "{status}");

    // A file where the data is to be. The reason of before is not told again.
    std::fs::write(&settings, "").unwrap();
    std::fs::remove_dir_all(host.root()).unwrap();
    std::fs::write(host.root(), "").unwrap();
    let failed = host.cli(&["daemon", "start"]).code(1);
    assert!(
        failed.stderr.contains("not a folder of its own") && !failed.stderr.contains("colour"),
        "{}",
        failed.stderr
    );
    let status = host.cli(&["daemon", "status"]).code(3).stdout;
    assert!(status.contains("failed   it ended with its code 2"), "{status}");
    assert_eq!(host.processes(), Vec::<String>::new());

    // What was wrong is put right; then all goes, with the data.
    std::fs::remove_file(host.root()).unwrap();
    host.cli(&["daemon", "start"]).ok();
    host.cli(&["daemon", "uninstall", "--purge"]).ok();
    wait::until("the data is gone", || (!host.root().exists()).then_some(()));
}

#[test]
fn what_cannot_work_is_not_installed() {
    let host = Host::new();
    let group = host.install(&["--group", "no such group"]).code(1);
    assert!(group.stderr.contains("no such group"), "{}", group.stderr);
    std::fs::write(host.root(), "").unwrap();
    let root = host.install(&[]).code(1);
    assert!(root.stderr.contains("not a folder of its own"), "{}", root.stderr);
    host.cli(&["daemon", "status"]).code(4);
}

#[test]
fn the_network_service_is_started_before_where_there_is_one() {
    let host = Host::new();
    // Of a run that was killed.
    drop(system(&["sc", "delete", "hns"]));
    system(&["sc", "create", "hns", "binPath=", r"C:\no\such.exe"]).ok();
    let installed = host.install(&[]);
    // Wine's service manager keeps the list and does not give it back, so it is read where it is kept.
    let list = || system(&["reg", "query", KEY, "/v", "DependOnService"]);
    let with = list();
    system(&["sc", "delete", "hns"]).ok();
    installed.ok();
    assert!(with.ok().contains("hns"), "the service does not wait");
    host.cli(&["daemon", "uninstall"]).ok();
    host.install(&[]).ok();
    assert!(!list().stdout.contains("hns"), "the service waits for nobody");
}

#[test]
fn the_service_starts_with_the_system() {
    let mut host = Host::new();
    host.install(&[]).ok();
    host.cli(&["daemon", "start"]).ok();
    // Wine ends its services when the last user has gone, and starts them when the next one comes.
    host.session.leave();
    wait::until("the system is down", || host.processes().is_empty().then_some(()));
    host.session = Session::begin();
    wait::until("the service runs again", || {
        (host.cli(&["daemon", "status"]).status == 0).then_some(())
    });
    host.cli(&["version"]).ok();
    host.cli(&["daemon", "stop"]).ok();
}
