//! What the calls of a bridge share with its reader and its writer task: pending calls, created containers, the end.
//!
//! [`super::Bridge`] registers calls and queues frames; [`receive`] and [`send`] move frames and close the bridge with
//! the first reason they meet. Every frame of the agent is judged in [`Shared::accept`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;

use super::{Notification, lock};
use crate::error::{CloseReason, GcsError};
use crate::frame::{Codec, Frame, GUEST_LIMIT, HOST_LIMIT};
use crate::message::{ContainerNotification, MessageType, RequestBase};
use crate::{Stream, json};

/// How many calls may wait for an answer at once.
const PENDING_LIMIT: usize = 4096;
/// How much of an agent's error text is kept.
const TEXT_LIMIT: usize = 4096;
/// How many notifications may come in a burst, and how many per second after that.
const NOTIFICATION_BURST: f64 = 1000.0;
const NOTIFICATION_RATE: f64 = 200.0;

/// A call that waits for its answer. The receiver may be gone: the call was dropped or timed out.
struct Pending {
    message: MessageType,
    answer: oneshot::Sender<Value>,
}

/// What calls and the two tasks share.
pub(super) struct Shared {
    calls: Mutex<Calls>,
    pub(super) frames: mpsc::Sender<Frame>,
    pub(super) created: Mutex<HashSet<String>>,
    pub(super) notifications: broadcast::Sender<Notification>,
    pub(super) closed: watch::Sender<Option<CloseReason>>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Calls {
    next: u64,
    pending: HashMap<u64, Pending>,
}

impl Shared {
    /// What a new bridge shares. The writer task takes its frames from `frames`.
    pub(super) fn new(frames: mpsc::Sender<Frame>, stop: CancellationToken) -> Self {
        Self {
            calls: Mutex::default(),
            frames,
            created: Mutex::default(),
            notifications: broadcast::channel(64).0,
            closed: watch::Sender::new(None),
            stop,
        }
    }

    /// Takes an id for a call.
    pub(super) fn register(&self, message: MessageType) -> Result<(u64, oneshot::Receiver<Value>), GcsError> {
        let (sender, answer) = oneshot::channel();
        let mut calls = lock(&self.calls);
        // Checked under the lock that `close` takes to drop the pending calls: none can slip in behind it.
        if self.closed.borrow().is_some() {
            return Err(self.closed_error());
        }
        if calls.pending.len() >= PENDING_LIMIT {
            return Err(GcsError::Busy { limit: PENDING_LIMIT });
        }
        let id = calls.next;
        calls.next += 1;
        calls.pending.insert(
            id,
            Pending {
                message,
                answer: sender,
            },
        );
        Ok((id, answer))
    }

    /// Closes the bridge with the first reason given.
    pub(super) fn close(&self, reason: CloseReason) {
        let first = self.closed.send_if_modified(|closed| {
            if closed.is_some() {
                return false;
            }
            *closed = Some(reason);
            true
        });
        if first {
            self.stop.cancel();
            lock(&self.calls).pending.clear();
        }
    }

    pub(super) fn closed_error(&self) -> GcsError {
        GcsError::Closed(self.closed.borrow().clone().unwrap_or(CloseReason::Local))
    }

    /// The agent sent something that cannot be read: no later message can be trusted.
    pub(super) fn broken(&self, operation: &str, error: &serde_json::Error) -> GcsError {
        self.close(CloseReason::Protocol(format!(
            "answer to {operation} cannot be read: {error}"
        )));
        self.closed_error()
    }

    /// Handles one frame of the agent.
    fn accept(&self, frame: &Frame, budget: &mut Budget) -> Result<(), CloseReason> {
        let violation = |text: String| Err(CloseReason::Protocol(text));
        if frame.message == MessageType::NOTIFICATION {
            if !budget.take(Instant::now()) {
                return violation("too many notifications".to_owned());
            }
            return self.notify(frame);
        }
        let Some(pending) = lock(&self.calls).pending.remove(&frame.id) else {
            return violation(format!(
                "answer 0x{:08x} to call {}, which is not pending",
                frame.message, frame.id
            ));
        };
        if pending.message.response() != frame.message {
            let (name, number) = (pending.message.name(), frame.message);
            return violation(format!(
                "answer 0x{number:08x} to call {}, which is {name}",
                frame.id
            ));
        }
        match json::object(&frame.payload) {
            Ok(value) => {
                // An error here means that nobody waits any more.
                let _ = pending.answer.send(value);
                Ok(())
            }
            Err(error) => violation(format!(
                "answer to {} cannot be read: {error}",
                pending.message.name()
            )),
        }
    }

    fn notify(&self, frame: &Frame) -> Result<(), CloseReason> {
        let decoded =
            json::object(&frame.payload).and_then(json::split::<RequestBase, ContainerNotification>);
        let (base, notification) = decoded
            .map_err(|error| CloseReason::Protocol(format!("notification cannot be read: {error}")))?;
        if !lock(&self.created).remove(&base.container_id) {
            let id = clean(&base.container_id);
            return Err(CloseReason::Protocol(format!(
                "notification for container {id}, which does not live"
            )));
        }
        let ContainerNotification { kind, result, .. } = notification;
        // Nobody has to listen.
        let _ = self.notifications.send(Notification {
            container_id: base.container_id,
            kind,
            result,
        });
        Ok(())
    }
}

/// Limits the rate of notifications: a bucket that fills with time.
struct Budget {
    tokens: f64,
    filled: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            tokens: NOTIFICATION_BURST,
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * NOTIFICATION_RATE;
        self.filled = now;
        self.tokens = (self.tokens + gained).min(NOTIFICATION_BURST);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// Makes a guest's text fit for logs and messages.
pub(super) fn clean(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        if kept.len() >= TEXT_LIMIT {
            kept.push_str("...");
            break;
        }
        if character.is_control() && character != '\n' && character != '\t' {
            kept.extend(character.escape_default());
        } else {
            kept.push(character);
        }
    }
    kept
}

/// Reads until the stream ends, the agent misbehaves or the bridge is dropped.
pub(super) async fn receive(stream: ReadHalf<Stream>, shared: Arc<Shared>) {
    let mut frames = FramedRead::new(stream, Codec::new(GUEST_LIMIT));
    let mut budget = Budget::new(Instant::now());
    let reason = loop {
        let frame = tokio::select! {
            () = shared.stop.cancelled() => break CloseReason::Local,
            frame = frames.next() => frame,
        };
        match frame {
            None => break CloseReason::Peer,
            Some(Err(error)) => break error.into(),
            Some(Ok(frame)) => {
                if let Err(reason) = shared.accept(&frame, &mut budget) {
                    break reason;
                }
            }
        }
    };
    shared.close(reason);
}

/// Writes what calls queue, as many frames at once as are there.
pub(super) async fn send(stream: WriteHalf<Stream>, mut queue: mpsc::Receiver<Frame>, shared: Arc<Shared>) {
    let mut frames = FramedWrite::new(stream, Codec::new(HOST_LIMIT));
    let work = async {
        while let Some(frame) = queue.recv().await {
            frames.feed(frame).await?;
            while let Ok(frame) = queue.try_recv() {
                frames.feed(frame).await?;
            }
            frames.flush().await?;
        }
        Ok::<(), crate::frame::FrameError>(())
    };
    let outcome = tokio::select! {
        () = shared.stop.cancelled() => Ok(()),
        outcome = work => outcome,
    };
    shared.close(outcome.map_or_else(Into::into, |()| CloseReason::Local));
}
