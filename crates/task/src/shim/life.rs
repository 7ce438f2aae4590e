//! Whether the process of a shim lives, known from its first instant to its last.
//!
//! A shim that boots does not listen yet, and one that has stopped listening still clears up. So the daemon locks the
//! shim's log before it starts the shim with that log as standard error: the lock belongs to the open file, the shim
//! inherits it, and the kernel frees it when the last of its holders is gone. A daemon that dies loses its own handle and
//! nothing else. Where locks are not inherited (Windows), the daemon writes down which process it has started. Where an older
//! daemon did neither, the socket alone tells.
//!
//! Not here: what a living shim says (see `connection`).

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::directory;
use super::transport::{self, Holder, Sockets};

/// The end of a process has no event for a stranger.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Opens the log of a new shim, locked for as long as the shim lives.
pub(crate) fn log_for(dir: &Path) -> io::Result<File> {
    let log = File::options()
        .append(true)
        .create(true)
        .open(directory::log(dir))?;
    if transport::LOCKS_ARE_INHERITED {
        log.try_lock()?;
    }
    Ok(log)
}

/// The life of one shim, seen from outside.
#[derive(Debug)]
pub(crate) struct Life {
    dir: PathBuf,
    sockets: Sockets,
    /// Kept open, because the log goes before the process does. Absent when it was gone already.
    log: Option<File>,
    holder: Holder,
}

impl Life {
    /// Begins to watch the shim of a directory.
    pub(crate) fn of(dir: &Path, sockets: &Sockets) -> Self {
        let log = match File::options().append(true).open(directory::log(dir)) {
            Ok(log) => Some(log),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(dir = %dir.display(), %error, "log of a shim cannot be opened");
                }
                None
            }
        };
        Self {
            dir: dir.to_owned(),
            sockets: sockets.clone(),
            log,
            holder: sockets.hold(dir),
        }
    }

    /// The shim's process has ended.
    pub(crate) async fn is_over(&self) -> bool {
        match self.holder.lives() {
            Some(lives) => !lives,
            None => !self.holds_its_log() && self.sockets.is_dead(&self.dir).await,
        }
    }

    /// Ends the shim's process by force, without waiting for the end.
    pub(crate) async fn kill(&self) -> io::Result<()> {
        self.sockets
            .kill(&self.dir, &self.holder, async || !self.is_over().await)
            .await
    }

    fn holds_its_log(&self) -> bool {
        let Some(log) = self.log.as_ref().filter(|_| transport::LOCKS_ARE_INHERITED) else {
            return false;
        };
        // Shared, so that two who look do not take each other for the shim.
        match log.try_lock_shared() {
            Ok(()) => {
                if let Err(error) = log.unlock() {
                    tracing::warn!(dir = %self.dir.display(), %error, "log of a shim not unlocked");
                }
                false
            }
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(dir = %self.dir.display(), %error, "log of a shim cannot be locked");
                false
            }
        }
    }

    /// Waits for the end; false when it does not come in time.
    pub(crate) async fn ends_within(&self, limit: Duration) -> bool {
        let work = async {
            while !self.is_over().await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(limit, work).await.is_ok()
    }
}
