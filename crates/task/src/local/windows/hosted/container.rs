//! The container in the guest as a compute system: what the compute service does for containers on the host, the guest's agent does
//! for this one.
//!
//! Its end is what the agent announces, or the end of the bridge. A handle has nothing to close.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compute::{ComputeError, ComputeSystem, GuestListener, Process, SystemEvent};
use gcs::GcsError;
use gcs::host::{Bridge, Notification};
use gcs::message::NotificationKind;
use hcs::{Document, ExitType, HResult, ProcessParameters, Properties, ResultError, SystemExitStatus};
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio_util::task::TaskTracker;

use super::super::super::machine::Machine;
use super::super::super::stdio::Listeners;
use super::process::HostedProcess;
use crate::error::{Result, TaskError};

/// How long a container may take to end that was told to.
const ENDING: Duration = Duration::from_secs(10);
/// How many events wait for who listens.
const EVENTS: usize = 4;

/// The result of a container that ended because its machine did, or the bridge.
pub(in super::super) const LOST: HResult = HResult::CONNECTION_CLOSED;

/// A container in a machine.
pub(super) struct HostedContainer {
    id: String,
    machine: Arc<Machine>,
    events: broadcast::Sender<SystemEvent>,
    ended: watch::Receiver<Option<SystemExitStatus>>,
    tracker: TaskTracker,
}

impl HostedContainer {
    /// Makes a container from a `HostedSystem` document.
    pub(super) async fn create(
        machine: &Arc<Machine>,
        id: &str,
        config: &Value,
        tracker: &TaskTracker,
    ) -> Result<Self> {
        let notifications = machine.bridge.notifications();
        machine.bridge.create_document(id, config).await?;
        let (events, _) = broadcast::channel(EVENTS);
        let (end, ended) = watch::channel(None);
        tracker.spawn({
            let (bridge, id, events) = (machine.bridge.clone(), id.to_owned(), events.clone());
            async move {
                let status = end_of(&bridge, notifications, &id).await;
                end.send_replace(Some(status.clone()));
                // Nobody has to listen.
                let _ = events.send(SystemEvent::Exited(status));
            }
        });
        Ok(Self {
            id: id.to_owned(),
            machine: Arc::clone(machine),
            events,
            ended,
            tracker: tracker.clone(),
        })
    }

    fn bridge(&self) -> &Bridge {
        &self.machine.bridge
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(GcsError) -> ComputeError + use<'_> {
        move |error| failed(operation, &self.id, error)
    }

    fn read<T: Document>(&self, operation: &'static str, text: &str) -> compute::Result<T> {
        T::from_json(text)
            .map_err(|error| ComputeError::new(operation, &self.id, HResult::INVALID_JSON).with_source(error))
    }

    fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// What the guest does not do for its containers.
    fn refused<T>(&self, operation: &'static str) -> compute::Result<T> {
        let source = "a container in a machine cannot do that";
        Err(ComputeError::new(operation, &self.id, HResult::NOT_SUPPORTED).with_source(source))
    }
}

/// Waits for the end of a container.
async fn end_of(
    bridge: &Bridge,
    mut notifications: broadcast::Receiver<Notification>,
    id: &str,
) -> SystemExitStatus {
    let lost = SystemExitStatus::new(ExitType::UnexpectedExit, LOST);
    let announced = async {
        loop {
            match notifications.recv().await {
                Ok(end) if end.container_id == id => {
                    let how = match end.kind {
                        NotificationKind::GracefulExit => ExitType::GracefulExit,
                        NotificationKind::ForcedExit => ExitType::ForcedExit,
                        _ => ExitType::UnexpectedExit,
                    };
                    return SystemExitStatus::new(how, HResult::from_i32(end.result));
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        biased;
        status = announced => status,
        _ = bridge.closed() => lost,
    }
}

/// An error of the bridge as one of a compute system, with the guest's words.
pub(super) fn failed(operation: &'static str, id: &str, error: GcsError) -> ComputeError {
    let code = match (&error, error.hresult()) {
        (_, Some(code)) => HResult::from_i32(code),
        (GcsError::Timeout { .. }, None) => HResult::OPERATION_TIMEOUT,
        (GcsError::Closed(_), None) => HResult::CONNECTION_CLOSED,
        _ => HResult::E_FAIL,
    };
    let said = match &error {
        GcsError::Remote { message, .. } if !message.is_empty() => message.clone(),
        other => other.to_string(),
    };
    let document = ResultError::new(code, "guest", said).to_json();
    ComputeError::new(operation, id, code)
        .with_document(document)
        .with_source(error)
}

/// An error while streams are connected, which is one of the machine.
fn unconnected(id: &str, error: TaskError) -> ComputeError {
    let code = error.hresult.map_or(HResult::E_FAIL, HResult::from_i32);
    let document = ResultError::new(code, "guest", error.message.clone()).to_json();
    ComputeError::new("create process", id, code)
        .with_document(document)
        .with_source(error)
}

#[async_trait]
impl ComputeSystem for HostedContainer {
    fn id(&self) -> &str {
        &self.id
    }

    fn runtime_id(&self) -> &str {
        self.machine.system.runtime_id()
    }

    async fn start(&self) -> compute::Result<()> {
        self.bridge().start(&self.id).await.map_err(self.failed("start"))
    }

    async fn shutdown(&self, _: &str) -> compute::Result<()> {
        let told = self.bridge().shutdown(&self.id, true).await;
        told.map_err(self.failed("shutdown"))
    }

    async fn terminate(&self) -> compute::Result<()> {
        const OPERATION: &str = "terminate";
        if self.has_ended() {
            return Err(ComputeError::new(
                OPERATION,
                &self.id,
                HResult::SYSTEM_ALREADY_STOPPED,
            ));
        }
        let ending = async {
            let told = self.bridge().shutdown(&self.id, false).await;
            told.map_err(self.failed(OPERATION))?;
            // The sender says so before it goes.
            let _ = self.ended.clone().wait_for(Option::is_some).await;
            Ok(())
        };
        tokio::time::timeout(ENDING, ending)
            .await
            .unwrap_or_else(|_| Err(ComputeError::new(OPERATION, &self.id, HResult::OPERATION_TIMEOUT)))
    }

    async fn pause(&self) -> compute::Result<()> {
        self.refused("pause")
    }

    async fn resume(&self) -> compute::Result<()> {
        self.refused("resume")
    }

    async fn save(&self, _: &str) -> compute::Result<()> {
        self.refused("save")
    }

    async fn properties(&self, query: &str) -> compute::Result<String> {
        let ended = self.ended.borrow().clone();
        if ended.is_some() || query.is_empty() {
            let properties = Properties {
                id: self.id.clone(),
                stopped: ended.is_some(),
                exit_type: ended.and_then(|status| status.exit_type),
                ..Properties::default()
            };
            return Ok(properties.to_json());
        }
        const OPERATION: &str = "properties";
        let query = serde_json::from_str(query).map_err(|error| {
            ComputeError::new(OPERATION, &self.id, HResult::INVALID_JSON).with_source(error)
        })?;
        let properties = self.bridge().properties_document(&self.id, &query).await;
        Ok(properties.map_err(self.failed(OPERATION))?.to_string())
    }

    async fn modify(&self, request: &str) -> compute::Result<()> {
        const OPERATION: &str = "modify";
        let request: hcs::ModifySettingRequest = self.read(OPERATION, request)?;
        let request = request.to_value();
        let changed = self.bridge().modify_document(&self.id, &request).await;
        changed.map_err(self.failed(OPERATION))
    }

    async fn create_process(&self, parameters: &str) -> compute::Result<Box<dyn Process>> {
        let parameters: ProcessParameters = self.read("create process", parameters)?;
        let wanted = [
            parameters.create_std_in_pipe,
            parameters.create_std_out_pipe,
            parameters.create_std_err_pipe,
        ];
        let listeners = Listeners::bind(&self.machine, wanted)
            .await
            .map_err(|error| unconnected(&self.id, error))?;
        let (document, services) = (parameters.to_value(), listeners.services());
        let execute = self.bridge().execute_document(&self.id, &document, services);
        let (pid, streams) = listeners
            .connect(execute)
            .await
            .map_err(|error| unconnected(&self.id, error))?;
        Ok(Box::new(HostedProcess::new(
            &self.id,
            pid,
            streams,
            self.bridge(),
            &self.tracker,
        )))
    }

    async fn open_process(&self, _: u32) -> compute::Result<Box<dyn Process>> {
        self.refused("open process")
    }

    fn events(&self) -> broadcast::Receiver<SystemEvent> {
        self.events.subscribe()
    }

    async fn listen(&self, _: u32) -> compute::Result<Box<dyn GuestListener>> {
        self.refused("listen")
    }

    async fn close(&self) {}
}
