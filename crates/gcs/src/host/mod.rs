//! The host end of the bridge.
//!
//! `task` connects one [`Bridge`] per sandbox and calls it from many tasks at once; every method is one message.
//!
//! A call takes the next id, waits for the answer with that id and decodes it. A reader task hands answers out, a
//! writer task puts frames on the stream; both end with the last clone of the bridge, or when it closes. A bridge
//! closes once, with a [`CloseReason`] that every pending and later call reports.
//!
//! The agent is not trusted: frames out of bounds, an answer nobody asked for or of the wrong type, a document that
//! does not decode, a notification for a container that was not created here, or a flood of them close the bridge.
//! Every call but [`Bridge::wait`] has a deadline. All calls may be dropped: a late answer is discarded; the agent
//! carries the request out regardless.
//!
//! A Windows guest speaks the same protocol with other documents (methods that end in `_document`).
//!
//! Not here: a second connection after a loss. A lost bridge is a lost sandbox.

mod exchange;
mod windows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::exchange::{Shared, clean, receive, send};
pub use self::windows::StdioServices;
use crate::error::{CloseReason, GcsError};
use crate::frame::{Frame, HOST_LIMIT};
use crate::message::{
    Capabilities, ContainerConfig, Create, CreateResponse, DumpStacksResponse, Empty, ExecuteProcess,
    ExecuteProcessResponse, ExecuteSettings, GetProperties, GetPropertiesResponse, MessageType,
    ModifyRequest, ModifySettings, NO_TIMEOUT, NegotiateProtocol, NegotiateProtocolResponse,
    NotificationKind, ProcessParameters, PropertyQuery, RequestBase, ResizeConsole, ResponseBase,
    SignalOptions, SignalProcess, StdioPorts, WaitForProcess, WaitForProcessResponse, WithBase,
};
use crate::{NULL_ID, PROTOCOL_VERSION, Stream, json};

/// How a bridge behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The deadline of every call but a wait.
    pub call_timeout: Duration,
    /// The deadline of the negotiation.
    pub negotiate_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(60),
            negotiate_timeout: Duration::from_secs(60),
        }
    }
}

/// A container has exited, says the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The container.
    pub container_id: String,
    /// The kind of exit; a normal exit is "unexpected".
    pub kind: NotificationKind,
    /// HRESULT.
    pub result: i32,
}

/// The host end of a bridge. Clones share it.
#[derive(Clone)]
pub struct Bridge {
    shared: Arc<Shared>,
    config: Arc<Config>,
    capabilities: Arc<Capabilities>,
    _guard: Arc<DropGuard>,
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Bridge")
            .field("closed", &*self.shared.closed.borrow())
            .finish_non_exhaustive()
    }
}

/// The guarded data stays consistent between statements, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bridge {
    /// Takes a connection that the agent has made, and negotiates.
    pub async fn connect(stream: Stream, config: Config) -> Result<Self, GcsError> {
        let (read, write) = tokio::io::split(stream);
        let (frames, queue) = mpsc::channel(32);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared::new(frames, stop.clone()));
        let tracker = TaskTracker::new();
        tracker.spawn(receive(read, Arc::clone(&shared)));
        tracker.spawn(send(write, queue, Arc::clone(&shared)));
        tracker.close();
        let mut bridge = Self {
            shared,
            config: Arc::new(config),
            capabilities: Arc::default(),
            _guard: Arc::new(stop.drop_guard()),
        };
        let request = NegotiateProtocol {
            minimum_version: PROTOCOL_VERSION,
            maximum_version: PROTOCOL_VERSION,
        };
        let timeout = bridge.config.negotiate_timeout;
        let response: NegotiateProtocolResponse = bridge
            .call(MessageType::NegotiateProtocol, "", &request, Some(timeout))
            .await?;
        if response.version != PROTOCOL_VERSION {
            return Err(GcsError::Version {
                version: response.version,
            });
        }
        bridge.capabilities = Arc::new(response.capabilities);
        Ok(bridge)
    }

    /// What the agent announced.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Makes a container. Its exit will be announced.
    pub async fn create(&self, id: &str, config: &ContainerConfig) -> Result<(), GcsError> {
        let request = Create {
            container_config: config.clone(),
        };
        self.create_with(id, &request).await
    }

    async fn create_with<T: Serialize>(&self, id: &str, request: &T) -> Result<(), GcsError> {
        lock(&self.shared.created).insert(id.to_owned());
        let result: Result<CreateResponse, _> = self.quick(MessageType::Create, id, request).await;
        // A duplicate means that the id belongs to a container that lives.
        let known =
            matches!(&result, Err(error) if error.hresult() == Some(crate::hresult::SYSTEM_ALREADY_EXISTS));
        if result.is_err() && !known {
            lock(&self.shared.created).remove(id);
        }
        result.map(drop)
    }

    /// Must come between create and the first execute; a Linux agent does nothing.
    pub async fn start(&self, id: &str) -> Result<(), GcsError> {
        self.quick::<_, Empty>(MessageType::Start, id, &Empty {})
            .await
            .map(drop)
    }

    /// Starts a process and returns its pid. The ports must be listened on already. Without `oci_process` in the
    /// parameters it is the container's init.
    pub async fn execute(
        &self,
        id: &str,
        parameters: &ProcessParameters,
        ports: StdioPorts,
    ) -> Result<u32, GcsError> {
        let settings = ExecuteSettings {
            process_parameters: parameters.clone(),
            vsock_stdio_relay_settings: ports,
        };
        let request = ExecuteProcess { settings };
        let response: ExecuteProcessResponse = self.quick(MessageType::ExecuteProcess, id, &request).await?;
        Ok(response.process_id)
    }

    /// Waits, without deadline, for a process to end and returns its exit code.
    pub async fn wait(&self, id: &str, pid: u32) -> Result<i32, GcsError> {
        let request = WaitForProcess {
            process_id: pid,
            timeout_in_ms: NO_TIMEOUT,
        };
        let response: WaitForProcessResponse =
            self.call(MessageType::WaitForProcess, id, &request, None).await?;
        Ok(response.exit_code.cast_signed())
    }

    /// Sends a signal to a process; SIGKILL when none is given.
    pub async fn signal(&self, id: &str, pid: u32, signal: Option<i32>) -> Result<(), GcsError> {
        let options = signal.map(|signal| SignalOptions { signal });
        let request = SignalProcess {
            process_id: pid,
            options,
        };
        self.quick::<_, Empty>(MessageType::SignalProcess, id, &request)
            .await
            .map(drop)
    }

    /// Changes the size of a process's terminal.
    pub async fn resize(&self, id: &str, pid: u32, height: u16, width: u16) -> Result<(), GcsError> {
        let request = ResizeConsole {
            process_id: pid,
            height,
            width,
        };
        self.quick::<_, Empty>(MessageType::ResizeConsole, id, &request)
            .await
            .map(drop)
    }

    /// Sends SIGTERM (graceful) or SIGKILL to a container's init. Returns when it is sent.
    pub async fn shutdown(&self, id: &str, graceful: bool) -> Result<(), GcsError> {
        let message = if graceful {
            MessageType::ShutdownGraceful
        } else {
            MessageType::ShutdownForced
        };
        self.quick::<_, Empty>(message, id, &Empty {}).await.map(drop)
    }

    /// Asks for properties of a container.
    pub async fn properties(&self, id: &str, query: &PropertyQuery) -> Result<Value, GcsError> {
        let request = GetProperties { query: query.clone() };
        let response: GetPropertiesResponse = self.quick(MessageType::GetProperties, id, &request).await?;
        Ok(response.properties)
    }

    /// Changes the VM ([`NULL_ID`]) or a container.
    pub async fn modify(&self, id: &str, request: &ModifyRequest) -> Result<(), GcsError> {
        let request = ModifySettings {
            request: request.clone(),
        };
        self.quick::<_, Empty>(MessageType::ModifySettings, id, &request)
            .await
            .map(drop)
    }

    /// Forgets an exited container and removes its directories. The last message about it.
    pub async fn delete_container_state(&self, id: &str) -> Result<(), GcsError> {
        let result = self
            .quick::<_, Empty>(MessageType::DeleteContainerState, id, &Empty {})
            .await;
        result.map(drop)
    }

    /// Stacks of the agent, as text.
    pub async fn dump_stacks(&self) -> Result<String, GcsError> {
        let response: DumpStacksResponse = self.quick(MessageType::DumpStacks, NULL_ID, &Empty {}).await?;
        Ok(response.guest_stacks)
    }

    /// Exits of containers, from now on. A receiver that falls behind loses the oldest.
    pub fn notifications(&self) -> broadcast::Receiver<Notification> {
        self.shared.notifications.subscribe()
    }

    /// Resolves with the reason when the bridge has closed.
    pub async fn closed(&self) -> CloseReason {
        let mut closed = self.shared.closed.subscribe();
        let reason = closed.wait_for(Option::is_some).await;
        reason
            .ok()
            .and_then(|reason| reason.clone())
            .unwrap_or(CloseReason::Local)
    }

    /// Closes the bridge; pending calls fail.
    pub fn close(&self) {
        self.shared.close(CloseReason::Local);
    }

    async fn quick<T, R>(&self, message: MessageType, id: &str, body: &T) -> Result<R, GcsError>
    where
        T: Serialize,
        R: DeserializeOwned,
    {
        self.call(message, id, body, Some(self.config.call_timeout)).await
    }

    /// Sends a request and waits for its answer.
    async fn call<T, R>(
        &self,
        message: MessageType,
        id: &str,
        body: &T,
        timeout: Option<Duration>,
    ) -> Result<R, GcsError>
    where
        T: Serialize,
        R: DeserializeOwned,
    {
        let operation = message.name();
        let document = |error: serde_json::Error| GcsError::Document {
            operation,
            message: error.to_string(),
        };
        let base = RequestBase::new(id);
        let payload = serde_json::to_vec(&WithBase { base: &base, body }).map_err(document)?;
        if payload.len() + crate::frame::HEADER > HOST_LIMIT {
            let message = format!("{} bytes are too many", payload.len());
            return Err(GcsError::Document { operation, message });
        }
        let exchange = async {
            let (frame_id, answer) = self.shared.register(message)?;
            let frame = Frame::new(message.request(), frame_id, payload);
            if self.shared.frames.send(frame).await.is_err() {
                return Err(self.shared.closed_error());
            }
            answer.await.map_err(|_| self.shared.closed_error())
        };
        let value = match timeout {
            None => exchange.await?,
            Some(after) => tokio::time::timeout(after, exchange)
                .await
                .map_err(|_| GcsError::Timeout { operation, after })??,
        };
        let decoded = json::split::<ResponseBase, Value>(value);
        let (base, rest) = decoded.map_err(|error| self.shared.broken(operation, &error))?;
        if base.result != 0 {
            let text = if base.error_message.is_empty() {
                base.error_records
                    .last()
                    .map_or("", |record| record.message.as_str())
            } else {
                base.error_message.as_str()
            };
            return Err(GcsError::Remote {
                operation,
                hresult: base.result,
                message: clean(text),
            });
        }
        json::from_value(rest).map_err(|error| self.shared.broken(operation, &error))
    }
}
