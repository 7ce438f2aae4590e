//! Who may use the pipes of the daemon and of its shims on Windows, and what becomes of those who may not.
//!
//! Run by `scripts/test wine`. Wine 8 keeps owner and access list of a pipe and gives them back, but opens the pipe to everybody;
//! it neither knows that a name can be claimed once nor at what level a client lends its identity. So what the lists say is
//! looked at here, and that Windows refuses is played by a pipe that nobody may write to, which Wine refuses with the same code.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tests::wait;
use tests::windows::windows_image;
use tests::wine::{WineDaemon, built, compiled, run, run_own, windows_path};

/// Somebody whom no computer knows.
const STRANGER: &str = "S-1-5-21-1-2-3-1001";

/// The program that looks at pipes, in a prefix of Wine.
struct Looker {
    folder: tempfile::TempDir,
    program: PathBuf,
    prefix: Option<OsString>,
}

impl Looker {
    /// In the prefix of the environment, or in the one with the doubles.
    fn new(doubles: bool) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ctr-like-pipes-")
            .tempdir()
            .unwrap();
        let program = compiled(folder.path(), "pipe", &["-municode"]);
        let prefix = doubles
            .then(|| std::env::var_os("CTR_LIKE_DOUBLES").expect("this suite is run by ./scripts/test wine"));
        Self {
            folder,
            program,
            prefix,
        }
    }

    /// What is to run, with its output in a file: Wine's services would keep a pipe open.
    fn command(&self, program: &Path, arguments: &[&str], output: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.args(["900", "wine"]).arg(program).args(arguments);
        if let Some(prefix) = &self.prefix {
            command.env("WINEPREFIX", prefix);
        }
        let output = File::create(output).unwrap();
        command
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output);
        command
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let answer = run_own(self.prefix.as_ref(), &self.program, &[], arguments);
        answer.ok().trim_end().replace('\r', "")
    }

    /// The access list that a pipe has to have, when this user made it and these may come in as well.
    fn list_for(&self, groups: &[&str]) -> String {
        let who = self.ask(&["who"]);
        let (user, owner) = who.split_once('\n').unwrap();
        let mut list = format!("O:{owner}D:P(D;;FA;;;NU)(A;;FA;;;SY)(A;;FA;;;BA)");
        // What an elevated process makes is its administrators' and not its user's.
        if owner != "BA" && owner != "S-1-5-32-544" {
            list.push_str(&format!("(A;;FA;;;{user})"));
        }
        for group in groups {
            list.push_str(&format!("(A;;0x12019b;;;{group})"));
        }
        list
    }

    /// Serves a pipe as somebody else would; says when it is there.
    fn serve(&self, arguments: &[&str]) -> Server {
        let output = self.folder.path().join("server");
        let child = self
            .command(&self.program, arguments, &output)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Server { child, output };
        wait::until("the other server is ready", || {
            server.said().contains("ready").then_some(())
        });
        server
    }
}

/// A pipe of somebody else's.
struct Server {
    child: Child,
    output: PathBuf,
}

impl Server {
    fn said(&self) -> String {
        let mut text = String::new();
        File::open(&self.output)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text.replace('\r', "")
    }

    /// Waits for a client to have come and gone, and ends.
    fn heard(mut self) -> String {
        wait::until("a client came and went", || {
            self.said().contains("heard").then_some(())
        });
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
        self.said()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// A daemon at a place of its own, with these arguments.
struct Daemon<'a> {
    looker: &'a Looker,
    host: String,
    child: Child,
}

impl<'a> Daemon<'a> {
    fn start(looker: &'a Looker, name: &str, arguments: &[&str]) -> Self {
        let host = format!("npipe:////./pipe/{name}");
        let folder = looker.folder.path();
        let [root, run] = ["root", "run"].map(|of| windows_path(&folder.join(name).join(of)));
        let mut all = vec!["--host", &host, "--root", &root, "--run-dir", &run];
        all.extend(arguments);
        let log = folder.join(format!("{name}.log"));
        let child = looker
            .command(&built("ctr-liked.exe"), &all, &log)
            .spawn()
            .unwrap();
        let mut daemon = Self { looker, host, child };
        wait::until("the daemon answers", || {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", std::fs::read_to_string(&log).unwrap());
            (daemon.cli(&["version"]).status == 0).then_some(())
        });
        daemon
    }

    fn cli(&self, arguments: &[&str]) -> tests::Output {
        let environment = [("CTR_LIKE_HOST", self.host.as_str())];
        run("ctr-like.exe", &environment, arguments)
    }

    fn list(&self) -> String {
        let name = self.host.trim_start_matches("npipe://").replace('/', r"\");
        self.looker.ask(&["list", &name])
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        drop(self.cli(&["daemon", "stop"]));
        drop(self.child.wait());
    }
}

#[test]
fn the_pipe_of_a_daemon_is_for_its_user_administrators_and_whom_they_let_in() {
    let looker = Looker::new(false);
    let alone = Daemon::start(&looker, "ctr-like-pipes-alone", &[]);
    assert_eq!(alone.list(), looker.list_for(&[]));
    let users = Daemon::start(&looker, "ctr-like-pipes-users", &["--group", "S-1-5-32-545"]);
    // BU are the members of `Users`, who may not make further instances of the pipe.
    assert_eq!(users.list(), looker.list_for(&["BU"]));
}

#[test]
fn the_pipe_of_a_shim_is_for_the_daemons_user_and_administrators_alone() {
    let daemon = WineDaemon::with_doubles();
    let looker = Looker::new(true);
    let image = windows_image(&daemon);
    daemon
        .cli(&["run", "-d", "--name", "box", &image, "probe", "control"])
        .ok();
    let sandboxes = std::fs::read_dir(daemon.folder().join("run/sandboxes")).unwrap();
    let sandboxes: Vec<String> = sandboxes
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let [sandbox] = sandboxes.as_slice() else {
        panic!("{sandboxes:?}");
    };
    let name = format!(r"\\.\pipe\ctr-like-shim-{sandbox}");
    // The first instance was the daemon's; these are made while the shim serves.
    for _ in 0..3 {
        assert_eq!(looker.ask(&["list", &name]), looker.list_for(&[]));
    }
    assert_eq!(daemon.cli(&["exec", "box", "probe", "exit", "4"]).status, 4);
    daemon.cli(&["rm", "-f", "box"]).ok();
}

#[test]
fn a_pipe_that_somebody_else_made_is_told_nothing() {
    let looker = Looker::new(false);
    let open_to_all = format!("O:{STRANGER}D:P(A;;FA;;;WD)");
    let server = looker.serve(&["serve", r"\\.\pipe\ctr-like-pipes-strange", &open_to_all]);
    let host = [("CTR_LIKE_HOST", "npipe:////./pipe/ctr-like-pipes-strange")];
    let refused = run("ctr-like.exe", &host, &["ps"]).code(1).stderr;
    let why = format!("the pipe belongs to {STRANGER}, which is not trusted");
    assert!(refused.contains(&why), "{refused}");
    assert!(refused.contains("--host"), "{refused}");
    assert!(!refused.contains("Run as administrator"), "{refused}");
    let heard = server.heard();
    assert!(
        heard.lines().all(|line| ["ready", "heard 0"].contains(&line)),
        "{heard}"
    );
}

#[test]
fn who_is_not_let_in_is_told_how_to_get_in() {
    let looker = Looker::new(false);
    let _server = looker.serve(&["refuse", r"\\.\pipe\ctr-like-pipes-closed"]);
    // Nor is a daemon started where one is.
    let host = [
        ("CTR_LIKE_HOST", "npipe:////./pipe/ctr-like-pipes-closed"),
        ("CTR_LIKE_NO_START", "0"),
    ];
    for words in [&["ps"][..], &["version"], &["run", "busybox"]] {
        let refused = run("ctr-like.exe", &host, words);
        assert_ne!(refused.status, 0, "{words:?}");
        for said in [
            "npipe:////./pipe/ctr-like-pipes-closed",
            "(os error 5)",
            "Run as administrator",
            "ctr-like daemon install --group NAME",
        ] {
            assert!(refused.stderr.contains(said), "{words:?}: {}", refused.stderr);
        }
    }
}

#[test]
fn a_pipe_with_the_name_of_a_shim_is_not_taken_for_it() {
    let mut daemon = WineDaemon::with_doubles();
    let looker = Looker::new(true);
    let image = windows_image(&daemon);
    daemon
        .cli(&["run", "-d", "--name", "box", &image, "probe", "control"])
        .ok();
    // As if a shim had died with its daemon, and somebody else had been quicker than the next daemon.
    let sandboxes = daemon.folder().join("run/sandboxes");
    let real = std::fs::read_dir(&sandboxes).unwrap().next().unwrap().unwrap();
    let spec = std::fs::read_to_string(real.path().join("shim.json")).unwrap();
    let strange = sandboxes.join("strange");
    std::fs::create_dir(&strange).unwrap();
    let id = real.file_name().into_string().unwrap();
    std::fs::write(strange.join("shim.json"), spec.replace(&id, "strange")).unwrap();
    let open_to_all = format!("O:{STRANGER}D:P(A;;FA;;;WD)");
    let server = looker.serve(&["serve", r"\\.\pipe\ctr-like-shim-strange", &open_to_all]);
    daemon.restart();
    assert!(
        daemon.log().contains(&format!("the pipe belongs to {STRANGER}")),
        "{}",
        daemon.log()
    );
    let heard = server.heard();
    assert!(
        heard.lines().all(|line| ["ready", "heard 0"].contains(&line)),
        "{heard}"
    );
    // The others go on.
    assert_eq!(daemon.cli(&["exec", "box", "probe", "exit", "6"]).status, 6);
    daemon.cli(&["rm", "-f", "box"]).ok();
}
