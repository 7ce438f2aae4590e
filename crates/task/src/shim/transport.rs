//! The sockets of shims: a unix socket in the sandbox's directory, on Windows a named pipe.
//!
//! The only place that knows which. The directory is for its owner alone; so is what connects to the socket in it. A pipe has a
//! name that everybody can see, so it needs an access list, and its client has to look whose it is: what that takes is unsafe code
//! elsewhere, and whoever makes the [`Sockets`] brings it along.

pub use platform::Sockets;
pub(crate) use platform::{Holder, LOCKS_ARE_INHERITED, OPEN_FILES_STAY, configure, detach};
#[cfg(windows)]
pub use platform::{Pipes, ShimProcess};

use std::io;
use std::path::Path;

/// A connection.
pub(crate) type Connection = crate::Stream;

impl Sockets {
    /// True when nobody listens: the shim is dead.
    pub(crate) async fn is_dead(&self, dir: &Path) -> bool {
        let refused = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            )
        };
        self.connect(dir).await.is_err_and(|error| refused(&error))
    }
}

#[cfg(unix)]
mod platform {
    use std::fs::Permissions;
    use std::io;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use tokio::net::{UnixListener, UnixStream};

    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use super::Connection;
    use crate::shim::directory::socket;

    /// A child goes on holding the locks of the files that it inherits.
    pub(crate) const LOCKS_ARE_INHERITED: bool = true;

    /// What somebody has open keeps its name until it is closed.
    pub(crate) const OPEN_FILES_STAY: bool = false;

    /// Nothing: the lock tells who lives, and the socket whom to end.
    #[derive(Debug)]
    pub(crate) struct Holder;

    impl Holder {
        /// Whether the process lives, where this knows.
        pub(crate) fn lives(&self) -> Option<bool> {
            None
        }
    }

    /// How daemon and shim reach each other.
    #[derive(Debug, Clone, Default)]
    pub struct Sockets;

    impl Sockets {
        /// Listens in the sandbox's directory.
        pub(crate) fn listen(&self, dir: &Path) -> io::Result<Listener> {
            std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            let path = socket(dir);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            UnixListener::bind(path).map(Listener)
        }

        /// Connects to the shim of a sandbox.
        pub(crate) async fn connect(&self, dir: &Path) -> io::Result<Connection> {
            Ok(Box::new(UnixStream::connect(socket(dir)).await?))
        }

        /// Writes down which process the shim is, where the next daemon cannot tell otherwise.
        pub(crate) fn note(&self, _: &Path, _: &tokio::process::Child) -> io::Result<()> {
            Ok(())
        }

        /// Holds the shim of a directory.
        pub(crate) fn hold(&self, _: &Path) -> Holder {
            Holder
        }

        /// Ends the process that listens in the sandbox's directory, if `still` says that it is to.
        pub(crate) async fn kill(
            &self,
            dir: &Path,
            _: &Holder,
            still: impl AsyncFnOnce() -> bool,
        ) -> io::Result<()> {
            let listener = UnixStream::connect(socket(dir)).await?.peer_cred()?.pid();
            let pid = listener
                .and_then(Pid::from_raw)
                .ok_or_else(|| io::Error::other("the listener has no process id"))?;
            let process = pidfd_open(pid, PidfdFlags::empty())?;
            // Asked when the process is held, so that its number cannot have passed to another.
            if still().await {
                pidfd_send_signal(&process, Signal::KILL)?;
            }
            Ok(())
        }
    }

    /// Accepts connections.
    pub(crate) struct Listener(UnixListener);

    impl Listener {
        /// The next connection.
        pub(crate) async fn accept(&mut self) -> io::Result<Connection> {
            let (stream, _) = self.0.accept().await?;
            Ok(Box::new(stream))
        }
    }

    /// What the start of a shim needs here.
    pub(crate) fn configure(_: &mut tokio::process::Command) {}

    /// Leaves the session of who started this process, so that its end or its terminal's keys do not matter.
    pub(crate) fn detach() {
        if let Err(error) = rustix::process::setsid() {
            tracing::debug!(%error, "already a session of its own");
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::fmt;
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::net::windows::named_pipe::{NamedPipeClient, NamedPipeServer};

    use super::Connection;
    use crate::shim::directory;

    /// Locks stay with the process that took them.
    pub(crate) const LOCKS_ARE_INHERITED: bool = false;

    /// What somebody has open keeps its name until it is closed: a process cannot remove its own log.
    pub(crate) const OPEN_FILES_STAY: bool = true;

    /// Every instance is taken at this moment; from the Windows error list.
    const ERROR_PIPE_BUSY: i32 = 231;
    /// How soon a pipe is tried again whose instances are all taken.
    const TRY_AGAIN: Duration = Duration::from_millis(20);
    /// How often.
    const TRIES: u32 = 100;

    /// Makes the ends of a pipe that only SYSTEM, administrators and the user of this process may reach. Does not block.
    pub trait Pipes: Send + Sync {
        /// A new instance, in bytes, not for remote clients, with that access list. The `first` one claims the name.
        ///
        /// # Errors
        /// Somebody has the name already, or the system refuses.
        fn instance(&self, name: &str, first: bool) -> io::Result<NamedPipeServer>;

        /// Connects, without lending this process's identity to whoever listens.
        ///
        /// # Errors
        /// Nobody listens ([`io::ErrorKind::NotFound`]), every instance is taken, or the pipe belongs to somebody who is not
        /// trusted ([`io::ErrorKind::PermissionDenied`]).
        fn client(&self, name: &str) -> io::Result<NamedPipeClient>;

        /// Holds the process of a number; `None` when there is none.
        ///
        /// # Errors
        /// This process may not end it, so it is no shim of its.
        fn process(&self, pid: u32) -> io::Result<Option<Box<dyn ShimProcess>>>;
    }

    /// A process that is held, so that its number stays its own.
    pub trait ShimProcess: Send + Sync {
        /// When it was created: with its number, what no other process has.
        ///
        /// # Errors
        /// The system refuses.
        fn created(&self) -> io::Result<u64>;

        /// Whether it has ended. Does not block.
        fn has_ended(&self) -> bool;

        /// Ends it by force, without waiting for the end.
        ///
        /// # Errors
        /// The system refuses, or it has ended.
        fn kill(&self) -> io::Result<()>;
    }

    /// The process of a shim, as its directory says; an older daemon wrote nothing down.
    pub(crate) enum Holder {
        Unknown,
        Ended,
        Held(Box<dyn ShimProcess>),
    }

    impl fmt::Debug for Holder {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "Holder(lives: {:?})", self.lives())
        }
    }

    impl Holder {
        /// Whether the process lives, where this knows.
        pub(crate) fn lives(&self) -> Option<bool> {
            match self {
                Self::Unknown => None,
                Self::Ended => Some(false),
                Self::Held(process) => Some(!process.has_ended()),
            }
        }
    }

    /// How daemon and shim reach each other.
    #[derive(Clone)]
    pub struct Sockets(Arc<dyn Pipes>);

    impl fmt::Debug for Sockets {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("Sockets")
        }
    }

    impl Sockets {
        /// Through pipes that are made so.
        pub fn new(pipes: impl Pipes + 'static) -> Self {
            Self(Arc::new(pipes))
        }

        /// Listens under the name of the sandbox's directory.
        pub(crate) fn listen(&self, dir: &Path) -> io::Result<Listener> {
            let name = pipe(dir);
            let waiting = self.0.instance(&name, true)?;
            Ok(Listener {
                name,
                pipes: Arc::clone(&self.0),
                waiting,
            })
        }

        /// Connects to the shim of a sandbox.
        pub(crate) async fn connect(&self, dir: &Path) -> io::Result<Connection> {
            let name = pipe(dir);
            let mut tries = 0;
            loop {
                match self.0.client(&name) {
                    // Between one client and the next instance. There is no event for a free one.
                    Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) && tries < TRIES => {
                        tries += 1;
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                    outcome => return Ok(Box::new(outcome?)),
                }
            }
        }

        /// Writes down which process the shim is: its pipe tells that only to whoever it has room for.
        pub(crate) fn note(&self, dir: &Path, child: &tokio::process::Child) -> io::Result<()> {
            let Some(pid) = child.id() else {
                return Ok(());
            };
            // Held by its starter, so there is one.
            let process = self.0.process(pid)?.ok_or(io::ErrorKind::NotFound)?;
            std::fs::write(directory::process(dir), format!("{pid} {}", process.created()?))
        }

        /// Holds the shim of a directory.
        pub(crate) fn hold(&self, dir: &Path) -> Holder {
            let path = directory::process(dir);
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) => {
                    if error.kind() != io::ErrorKind::NotFound {
                        tracing::warn!(path = %path.display(), %error, "which process a shim is cannot be read");
                    }
                    return Holder::Unknown;
                }
            };
            let mut numbers = text.split(' ');
            let mut next = || numbers.next().unwrap_or_default();
            let (Ok(pid), Ok(created)) = (next().parse(), next().parse::<u64>()) else {
                // Its daemon died while it wrote.
                return Holder::Unknown;
            };
            match self.0.process(pid) {
                Ok(Some(process)) if process.created().is_ok_and(|at| at == created) => Holder::Held(process),
                // The number is another's now.
                Ok(_) => Holder::Ended,
                Err(error) => {
                    tracing::warn!(pid, %error, "the process of a shim cannot be looked at");
                    Holder::Unknown
                }
            }
        }

        /// Ends the process of a shim.
        pub(crate) async fn kill(
            &self,
            dir: &Path,
            holder: &Holder,
            _: impl AsyncFnOnce() -> bool,
        ) -> io::Result<()> {
            match holder {
                Holder::Held(process) => process.kill(),
                Holder::Ended => Ok(()),
                Holder::Unknown => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("end the process that serves {} by hand", dir.display()),
                )),
            }
        }
    }

    fn pipe(dir: &Path) -> String {
        let id = dir.file_name().unwrap_or(dir.as_os_str());
        format!(r"\\.\pipe\ctr-like-shim-{}", id.to_string_lossy())
    }

    /// Accepts connections. One instance of the pipe always waits.
    pub(crate) struct Listener {
        name: String,
        pipes: Arc<dyn Pipes>,
        waiting: NamedPipeServer,
    }

    impl Listener {
        /// The next connection.
        pub(crate) async fn accept(&mut self) -> io::Result<Connection> {
            self.waiting.connect().await?;
            let next = self.pipes.instance(&self.name, false)?;
            Ok(Box::new(std::mem::replace(&mut self.waiting, next)))
        }
    }

    /// Without console and without its keys.
    pub(crate) fn configure(command: &mut tokio::process::Command) {
        const DETACHED_PROCESS: u32 = 0x8;
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
    }

    /// A process without console is detached already.
    pub(crate) fn detach() {}
}
