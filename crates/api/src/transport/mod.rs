//! Connections: unix sockets, Windows named pipes, and pairs in memory for tests.
//!
//! A [`Listener`] gives the server [`Connection`]s whose [`Peer`] the operating system vouches for; a [`Connector`] gives
//! them to a client, which refuses a server that belongs to neither the administrator nor the user. Everything above
//! sees bytes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Peer;

mod memory;
#[cfg(windows)]
mod pipe;
#[cfg(unix)]
mod unix;

pub use memory::memory;

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection of either side.
pub struct Connection {
    /// The bytes.
    pub io: Box<dyn Duplex>,
    /// Who is at the other end.
    pub peer: Peer,
    /// Whether one direction can end while the other goes on. Named pipes cannot.
    pub half_close: bool,
}

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket file.
    Unix(PathBuf),
    /// A named pipe, for example `\\.\pipe\ctr-like`.
    Pipe(String),
}

/// A text that is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not an address of a daemon: write unix:///PATH or npipe:////./pipe/NAME")]
pub struct EndpointError {
    /// What was given.
    pub text: String,
}

impl Endpoint {
    /// Where a daemon listens when nobody says otherwise, the place for this user's own daemon first.
    ///
    /// `user_runtime_dir` is what `XDG_RUNTIME_DIR` says; the caller reads the environment.
    #[must_use]
    pub fn defaults(root: bool, user_runtime_dir: Option<&Path>) -> Vec<Self> {
        if cfg!(windows) {
            return vec![Self::Pipe(r"\\.\pipe\ctr-like".to_owned())];
        }
        let system = Self::Unix(PathBuf::from("/run/ctr-like/ctr-like.sock"));
        match user_runtime_dir {
            Some(dir) if !root => vec![Self::Unix(dir.join("ctr-like/ctr-like.sock")), system],
            _ => vec![system],
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let invalid = || EndpointError {
            text: text.to_owned(),
        };
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') && path.len() > 1 {
                Ok(Self::Unix(path.into()))
            } else {
                Err(invalid())
            };
        }
        let name = text.strip_prefix("npipe:////./pipe/").ok_or_else(invalid)?;
        if name.is_empty() || name.contains(['\\', '/']) {
            return Err(invalid());
        }
        Ok(Self::Pipe(format!(r"\\.\pipe\{name}")))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Pipe(name) => write!(f, "npipe://{}", name.replace('\\', "/")),
        }
    }
}

/// Who besides the daemon's own user may connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The group of the socket file.
    pub group: Option<u32>,
    /// Users or groups that may open the pipe.
    pub sids: Vec<String>,
}

/// A place where connections arrive.
pub struct Listener(Kind);

enum Kind {
    #[cfg(unix)]
    Unix(unix::UnixSocket),
    #[cfg(windows)]
    Pipe(pipe::Pipe),
    Memory(memory::MemoryListener),
}

impl Listener {
    /// Begins to listen. A socket file that nobody answers on is replaced; one that somebody answers on is an error of
    /// kind [`io::ErrorKind::AddrInUse`]. Must be called inside a runtime.
    ///
    /// # Errors
    /// The address is taken, cannot be made, or does not exist on this system.
    pub async fn bind(endpoint: &Endpoint, access: &Access) -> io::Result<Self> {
        match endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => Ok(Self(Kind::Unix(unix::UnixSocket::bind(path, access).await?))),
            #[cfg(windows)]
            Endpoint::Pipe(name) => Ok(Self(Kind::Pipe(pipe::Pipe::bind(name, access)?))),
            #[cfg(unix)]
            Endpoint::Pipe(_) => Err(elsewhere(endpoint)),
            #[cfg(windows)]
            Endpoint::Unix(_) => Err(elsewhere(endpoint)),
        }
    }

    /// The next connection. Cancel-safe.
    ///
    /// # Errors
    /// The system has run out of something (the listener goes on), or the memory listener's connectors are all gone.
    pub async fn accept(&mut self) -> io::Result<Connection> {
        match &mut self.0 {
            #[cfg(unix)]
            Kind::Unix(socket) => socket.accept().await,
            #[cfg(windows)]
            Kind::Pipe(pipe) => pipe.accept().await,
            Kind::Memory(listener) => listener.accept().await,
        }
    }
}

/// A way to make connections to one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connector(Way);

#[derive(Debug, Clone)]
enum Way {
    Endpoint(Endpoint),
    Memory(memory::MemoryConnector),
}

impl From<Endpoint> for Connector {
    fn from(endpoint: Endpoint) -> Self {
        Self(Way::Endpoint(endpoint))
    }
}

impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Way::Endpoint(endpoint) => endpoint.fmt(f),
            Way::Memory(_) => f.write_str("memory"),
        }
    }
}

impl Connector {
    /// A new connection, to a server that belongs to the administrator or to this user.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::ConnectionRefused`]: nobody listens.
    /// [`io::ErrorKind::PermissionDenied`]: we may not connect, or do not trust who listens.
    pub async fn connect(&self) -> io::Result<Connection> {
        match &self.0 {
            #[cfg(unix)]
            Way::Endpoint(Endpoint::Unix(path)) => unix::connect(path).await,
            #[cfg(windows)]
            Way::Endpoint(Endpoint::Pipe(name)) => pipe::connect(name).await,
            Way::Endpoint(endpoint) => Err(elsewhere(endpoint)),
            Way::Memory(connector) => connector.connect().await,
        }
    }
}

fn elsewhere(endpoint: &Endpoint) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{endpoint} does not exist on this operating system"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written_alike() {
        for text in ["unix:///run/ctr-like/ctr-like.sock", "npipe:////./pipe/ctr-like"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!(
            "npipe:////./pipe/x".parse(),
            Ok(Endpoint::Pipe(r"\\.\pipe\x".to_owned()))
        );
    }

    #[test]
    fn other_texts_are_refused_with_the_grammar() {
        for text in [
            "",
            "/run/x.sock",
            "unix://x",
            "unix:///",
            "tcp://127.0.0.1:1",
            "npipe:////./pipe/",
            "npipe:////server/pipe/x",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.to_string().contains("unix:///PATH"), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn user_daemon_comes_before_the_system_daemon() {
        let names = |root| {
            Endpoint::defaults(root, Some(Path::new("/run/user/1000")))
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(false),
            [
                "unix:///run/user/1000/ctr-like/ctr-like.sock",
                "unix:///run/ctr-like/ctr-like.sock"
            ]
        );
        assert_eq!(names(true), ["unix:///run/ctr-like/ctr-like.sock"]);
    }
}
