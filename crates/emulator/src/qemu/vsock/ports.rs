//! The ports on which the host listens for one machine.
//!
//! A connection is a pair of unix sockets: the device keeps one end, whoever listens gets the other. So a connection has the
//! kernel's buffers, wakes its readers, and ends one direction at a time, as any stream does.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use compute::{ComputeError, GuestListener, GuestStream};
use hcs::HResult;
use tokio::sync::{mpsc, watch};

use crate::failure::Failure;

/// Connections that may wait to be accepted at one port.
const BACKLOG: usize = 128;

/// Serves connections of the machine inside this process; called on the device's thread, which it must not hold up.
pub(crate) type Serve = Arc<dyn Fn(UnixStream) + Send + Sync>;

enum Port {
    Listener(mpsc::Sender<UnixStream>),
    Service(Serve),
}

/// The ports of one machine.
#[derive(Default)]
pub(crate) struct Ports {
    table: Mutex<HashMap<u32, Port>>,
}

impl Ports {
    fn table(&self) -> MutexGuard<'_, HashMap<u32, Port>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens on a port. `stopped` turns true when nobody will connect any more.
    pub(crate) fn listen(
        self: &Arc<Self>,
        id: &str,
        port: u32,
        stopped: watch::Receiver<bool>,
    ) -> Result<Box<dyn GuestListener>, Failure> {
        let (sender, waiting) = mpsc::channel(BACKLOG);
        self.take(port, Port::Listener(sender))?;
        Ok(Box::new(Listener {
            waiting,
            stopped,
            id: id.to_owned(),
            place: Place {
                ports: Arc::clone(self),
                port,
            },
        }))
    }

    /// Serves a port inside this process until [`Self::close`].
    pub(crate) fn serve(&self, port: u32, serve: Serve) -> Result<(), Failure> {
        self.take(port, Port::Service(serve))
    }

    /// Ends what was begun with [`Self::serve`] or [`Self::listen`].
    pub(crate) fn close(&self, port: u32) {
        self.table().remove(&port);
    }

    fn take(&self, port: u32, what: Port) -> Result<(), Failure> {
        let mut table = self.table();
        if table.contains_key(&port) {
            let taken = io::Error::from(rustix::io::Errno::ADDRINUSE);
            return Err(Failure::io(format!("cannot listen on port {port}"), taken));
        }
        table.insert(port, what);
        Ok(())
    }

    /// The device's end of a new connection; `None` when the port refuses it.
    pub(super) fn connect(&self, port: u32) -> Option<UnixStream> {
        let table = self.table();
        let to = table.get(&port)?;
        let (ours, theirs) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => {
                tracing::warn!(port, %error, "no socket for a connection of the machine");
                return None;
            }
        };
        ours.set_nonblocking(true).ok()?;
        match to {
            // A full or abandoned queue refuses, as any listener does.
            Port::Listener(sender) => sender.try_send(theirs).ok()?,
            Port::Service(serve) => {
                let serve = Arc::clone(serve);
                drop(table);
                serve(theirs);
            }
        }
        Some(ours)
    }
}

struct Listener {
    waiting: mpsc::Receiver<UnixStream>,
    stopped: watch::Receiver<bool>,
    id: String,
    place: Place,
}

/// Gives the port back when it is dropped.
struct Place {
    ports: Arc<Ports>,
    port: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ports.close(self.port);
    }
}

#[async_trait]
impl GuestListener for Listener {
    async fn accept(&mut self) -> compute::Result<GuestStream> {
        let accepted = tokio::select! {
            biased;
            accepted = self.waiting.recv() => accepted,
            // An error means that the system itself is gone.
            _ = self.stopped.wait_for(|stopped| *stopped) => None,
        };
        let Some(stream) = accepted else {
            return Err(ComputeError::new("accept", &self.id, HResult::CONNECTION_CLOSED));
        };
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| tokio::net::UnixStream::from_std(stream))
            .map_err(|error| {
                Failure::io(format!("cannot accept on port {}", self.place.port), error)
                    .into_error("accept", &self.id)
            })?;
        Ok(Box::new(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_has_one_listener_and_is_free_after_it() {
        let ports = Arc::<Ports>::default();
        let (_stop, stopped) = watch::channel(false);
        let first = ports.listen("vm", 7, stopped.clone()).unwrap();
        let code = ports.listen("vm", 7, stopped.clone()).err().unwrap().code;
        assert_eq!(code, HResult::from_win32(10048));
        assert!(ports.connect(8).is_none());
        drop(first);
        assert!(ports.connect(7).is_none());
        assert!(ports.listen("vm", 7, stopped).is_ok());
    }

    #[tokio::test]
    async fn accepting_ends_with_the_machine_after_those_who_wait() {
        let ports = Arc::<Ports>::default();
        let (stop, stopped) = watch::channel(false);
        let mut listener = ports.listen("vm", 7, stopped).unwrap();
        let _machine = ports.connect(7).unwrap();
        stop.send(true).unwrap();
        assert!(listener.accept().await.is_ok());
        let error = listener.accept().await.err().unwrap();
        assert_eq!(error.hresult, HResult::CONNECTION_CLOSED);
    }
}
