//! The agent's side: a helper that waits, and requests.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::unix::AsyncFd;
use tokio_util::task::TaskTracker;

use super::{COMMAND, Reply, Request, wire};

/// How long a helper may take. Mounting is what can take long; the host gives up after a minute or more.
const DEADLINE: Duration = Duration::from_secs(60);
/// When the next helper is started: late enough not to compete with the process that was just made.
const REFILL: Duration = Duration::from_millis(20);

/// Why a helper did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    /// It could not be started or spoken to.
    #[error("helper process failed")]
    Io(#[from] io::Error),
    /// It ended without an answer.
    #[error("helper process ended without an answer")]
    Gone,
    /// It did not answer in time and was killed.
    #[error("helper process did not answer within {DEADLINE:?}")]
    Timeout,
    /// What it answered.
    #[error("{0}")]
    Failed(String),
}

/// A helper that waits for its request. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Helper {
    socket: AsyncFd<OwnedFd>,
    pid: u32,
    slot: u32,
}

/// The helpers of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Helpers {
    pool: Arc<Mutex<Pool>>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Pool {
    waiting: Option<Helper>,
    /// Slots whose helper went elsewhere.
    free: Vec<u32>,
    next: u32,
}

impl Helpers {
    /// No helper waits until [`Self::refill`].
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        Self {
            pool: Arc::default(),
            tasks,
        }
    }

    /// A helper, which waited if one did. The next one is started a little later.
    pub(crate) fn take(&self) -> Result<Helper, HelperError> {
        let mut pool = self.lock();
        let helper = match pool.waiting.take() {
            Some(helper) => helper,
            None => pool.spawn()?,
        };
        drop(pool);
        let helpers = self.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(REFILL).await;
            helpers.refill();
            crate::sys::release_memory();
        });
        Ok(helper)
    }

    /// Starts a helper if none waits.
    pub(crate) fn refill(&self) {
        let mut pool = self.lock();
        if pool.waiting.is_none() {
            match pool.spawn() {
                Ok(helper) => pool.waiting = Some(helper),
                Err(error) => tracing::warn!(%error, "no helper can be started ahead"),
            }
        }
    }

    /// The slot is empty: its helper has joined another group and is gone.
    pub(crate) fn recycle(&self, slot: u32) {
        self.lock().free.push(slot);
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Starts a helper. It is reaped like any other child.
    fn spawn(&mut self) -> io::Result<Helper> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let child = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .arg(slot.to_string())
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Helper {
            socket: crate::sys::watched(ours)?,
            pid: child.id(),
            slot,
        })
    }
}

impl Helper {
    /// The slot it is in.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// Makes a process and returns its pid and the master of its terminal. Runs to completion in the helper when
    /// dropped.
    pub(crate) async fn call(
        self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(i32, Option<OwnedFd>), HelperError> {
        wire::send(self.socket.get_ref().as_fd(), request, fds)?;
        let answer = tokio::time::timeout(DEADLINE, receive(&self.socket)).await;
        let Ok(answer) = answer else {
            let pid = i32::try_from(self.pid).unwrap_or_default();
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            return Err(HelperError::Timeout);
        };
        match answer? {
            Some((Reply::Done { pid }, mut fds)) => Ok((pid, fds.pop())),
            Some((Reply::Failed { message }, _)) => Err(HelperError::Failed(message)),
            None => Err(HelperError::Gone),
        }
    }
}

async fn receive(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
    loop {
        let mut guard = socket.readable().await?;
        if let Ok(result) = guard.try_io(|socket| wire::receive(socket.get_ref().as_fd())) {
            return result;
        }
    }
}
