//! Calls into the service: each on a thread of its own, awaited with a deadline.
//!
//! A thread per call ([`win32::calls`]) costs little next to what the service does, and there is nothing that calls could share
//! and block.

use std::time::{Duration, Instant};

use hcs::HResult;
use tokio::sync::oneshot;
use win32::hcs::{Answer, Failure, Process, System};

use super::error;
use crate::{ComputeError, Result};

/// One call about to be made.
pub(super) struct Caller {
    operation: &'static str,
    id: String,
    deadline: Duration,
}

impl Caller {
    pub(super) fn new(operation: &'static str, id: &str, deadline: Duration) -> Self {
        Self {
            operation,
            id: id.to_owned(),
            deadline,
        }
    }

    /// Makes the call and waits for it. The call goes on when this gives up; what it then returns is dropped.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let (operation, id, deadline) = (self.operation, self.id.clone(), self.deadline);
        let spawned = spawn(operation, move || {
            let begun = Instant::now();
            let result = work();
            let took = begun.elapsed();
            if took > deadline {
                let failed = result.is_err();
                tracing::warn!(operation, %id, ?took, failed, "a call that was stuck has ended");
            }
            // Whoever asked may have gone.
            drop(sender.send(result));
        });
        if let Err(source) = spawned {
            return Err(
                ComputeError::new(self.operation, self.id, HResult::E_OUTOFMEMORY).with_source(source)
            );
        }
        match tokio::time::timeout(self.deadline, receiver).await {
            Ok(Ok(result)) => result.map_err(|failure| error(self.operation, &self.id, failure)),
            // The thread panicked, which its hook has reported.
            Ok(Err(_)) => Err(ComputeError::new(self.operation, self.id, HResult::E_UNEXPECTED)),
            Err(_) => {
                tracing::warn!(operation = self.operation, id = %self.id, deadline = ?self.deadline, "a call is stuck");
                Err(ComputeError::new(
                    self.operation,
                    self.id,
                    HResult::OPERATION_TIMEOUT,
                ))
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    win32::calls::spawn(format!("hcs {name}"), work)
}

/// Drops what may wait for the service.
pub(super) fn drop_elsewhere<T: Send + 'static>(value: T) {
    // When there is no thread to be had the closure is dropped here, and the value with it.
    if let Err(error) = spawn("close", move || drop(value)) {
        tracing::warn!(%error, "no thread to close a handle on");
    }
}

/// What can be ended.
pub(super) trait End: Send + 'static {
    fn end(&self) -> Answer;
}

impl End for System {
    fn end(&self) -> Answer {
        self.terminate()
    }
}

impl End for Process {
    fn end(&self) -> Answer {
        self.terminate()
    }
}

/// A new handle that nobody has yet. Dropped, it is closed on another thread, and what was made for it is ended.
pub(super) struct Orphan<T: End> {
    value: Option<T>,
    ours: bool,
}

impl<T: End> Orphan<T> {
    /// Of something that did not exist before.
    pub(super) fn created(value: T) -> Self {
        Self {
            value: Some(value),
            ours: true,
        }
    }

    /// Of something that others use.
    pub(super) fn opened(value: T) -> Self {
        Self {
            value: Some(value),
            ours: false,
        }
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is there until it is adopted")
    }

    /// Somebody has it.
    pub(super) fn adopt(mut self) -> T {
        self.value.take().expect("it is adopted once")
    }
}

impl<T: End> Drop for Orphan<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else { return };
        let ours = self.ours;
        let spawned = spawn("clean up", move || {
            if ours && let Err(failure) = value.end() {
                tracing::debug!(code = failure.code, "what nobody waits for could not be ended");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to clean up on");
        }
    }
}
