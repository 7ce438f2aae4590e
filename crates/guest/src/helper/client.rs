//! The agent's side: a helper that waits, and requests.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
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
struct Helper {
    socket: AsyncFd<OwnedFd>,
    pid: u32,
}

/// The helpers of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Helpers {
    waiting: Arc<Mutex<Option<Helper>>>,
    tasks: TaskTracker,
}

impl Helpers {
    /// No helper waits until [`Self::refill`].
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        Self { waiting: Arc::default(), tasks }
    }

    /// Makes a process and returns its pid and the master of its terminal. Runs to completion in the helper when
    /// dropped.
    pub(crate) async fn call(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(i32, Option<OwnedFd>), HelperError> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let helper = match waiting {
            Some(helper) => helper,
            None => spawn()?,
        };
        self.refill_later();
        wire::send(helper.socket.get_ref().as_fd(), request, fds)?;
        let answer = tokio::time::timeout(DEADLINE, receive(&helper.socket)).await;
        let Ok(answer) = answer else {
            let pid = i32::try_from(helper.pid).unwrap_or_default();
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            return Err(HelperError::Timeout);
        };
        match answer? {
            Some((Reply::Done { pid }, mut fds)) => Ok((pid, fds.pop())),
            Some((Reply::Failed { message }, _)) => Err(HelperError::Failed(message)),
            None => Err(HelperError::Gone),
        }
    }

    /// Starts a helper if none waits.
    pub(crate) fn refill(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_none() {
            match spawn() {
                Ok(helper) => *waiting = Some(helper),
                Err(error) => tracing::warn!(%error, "no helper can be started ahead"),
            }
        }
    }

    fn refill_later(&self) {
        let helpers = self.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(REFILL).await;
            helpers.refill();
        });
    }
}

/// Starts a helper. It is reaped like any other child.
fn spawn() -> io::Result<Helper> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    let child = Command::new("/proc/self/exe")
        .arg(COMMAND)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Helper { socket: crate::sys::watched(ours)?, pid: child.id() })
}

async fn receive(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
    loop {
        let mut guard = socket.readable().await?;
        if let Ok(result) = guard.try_io(|socket| wire::receive(socket.get_ref().as_fd())) {
            return result;
        }
    }
}
