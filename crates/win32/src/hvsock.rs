//! Sockets between a host and its virtual machines (`AF_HYPERV`): listeners, and streams of the current tokio runtime.
//!
//! `compute` listens here for the guests of Linux containers. An address is a virtual machine and a service, both GUIDs; a machine's
//! own is the runtime id of its compute system, and `hcs::hvsocket` has the services that stand for ports of Linux.
//!
//! Sockets of every family are files of AFD, the kernel's half of Winsock, and AFD's wait for readiness is the same for all of
//! them; Microsoft's own virtual machine monitor waits so for its Hyper-V sockets, with one request under way per socket. That
//! is what tokio does with a TCP stream, which it knows by its handle alone: so streams, and also listeners, are held as such,
//! nothing polls, and no thread waits. Calls that would read an address, which tokio could not understand, are made here.
//!
//! Dropping a listener or a stream cancels what waits for it and closes it. The end of one direction is a shutdown, and whoever needs
//! to know that all was delivered waits for the other's end. A guest that is gone is the end of the stream, or
//! [`io::ErrorKind::ConnectionReset`].
//!
//! Not here: connecting to a guest, and who may bind (the document of the virtual machine says it).

use std::io;
use std::os::windows::io::{AsRawSocket, FromRawSocket, OwnedSocket};
use std::pin::Pin;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use windows_sys::Win32::Networking::WinSock::{
    AF_HYPERV, INVALID_SOCKET, SOCK_STREAM, SOCKET, SOCKET_ERROR, SOMAXCONN, WSA_FLAG_NO_HANDLE_INHERIT,
    WSA_FLAG_OVERLAPPED, WSADATA, WSAGetLastError, WSASocketW, WSAStartup, accept, bind, listen,
};
use windows_sys::Win32::System::Hypervisor::{HV_PROTOCOL_RAW, SOCKADDR_HV};
use windows_sys::core::GUID;

/// The version of Winsock that every supported Windows has: 2.2.
const WINSOCK_VERSION: u16 = 0x0202;

/// Waits for connections of one virtual machine to one service.
#[derive(Debug)]
pub struct HvListener(TcpStream);

impl HvListener {
    /// Listens. `vm` and `service` are GUIDs as numbers (`Uuid::as_u128`). The guest may connect as soon as this returns, and
    /// dropping the listener frees the address.
    ///
    /// Needs a tokio runtime with I/O; does not block.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`]: somebody listens there. [`io::ErrorKind::PermissionDenied`]: this user may not.
    /// `WSAEAFNOSUPPORT`: this Windows has no Hyper-V sockets.
    pub fn bind(vm: u128, service: u128) -> io::Result<Self> {
        start_winsock()?;
        let flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
        let protocol = HV_PROTOCOL_RAW.cast_signed();
        // SAFETY: plain values; no protocol is described.
        let socket =
            owned(unsafe { WSASocketW(i32::from(AF_HYPERV), SOCK_STREAM, protocol, null(), 0, flags) })?;
        let address = SOCKADDR_HV {
            Family: AF_HYPERV,
            Reserved: 0,
            VmId: GUID::from_u128(vm),
            ServiceId: GUID::from_u128(service),
        };
        let size = i32::try_from(size_of::<SOCKADDR_HV>()).expect("an address is small");
        // SAFETY: the socket is open; the address is that of its family and lives through the call.
        done(unsafe { bind(raw(&socket), (&raw const address).cast(), size) })?;
        // SAFETY: the socket is open.
        done(unsafe { listen(raw(&socket), SOMAXCONN.cast_signed()) })?;
        stream(socket).map(Self)
    }

    /// The next connection. Cancel-safe.
    pub async fn accept(&self) -> io::Result<HvStream> {
        loop {
            self.0.readable().await?;
            let accepted = self.0.try_io(Interest::READABLE, || {
                let listener = SOCKET::try_from(self.0.as_raw_socket()).expect("both are handles");
                // SAFETY: the socket is open during the borrow; the address may be left out.
                owned(unsafe { accept(listener, null_mut(), null_mut()) })
            });
            match accepted {
                // Nobody is there any more: another waiter was faster, or the guest has given up.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionReset
                    ) => {}
                other => return other.and_then(stream).map(HvStream),
            }
        }
    }
}

/// A connection. A shutdown of the writing half is the end of input for the guest, which can go on writing.
#[derive(Debug)]
pub struct HvStream(TcpStream);

impl AsyncRead for HvStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for HvStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Hands a socket to tokio, which does with it only what no family understands differently.
fn stream(socket: OwnedSocket) -> io::Result<TcpStream> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

/// Winsock is used until the process ends, so nobody gives it back.
fn start_winsock() -> io::Result<()> {
    static STARTED: OnceLock<i32> = OnceLock::new();
    let code = *STARTED.get_or_init(|| {
        let mut data = WSADATA::default();
        // SAFETY: the out pointer is valid.
        unsafe { WSAStartup(WINSOCK_VERSION, &raw mut data) }
    });
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn raw(socket: &OwnedSocket) -> SOCKET {
    SOCKET::try_from(socket.as_raw_socket()).expect("both are handles")
}

/// A socket that a call just gave us.
fn owned(socket: SOCKET) -> io::Result<OwnedSocket> {
    if socket == INVALID_SOCKET {
        return Err(last_error());
    }
    // SAFETY: just opened, and ours alone.
    Ok(unsafe { OwnedSocket::from_raw_socket(socket as _) })
}

fn done(answer: i32) -> io::Result<()> {
    if answer == SOCKET_ERROR {
        Err(last_error())
    } else {
        Ok(())
    }
}

fn last_error() -> io::Error {
    // SAFETY: no arguments; the code is that of the calling thread.
    io::Error::from_raw_os_error(unsafe { WSAGetLastError() })
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::Networking::WinSock::{WSAEACCES, WSAEADDRNOTAVAIL, WSAEAFNOSUPPORT};

    use super::*;

    #[test]
    fn an_address_has_the_size_that_windows_wants() {
        assert_eq!(size_of::<SOCKADDR_HV>(), 36);
    }

    #[tokio::test]
    async fn a_host_without_such_sockets_says_so() {
        match HvListener::bind(1, 2) {
            // Some hosts let services of machines be bound that do not exist.
            Ok(_listener) => {
                let second = HvListener::bind(1, 2).map(drop);
                assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            }
            Err(error) => {
                let known = [WSAEAFNOSUPPORT, WSAEADDRNOTAVAIL, WSAEACCES];
                assert!(
                    error.raw_os_error().is_some_and(|code| known.contains(&code)),
                    "{error}"
                );
            }
        }
    }
}
