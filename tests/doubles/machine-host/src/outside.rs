//! Sockets of the host's network, in a program that has left it: a socket belongs to the network that its thread was in.

use std::io;
use std::sync::mpsc;

use tokio::net::TcpSocket;
use tokio::sync::oneshot;

/// A thread that stays in the host's network. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Outside(mpsc::Sender<oneshot::Sender<io::Result<TcpSocket>>>);

impl Outside {
    /// Starts the thread, in the network that this one is in.
    pub(crate) fn start() -> Self {
        let (sender, wanted) = mpsc::channel::<oneshot::Sender<io::Result<TcpSocket>>>();
        std::thread::spawn(move || {
            for wanted in wanted {
                // Whoever asked may have gone.
                drop(wanted.send(TcpSocket::new_v4()));
            }
        });
        Self(sender)
    }

    /// A new socket.
    pub(crate) async fn socket(&self) -> io::Result<TcpSocket> {
        let (sender, made) = oneshot::channel();
        self.0.send(sender).map_err(io::Error::other)?;
        made.await.map_err(io::Error::other)?
    }
}
