//! The process of QEMU, and the thread that stays with it.
//!
//! The kernel kills QEMU when the thread that started it ends, so this thread lives as long as QEMU does: when this process dies, by
//! whatever means, its machines die with it. The thread also drains the console and QEMU's own messages, and tells the end: to
//! whoever waits for it during the start, later to the callback of the start.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::console::{Console, readable};
use crate::kernel;

/// The thread runs the clean-up of a machine.
const STACK: usize = 512 * 1024;
/// How much of QEMU's own messages is kept.
const MESSAGES: usize = 4096;

/// What to run.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// Where it runs.
    pub(super) directory: PathBuf,
    /// What it inherits, and under which number.
    pub(super) inherited: Vec<(OwnedFd, i32)>,
}

/// How QEMU ended.
#[derive(Debug)]
pub(super) struct Exit {
    /// An error when it cannot be known.
    pub(super) status: io::Result<ExitStatus>,
    /// The end of the console.
    pub(super) console: String,
    /// What QEMU said.
    pub(super) messages: String,
}

type OnExit = Box<dyn FnOnce(Exit) + Send>;

enum State {
    /// Nobody waits yet.
    Running,
    /// To be told.
    Watched(OnExit),
    /// Ended, and not told.
    Ended(Exit),
    Told,
}

/// A QEMU that runs, or has ended.
pub(super) struct Process {
    pub(super) pid: Pid,
    handle: OwnedFd,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    ended: Condvar,
    console: Mutex<Console>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn console(&self) -> MutexGuard<'_, Console> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts QEMU.
    pub(super) fn start(launch: Launch, console: Console) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Running),
            ended: Condvar::new(),
            console: Mutex::new(console),
        });
        let (started, answer) = mpsc::sync_channel(1);
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("qemu".to_owned())
            .stack_size(STACK)
            .spawn(move || match begin(launch) {
                Ok(mut begun) => {
                    let handle = begun.handle.try_clone();
                    // The receiver waits for exactly this message.
                    let _ = started.send(handle.map(|handle| (begun.pid, handle)));
                    let messages = drain(&mut begun, &of_thread);
                    let status = begun.child.wait();
                    finish(status, messages, &of_thread);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })?;
        let (pid, handle) = answer
            .recv()
            .map_err(|_| io::Error::other("the thread that starts QEMU failed"))??;
        Ok(Self { pid, handle, shared })
    }

    /// Kills it. Killing one that has ended does nothing.
    pub(super) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for the end; `None` when it goes on. Only before [`Self::watch`].
    pub(super) fn wait(&self, patience: Duration) -> Option<Exit> {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.state();
        loop {
            match std::mem::replace(&mut *state, State::Told) {
                State::Ended(exit) => return Some(exit),
                other => *state = other,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || matches!(*state, State::Told) {
                return None;
            }
            let waited = self.shared.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// From now on the end is told to a callback, once, on a thread of its own.
    pub(super) fn watch(&self, on_exit: OnExit) {
        let mut state = self.shared.state();
        match std::mem::replace(&mut *state, State::Told) {
            State::Ended(exit) => {
                // It may wait for what the caller holds.
                let told = thread::Builder::new()
                    .name("qemu-end".to_owned())
                    .spawn(move || on_exit(exit));
                if let Err(error) = told {
                    tracing::error!(%error, "the end of a machine cannot be told");
                }
            }
            _ => *state = State::Watched(on_exit),
        }
    }

    /// The end of the console so far.
    pub(super) fn console(&self) -> String {
        self.shared.console().text()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that nobody will ask for any more.
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "cannot kill QEMU");
        }
    }
}

struct Begun {
    child: Child,
    pid: Pid,
    handle: OwnedFd,
    console: PipeReader,
    messages: PipeReader,
}

fn begin(launch: Launch) -> io::Result<Begun> {
    let (console, console_writer) = io::pipe()?;
    let (messages, messages_writer) = io::pipe()?;
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments).current_dir(&launch.directory);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
        .stdin(Stdio::null())
        .stdout(console_writer)
        .stderr(messages_writer);
    // Signals typed at the terminal of a foreground daemon are not for the machine.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mappings = launch
        .inherited
        .into_iter()
        .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd })
        .collect();
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    kernel::die_with_this_thread(&mut command);
    let mut child = command.spawn()?;
    // Our copies of the writing ends and of the descriptors go with the command.
    drop(command);
    let process = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::from(Errno::SRCH))
        .and_then(|pid| Ok((pid, pidfd_open(pid, PidfdFlags::empty())?)))
        .and_then(|process| {
            for pipe in [&console, &messages] {
                rustix::fs::fcntl_setfl(pipe, rustix::fs::OFlags::NONBLOCK)?;
            }
            Ok(process)
        });
    match process {
        Ok((pid, handle)) => Ok(Begun {
            child,
            pid,
            handle,
            console,
            messages,
        }),
        Err(error) => {
            // It dies with this thread in any case.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Reads both pipes until QEMU ends; returns its messages.
fn drain(begun: &mut Begun, shared: &Shared) -> Vec<u8> {
    let mut messages = Vec::new();
    let (mut console_open, mut messages_open) = (true, true);
    loop {
        let mut fds = vec![PollFd::new(&begun.handle, PollFlags::IN)];
        if console_open {
            fds.push(PollFd::new(&begun.console, PollFlags::IN));
        }
        if messages_open {
            fds.push(PollFd::new(&begun.messages, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            // Waiting for the process below needs no poll.
            Err(_) => return messages,
        }
        let exited = !fds[0].revents().is_empty();
        if console_open {
            console_open = read(&mut begun.console, |bytes| shared.console().push(bytes));
        }
        if messages_open {
            messages_open = read(&mut begun.messages, |bytes| {
                tracing::debug!(message = %bytes.escape_ascii(), "QEMU says");
                let room = MESSAGES.saturating_sub(messages.len());
                messages.extend_from_slice(&bytes[..bytes.len().min(room)]);
            });
        }
        if exited {
            return messages;
        }
    }
}

/// Reads what there is; false at the end.
fn read(pipe: &mut PipeReader, mut each: impl FnMut(&[u8])) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => each(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

fn finish(status: io::Result<ExitStatus>, messages: Vec<u8>, shared: &Shared) {
    let exit = Exit {
        status,
        console: shared.console().text(),
        messages: readable(&messages),
    };
    let mut state = shared.state();
    match std::mem::replace(&mut *state, State::Told) {
        State::Watched(on_exit) => {
            drop(state);
            on_exit(exit);
        }
        _ => {
            *state = State::Ended(exit);
            shared.ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> (Process, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let console = Console::begin(directory.path(), "vm", None).unwrap();
        let launch = Launch {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            directory: directory.path().to_owned(),
            inherited: Vec::new(),
        };
        (Process::start(launch, console).unwrap(), directory)
    }

    #[test]
    fn the_end_is_told_with_console_and_messages() {
        let (process, _directory) = run("echo booting; echo no kernel >&2; exit 3");
        let exit = process.wait(Duration::from_secs(60)).unwrap();
        assert_eq!(exit.status.unwrap().code(), Some(3));
        assert_eq!(
            (exit.console.as_str(), exit.messages.as_str()),
            ("booting", "no kernel")
        );
    }

    #[test]
    fn an_end_before_the_watch_is_told_too() {
        let (process, _directory) = run("exit 0");
        while !matches!(*process.shared.state(), State::Ended(_)) {
            thread::yield_now();
        }
        let (send, receive) = mpsc::channel();
        process.watch(Box::new(move |exit| send.send(exit).unwrap()));
        assert!(receive.recv().unwrap().status.unwrap().success());
    }

    #[test]
    fn dropping_it_kills_it() {
        let (process, _directory) = run("exec sleep 1000");
        let (send, receive) = mpsc::channel();
        process.watch(Box::new(move |exit| send.send(exit).unwrap()));
        drop(process);
        let status = receive.recv().unwrap().status.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn a_missing_program_is_an_error_of_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let console = Console::begin(directory.path(), "vm", None).unwrap();
        let launch = Launch {
            program: "/no/such/qemu".into(),
            arguments: Vec::new(),
            directory: directory.path().to_owned(),
            inherited: Vec::new(),
        };
        let error = Process::start(launch, console).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
