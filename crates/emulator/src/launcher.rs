//! The launcher process of a sandbox, and the thread that watches it.
//!
//! The launcher ties its life to its parent *thread* (that is what the kernel's parent-death signal means), so it is started by a
//! thread of its own which then stays with it until the end: when this process dies, by whatever means, the sandbox dies with it.
//!
//! The thread also drains the launcher's standard output and error, the sandbox's console of last resort: lines go to the log,
//! and the last of them become the crash report. The end is reported exactly once.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How much of the console is kept for the crash report.
const TAIL: usize = 4096;
/// The watcher runs the clean-up of a sandbox, which needs little stack.
const STACK: usize = 256 * 1024;

/// How a machine ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// In which way.
    pub(crate) how: How,
    /// The last lines of the console.
    pub(crate) console: String,
}

/// In which way a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The guest powered off.
    PoweredOff,
    /// The guest's kernel gave up, or its init did, with this code.
    Crashed(i32),
    /// The guest reset the machine, and machines are not started again.
    Reset,
    /// The process that stands for the machine ended by itself or was killed; its code, where that is known.
    Worker(Option<i32>),
}

impl How {
    /// How a sandbox ended, whose launcher ends as its init does.
    fn of_launcher(status: io::Result<ExitStatus>) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match status {
            Ok(status) if status.success() => Self::PoweredOff,
            Ok(status) => match status.code() {
                Some(code) => Self::Crashed(code),
                None => Self::Worker(Some(128 + status.signal().unwrap_or_default())),
            },
            Err(_) => Self::Worker(None),
        }
    }
}

/// A launcher that runs, or has ended.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    process: Arc<OwnedFd>,
}

impl Launcher {
    /// Starts a command of the agent's that takes one argument. `inherited` are its descriptors from 3 on. `ended` is called once,
    /// on the watcher's thread.
    pub(crate) fn start(
        agent: &Path,
        command: &str,
        id: &str,
        parameters: &str,
        inherited: Vec<OwnedFd>,
        ended: impl FnOnce(Ended) + Send + 'static,
    ) -> io::Result<Self> {
        let words = [command, parameters];
        let mut command = Command::new(agent);
        command.args(words);
        let mappings = (3..)
            .zip(inherited)
            .map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        command
            .fd_mappings(mappings.collect())
            .map_err(|_| io::Error::other("two descriptors have one number"))?;
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.current_dir("/").stdin(Stdio::null());
        // Signals typed at the terminal of a foreground daemon are not for the sandbox.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let (started, answer) = mpsc::sync_channel(1);
        let id = id.to_owned();
        thread::Builder::new()
            .name("sandbox".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                match begin(command) {
                    Ok((child, console, process)) => {
                        let process = Arc::new(process);
                        let launcher = Self {
                            process: Arc::clone(&process),
                        };
                        // The receiver waits for exactly this message.
                        let _ = started.send(Ok(launcher));
                        ended(watch(child, console, &process, &id));
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            })?;
        answer
            .recv()
            .map_err(|_| io::Error::other("the thread that starts the sandbox failed"))?
    }

    /// Kills the launcher; the sandbox dies with it. Killing one that has ended does nothing.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn begin(mut command: Command) -> io::Result<(Child, io::PipeReader, OwnedFd)> {
    let (console, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // Our copies of the writing end go with the command, so that the pipe ends with the sandbox.
    drop(command);
    let process = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::from(Errno::SRCH))
        .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
        .and_then(|process| {
            rustix::fs::fcntl_setfl(&console, rustix::fs::OFlags::NONBLOCK)?;
            Ok(process)
        });
    match process {
        Ok(process) => Ok((child, console, process)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn watch(mut child: Child, mut console: io::PipeReader, process: &OwnedFd, id: &str) -> Ended {
    let mut tail = Tail::default();
    let mut open = true;
    loop {
        let mut fds = vec![PollFd::new(process, PollFlags::IN)];
        if open {
            fds.push(PollFd::new(&console, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            // Waiting for the process below needs no poll.
            Err(_) => break,
        }
        let exited = !fds[0].revents().is_empty();
        if open {
            open = tail.drain(&mut console, id);
        }
        if exited {
            break;
        }
    }
    let status = child.wait();
    Ended {
        how: How::of_launcher(status),
        console: tail.into_text(),
    }
}

/// The last bytes of the console, and the line that is being written.
#[derive(Default)]
struct Tail {
    kept: VecDeque<u8>,
    line: Vec<u8>,
}

impl Tail {
    /// Reads what there is; false at the end.
    fn drain(&mut self, console: &mut impl Read, id: &str) -> bool {
        let mut buffer = [0; 1024];
        loop {
            match console.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.push(&buffer[..count], id),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    fn push(&mut self, bytes: &[u8], id: &str) {
        for &byte in bytes {
            if byte == b'\n' || self.line.len() == TAIL {
                tracing::debug!(sandbox = id, line = %self.line.escape_ascii(), "console");
                self.line.clear();
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
            if self.kept.len() == TAIL {
                self.kept.pop_front();
            }
            self.kept.push_back(byte);
        }
    }

    fn into_text(self) -> String {
        let bytes: Vec<u8> = self.kept.into();
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Ended {
        let directory = tempfile::tempdir().unwrap();
        let agent = directory.path().join("agent");
        std::fs::write(&agent, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (send, receive) = mpsc::channel();
        let _launcher = Launcher::start(&agent, "sandbox", "t", "{}", Vec::new(), move |ended| {
            send.send(ended).unwrap()
        })
        .unwrap();
        receive.recv().unwrap()
    }

    #[test]
    fn the_end_is_reported_with_status_and_last_words() {
        let ended = run("echo one; echo two >&2; exit 3");
        assert_eq!(ended.how, How::Crashed(3));
        assert_eq!(ended.console, "one\ntwo");
    }

    #[test]
    fn a_background_process_that_keeps_the_console_does_not_delay_the_end() {
        let ended = run("sleep 1000 & echo $!; exit 0");
        assert_eq!(ended.how, How::PoweredOff);
        let pid = ended.console.parse().ok().and_then(Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn only_the_last_words_are_kept() {
        let mut tail = Tail::default();
        tail.push(&[b'x'; 3 * TAIL], "t");
        tail.push(b"\nend\n", "t");
        let text = tail.into_text();
        assert!(text.len() <= TAIL && text.ends_with("x\nend"));
    }

    #[test]
    fn a_missing_agent_is_an_error_of_the_start() {
        let error = Launcher::start(
            Path::new("/no/such/agent"),
            "sandbox",
            "t",
            "{}",
            Vec::new(),
            |_| {},
        )
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
