//! Socket ports of a sandbox: unix sockets in a directory that the guest sees.
//!
//! The guest connects to `/run/vsock/<port>` as it would to the port of its host. A listener removes its socket when it is dropped.
//! When the sandbox has ended, accepting fails with `HCS_E_CONNECTION_CLOSED`, after the connections that are waiting.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use compute::{ComputeError, GuestListener, GuestStream};
use hcs::HResult;
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::failure::Failure;

/// Listens on a port. Needs the context of a tokio runtime.
pub(crate) fn listen(
    directory: &Path,
    id: &str,
    port: u32,
    stopped: watch::Receiver<bool>,
) -> Result<Box<dyn GuestListener>, Failure> {
    let path = directory.join(port.to_string());
    let failed = |error| Failure::io(format!("cannot listen on port {port}"), error);
    // Through the descriptor, because the whole path may be longer than an address of a socket can be.
    let open = File::open(directory).map_err(failed)?;
    let short = format!("/proc/self/fd/{}/{port}", open.as_raw_fd());
    let listener = std::os::unix::net::UnixListener::bind(short).map_err(failed)?;
    let socket = SocketFile(path);
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    Ok(Box::new(PortListener {
        listener,
        stopped,
        port,
        id: id.to_owned(),
        _socket: socket,
    }))
}

struct PortListener {
    listener: UnixListener,
    stopped: watch::Receiver<bool>,
    port: u32,
    id: String,
    _socket: SocketFile,
}

struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(socket = %self.0.display(), %error, "cannot remove a socket");
            }
            _ => {}
        }
    }
}

#[async_trait]
impl GuestListener for PortListener {
    async fn accept(&mut self) -> compute::Result<GuestStream> {
        let failed = |failure: Failure| failure.into_error("accept", &self.id);
        tokio::select! {
            biased;
            accepted = self.listener.accept() => match accepted {
                Ok((stream, _)) => Ok(Box::new(stream)),
                Err(error) => Err(failed(Failure::io(format!("cannot accept on port {}", self.port), error))),
            },
            // An error means that the system itself is gone.
            _ = self.stopped.wait_for(|stopped| *stopped) => {
                Err(ComputeError::new("accept", &self.id, HResult::CONNECTION_CLOSED))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_guest_connects_to_the_socket_of_the_port() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a".repeat(100)).join("b".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let (_stop, stopped) = watch::channel(false);
        let mut listener = listen(&deep, "vm", 0x4000_0000, stopped).unwrap();
        let open = File::open(&deep).unwrap();
        let address = format!("/proc/self/fd/{}/1073741824", open.as_raw_fd());
        let mut guest = tokio::net::UnixStream::connect(address).await.unwrap();
        guest.write_all(b"hi").await.unwrap();
        let mut host = listener.accept().await.unwrap();
        let mut read = [0; 2];
        host.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hi");
        drop(listener);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_port_has_one_listener() {
        let directory = tempfile::tempdir().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let first = listen(directory.path(), "vm", 1, stopped.clone()).unwrap();
        let code = listen(directory.path(), "vm", 1, stopped.clone())
            .err()
            .unwrap()
            .code;
        assert_eq!(code, HResult::from_win32(10048));
        drop(first);
        assert!(listen(directory.path(), "vm", 1, stopped).is_ok());
    }

    #[tokio::test]
    async fn accepting_ends_with_the_sandbox() {
        let directory = tempfile::tempdir().unwrap();
        let (stop, stopped) = watch::channel(false);
        let mut listener = listen(directory.path(), "vm", 1, stopped).unwrap();
        stop.send(true).unwrap();
        let error = listener.accept().await.err().unwrap();
        assert_eq!(error.hresult, HResult::CONNECTION_CLOSED);
    }
}
