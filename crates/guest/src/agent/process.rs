//! Processes that the host knows by pid.

use std::sync::Arc;

use gcs::guest::AgentError;
use gcs::hresult;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::reaper::{self, Ended, Exit};
use crate::stdio::{self, Streams, Terminal};

/// A process, from its start until the host has learned how it ended.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its pid in the agent's namespace.
    pub(crate) pid: i32,
    exit: Exit,
    streams: Streams,
    terminal: Option<Terminal>,
}

impl Process {
    /// A process that runs. The task ends its input when it has ended.
    pub(crate) fn new(pid: i32, exit: Exit, streams: Streams, terminal: Option<Terminal>) -> Arc<Self> {
        Arc::new(Self {
            pid,
            exit,
            streams,
            terminal,
        })
    }

    /// True when it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Resolves when it has ended and ends its input.
    pub(crate) async fn end_input(&self) {
        reaper::ended(self.exit.clone()).await;
        self.streams.end();
    }

    /// Resolves when it has ended and the host has all its output. Cancel-safe.
    pub(crate) async fn finished(&self) -> Ended {
        let ended = reaper::ended(self.exit.clone()).await;
        self.streams.end();
        self.streams.delivered().await;
        ended
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), AgentError> {
        if self.has_ended() {
            return Err(unknown(self.pid));
        }
        send(self.pid, signal)
    }

    /// Sets the size of its terminal.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> Result<(), AgentError> {
        let Some(terminal) = &self.terminal else {
            let text = format!("pid: {}, is not a tty and cannot be resized", self.pid);
            return Err(AgentError::fail(text));
        };
        stdio::resize(terminal, rows, columns).map_err(|error| AgentError::fail(format!("resize: {error}")))
    }
}

/// `kill(2)` of one pid.
pub(crate) fn send(pid: i32, signal: i32) -> Result<(), AgentError> {
    // Real-time signals have no name in the library, and are passed on all the same.
    let result = match Signal::try_from(signal) {
        Ok(signal) => nix::sys::signal::kill(Pid::from_raw(pid), signal),
        Err(_) => realtime(pid, signal),
    };
    match result {
        Ok(()) => Ok(()),
        Err(Errno::ESRCH) => Err(unknown(pid)),
        Err(error) => Err(AgentError::fail(format!("signal {signal} to pid {pid}: {error}"))),
    }
}

fn realtime(pid: i32, signal: i32) -> Result<(), Errno> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
    let signal = rustix::process::Signal::from_named_raw(signal).ok_or(Errno::EINVAL)?;
    rustix::process::kill_process(pid, signal).map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// There is no such process, or not any more.
pub(crate) fn unknown(pid: i32) -> AgentError {
    AgentError::new(hresult::NOT_FOUND, format!("there is no process {pid}"))
}
