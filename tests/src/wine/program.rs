//! Programs under Wine: ours, those of the tests and Wine's own, run to their end or watched.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::{Output, programs};

/// How often Wine is asked: of some thousand programs a few end before their first line, because Wine's server, which they have just
/// found, goes with the program before them. One that got to its first line is run once.
pub(super) const TRIES: u32 = 3;
/// What `timeout` ends with when it had to end the program.
const TIMED_OUT: i32 = 124;

pub(super) fn program(name: &str) -> PathBuf {
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

/// Compiles `tests/wine/NAME.c` to `NAME.exe` in a folder.
///
/// # Panics
/// The compiler is missing or fails.
#[must_use]
pub fn compiled(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = folder.join(name).with_extension("exe");
    let sources = programs::repository().join("tests/wine");
    let status = Command::new("x86_64-w64-mingw32-gcc")
        .arg("-O1")
        .arg("-o")
        .args([&program, &sources.join(name).with_extension("c")])
        // Behind the source, which says what it wants of a library.
        .args(flags)
        .status()
        .expect("this suite needs mingw: apt-get install gcc-mingw-w64-x86-64");
    assert!(status.success());
    program
}

/// The program that runs another one and writes down its exit code.
fn launcher() -> PathBuf {
    static BUILT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let _ = compiled(folder.path(), "launch", &["-municode"]);
        folder
    });
    folder.path().join("launch.exe")
}

/// Wine with a program for [`finish`]. A hung program fails the test instead of hanging it.
pub(crate) fn asked(seconds: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command
        .args([&seconds.to_string(), "wine"])
        .arg(launcher())
        .arg(program);
    command
}

/// Wine with one of our programs for [`finish`].
pub(super) fn limited(prefix: Option<&OsString>, name: &str, seconds: u32) -> Command {
    ours(asked(seconds, program(name)), prefix)
}

/// Wine with one of our programs that is watched, or killed, as a process of Linux.
pub(super) fn spawned(prefix: Option<&OsString>, name: &str, seconds: u32) -> Command {
    let mut command = Command::new("timeout");
    command.args([&seconds.to_string(), "wine"]).arg(program(name));
    ours(command, prefix)
}

fn ours(mut command: Command, prefix: Option<&OsString>) -> Command {
    command.stdin(Stdio::null()).env("CTR_LIKE_NO_START", "1");
    if let Some(prefix) = prefix {
        command.env("WINEPREFIX", prefix);
    }
    command
}

/// Runs what [`asked`] made to its end. Its output goes through files: the first program under Wine starts Wine's services, which
/// inherit its streams and would keep a pipe open long after it. So does its exit code: Wine's server kills a process that has ended
/// and is slow to go, and Linux says that instead.
pub(crate) fn finish(command: &mut Command) -> Output {
    let exit = tempfile::NamedTempFile::new().expect("a temporary file");
    command.env("CTR_LIKE_TEST_EXIT", windows_path(exit.path()));
    for left in (0..TRIES).rev() {
        let output = once(command);
        let told = std::fs::read_to_string(exit.path()).expect("a file can be read");
        if told.is_empty() && output.status != TIMED_OUT && left > 0 {
            continue;
        }
        return match code(&told) {
            Some(status) => Output { status, ..output },
            None => output,
        };
    }
    unreachable!("the last try returns")
}

/// What the launcher wrote. What did not come so far has no code but Linux'.
fn code(told: &str) -> Option<i32> {
    let code = told.strip_prefix("ended with ")?.strip_suffix(".\n")?;
    Some(code.parse::<u32>().expect("a code").cast_signed())
}

fn once(command: &mut Command) -> Output {
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"));
    command
        .stdout(stdout.try_clone().expect("a handle"))
        .stderr(stderr.try_clone().expect("a handle"));
    let status = command.status().expect("wine runs");
    let [stdout, stderr] = [&mut stdout, &mut stderr].map(|file| {
        let mut bytes = Vec::new();
        file.rewind().expect("a file has a beginning");
        file.read_to_end(&mut bytes).expect("a file can be read");
        bytes
    });
    std::process::Output {
        status,
        stdout,
        stderr,
    }
    .into()
}

/// Runs one of our programs, in the prefix of the environment and without a daemon of the test's own.
///
/// # Panics
/// It is not built, or Wine cannot be started.
#[must_use]
pub fn run(name: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = limited(None, name, 300);
    finish(command.envs(environment.iter().copied()).args(arguments))
}

/// Runs a program that is part of Wine, such as `reg`, in the prefix of the environment.
///
/// # Panics
/// Wine cannot be started.
#[must_use]
pub fn system(arguments: &[&str]) -> Output {
    let (program, arguments) = arguments.split_first().expect("a program");
    finish(asked(300, program).args(arguments).stdin(Stdio::null()))
}

/// Runs a program of a test, in a prefix or that of the environment.
///
/// # Panics
/// Wine cannot be started.
#[must_use]
pub fn run_own(
    prefix: Option<&OsString>,
    program: &Path,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> Output {
    let mut command = asked(300, program);
    if let Some(prefix) = prefix {
        command.env("WINEPREFIX", prefix);
    }
    let command = command.envs(environment.iter().copied()).args(arguments);
    finish(command.stdin(Stdio::null()))
}

/// Where one of our programs is.
///
/// # Panics
/// It is not built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    program(name)
}

/// A Linux path as a Windows program under Wine sees it.
///
/// # Panics
/// The path is not UTF-8.
#[must_use]
pub fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.to_str().expect("UTF-8").replace('/', "\\"))
}

/// A program of ours that runs beside the test.
#[derive(Debug)]
pub struct Started {
    child: Child,
    exit: tempfile::NamedTempFile,
}

impl Started {
    /// Starts what [`limited`] made.
    pub(super) fn new(command: &mut Command) -> Self {
        let exit = tempfile::NamedTempFile::new().expect("a temporary file");
        let command = command.env("CTR_LIKE_TEST_EXIT", windows_path(exit.path()));
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self {
            child: command.spawn().expect("wine runs"),
            exit,
        }
    }

    /// Whether it runs.
    ///
    /// # Panics
    /// Linux does not know.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for its end. Gives its exit code, or what Linux says where it has none.
    ///
    /// # Panics
    /// Linux does not know.
    pub fn wait(mut self) -> i32 {
        let status = self.child.wait().expect("a child");
        let told = std::fs::read_to_string(self.exit.path()).expect("a file can be read");
        code(&told).unwrap_or_else(|| status.code().unwrap_or(-1))
    }
}
