//! One container: its record, and the operations that change it.
//!
//! The engine holds one [`Container`] per record. Operations on a container are serialised by its own lock, so that a slow
//! one delays nobody else; state is published through a watch, so that `wait`, `logs -f` and `ps` never take that lock.
//! While the container runs, one monitor task waits for its end in the sandbox and finishes the books.
//!
//! `created -> running -> exited -> running …`; `removing` and then gone. A start that fails leaves `created` (or `exited`)
//! with the error noted, and nothing in the sandbox.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use task::AttachStreams;
use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::error::{Error, Kind, Result};
use crate::record::{ContainerRecord, State, Status};

/// The streams of a container, as soon as there are any.
///
/// Attaching to a container that has not started waits for its start, and then misses nothing.
#[derive(Debug)]
pub struct Attachment(pub(crate) AttachmentInner);

#[derive(Debug)]
pub(crate) enum AttachmentInner {
    Pending(oneshot::Receiver<Result<AttachStreams>>),
}

impl Attachment {
    /// Waits for the streams. Cancel-safe.
    ///
    /// # Errors
    /// The container could not be started, or was removed before it was.
    pub async fn streams(self) -> Result<AttachStreams> {
        let AttachmentInner::Pending(receiver) = self.0;
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(
                Kind::Cancelled,
                "the container did not start, so there is nothing to attach to",
            ))
        })
    }
}

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) record: watch::Sender<ContainerRecord>,
    operation: Arc<Mutex<()>>,
    waiting: std::sync::Mutex<Vec<oneshot::Sender<Result<AttachStreams>>>>,
    /// Counts ended runs, so that a waiter for the next exit cannot miss a short one.
    pub(crate) exits: watch::Sender<u64>,
    pub(crate) removed: watch::Sender<bool>,
    /// How many restarts are under way: an end that comes meanwhile is not the last.
    restarts: watch::Sender<u32>,
    /// Its first process has ended, which nobody has been told yet.
    ending: AtomicBool,
}

/// A restart that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Restarting<'a>(&'a Container);

impl Drop for Restarting<'_> {
    fn drop(&mut self) {
        self.0.restarts.send_modify(|count| *count -= 1);
    }
}

impl Container {
    pub(crate) fn new(record: ContainerRecord) -> Self {
        Self {
            record: watch::Sender::new(record),
            operation: Arc::default(),
            waiting: std::sync::Mutex::default(),
            exits: watch::Sender::new(0),
            removed: watch::Sender::new(false),
            restarts: watch::Sender::new(0),
            ending: AtomicBool::new(false),
        }
    }

    /// Says whether its first process has ended although its state is still that of one that runs.
    pub(crate) fn set_ending(&self, ending: bool) {
        self.ending.store(ending, Ordering::Release);
    }

    /// There is nothing left to signal.
    pub(crate) fn has_ended(&self) -> bool {
        let running = matches!(self.status(), Status::Running | Status::Paused);
        !running || self.ending.load(Ordering::Acquire)
    }

    /// Says that a restart begins.
    pub(crate) fn restarting(&self) -> Restarting<'_> {
        self.restarts.send_modify(|count| *count += 1);
        Restarting(self)
    }

    /// Its end, if it comes now, is that of a restart.
    pub(crate) fn is_restarting(&self) -> bool {
        *self.restarts.borrow() > 0
    }

    /// Whether more output may come: true until the current run ends, or the first one of a container that was never
    /// started, restarts included. A task of `tracker` keeps it current until it says no.
    pub(crate) fn has_a_future(&self, tracker: &TaskTracker) -> watch::Receiver<bool> {
        let (mut record, mut restarts) = (self.record.subscribe(), self.restarts.subscribe());
        let (sender, receiver) = watch::channel(more_may_come(&mut record, &mut restarts));
        tracker.spawn(async move {
            while *sender.borrow() {
                let changed = tokio::select! {
                    changed = record.changed() => changed,
                    changed = restarts.changed() => changed,
                    () = sender.closed() => break,
                };
                // A container that is gone says nothing more.
                let more = changed.is_ok() && more_may_come(&mut record, &mut restarts);
                sender.send_replace(more);
            }
        });
        receiver
    }

    /// The record as it is now.
    pub(crate) fn snapshot(&self) -> ContainerRecord {
        self.record.borrow().clone()
    }

    pub(crate) fn id(&self) -> String {
        self.record.borrow().id.clone()
    }

    pub(crate) fn status(&self) -> Status {
        self.record.borrow().state.status
    }

    /// Waits for the turn to change this container.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.operation.lock().await
    }

    /// As [`Container::turn`], for work that goes on elsewhere.
    pub(crate) async fn turn_to_keep(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.operation).lock_owned().await
    }

    /// Changes the state in memory; the caller stores the record.
    pub(crate) fn set_state(&self, change: impl FnOnce(&mut State)) -> ContainerRecord {
        self.record.send_modify(|record| change(&mut record.state));
        self.snapshot()
    }

    /// An attachment that is served when the container starts.
    pub(crate) fn attach_later(&self) -> Attachment {
        let (sender, receiver) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sender);
        Attachment(AttachmentInner::Pending(receiver))
    }

    /// An attachment to something that runs.
    pub(crate) fn attached(streams: AttachStreams) -> Attachment {
        let (sender, receiver) = oneshot::channel();
        drop(sender.send(Ok(streams)));
        Attachment(AttachmentInner::Pending(receiver))
    }

    /// Those who wait for streams, each once.
    pub(crate) fn take_waiting(&self) -> Vec<oneshot::Sender<Result<AttachStreams>>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes the end of a run.
    pub(crate) fn publish_exit(&self) {
        self.exits.send_modify(|count| *count += 1);
    }
}

fn more_may_come(record: &mut watch::Receiver<ContainerRecord>, restarts: &mut watch::Receiver<u32>) -> bool {
    // The count first: it falls only after the new run has begun.
    let restarting = *restarts.borrow_and_update() > 0;
    let ended = matches!(
        record.borrow_and_update().state.status,
        Status::Exited | Status::Removing | Status::Dead
    );
    restarting || !ended
}

/// For what `wait` waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run; at once for one that never ran.
    #[default]
    NotRunning,
    /// The end of the current or next run.
    NextExit,
    /// That it is gone.
    Removed,
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code of the first process.
    pub code: i32,
    /// Why it ended without its own doing.
    pub error: Option<String>,
}

impl Container {
    /// Subscribes now; the returned future resolves when `condition` holds. Cancel-safe.
    pub(crate) fn wait(&self, condition: WaitCondition) -> impl Future<Output = Exit> + Send + use<> {
        let mut record = self.record.subscribe();
        let mut exits = self.exits.subscribe();
        let mut removed = self.removed.subscribe();
        exits.mark_unchanged();
        async move {
            // The senders live as long as the container; when it is gone, every condition holds.
            match condition {
                WaitCondition::NotRunning => {
                    let running = |status| matches!(status, Status::Running | Status::Paused);
                    drop(record.wait_for(|record| !running(record.state.status)).await);
                }
                WaitCondition::NextExit => drop(exits.changed().await),
                WaitCondition::Removed => drop(removed.wait_for(|removed| *removed).await),
            }
            let state = record.borrow().state.clone();
            Exit {
                code: state.exit_code,
                error: state.error,
            }
        }
    }
}
