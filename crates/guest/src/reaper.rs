//! Who reaps which child: one task collects every exit and hands it to whoever watches that pid.
//!
//! The agent is pid 1, so it inherits the processes of containers from the helpers that made them, and orphans from
//! everywhere. Waiting for a single pid elsewhere would race with that; nothing else in this program waits.
//!
//! A process may exit before the agent has learned its pid. Whoever makes one holds a [`Birth`] meanwhile: as long as
//! there is one, exits that nobody watches are kept, and [`Birth::adopt`] finds them. Outside of births they are
//! orphans and forgotten at once, so that a reused pid never inherits an old exit.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It exited.
    Code(i32),
    /// A signal killed it.
    Signal(i32),
}

impl Ended {
    /// The exit code of a process in a container.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Code(code) => code.cast_unsigned(),
            Self::Signal(signal) => (128 + signal).cast_unsigned(),
        }
    }
}

/// Resolves when the process has ended.
pub(crate) type Exit = watch::Receiver<Option<Ended>>;

/// Waits for an exit. Cancel-safe.
pub(crate) async fn ended(mut exit: Exit) -> Ended {
    let ended = exit.wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
    match ended {
        Some(ended) => ended,
        // The reaper is gone, and with it this program.
        None => std::future::pending().await,
    }
}

/// Collects exits. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reaper {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    watched: HashMap<i32, watch::Sender<Option<Ended>>>,
    births: usize,
    unclaimed: HashMap<i32, Ended>,
}

/// Held while a process is being made.
#[derive(Debug)]
pub(crate) struct Birth {
    reaper: Reaper,
}

impl Reaper {
    /// Reaps until the program ends.
    pub(crate) async fn run(self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            self.reap();
            if children.recv().await.is_none() {
                return Ok(());
            }
        }
    }

    /// To be held from before the process exists until it is adopted.
    pub(crate) fn birth(&self) -> Birth {
        self.lock().births += 1;
        Birth { reaper: self.clone() }
    }

    fn reap(&self) {
        loop {
            let (pid, ended) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ended::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ended::Signal(signal as i32)),
                Err(Errno::EINTR) => continue,
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            self.record(pid.as_raw(), ended);
        }
    }

    fn record(&self, pid: i32, ended: Ended) {
        let mut shared = self.lock();
        if let Some(watcher) = shared.watched.remove(&pid) {
            watcher.send_replace(Some(ended));
        } else if shared.births > 0 {
            shared.unclaimed.insert(pid, ended);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Birth {
    /// Watches the process that was made.
    pub(crate) fn adopt(&self, pid: i32) -> Exit {
        let mut shared = self.reaper.lock();
        let (sender, receiver) = watch::channel(shared.unclaimed.remove(&pid));
        if receiver.borrow().is_none() {
            shared.watched.insert(pid, sender);
        }
        receiver
    }
}

impl Drop for Birth {
    fn drop(&mut self) {
        let mut shared = self.reaper.lock();
        shared.births -= 1;
        if shared.births == 0 {
            shared.unclaimed.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_before_the_adoption_is_not_lost() {
        let reaper = Reaper::default();
        let birth = reaper.birth();
        reaper.record(7, Ended::Code(3));
        assert_eq!(*birth.adopt(7).borrow(), Some(Ended::Code(3)));
    }

    #[test]
    fn an_exit_after_the_adoption_reaches_the_watcher() {
        let reaper = Reaper::default();
        let exit = reaper.birth().adopt(7);
        assert_eq!(*exit.borrow(), None);
        reaper.record(7, Ended::Signal(9));
        assert_eq!(exit.borrow().map(Ended::code), Some(137));
    }

    #[test]
    fn a_reused_pid_does_not_inherit_an_old_exit() {
        let reaper = Reaper::default();
        reaper.record(7, Ended::Code(1));
        let birth = reaper.birth();
        assert_eq!(*birth.adopt(7).borrow(), None);
        reaper.record(8, Ended::Code(1));
        drop(birth);
        assert_eq!(*reaper.birth().adopt(8).borrow(), None);
    }
}
