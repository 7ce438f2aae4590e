//! Connections within one process, for tests and for a client in the daemon itself.

use std::io;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::{Connection, Connector, Kind, Listener, Way};
use crate::Peer;

/// What fits between the two ends, as in a socket.
const BUFFER: usize = 64 * 1024;

/// A listener, and the only way to reach it.
#[must_use]
pub fn memory() -> (Listener, Connector) {
    let (sender, receiver) = mpsc::channel(16);
    (
        Listener(Kind::Memory(MemoryListener(receiver))),
        Connector(Way::Memory(MemoryConnector(sender))),
    )
}

pub(super) struct MemoryListener(mpsc::Receiver<DuplexStream>);

impl MemoryListener {
    pub(super) async fn accept(&mut self) -> io::Result<Connection> {
        match self.0.recv().await {
            Some(io) => Ok(connection(io)),
            None => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "every connector is gone",
            )),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct MemoryConnector(mpsc::Sender<DuplexStream>);

impl MemoryConnector {
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let refused = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "the listener is gone");
        self.0.send(theirs).await.map_err(refused)?;
        Ok(connection(ours))
    }
}

fn connection(io: DuplexStream) -> Connection {
    Connection {
        io: Box::new(io),
        peer: Peer::default(),
        half_close: true,
    }
}
