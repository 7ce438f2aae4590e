//! A daemon with a root and a socket of its own, and the CLI that talks to it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{leaks, programs, wait, wire};

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; 128 + n when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Asserts success and gives standard output without its last line feed.
    ///
    /// # Panics
    /// The program failed.
    #[track_caller]
    pub fn ok(self) -> String {
        self.code(0).stdout.trim_end_matches('\n').to_owned()
    }

    /// Asserts the exit code.
    ///
    /// # Panics
    /// It is another one.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(
            self.status, code,
            "exit code\nstdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let signal = output.status.signal().map_or(-1, |signal| 128 + signal);
        Self {
            status: output.status.code().unwrap_or(signal),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A running daemon. Dropping it stops it with everything in it and checks that nothing is left on the host.
#[derive(Debug)]
pub struct TestDaemon {
    folder: TempDir,
    child: Option<Child>,
    /// Instead of the built guest agent.
    agent: Option<PathBuf>,
    /// Instead of the built boot files.
    uvm: Option<PathBuf>,
    /// More flags.
    flags: Vec<OsString>,
    /// Ids of all sandboxes that were seen.
    sandboxes: BTreeSet<String>,
}

impl Default for TestDaemon {
    fn default() -> Self {
        Self::start()
    }
}

impl TestDaemon {
    /// Starts a daemon in a new directory and waits until it answers.
    ///
    /// # Panics
    /// It does not start; its log is in the message.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(None, Vec::new())
    }

    /// Starts a daemon whose containers share a virtual machine.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_with_shared_machine() -> Self {
        Self::start_with(None, vec!["--uvm-shared".into()])
    }

    /// Starts a daemon whose containers share a virtual machine with an agent that is not ours.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_with_initrd(initrd: &Path) -> Self {
        Self::start_with(
            None,
            vec!["--uvm-shared".into(), "--uvm-initrd".into(), initrd.into()],
        )
    }

    /// Starts a daemon with this file of settings.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_with_settings(file: &Path) -> Self {
        Self::start_with(None, vec!["--config".into(), file.into()])
    }

    /// Starts a daemon that looks for the files of virtual machines in another place.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_with_uvm_dir(dir: &Path) -> Self {
        Self::start_with(Some(dir.to_owned()), Vec::new())
    }

    /// Starts a daemon that gives sandboxes so many seconds to boot.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_with_timeout(seconds: &str) -> Self {
        Self::start_with(None, vec!["--uvm-timeout".into(), seconds.into()])
    }

    fn start_with(uvm: Option<PathBuf>, flags: Vec<OsString>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ctr-like-test-")
            .tempdir()
            .expect("a temporary directory");
        let mut daemon = Self {
            folder,
            child: None,
            agent: None,
            uvm,
            flags,
            sandboxes: BTreeSet::new(),
        };
        daemon.launch();
        daemon
    }

    /// Starts a daemon whose sandboxes do not boot before [`TestDaemon::let_sandboxes_boot`].
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_with_slow_sandboxes() -> Self {
        let mut daemon = Self::start();
        // The first one has begun with a sandbox of its own.
        daemon.stop();
        let agent = daemon.scratch().join("slow-agent");
        let text = format!(
            "#!/bin/sh\nuntil [ -e {} ]; do sleep 0.05; done\nexec {} \"$@\"\n",
            daemon.go().display(),
            programs::guest_agent().display()
        );
        std::fs::write(&agent, text).expect("a script can be written");
        std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("our own file");
        daemon.agent = Some(agent);
        daemon.launch();
        daemon
    }

    fn go(&self) -> PathBuf {
        self.scratch().join("go")
    }

    /// Sandboxes boot from now on.
    ///
    /// # Panics
    /// The file that says so cannot be written.
    pub fn let_sandboxes_boot(&self) {
        std::fs::write(self.go(), "").expect("a file can be written");
    }

    /// Starts the daemon again over the same directories, and waits until it answers.
    ///
    /// # Panics
    /// It does not start, or it runs.
    pub fn launch(&mut self) {
        self.begin();
        wait::until("the daemon answers", || {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "the daemon ended: {ended:?}\n{}", self.log());
            UnixStream::connect(self.socket()).ok()
        });
        // It takes connections before it has found again what its predecessor ran.
        wait::until("the daemon serves", || {
            let answer = wire::ask(&self.socket(), "ctr.v1.System/Ping", &serde_json::json!({}));
            matches!(answer, wire::Answer::Done(_)).then_some(())
        });
    }

    /// Starts the daemon again and waits for nothing.
    ///
    /// # Panics
    /// It runs, or there is no such program.
    pub fn begin(&mut self) {
        assert!(self.child.is_none(), "the daemon runs");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log file");
        let mut command = Command::new(programs::program("ctr-liked"));
        command
            .args([
                "--root".as_ref(),
                self.root().as_os_str(),
                "--run-dir".as_ref(),
                self.run_dir().as_os_str(),
            ])
            .args(["--log", "debug"])
            .arg("--guest-agent")
            .arg(self.agent.clone().unwrap_or_else(programs::guest_agent))
            .arg("--uvm-dir")
            .arg(self.uvm_dir())
            // Preparing it takes seconds, and it is the same for all.
            .arg("--wine-prefix")
            .arg(programs::wine_prefix())
            .args(&self.flags)
            .env_remove("CTR_LIKE_HOST")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.child = Some(command.spawn().expect("ctr-liked starts"));
    }

    /// Where the daemon looks for the boot files of virtual machines.
    #[must_use]
    pub fn uvm_dir(&self) -> PathBuf {
        self.uvm.clone().unwrap_or_else(programs::boot_files)
    }

    /// The daemon's directory of lasting things.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// The daemon's directory of sockets.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A directory for the test's own files, removed with the daemon.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("ctr-like.sock")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    /// The daemon's log so far, and those of its shims.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        for entry in std::fs::read_dir(self.run_dir().join("sandboxes"))
            .into_iter()
            .flatten()
            .flatten()
        {
            for file in std::fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                if file.path().extension() == Some(OsStr::new("log")) {
                    text.push_str(&format!("--- {}\n", file.path().display()));
                    text.push_str(&std::fs::read_to_string(file.path()).unwrap_or_default());
                }
            }
        }
        text
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// It does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// Kills the daemon as a crash would.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        self.note_sandboxes();
        let mut child = self.child.take().expect("the daemon runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// Remembers the sandboxes that there are, so that nothing of them is overlooked at the end.
    fn note_sandboxes(&mut self) {
        let entries = std::fs::read_dir(self.run_dir().join("sandboxes"));
        let names = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name());
        self.sandboxes
            .extend(names.map(|name| name.to_string_lossy().into_owned()));
    }

    /// Process ids of the shims that live.
    #[must_use]
    pub fn shims(&self) -> Vec<u32> {
        let place = self.run_dir().join("sandboxes");
        let marks = ["--dir", place.to_str().expect("a plain path")];
        leaks::processes()
            .filter(|(_, line)| marks.iter().all(|mark| line.contains(mark)))
            .map(|(pid, _)| pid)
            .collect()
    }

    /// Ends the daemon with everything in it.
    ///
    /// # Panics
    /// It does not run, or does not end properly.
    pub fn stop(&mut self) {
        self.note_sandboxes();
        let answer = self.call("ctr.v1.System/Shutdown", &json!({"stop_containers": true}));
        assert!(
            answer.get("error").is_none(),
            "shutdown: {answer}\n{}",
            self.log()
        );
        let status = self.child.take().map(|mut child| child.wait());
        assert!(
            matches!(status, Some(Ok(status)) if status.success()),
            "the daemon ended with {status:?}"
        );
    }

    /// Asks the daemon to end, leaving containers alone, and waits for it.
    ///
    /// # Panics
    /// It does not end properly.
    pub fn terminate(&mut self) {
        let mut child = self.child.take().expect("the daemon runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a child can be signalled");
        let status = child.wait().expect("it ends");
        assert!(status.success(), "the daemon ended with {status}\n{}", self.log());
    }

    /// The CLI, ready for more settings.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(programs::program("ctr-like"));
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.folder.path())
            .env("CTR_LIKE_HOST", format!("unix://{}", self.socket().display()))
            .env("CTR_LIKE_NO_START", "1")
            .args(arguments);
        command
    }

    /// Runs the CLI without standard input.
    ///
    /// # Panics
    /// The CLI cannot be run at all.
    #[must_use = "look at the exit code: .ok() for success, .code(n) for another"]
    pub fn cli<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("ctr-like runs")
            .into()
    }

    /// Runs the CLI with `input` as its standard input.
    ///
    /// # Panics
    /// The CLI cannot be run at all.
    #[must_use = "look at the exit code: .ok() for success, .code(n) for another"]
    pub fn cli_with<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("ctr-like runs");
        let mut stdin = child.stdin.take().expect("asked for");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A program that ends early closes its input; its exit code is what the test looks at.
            drop(stdin.write_all(&input));
        });
        let output = child.wait_with_output().expect("ctr-like ends");
        writer.join().expect("the writer ends");
        output.into()
    }

    /// One unary call on the wire, without any code of ours.
    ///
    /// # Panics
    /// The connection breaks or the answer is no JSON.
    #[must_use]
    pub fn call(&self, method: &str, params: &Value) -> Value {
        let mut socket = UnixStream::connect(self.socket()).expect("the daemon listens");
        writeln!(socket, "{}", json!({"id": 1, "method": method, "params": params}))
            .expect("the request is sent");
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("the answer is JSON")
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        if self.child.is_none() {
            // A test that ends with a dead daemon still must leave nothing behind.
            self.launch();
        }
        self.note_sandboxes();
        let answer = self.call("ctr.v1.System/Shutdown", &json!({"stop_containers": true}));
        let ended = self.child.take().map(|mut child| child.wait());
        let failing = std::thread::panicking();
        if failing {
            let text = self.log();
            let tail: Vec<&str> = text.lines().rev().take(150).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            #[expect(clippy::print_stderr, reason = "the log explains the failure")]
            {
                eprintln!("--- the daemon's log ends with\n{}", tail.join("\n"));
            }
        }
        let left = leaks::left_behind(self.folder.path(), &self.sandboxes);
        if !failing {
            assert!(
                answer.get("error").is_none(),
                "shutdown: {answer}\n{}",
                self.log()
            );
            assert!(
                matches!(ended, Some(Ok(status)) if status.success()),
                "the daemon ended with {ended:?}"
            );
            assert!(left.is_empty(), "left behind: {left:#?}\n{}", self.log());
        }
    }
}
