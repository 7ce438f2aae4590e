//! The server: connections in, calls to the services, replies out.
//!
//! The daemon makes one [`Server`] and lets it serve each of its listeners. Every task belongs to a tracker: one per
//! connection for reading, one for writing, one per call. A peer is held to [`Limits`]; whatever it does, it slows down
//! or loses its own connection only: queues are bounded, unread replies time out, lines and connections are counted.
//! A panic in a handler is answered by `INTERNAL` with a report id that is also in the log (where panics unwind).
//!
//! Shutdown: no new connections and no new calls; server streams and byte streams end at once with `UNAVAILABLE`; other
//! calls have [`Limits::grace`] to finish; then everything is dropped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::transport::{Connection, Listener};
use crate::wire::Outgoing;
use crate::{Limits, Services, Status};

mod admission;
mod call;
mod connection;
#[cfg(test)]
mod tests;
mod tokens;

/// Answers calls with a set of services. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    services: Services,
    limits: Limits,
    tokens: tokens::Tokens,
    admission: admission::Admission,
    large_lines: Semaphore,
    tracker: TaskTracker,
}

impl Server {
    /// A server that holds its peers to `limits`.
    #[must_use]
    pub fn new(services: Services, limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                tokens: tokens::Tokens::new(limits.tokens),
                admission: admission::Admission::new(&limits),
                large_lines: Semaphore::new(limits.large_lines),
                tracker: TaskTracker::new(),
                services,
                limits,
            }),
        }
    }

    /// Serves until `stop`, then lets calls finish, and returns when every task of the server has ended (or the time
    /// for that is over).
    pub async fn serve(&self, mut listener: Listener, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(connection) => self.admit(connection, &stop),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => {
                    // Out of descriptors or memory: existing connections must end before another attempt can work.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        self.shared.tracker.close();
        let patience = self.shared.limits.grace + Duration::from_secs(1);
        if tokio::time::timeout(patience, self.shared.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                tasks = self.shared.tracker.len(),
                "connections did not end in time"
            );
        }
    }

    fn admit(&self, mut connection: Connection, stop: &CancellationToken) {
        match self.shared.admission.admit(&connection.peer) {
            Ok(ticket) => {
                let run = connection::run(Arc::clone(&self.shared), connection, stop.clone());
                self.shared.tracker.spawn(async move {
                    run.await;
                    drop(ticket);
                });
            }
            Err(status) => {
                tracing::info!(peer = ?connection.peer, message = %status.message, "connection refused");
                // The line fits into the empty buffer of a new connection; a peer is not waited for.
                let line = refusal(status, self.shared.limits.line_bytes);
                let _ = connection.io.write_all(&line).now_or_never();
            }
        }
    }
}

fn refusal(status: Status, limit: usize) -> Vec<u8> {
    Outgoing::error(None, status).line(limit)
}
