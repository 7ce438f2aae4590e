//! One connection of a client: reading its lines, writing its replies.
//!
//! The first line decides what it is: `Streams/Open` makes it a byte stream, anything else a conversation. The reader
//! stops reading while replies cannot be written, so a peer that does not read cannot make more work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Shared, call};
use crate::line::Lines;
use crate::message::{Empty, OpenStream};
use crate::transport::{Connection, Duplex};
use crate::wire::{self, Incoming, Outgoing};
use crate::{Peer, Status, pump};

/// Replies that wait to be written.
const QUEUE: usize = 16;

/// A line above this takes one of the places for large lines.
const LARGE: usize = 256 * 1024;

/// Small replies are written together up to this size.
const BATCH: usize = 64 * 1024;

type Reader = ReadHalf<Box<dyn Duplex>>;
type Writer = WriteHalf<Box<dyn Duplex>>;

/// What the calls of a connection share.
pub(super) struct Conversation {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Peer,
    pub(super) replies: mpsc::Sender<Vec<u8>>,
    pub(super) calls: Mutex<HashMap<u64, CancellationToken>>,
    pub(super) call_places: Arc<Semaphore>,
    pub(super) stream_places: Arc<Semaphore>,
    /// The peer has gone.
    pub(super) gone: CancellationToken,
    /// The server stops.
    pub(super) stop: CancellationToken,
    /// The server's grace is over.
    pub(super) over: CancellationToken,
}

impl Conversation {
    /// Queues a reply; fails when the peer has gone.
    pub(super) async fn reply(&self, reply: Outgoing) -> Result<(), ()> {
        let line = reply.line(self.shared.limits.line_bytes);
        self.replies.send(line).await.map_err(|_| ())
    }

    pub(super) fn finish(&self, id: u64) {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }

    fn busy(&self) -> bool {
        self.call_places.available_permits() < self.shared.limits.calls
    }
}

/// Why reading came to an end.
enum Ending {
    /// The peer says nothing more; it may still listen.
    Silent,
    /// The peer has gone, or the server stops.
    Gone,
    /// The peer broke a rule; it is told, then the connection is closed.
    Refused(Status),
}

/// Serves one connection until it ends.
pub(super) async fn run(shared: Arc<Shared>, connection: Connection, stop: CancellationToken) {
    let Connection { io, peer, half_close } = connection;
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut lines = Lines::new(shared.limits.line_bytes);
    let first = tokio::select! {
        () = stop.cancelled() => return,
        first = tokio::time::timeout(shared.limits.first_line, first_line(&mut lines, &mut reader)) => first,
    };
    let first = match first {
        Ok(Ok(Some(line))) => line,
        Ok(Ok(None)) => return,
        Ok(Err(status)) => return say(&shared, &mut writer, Outgoing::error(None, status)).await,
        Err(_) => {
            let status = Status::new(
                crate::Code::DeadlineExceeded,
                "the first request did not arrive in time",
            );
            return say(&shared, &mut writer, Outgoing::error(None, status)).await;
        }
    };
    match wire::parse_request(&first) {
        Ok(Incoming::Call {
            id, method, params, ..
        }) if method == wire::OPEN_STREAM => {
            let claimed = wire::decode_params::<OpenStream>(params)
                .and_then(|request| shared.tokens.claim(&request.token, &peer));
            match claimed {
                Ok(stream) => {
                    let end =
                        serde_json::value::to_raw_value(&Empty {}).expect("an empty object can be written");
                    say(&shared, &mut writer, Outgoing::result(id, end)).await;
                    let limit = shared.limits.frame_bytes;
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = pump::serve(reader, writer, lines.into_rest(), stream, limit, half_close) => {}
                    }
                }
                Err(status) => {
                    tracing::info!(?peer, code = %status.code, "byte stream refused");
                    say(&shared, &mut writer, Outgoing::error(Some(id), status)).await;
                }
            }
        }
        _ => converse(shared, peer, reader, writer, lines, first, stop).await,
    }
}

/// The first line that is not blank; `None` at the end of the stream.
async fn first_line(
    lines: &mut Lines,
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Bytes>, Status> {
    loop {
        match lines.take() {
            Ok(Some(line)) if line.is_empty() => {}
            Ok(Some(line)) => return Ok(Some(line)),
            Ok(None) if !matches!(lines.fill(reader).await, Ok(true)) => return Ok(None),
            Ok(None) => {}
            Err(_) => return Err(too_long(lines.limit())),
        }
    }
}

fn too_long(limit: usize) -> Status {
    Status::exhausted(format!("a line may have {limit} bytes; this one has more"))
        .hint("large content travels on byte streams")
}

/// Writes one line outside a conversation.
async fn say(shared: &Shared, writer: &mut (impl AsyncWrite + Unpin), reply: Outgoing) {
    let line = reply.line(shared.limits.line_bytes);
    let _ = tokio::time::timeout(shared.limits.write, writer.write_all(&line)).await;
}

async fn converse(
    shared: Arc<Shared>,
    peer: Peer,
    mut reader: Reader,
    writer: Writer,
    mut lines: Lines,
    first: Bytes,
    stop: CancellationToken,
) {
    let tracker = TaskTracker::new();
    let (replies, queue) = mpsc::channel(QUEUE);
    let conversation = Arc::new(Conversation {
        peer,
        replies,
        calls: Mutex::default(),
        call_places: Arc::new(Semaphore::new(shared.limits.calls)),
        stream_places: Arc::new(Semaphore::new(shared.limits.streams)),
        gone: CancellationToken::new(),
        over: CancellationToken::new(),
        stop,
        shared: Arc::clone(&shared),
    });
    let written = tracker.spawn(write(
        writer,
        queue,
        conversation.gone.clone(),
        shared.limits.write,
    ));
    if call::receive(&conversation, &tracker, &first).await.is_ok() {
        match read(&conversation, &tracker, &mut lines, &mut reader).await {
            Ending::Silent => finish(&conversation).await,
            Ending::Gone if conversation.stop.is_cancelled() => {
                finish(&conversation).await;
                conversation.over.cancel();
                // What is left has been told, and says so to its clients.
                finish(&conversation).await;
            }
            Ending::Gone => {}
            Ending::Refused(status) => {
                let _ = conversation.reply(Outgoing::error(None, status)).await;
            }
        }
    }
    conversation.gone.cancel();
    drop(conversation);
    // The writer ends when the last call has dropped its side of the queue.
    let _ = written.await;
    tracker.close();
    tracker.wait().await;
}

/// Waits for the calls in flight, but not for long.
async fn finish(conversation: &Conversation) {
    let limits = &conversation.shared.limits;
    let all = u32::try_from(limits.calls).unwrap_or(u32::MAX);
    tokio::select! {
        () = conversation.gone.cancelled() => {}
        _ = tokio::time::timeout(limits.grace, conversation.call_places.acquire_many(all)) => {}
    }
}

/// Reads lines and starts their calls.
async fn read(
    conversation: &Arc<Conversation>,
    tracker: &TaskTracker,
    lines: &mut Lines,
    reader: &mut Reader,
) -> Ending {
    let limits = &conversation.shared.limits;
    let mut begun: Option<Instant> = None;
    let mut place: Option<SemaphorePermit<'_>> = None;
    loop {
        match lines.take() {
            Ok(Some(line)) => {
                begun = None;
                if !line.is_empty() && call::receive(conversation, tracker, &line).await.is_err() {
                    return Ending::Gone;
                }
                place = None;
                continue;
            }
            Ok(None) => {}
            Err(_) => return Ending::Refused(too_long(limits.line_bytes)),
        }
        let unfinished = lines.partial() > 0;
        let until = if unfinished {
            *begun.get_or_insert_with(Instant::now) + limits.line
        } else {
            Instant::now() + limits.idle
        };
        let more = async {
            if lines.partial() > LARGE && place.is_none() {
                place = conversation.shared.large_lines.acquire().await.ok();
            }
            lines.fill(reader).await
        };
        let more = tokio::select! {
            () = conversation.stop.cancelled() => return Ending::Gone,
            () = conversation.gone.cancelled() => return Ending::Gone,
            more = tokio::time::timeout_at(until, more) => more,
        };
        match more {
            Ok(Ok(true)) => {}
            Ok(_) => return Ending::Silent,
            Err(_) if unfinished => {
                return Ending::Refused(Status::new(
                    crate::Code::DeadlineExceeded,
                    "the request did not arrive in time",
                ));
            }
            Err(_) if conversation.busy() => {}
            Err(_) => return Ending::Refused(Status::unavailable("the connection was idle")),
        }
    }
}

/// Writes queued replies; a peer that does not take them in time has gone.
async fn write(
    mut writer: Writer,
    mut queue: mpsc::Receiver<Vec<u8>>,
    gone: CancellationToken,
    patience: Duration,
) {
    while let Some(mut batch) = queue.recv().await {
        while batch.len() < BATCH
            && let Ok(more) = queue.try_recv()
        {
            batch.extend_from_slice(&more);
        }
        let written = tokio::time::timeout(patience, writer.write_all(&batch)).await;
        if !matches!(written, Ok(Ok(()))) {
            if written.is_err() {
                tracing::info!("connection closed: its peer does not read");
            }
            gone.cancel();
            return;
        }
    }
    let _ = writer.shutdown().await;
}
