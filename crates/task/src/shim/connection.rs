//! The daemon's connection to a shim: calls out, answers in.
//!
//! Clones share one connection. A call that is dropped is cancelled at the shim, which matters for waits. When the
//! connection ends every pending and later call fails with `SandboxGone`.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::protocol::{Call, Opened, Request, Response, header, line, read_line};
use super::transport::{Connection, Sockets};
use crate::error::{ErrorKind, Result, TaskError};
use crate::stream::{InputWriter, OutputReader};
use crate::{AttachStreams, Stream};

/// Buffer between a client of the daemon and the connection.
const BUFFER: usize = 32 << 10;

/// A connection that carries calls.
#[derive(Clone)]
pub(crate) struct Calls {
    shared: Arc<Shared>,
    _guard: Arc<DropGuard>,
}

struct Shared {
    lines: mpsc::UnboundedSender<Vec<u8>>,
    pending: Mutex<Pending>,
    ended: CancellationToken,
}

#[derive(Default)]
struct Pending {
    next: u64,
    calls: HashMap<u64, oneshot::Sender<Response>>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut pending = self.pending();
        self.ended.cancel();
        pending.calls.clear();
    }
}

/// Cancels a call that nobody waits for any more.
struct Cancel<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if self.shared.pending().calls.remove(&self.id).is_some()
            && let Ok(line) = line(&Request::Cancel {
                id: self.id,
                cancel: true,
            })
        {
            // The connection may have ended.
            let _ = self.shared.lines.send(line);
        }
    }
}

fn lost() -> TaskError {
    TaskError::new(ErrorKind::SandboxGone, "lost the sandbox's shim")
}

impl Calls {
    /// Connects to the shim of a sandbox.
    pub(crate) async fn open(sockets: &Sockets, dir: &Path, tracker: &TaskTracker) -> io::Result<Self> {
        let (read, write) = tokio::io::split(sockets.connect(dir).await?);
        let (lines, queue) = mpsc::unbounded_channel();
        let ended = CancellationToken::new();
        let shared = Arc::new(Shared {
            lines,
            pending: Mutex::default(),
            ended: ended.clone(),
        });
        tracker.spawn(send(write, queue, ended.clone()));
        tracker.spawn(receive(read, Arc::clone(&shared)));
        Ok(Self {
            shared,
            _guard: Arc::new(ended.drop_guard()),
        })
    }

    /// Calls and waits for the answer.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut pending = self.shared.pending();
            if self.shared.ended.is_cancelled() {
                return Err(lost());
            }
            pending.next += 1;
            let id = pending.next;
            pending.calls.insert(id, sender);
            id
        };
        let _cancel = Cancel {
            shared: &self.shared,
            id,
        };
        self.shared
            .lines
            .send(line(&Request::Call { id, call })?)
            .map_err(|_| lost())?;
        answer.await.map_err(|_| lost())?.outcome()
    }

    /// Resolves when the connection has ended.
    pub(crate) async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }
}

async fn send(
    mut writer: WriteHalf<Connection>,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    ended: CancellationToken,
) {
    let work = async {
        while let Some(line) = queue.recv().await {
            writer.write_all(&line).await?;
            writer.flush().await?;
        }
        Ok::<_, io::Error>(())
    };
    if let Some(Err(error)) = ended.run_until_cancelled(work).await {
        tracing::debug!(%error, "call not sent to the shim");
    }
    ended.cancel();
}

async fn receive(reader: ReadHalf<Connection>, shared: Arc<Shared>) {
    let mut reader = BufReader::new(reader);
    let work = async {
        while let Some(response) = read_line::<Response>(&mut reader).await? {
            let call = shared.pending().calls.remove(&response.id);
            // A cancelled call may be answered nevertheless.
            call.map(|call| call.send(response));
        }
        Ok::<_, io::Error>(())
    };
    if let Some(Err(error)) = shared.ended.run_until_cancelled(work).await {
        tracing::debug!(%error, "connection to the shim broke");
    }
    shared.end();
}

/// Makes a call that becomes a stream.
pub(crate) async fn open_stream(
    sockets: &Sockets,
    dir: &Path,
    call: Call,
    tracker: &TaskTracker,
) -> Result<(Option<u32>, AttachStreams)> {
    let connection = sockets
        .connect(dir)
        .await
        .map_err(|error| lost().because(error))?;
    let (read, mut write) = tokio::io::split(connection);
    write
        .write_all(&line(&Request::Call { id: 0, call })?)
        .await
        .map_err(|error| lost().because(error))?;
    write.flush().await.map_err(|error| lost().because(error))?;
    let mut reader = BufReader::with_capacity(BUFFER, read);
    let answer: Option<Response> = read_line(&mut reader)
        .await
        .map_err(|error| lost().because(error))?;
    let Opened { pid, stdin } = answer.ok_or_else(lost)?.outcome()?;
    let detached = CancellationToken::new();
    let stdin = stdin.then(|| {
        let (sender, pieces) = mpsc::channel(2);
        let detached = detached.clone();
        tracker.spawn(async move {
            // Dropping the writer is not enough to detach: the reader holds the connection, too.
            if let Some(Err(error)) = detached.run_until_cancelled(forward(pieces, write)).await {
                tracing::debug!(%error, "input not forwarded to the shim");
            }
        });
        Box::new(InputWriter::new(sender, true)) as Stream
    });
    let output = Box::new(OutputReader::new(reader, detached.drop_guard()));
    Ok((pid, AttachStreams { stdin, output }))
}

/// Puts a client's input into frames. A client that just goes away leaves the input open.
async fn forward(mut pieces: mpsc::Receiver<Bytes>, mut target: WriteHalf<Connection>) -> io::Result<()> {
    while let Some(piece) = pieces.recv().await {
        target.write_all(&header(0, piece.len())).await?;
        target.write_all(&piece).await?;
        target.flush().await?;
    }
    // The connection stays: output still comes on it. It is given up with the output.
    std::future::pending().await
}
