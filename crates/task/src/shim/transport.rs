//! The sockets of shims: a unix socket in the sandbox's directory, on Windows a named pipe.
//!
//! The only place that knows which. The directory is for its owner alone; so is what connects to the socket in it.

use std::io;
use std::path::Path;

pub(crate) use platform::{LOCKS_ARE_INHERITED, Listener, OPEN_FILES_STAY, configure, connect, detach, kill};

/// A connection.
pub(crate) type Connection = crate::Stream;

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

    /// Accepts connections.
    pub(crate) struct Listener(UnixListener);

    impl Listener {
        /// Listens in the sandbox's directory.
        pub(crate) fn bind(dir: &Path) -> io::Result<Self> {
            std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            let path = socket(dir);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            UnixListener::bind(path).map(Self)
        }

        /// The next connection.
        pub(crate) async fn accept(&mut self) -> io::Result<Connection> {
            let (stream, _) = self.0.accept().await?;
            Ok(Box::new(stream))
        }
    }

    /// Connects to the shim of a sandbox.
    pub(crate) async fn connect(dir: &Path) -> io::Result<Connection> {
        Ok(Box::new(UnixStream::connect(socket(dir)).await?))
    }

    /// Ends the process that listens in the sandbox's directory, if `still` says that it is to.
    pub(crate) async fn kill(dir: &Path, still: impl AsyncFnOnce() -> bool) -> io::Result<()> {
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
    use std::ffi::OsString;
    use std::io;
    use std::path::Path;

    use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeServer, ServerOptions};

    use super::Connection;

    /// Locks stay with the process that took them.
    pub(crate) const LOCKS_ARE_INHERITED: bool = false;

    /// What somebody has open keeps its name until it is closed: a process cannot remove its own log.
    pub(crate) const OPEN_FILES_STAY: bool = true;

    fn pipe(dir: &Path) -> OsString {
        let mut name = OsString::from(r"\\.\pipe\ctr-like-shim-");
        name.push(dir.file_name().unwrap_or(dir.as_os_str()));
        name
    }

    /// Accepts connections. One instance of the pipe always waits.
    pub(crate) struct Listener {
        name: OsString,
        waiting: NamedPipeServer,
    }

    impl Listener {
        /// Listens under the name of the sandbox's directory.
        pub(crate) fn bind(dir: &Path) -> io::Result<Self> {
            let name = pipe(dir);
            let waiting = ServerOptions::new()
                .first_pipe_instance(true)
                .reject_remote_clients(true)
                .create(&name)?;
            Ok(Self { name, waiting })
        }

        /// The next connection.
        pub(crate) async fn accept(&mut self) -> io::Result<Connection> {
            self.waiting.connect().await?;
            let next = ServerOptions::new()
                .reject_remote_clients(true)
                .create(&self.name)?;
            Ok(Box::new(std::mem::replace(&mut self.waiting, next)))
        }
    }

    /// Connects to the shim of a sandbox.
    pub(crate) async fn connect(dir: &Path) -> io::Result<Connection> {
        Ok(Box::new(ClientOptions::new().open(pipe(dir))?))
    }

    /// Who listens on a pipe cannot be known without unsafe code.
    pub(crate) async fn kill(dir: &Path, _: impl AsyncFnOnce() -> bool) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("end the process that serves {} by hand", dir.display()),
        ))
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

/// True when nobody listens: the shim is dead.
pub(crate) async fn is_dead(dir: &Path) -> bool {
    let refused = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    };
    connect(dir).await.is_err_and(|error| refused(&error))
}
