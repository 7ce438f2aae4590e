//! One handle of a compute system.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hcs::{HResult, Properties, SystemType};
use tokio::sync::broadcast;
use uuid::Uuid;
use win32::hcs::{Answer, Failure, System};

use super::access::Access;
use super::call::{Caller, Orphan, drop_elsewhere};
use super::console::Console;
use super::hub::{End, Hub, exit_of};
use super::process::{HcsProcess, Started};
use super::{Shared, document, guest, stdio};
use crate::{ComputeError, ComputeSystem, GuestListener, Process, Result, SystemEvent};

/// A system, and what access was granted for it. That ends after the handle is closed.
pub(super) struct Raw {
    pub(super) system: System,
    pub(super) access: Access,
}

/// A handle. Dropping it closes it.
pub(super) struct HcsSystem {
    id: String,
    runtime_id: String,
    /// None after the close. A call under way keeps the handle open to its end.
    raw: Mutex<Option<Arc<Raw>>>,
    is_machine: bool,
    hub: Arc<Hub>,
    shared: Shared,
    console: Mutex<Option<Console>>,
}

impl HcsSystem {
    pub(super) fn new(
        id: &str,
        properties: Properties,
        raw: Raw,
        hub: Arc<Hub>,
        shared: Shared,
        console: Option<Console>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            is_machine: properties.system_type == Some(SystemType::VirtualMachine),
            runtime_id: properties.runtime_id.to_lowercase(),
            raw: Mutex::new(Some(Arc::new(raw))),
            hub,
            shared,
            console: Mutex::new(console),
        }
    }

    fn take(&self) -> Option<Arc<Raw>> {
        self.raw.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn error(&self, operation: &'static str, code: HResult) -> ComputeError {
        ComputeError::new(operation, &self.id, code)
    }

    /// Makes a call with the handle, unless it is closed.
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&System) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        self.call_raw(operation, move |raw| work(&raw.system)).await
    }

    /// As [`Self::call`], with what access was granted.
    async fn call_raw<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Raw) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let raw = raw.ok_or_else(|| self.error(operation, HResult::E_HANDLE))?;
        Caller::new(operation, &self.id, self.shared.deadlines.call)
            // The handle goes into the thread, so that the last reference is dropped there and never here.
            .run(move || work(&raw))
            .await
    }

    /// A call that returns nothing, with an optional document.
    async fn plain(
        &self,
        operation: &'static str,
        text: &str,
        work: impl FnOnce(&System, Option<&str>) -> Answer + Send + 'static,
    ) -> Result<()> {
        let text = text.to_owned();
        self.call(operation, move |system| work(system, document(&text)).map(drop))
            .await
    }

    /// The end, if it comes in time.
    async fn end_within(&self, limit: Duration) -> Option<End> {
        let mut end = self.hub.end();
        let ended = tokio::time::timeout(limit, end.wait_for(Option::is_some)).await;
        ended.ok()?.ok()?.clone()
    }

    /// Waits until the end that was asked for has been published.
    async fn ended(&self, operation: &'static str) -> Result<()> {
        match self.end_within(self.shared.deadlines.exit).await {
            Some(End::Exited(_)) => return Ok(()),
            Some(End::Disconnected) => return Err(self.error(operation, HResult::SERVICE_DISCONNECT)),
            None => {}
        }
        // No event came. What the service says when asked counts as well.
        let text = self.properties("").await?;
        match serde_json::from_str::<Properties>(&text) {
            Ok(properties) if properties.stopped => {
                tracing::warn!(id = self.id, "the service told nobody of an exit");
                self.shared.hubs.exited(&self.hub, exit_of(&properties));
                Ok(())
            }
            _ => Err(self.error(operation, HResult::OPERATION_TIMEOUT)),
        }
    }
}

/// Whether the code says that the request goes on, and its end will be an event.
fn goes_on(error: &ComputeError) -> bool {
    error.hresult.is(HResult::OPERATION_PENDING) || error.hresult.is(HResult::LEGACY_OPERATION_PENDING)
}

#[async_trait]
impl ComputeSystem for HcsSystem {
    fn id(&self) -> &str {
        &self.id
    }

    fn runtime_id(&self) -> &str {
        &self.runtime_id
    }

    async fn start(&self) -> Result<()> {
        self.plain("start", "", |system, _| system.start()).await
    }

    async fn shutdown(&self, options: &str) -> Result<()> {
        match self.plain("shutdown", options, System::shut_down).await {
            Err(error) if goes_on(&error) => Ok(()),
            other => other,
        }
    }

    async fn terminate(&self) -> Result<()> {
        const OPERATION: &str = "terminate";
        match self.plain(OPERATION, "", |system, _| system.terminate()).await {
            Ok(()) => self.ended(OPERATION).await,
            Err(error) if goes_on(&error) => self.ended(OPERATION).await,
            // Somebody else ended it, and the event may still be on its way to us.
            Err(error) if error.is_already_stopped() => {
                self.ended(OPERATION).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn pause(&self) -> Result<()> {
        self.plain("pause", "", |system, _| system.pause()).await
    }

    async fn resume(&self) -> Result<()> {
        self.plain("resume", "", |system, _| system.resume()).await
    }

    async fn save(&self, options: &str) -> Result<()> {
        self.plain("save", options, System::save).await
    }

    async fn properties(&self, query: &str) -> Result<String> {
        let query = query.to_owned();
        let answered = self
            .call("properties", move |system| system.properties(document(&query)))
            .await?;
        Ok(answered.unwrap_or_else(|| "{}".to_owned()))
    }

    async fn modify(&self, request: &str) -> Result<()> {
        let request = request.to_owned();
        self.call_raw("modify", move |raw| {
            let changed = raw.access.change(&request, || raw.system.modify(&request));
            changed.map(drop)
        })
        .await
    }

    async fn create_process(&self, parameters: &str) -> Result<Box<dyn Process>> {
        const OPERATION: &str = "create process";
        let parameters = parameters.to_owned();
        let (started, information) = self
            .call(OPERATION, move |system| {
                let (process, information) = system.create_process(&parameters)?;
                let started = Started::watch(Orphan::created(process), information.pid)?;
                Ok((started, information))
            })
            .await?;
        let stdio = stdio::streams(information)
            .map_err(|source| self.error(OPERATION, HResult::E_FAIL).with_source(source))?;
        let hub = Arc::clone(&self.hub);
        Ok(Box::new(HcsProcess::new(
            &self.id,
            started,
            stdio,
            hub,
            self.shared.clone(),
        )))
    }

    async fn open_process(&self, pid: u32) -> Result<Box<dyn Process>> {
        let started = self
            .call("open process", move |system| {
                Started::watch(Orphan::opened(system.open_process(pid)?), pid)
            })
            .await?;
        let hub = Arc::clone(&self.hub);
        let stdio = crate::Stdio::default();
        Ok(Box::new(HcsProcess::new(
            &self.id,
            started,
            stdio,
            hub,
            self.shared.clone(),
        )))
    }

    fn events(&self) -> broadcast::Receiver<SystemEvent> {
        self.hub.subscribe()
    }

    async fn listen(&self, port: u32) -> Result<Box<dyn GuestListener>> {
        self.listen_service(hcs::hvsocket::service_id(port)).await
    }

    async fn listen_service(&self, service: Uuid) -> Result<Box<dyn GuestListener>> {
        const OPERATION: &str = "listen";
        if self.raw.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Err(self.error(OPERATION, HResult::E_HANDLE));
        }
        if !self.is_machine {
            let source = "only virtual machines have sockets of their own";
            return Err(self.error(OPERATION, HResult::NOT_SUPPORTED).with_source(source));
        }
        let end = self.hub.end();
        if end.borrow().is_some() {
            return Err(self.error(OPERATION, HResult::SYSTEM_ALREADY_STOPPED));
        }
        guest::listen(&self.id, &self.runtime_id, service, end)
    }

    async fn grant(&self, path: &str) -> Result<()> {
        let path = path.to_owned();
        self.call_raw("grant access", move |raw| raw.access.keep(path))
            .await
    }

    async fn close(&self) {
        let Some(raw) = self.take() else { return };
        let console = self.console.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(console) = console.filter(|_| self.hub.end().borrow().is_some()) {
            console.finish().await;
        }
        self.hub.close();
        let closed = Caller::new("close", &self.id, self.shared.deadlines.call).run(move || {
            drop(raw);
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "a handle is not closed yet");
        }
    }
}

impl Drop for HcsSystem {
    fn drop(&mut self) {
        if let Some(raw) = self.take() {
            drop_elsewhere(raw);
        }
    }
}
