//! The guest end of the bridge: a server for an [`Agent`].
//!
//! The agent program dials the host and calls [`serve`] with the connection; `serve` calls the agent.
//!
//! Requests run concurrently, each in a task; answers go out one at a time, each exactly once, in the order in which
//! they become ready. The first request must negotiate. While a container is being created, other requests for it are
//! refused here. The notification of a container's exit follows the answer to the wait that reports it.
//!
//! `serve` returns when the host closes the connection, when it breaks the protocol's framing, or on shutdown. Waits
//! are dropped then; other requests run to their end first, within a grace period. Nothing that a host sends makes it
//! panic: documents that do not decode are answered with an error.
//!
//! Not here: dialling and dialling again, and everything a request does.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::WriteHalf;
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{CloseReason, GcsError};
use crate::frame::{Codec, Frame, FrameError, GUEST_LIMIT, HEADER, HOST_LIMIT};
use crate::message::{
    Capabilities, ContainerConfig, ContainerNotification, Create, CreateResponse, DumpStacksResponse, Empty,
    ErrorRecord, ExecuteProcess, ExecuteProcessResponse, ExecuteSettings, GetProperties,
    GetPropertiesResponse, MessageType, ModifyRequest, ModifySettings, NO_TIMEOUT, NegotiateProtocol,
    NegotiateProtocolResponse, NotificationKind, PropertyQuery, RequestBase, ResizeConsole, Resource,
    ResponseBase, SchemaVersion, SignalProcess, WaitForProcess, WaitForProcessResponse, WithBase,
};
use crate::{PROTOCOL_VERSION, Stream, hresult, json};

/// How many requests may run at once.
const REQUEST_LIMIT: usize = 4096;
/// How long requests may run on after the connection has ended.
const GRACE: Duration = Duration::from_secs(5);
/// How much of an error text is sent.
const TEXT_LIMIT: usize = 8 << 10;
/// How much of the stacks is sent; JSON may double it.
const STACKS_LIMIT: usize = 24 << 10;

/// A failure that travels to the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (0x{hresult:08x})")]
pub struct AgentError {
    /// The HRESULT, see [`crate::hresult`].
    pub hresult: i32,
    /// What the user sees.
    pub message: String,
}

impl AgentError {
    /// A failure with a code.
    pub fn new(hresult: i32, message: impl Into<String>) -> Self {
        Self {
            hresult,
            message: message.into(),
        }
    }

    /// A failure without a better code.
    pub fn fail(message: impl Into<String>) -> Self {
        Self::new(hresult::FAIL, message)
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 + n when signal n ended a process of a container.
    pub code: u32,
    /// For a container's init, with the first wait that reports its exit: what to announce. `None` otherwise.
    pub announce: Option<NotificationKind>,
}

/// What an agent does. One function per message; each may be called many times at once.
#[async_trait]
pub trait Agent: Send + Sync + 'static {
    /// What the host is told about this agent.
    fn capabilities(&self) -> Capabilities {
        Capabilities::linux()
    }

    /// Makes a container; the root file system is mounted already.
    async fn create(&self, container_id: &str, config: ContainerConfig) -> Result<(), AgentError>;

    /// Comes before the first execute; nothing has to happen.
    async fn start(&self, container_id: &str) -> Result<(), AgentError> {
        let _ = container_id;
        Ok(())
    }

    /// Starts a process, after all its streams are connected, and returns its pid.
    async fn execute_process(&self, container_id: &str, settings: ExecuteSettings)
    -> Result<u32, AgentError>;

    /// Waits for a process. Dropped when the host's timeout passes or the connection ends: an exit must not be lost
    /// by that, and a kind to announce is taken only when it is returned.
    async fn wait_for_process(&self, container_id: &str, pid: u32) -> Result<Exit, AgentError>;

    /// Signals a process.
    async fn signal_process(&self, container_id: &str, request: SignalProcess) -> Result<(), AgentError>;

    /// Changes the size of a terminal.
    async fn resize_console(&self, container_id: &str, request: ResizeConsole) -> Result<(), AgentError>;

    /// Sends SIGTERM, or SIGKILL when forced, to a container's init; with the null id powers the VM off.
    async fn shutdown(&self, container_id: &str, forced: bool) -> Result<(), AgentError>;

    /// Properties of a container: an object with `ProcessList` and `LCOWMetrics` as asked.
    async fn properties(&self, container_id: &str, query: PropertyQuery) -> Result<Value, AgentError>;

    /// Changes the VM or a container. Unknown resources do not come here.
    async fn modify(&self, container_id: &str, request: ModifyRequest) -> Result<(), AgentError>;

    /// Any text that helps to see what the agent does.
    async fn dump_stacks(&self) -> Result<String, AgentError>;

    /// Forgets an exited container and removes its directories.
    async fn delete_container_state(&self, container_id: &str) -> Result<(), AgentError>;
}

/// One connection.
struct Connection {
    agent: Arc<dyn Agent>,
    answers: mpsc::Sender<Vec<Frame>>,
    creating: Mutex<HashSet<String>>,
    /// Ends waits.
    ended: CancellationToken,
}

/// Serves one connection until it ends. The error says why; a host that closes the connection is `Ok`.
pub async fn serve(
    stream: Stream,
    agent: Arc<dyn Agent>,
    shutdown: CancellationToken,
) -> Result<(), GcsError> {
    let (read, write) = tokio::io::split(stream);
    let (answers, queue) = mpsc::channel(32);
    let ended = CancellationToken::new();
    let connection = Arc::new(Connection {
        agent,
        answers,
        creating: Mutex::default(),
        ended: ended.clone(),
    });
    let writer = TaskTracker::new();
    let writing = writer.spawn(write_answers(write, queue, ended.clone()));
    writer.close();
    let requests = TaskTracker::new();
    let mut frames = FramedRead::new(read, Codec::new(HOST_LIMIT));
    let mut negotiated = false;
    let outcome = loop {
        let frame = tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            () = ended.cancelled() => break Ok(()),
            frame = frames.next() => frame,
        };
        let frame = match frame {
            None => break Ok(()),
            Some(Err(error)) => break Err(CloseReason::from(error)),
            Some(Ok(frame)) => frame,
        };
        if !MessageType::is_request(frame.message) {
            break Err(CloseReason::Protocol(format!(
                "message 0x{:08x} is not a request",
                frame.message
            )));
        }
        let message = MessageType::from_request(frame.message);
        let expected = (message == Some(MessageType::NegotiateProtocol)) != negotiated;
        let Some(message) = message.filter(|_| expected) else {
            let name = message.map_or_else(|| frame.message.to_string(), |message| message.name().to_owned());
            let text = format!("bridge: function not supported, header type: {name}");
            connection
                .refuse(&frame, AgentError::new(hresult::NOT_SUPPORTED, text))
                .await;
            continue;
        };
        if requests.len() >= REQUEST_LIMIT {
            connection
                .refuse(&frame, AgentError::fail("too many requests at once"))
                .await;
            continue;
        }
        if message == MessageType::NegotiateProtocol {
            negotiated = connection.negotiate(&frame).await;
            continue;
        }
        requests.spawn(Arc::clone(&connection).handle(message, frame));
    };
    ended.cancel();
    requests.close();
    if tokio::time::timeout(GRACE, requests.wait()).await.is_err() {
        tracing::warn!(requests = requests.len(), "requests outlive their connection");
    }
    drop(connection);
    let written = tokio::time::timeout(GRACE, writing).await;
    outcome.map_err(GcsError::Closed)?;
    match written {
        Ok(Ok(Err(error))) => Err(GcsError::Closed(error.into())),
        _ => Ok(()),
    }
}

/// Writes answers until every sender is gone. A failure ends the connection.
async fn write_answers(
    stream: WriteHalf<Stream>,
    mut queue: mpsc::Receiver<Vec<Frame>>,
    ended: CancellationToken,
) -> Result<(), FrameError> {
    let mut target = FramedWrite::new(stream, Codec::new(GUEST_LIMIT));
    let work = async {
        while let Some(frames) = queue.recv().await {
            for frame in frames {
                target.feed(frame).await?;
            }
            while let Ok(frames) = queue.try_recv() {
                for frame in frames {
                    target.feed(frame).await?;
                }
            }
            target.flush().await?;
        }
        Ok(())
    };
    let outcome = work.await;
    ended.cancel();
    outcome
}

impl Connection {
    /// Answers with an error without asking the agent.
    async fn refuse(&self, frame: &Frame, error: AgentError) {
        let base = json::from_slice(&frame.payload).unwrap_or_default();
        self.answer(frame, &base, Err::<Empty, _>(error)).await;
    }

    async fn negotiate(&self, frame: &Frame) -> bool {
        let (base, request) = match decode::<NegotiateProtocol>(frame) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.refuse(frame, error).await;
                return false;
            }
        };
        let fits = (request.minimum_version..=request.maximum_version).contains(&PROTOCOL_VERSION);
        let answer = if fits {
            Ok(NegotiateProtocolResponse {
                version: PROTOCOL_VERSION,
                capabilities: self.agent.capabilities(),
            })
        } else {
            let NegotiateProtocol {
                minimum_version,
                maximum_version,
            } = request;
            let text =
                format!("host speaks versions {minimum_version} to {maximum_version}, this agent only 4");
            Err(AgentError::new(hresult::UNSUPPORTED_PROTOCOL, text))
        };
        self.answer(frame, &base, answer).await;
        fits
    }

    /// Runs one request to its answer.
    async fn handle(self: Arc<Self>, message: MessageType, frame: Frame) {
        let base: RequestBase = json::from_slice(&frame.payload).unwrap_or_default();
        let id = base.container_id.as_str();
        if message == MessageType::Create {
            return self.create(&frame, &base).await;
        }
        if self.creating().contains(id) {
            let error = AgentError::new(
                hresult::INVALID_STATE,
                format!("container {id} is still being created"),
            );
            return self.answer(&frame, &base, Err::<Empty, _>(error)).await;
        }
        let agent = &self.agent;
        match message {
            MessageType::Start => {
                self.simple(&frame, &base, async |_: Empty| agent.start(id).await)
                    .await
            }
            MessageType::ShutdownGraceful => {
                self.simple(&frame, &base, async |_: Empty| agent.shutdown(id, false).await)
                    .await;
            }
            MessageType::ShutdownForced => {
                self.simple(&frame, &base, async |_: Empty| agent.shutdown(id, true).await)
                    .await;
            }
            MessageType::DeleteContainerState => {
                self.simple(&frame, &base, async |_: Empty| {
                    agent.delete_container_state(id).await
                })
                .await;
            }
            MessageType::SignalProcess => {
                self.simple(&frame, &base, async |request| {
                    agent.signal_process(id, request).await
                })
                .await;
            }
            MessageType::ResizeConsole => {
                self.simple(&frame, &base, async |request| {
                    agent.resize_console(id, request).await
                })
                .await;
            }
            MessageType::ModifySettings => {
                let modify = async |ModifySettings { request }| match &request.resource {
                    Resource::Unknown { resource_type, .. } => Err(AgentError::fail(format!(
                        "unknown resource type {resource_type:?}"
                    ))),
                    _ => agent.modify(id, request).await,
                };
                self.simple(&frame, &base, modify).await;
            }
            MessageType::ExecuteProcess => {
                let execute = async |ExecuteProcess { settings }| {
                    let process_id = agent.execute_process(id, settings).await?;
                    Ok(ExecuteProcessResponse { process_id })
                };
                self.run(&frame, &base, execute).await;
            }
            MessageType::GetProperties => {
                let properties = async |GetProperties { query }| {
                    let properties = agent.properties(id, query).await?;
                    Ok(GetPropertiesResponse { properties })
                };
                self.run(&frame, &base, properties).await;
            }
            MessageType::DumpStacks => {
                let dump = async |_: Empty| {
                    let guest_stacks = cut(agent.dump_stacks().await?, STACKS_LIMIT);
                    Ok(DumpStacksResponse { guest_stacks })
                };
                self.run(&frame, &base, dump).await;
            }
            MessageType::WaitForProcess => self.wait(&frame, &base).await,
            MessageType::Create
            | MessageType::NegotiateProtocol
            | MessageType::UpdateContainer
            | MessageType::LifecycleNotification
            | MessageType::ModifyServiceSettings => {
                let text = format!("bridge: function not supported, header type: {}", message.name());
                self.refuse(&frame, AgentError::new(hresult::NOT_SUPPORTED, text))
                    .await;
            }
        }
    }

    fn creating(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.creating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn create(&self, frame: &Frame, base: &RequestBase) {
        let id = base.container_id.as_str();
        if !self.creating().insert(id.to_owned()) {
            let error = AgentError::new(
                hresult::SYSTEM_ALREADY_EXISTS,
                format!("container {id} exists already"),
            );
            return self.answer(frame, base, Err::<Empty, _>(error)).await;
        }
        let create = async |Create { container_config }| {
            let SchemaVersion { major, minor } = container_config.schema_version;
            if container_config.schema_version < SchemaVersion::V2_1 {
                let text = format!("schema version {major}.{minor} is older than 2.1");
                return Err(AgentError::new(hresult::INVALID_JSON, text));
            }
            self.agent.create(id, container_config).await?;
            Ok(CreateResponse::default())
        };
        let answer = match decode(frame) {
            Ok((_, request)) => create(request).await,
            Err(error) => Err(error),
        };
        // Before the answer goes out: the host may send the next request as soon as it reads it.
        self.creating().remove(id);
        self.answer(frame, base, answer).await;
    }

    async fn wait(&self, frame: &Frame, base: &RequestBase) {
        let request: WaitForProcess = match decode(frame) {
            Ok((_, request)) => request,
            Err(error) => return self.answer(frame, base, Err::<Empty, _>(error)).await,
        };
        let exit = self
            .agent
            .wait_for_process(&base.container_id, request.process_id);
        let limit = Duration::from_millis(u64::from(request.timeout_in_ms));
        let exit = async {
            if request.timeout_in_ms == NO_TIMEOUT {
                return exit.await;
            }
            tokio::time::timeout(limit, exit).await.unwrap_or_else(|_| {
                Err(AgentError::new(
                    hresult::TIMEOUT,
                    format!("process did not exit within {limit:?}"),
                ))
            })
        };
        let exit = tokio::select! {
            biased;
            exit = exit => exit,
            () = self.ended.cancelled() => return,
        };
        let announce = exit.as_ref().ok().and_then(|exit| exit.announce.clone());
        let answer = exit.map(|exit| WaitForProcessResponse { exit_code: exit.code });
        let mut frames = vec![encode(frame, base, answer)];
        if let Some(kind) = announce {
            let notification = ContainerNotification {
                kind,
                operation: "None".to_owned(),
                result: 0,
            };
            match serde_json::to_vec(&WithBase {
                base,
                body: &notification,
            }) {
                Ok(payload) => frames.push(Frame::new(MessageType::NOTIFICATION, 0, payload)),
                Err(error) => tracing::warn!(%error, "notification cannot be written"),
            }
        }
        self.queue(frames).await;
    }

    /// Runs a request whose answer has no fields of its own.
    async fn simple<T: DeserializeOwned>(
        &self,
        frame: &Frame,
        base: &RequestBase,
        work: impl AsyncFnOnce(T) -> Result<(), AgentError>,
    ) {
        let answer = match decode(frame) {
            Ok((_, request)) => work(request).await,
            Err(error) => Err(error),
        };
        self.answer(frame, base, answer.map(|()| Empty {})).await;
    }

    /// Runs a request.
    async fn run<T: DeserializeOwned, R: Serialize>(
        &self,
        frame: &Frame,
        base: &RequestBase,
        work: impl AsyncFnOnce(T) -> Result<R, AgentError>,
    ) {
        let answer = match decode(frame) {
            Ok((_, request)) => work(request).await,
            Err(error) => Err(error),
        };
        self.answer(frame, base, answer).await;
    }

    async fn answer<R: Serialize>(&self, frame: &Frame, base: &RequestBase, answer: Result<R, AgentError>) {
        self.queue(vec![encode(frame, base, answer)]).await;
    }

    async fn queue(&self, frames: Vec<Frame>) {
        if self.answers.send(frames).await.is_err() {
            tracing::debug!("answer after the end of the connection");
        }
    }
}

/// Reads a request.
fn decode<T: DeserializeOwned>(frame: &Frame) -> Result<(RequestBase, T), AgentError> {
    json::object(&frame.payload)
        .and_then(json::split)
        .map_err(|error| AgentError::new(hresult::INVALID_JSON, format!("request cannot be read: {error}")))
}

/// Writes an answer. One that is too large for the host becomes an error.
fn encode<R: Serialize>(request: &Frame, base: &RequestBase, answer: Result<R, AgentError>) -> Frame {
    let number = MessageType::response_to(request.message);
    let written = match &answer {
        Ok(body) => serde_json::to_vec(&WithBase {
            base: &success(base),
            body,
        })
        .map_err(|error| AgentError::fail(format!("answer cannot be written: {error}"))),
        Err(error) => Err(error.clone()),
    };
    let written = written.and_then(|payload| {
        if payload.len() + HEADER <= GUEST_LIMIT {
            return Ok(payload);
        }
        Err(AgentError::fail(format!(
            "answer of {} bytes is too large",
            payload.len()
        )))
    });
    let payload = written.unwrap_or_else(|error| {
        serde_json::to_vec(&failure(base, error)).expect("a response base is always JSON")
    });
    Frame::new(number, request.id, payload)
}

fn success(base: &RequestBase) -> ResponseBase {
    // The host's decoder takes only a GUID here.
    let activity_id = match uuid::Uuid::try_parse(&base.activity_id) {
        Ok(_) if base.activity_id.len() == 36 => base.activity_id.clone(),
        _ => String::new(),
    };
    ResponseBase {
        activity_id,
        ..ResponseBase::default()
    }
}

fn failure(base: &RequestBase, error: AgentError) -> ResponseBase {
    let result = if error.hresult == 0 {
        hresult::FAIL
    } else {
        error.hresult
    };
    let message = cut(error.message, TEXT_LIMIT);
    let record = ErrorRecord {
        result,
        message: message.clone(),
        module_name: "gcs".to_owned(),
        line: u32::MAX,
        ..ErrorRecord::default()
    };
    ResponseBase {
        result,
        error_message: message,
        error_records: vec![record],
        ..success(base)
    }
}

/// Cuts a text at a character boundary.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
    }
    text
}
