//! Connections from the guest to the host.
//!
//! The agent dials for everything: the bridge, the log, and each standard stream. In a sandbox a port is the unix
//! socket `/run/vsock/<port>`, in a virtual machine it is vsock to the host (CID 2).
//!
//! A [`HostStream`] is a non-blocking socket under tokio with a real half-close. Dialling is cancel-safe; the socket
//! is closed when the future is dropped.
//!
//! Not here: retries. The bridge retries forever, a standard stream a little, each decides for itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrLike, UnixAddr, VsockAddr, connect, getsockopt,
    shutdown, socket, sockopt,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where a sandbox has its sockets.
pub(crate) const SOCKETS: &str = "/run/vsock";
/// The host's context id.
const HOST: u32 = 2;

/// A connected socket to the host.
#[derive(Debug)]
pub(crate) struct HostStream {
    socket: AsyncFd<OwnedFd>,
}

#[cfg(test)]
impl HostStream {
    /// A socket that does not block.
    pub(crate) fn of(socket: OwnedFd) -> io::Result<Self> {
        crate::sys::watched(socket).map(|socket| Self { socket })
    }
}

/// Connects to a port of the host.
pub(crate) async fn dial(port: u32) -> io::Result<HostStream> {
    let socket = if sandboxed() {
        connected(AddressFamily::Unix, &UnixAddr::new(&socket_path(port))?)?
    } else {
        connected(AddressFamily::Vsock, &VsockAddr::new(HOST, port))?
    };
    let socket = crate::sys::watched(socket)?;
    // A connection in progress becomes writable when it is decided; one that was made at once is writable already.
    drop(socket.writable().await?);
    match getsockopt(socket.get_ref(), sockopt::SocketError)? {
        0 => Ok(HostStream { socket }),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Connects to a port of the host and waits, for programs without a runtime. The socket blocks.
pub(crate) fn dial_blocking(port: u32) -> io::Result<OwnedFd> {
    let kind = if sandboxed() {
        AddressFamily::Unix
    } else {
        AddressFamily::Vsock
    };
    let fd = socket(kind, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    if sandboxed() {
        connect(
            std::os::fd::AsRawFd::as_raw_fd(&fd),
            &UnixAddr::new(&socket_path(port))?,
        )?;
    } else {
        connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &VsockAddr::new(HOST, port))?;
    }
    Ok(fd)
}

/// True in a sandbox: its sockets are directory entries.
pub(crate) fn sandboxed() -> bool {
    Path::new(SOCKETS).is_dir()
}

fn socket_path(port: u32) -> std::path::PathBuf {
    Path::new(SOCKETS).join(port.to_string())
}

fn connected(family: AddressFamily, address: &dyn SockaddrLike) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(std::os::fd::AsRawFd::as_raw_fd(&fd), address) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}

impl HostStream {
    /// Reads what is there; zero at the end of the stream.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut guard = self.socket.readable().await?;
            if let Ok(result) = guard.try_io(|socket| Ok(rustix::io::read(socket.get_ref(), &mut *buffer)?)) {
                return result;
            }
        }
    }

    /// Waits until there is something to read, or the end.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        drop(self.socket.readable().await?);
        Ok(())
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut guard = self.socket.writable().await?;
            if let Ok(written) = guard.try_io(|socket| send(socket.get_ref().as_fd(), bytes)) {
                bytes = &bytes[written?..];
            }
        }
        Ok(())
    }

    /// Ends one direction, or both.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Ok(shutdown(
            std::os::fd::AsRawFd::as_raw_fd(self.socket.get_ref()),
            how,
        )?)
    }

    /// The socket itself, blocking: the standard stream of a process that runs outside of containers.
    pub(crate) fn into_blocking(self) -> io::Result<OwnedFd> {
        let fd = self.socket.into_inner();
        rustix::io::ioctl_fionbio(&fd, false)?;
        Ok(fd)
    }
}

/// Writes to a socket. A peer that is gone is an error, not a signal.
fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(
        socket,
        bytes,
        rustix::net::SendFlags::NOSIGNAL,
    )?)
}

impl AsyncRead for HostStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(context))?;
            let free = buffer.initialize_unfilled();
            match guard.try_io(|socket| Ok(rustix::io::read(socket.get_ref(), &mut *free)?)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for HostStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_write_ready(context))?;
            if let Ok(result) = guard.try_io(|socket| send(socket.get_ref().as_fd(), bytes)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Self::shutdown(&self, Shutdown::Write))
    }
}
