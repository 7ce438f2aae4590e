//! The connection that carries the calls: one task reads, one writes, calls are told apart by id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{encode, lost, not_ours};
use crate::limits::MAX_LINE;
use crate::line::Lines;
use crate::transport::Duplex;
use crate::wire::Outgoing;
use crate::{Context, Status};

/// Requests that wait to be written.
const QUEUE: usize = 64;

/// Items of one stream that wait to be taken.
const ITEMS: usize = 64;

type Answer = Result<Box<RawValue>, Status>;

pub(super) struct Conversation {
    requests: mpsc::Sender<Vec<u8>>,
    calls: Arc<Calls>,
    hang_up: CancellationToken,
    pub(super) tracker: TaskTracker,
}

#[derive(Default)]
struct Calls {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Slot>,
    /// Why no answer can come any more.
    closed: Option<Status>,
}

enum Slot {
    Unary(oneshot::Sender<Answer>),
    Stream(mpsc::Sender<Step>),
}

/// What a server stream brings.
enum Step {
    Item(Box<RawValue>),
    End,
    Failed(Status),
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, status: Status) {
        let open = {
            let mut state = self.lock();
            state.closed.get_or_insert_with(|| status.clone());
            std::mem::take(&mut state.open)
        };
        for slot in open.into_values() {
            match slot {
                Slot::Unary(sender) => drop(sender.send(Err(status.clone()))),
                // A reader of a full queue finds the reason in the state.
                Slot::Stream(sender) => drop(sender.try_send(Step::Failed(status.clone()))),
            }
        }
    }
}

/// An entry in the table of calls; tells the server when the caller gives up.
struct Entry {
    id: u64,
    conversation: Arc<Conversation>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let abandoned = self.conversation.calls.lock().open.remove(&self.id).is_some();
        if abandoned {
            let line = format!("{{\"id\":{},\"cancel\":true}}\n", self.id);
            let _ = self.conversation.requests.try_send(line.into_bytes());
        }
    }
}

/// The items of a server stream. Dropping it cancels the call.
pub(super) struct Items {
    receiver: mpsc::Receiver<Step>,
    entry: Entry,
    over: bool,
}

impl Items {
    pub(super) async fn next(&mut self) -> Option<Answer> {
        if self.over {
            return None;
        }
        let step = self.receiver.recv().await;
        self.over = !matches!(step, Some(Step::Item(_)));
        match step {
            Some(Step::Item(item)) => Some(Ok(item)),
            Some(Step::End) => None,
            Some(Step::Failed(status)) => Some(Err(status)),
            None => Some(Err(self
                .entry
                .conversation
                .calls
                .lock()
                .closed
                .clone()
                .unwrap_or_else(gone))),
        }
    }
}

fn gone() -> Status {
    Status::unavailable("the connection to the daemon was lost")
}

impl Conversation {
    pub(super) fn begin(io: Box<dyn Duplex>) -> Self {
        let (reader, writer) = tokio::io::split(io);
        let (requests, queue) = mpsc::channel(QUEUE);
        let (calls, tracker, hang_up) = (
            Arc::new(Calls::default()),
            TaskTracker::new(),
            CancellationToken::new(),
        );
        tracker.spawn(write(writer, queue));
        tracker.spawn(read(reader, Arc::clone(&calls), hang_up.clone()));
        Self {
            requests,
            calls,
            hang_up,
            tracker,
        }
    }

    pub(super) async fn unary<Q: Serialize + Default>(
        this: &Arc<Self>,
        method: &str,
        context: &Context,
        request: &Q,
    ) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let _entry = Self::call(this, method, context, request, Slot::Unary(sender)).await?;
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(super) async fn stream<Q: Serialize + Default>(
        this: &Arc<Self>,
        method: &str,
        context: &Context,
        request: &Q,
    ) -> Result<Items, Status> {
        let (sender, receiver) = mpsc::channel(ITEMS);
        let entry = Self::call(this, method, context, request, Slot::Stream(sender)).await?;
        Ok(Items {
            receiver,
            entry,
            over: false,
        })
    }

    async fn call<Q: Serialize + Default>(
        this: &Arc<Self>,
        method: &str,
        context: &Context,
        request: &Q,
        slot: Slot,
    ) -> Result<Entry, Status> {
        let id = {
            let mut state = this.calls.lock();
            if let Some(status) = &state.closed {
                return Err(status.clone());
            }
            let id = state.next;
            state.next += 1;
            state.open.insert(id, slot);
            id
        };
        let entry = Entry {
            id,
            conversation: Arc::clone(this),
        };
        let line = match encode(id, method, context, request) {
            Ok(line) => line,
            Err(status) => {
                // Nothing was sent, so there is nothing to cancel.
                this.calls.lock().open.remove(&id);
                return Err(status);
            }
        };
        if this.requests.send(line).await.is_err() {
            let closed = this.calls.lock().closed.clone();
            return Err(closed.unwrap_or_else(gone));
        }
        Ok(entry)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.hang_up.cancel();
    }
}

async fn write(mut writer: WriteHalf<Box<dyn Duplex>>, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = queue.recv().await {
        if let Err(error) = writer.write_all(&line).await {
            // The reader ends as well, perhaps with the daemon's reason, and tells the calls.
            tracing::debug!(%error, "request not sent");
            return;
        }
    }
    let _ = writer.shutdown().await;
}

async fn read(mut reader: ReadHalf<Box<dyn Duplex>>, calls: Arc<Calls>, hang_up: CancellationToken) {
    let mut lines = Lines::new(MAX_LINE);
    let reason = loop {
        let line = match lines.take() {
            Ok(Some(line)) => line,
            Err(_) => break not_ours(),
            Ok(None) => {
                let filled = tokio::select! {
                    () = hang_up.cancelled() => return,
                    filled = lines.fill(&mut reader) => filled,
                };
                match filled {
                    Ok(true) => continue,
                    Ok(false) => break Status::unavailable("the daemon closed the connection"),
                    Err(error) => break lost(&error),
                }
            }
        };
        match serde_json::from_slice::<Outgoing>(&line) {
            Ok(reply) => {
                if let Some(status) = deliver(&calls, reply).await {
                    break status;
                }
            }
            Err(error) => break not_ours().caused_by(&error),
        }
    };
    calls.close(reason);
}

/// Hands a reply to its call. A reply without an id ends the connection: its status is returned.
async fn deliver(calls: &Calls, reply: Outgoing) -> Option<Status> {
    let Outgoing {
        id,
        result,
        item,
        end,
        error,
    } = reply;
    let Some(id) = id else {
        return Some(error.unwrap_or_else(not_ours));
    };
    if let Some(item) = item {
        let sender = match calls.lock().open.get(&id) {
            Some(Slot::Stream(sender)) => sender.clone(),
            _ => return None,
        };
        // The receiver may be gone: then the cancel is on its way.
        let _ = sender.send(Step::Item(item)).await;
        return None;
    }
    let slot = calls.lock().open.remove(&id);
    match (slot, result, error, end) {
        (Some(Slot::Unary(sender)), Some(result), _, _) => drop(sender.send(Ok(result))),
        (Some(Slot::Unary(sender)), None, error, _) => drop(sender.send(Err(error.unwrap_or_else(not_ours)))),
        (Some(Slot::Stream(sender)), _, error, end) => {
            let failed = || Step::Failed(error.unwrap_or_else(not_ours));
            let _ = sender
                .send(if end.is_some() { Step::End } else { failed() })
                .await;
        }
        (None, ..) => {}
    }
    None
}
