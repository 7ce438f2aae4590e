//! A handle of a compute system: the trait of the compute seam over a [`System`].
//!
//! Each call moves to a blocking thread and runs to completion there, even when its future is dropped. Closing is not an exit:
//! receivers of this handle end without an event, later calls fail with `E_HANDLE`. Dropping a handle closes it without waiting.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use compute::state::Operation;
use compute::{ComputeError, ComputeSystem, GuestListener, Process, Result, SystemEvent};
use hcs::HResult;
use tokio::sync::broadcast;

use crate::failure::Failure;
use crate::system::System;
use crate::wine::{self, Container};
use crate::{changes, properties};

/// A handle of a compute system.
pub(crate) struct Handle {
    system: Arc<System>,
    number: u64,
    /// `None` once closed.
    events: Mutex<Option<broadcast::Sender<SystemEvent>>>,
}

impl Handle {
    pub(crate) fn new(system: Arc<System>) -> Self {
        let (number, events) = system.open();
        Self {
            system,
            number,
            events: Mutex::new(Some(events)),
        }
    }

    fn is_closed(&self) -> bool {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Closes the handle once; true when the caller has to terminate the system.
    fn release(&self) -> bool {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).take();
        events.is_some() && self.system.close(self.number)
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&Arc<System>) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        if self.is_closed() {
            return Err(ComputeError::new(operation, &self.system.id, HResult::E_HANDLE));
        }
        let system = Arc::clone(&self.system);
        blocking(operation, &self.system.id, move || act(&system)).await
    }
}

/// Runs something on a blocking thread, to completion.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    id: &str,
    act: impl FnOnce() -> std::result::Result<T, Failure> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result.map_err(|failure| failure.into_error(operation, id)),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The runtime is shutting down.
        Err(failed) => Err(ComputeError::new(operation, id, HResult::E_UNEXPECTED).with_source(failed)),
    }
}

/// Waits until a termination has come to its end.
async fn until_stopped(system: &System) {
    // An error would mean that the sender is gone, and the system holds it.
    let _ = system.stopped().wait_for(|stopped| *stopped).await;
}

#[async_trait]
impl ComputeSystem for Handle {
    fn id(&self) -> &str {
        &self.system.id
    }

    fn runtime_id(&self) -> &str {
        &self.system.runtime_id
    }

    async fn start(&self) -> Result<()> {
        self.run("start", |system| system.start()).await
    }

    async fn shutdown(&self, options: &str) -> Result<()> {
        let options = options.to_owned();
        self.run("shutdown", move |system| system.shutdown(&options))
            .await
    }

    async fn terminate(&self) -> Result<()> {
        self.run("terminate", System::terminate).await?;
        until_stopped(&self.system).await;
        Ok(())
    }

    async fn pause(&self) -> Result<()> {
        self.run("pause", |system| system.pause()).await
    }

    async fn resume(&self) -> Result<()> {
        self.run("resume", |system| system.resume()).await
    }

    async fn save(&self, options: &str) -> Result<()> {
        let options = options.to_owned();
        self.run("save", move |system| system.save(&options)).await
    }

    async fn properties(&self, query: &str) -> Result<String> {
        let query = query.to_owned();
        self.run("get properties", move |system| properties::answer(system, &query))
            .await
    }

    async fn modify(&self, request: &str) -> Result<()> {
        let request = request.to_owned();
        self.run("modify", move |system| changes::apply(system, &request))
            .await
    }

    async fn create_process(&self, parameters: &str) -> Result<Box<dyn Process>> {
        let parameters = parameters.to_owned();
        self.run("create process", move |system| {
            let container = container(system, Operation::CreateProcess)?;
            let process = wine::create_process(&system.id, &container, &parameters)?;
            Ok(Box::new(process) as Box<dyn Process>)
        })
        .await
    }

    async fn open_process(&self, pid: u32) -> Result<Box<dyn Process>> {
        self.run("open process", move |system| {
            let container = container(system, Operation::OpenProcess)?;
            let process = wine::open_process(&system.id, &container, pid)?;
            Ok(Box::new(process) as Box<dyn Process>)
        })
        .await
    }

    fn events(&self) -> broadcast::Receiver<SystemEvent> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        match &*events {
            Some(sender) => sender.subscribe(),
            // The sender is dropped at once, so the receiver is at its end.
            None => broadcast::channel(1).1,
        }
    }

    async fn listen(&self, port: u32) -> Result<Box<dyn GuestListener>> {
        self.run("listen", move |system| system.listen(port)).await
    }

    async fn close(&self) {
        if self.release() {
            let system = Arc::clone(&self.system);
            match blocking("close", &self.system.id, move || system.terminate()).await {
                Ok(()) => until_stopped(&self.system).await,
                Err(error) if error.is_already_stopped() => {}
                Err(error) => {
                    tracing::warn!(system = self.system.id, %error, "cannot end with the last handle")
                }
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.release() {
            return;
        }
        let system = Arc::clone(&self.system);
        // A thread of its own: a drop must not block, and there may be no runtime any more.
        let terminate = move || {
            if let Err(failure) = system.terminate() {
                tracing::warn!(system = system.id, %failure, "cannot end with the last handle");
            }
        };
        if let Err(error) = std::thread::Builder::new()
            .name("last-handle".to_owned())
            .spawn(terminate)
        {
            tracing::warn!(%error, "cannot end a system with its last handle");
        }
    }
}

/// Where processes run. Those of a virtual machine need a connection to its guest, which this service never holds.
fn container(system: &Arc<System>, operation: Operation) -> std::result::Result<Arc<Container>, Failure> {
    system.check(operation)?;
    system.container().ok_or_else(|| {
        Failure::new(
            HResult::INVALID_STATE,
            "the virtual machine has no guest connection: start processes through the guest protocol",
        )
    })
}
