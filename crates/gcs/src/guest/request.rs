//! One connection's requests: each is decoded, given to the agent, and answered exactly once.
//!
//! [`super::serve`] reads frames and calls [`Connection::handle`] in a task for each, or [`Connection::refuse`] for
//! those that may not run. Answers go to the writer through a queue.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answer::{cut, decode, encode};
use super::{Agent, AgentError};
use crate::frame::Frame;
use crate::message::{
    ContainerNotification, Create, CreateResponse, DumpStacksResponse, Empty, ExecuteProcess,
    ExecuteProcessResponse, GetProperties, GetPropertiesResponse, MessageType, ModifySettings, NO_TIMEOUT,
    NegotiateProtocol, NegotiateProtocolResponse, RequestBase, Resource, SchemaVersion, WaitForProcess,
    WaitForProcessResponse, WithBase,
};
use crate::{PROTOCOL_VERSION, hresult, json};

/// How much of the stacks is sent; JSON may double it.
const STACKS_LIMIT: usize = 24 << 10;

/// One connection.
pub(super) struct Connection {
    agent: Arc<dyn Agent>,
    answers: mpsc::Sender<Vec<Frame>>,
    creating: Mutex<HashSet<String>>,
    /// Ends waits.
    ended: CancellationToken,
}

impl Connection {
    /// A connection whose answers go to `answers`. `ended` ends its waits.
    pub(super) fn new(
        agent: Arc<dyn Agent>,
        answers: mpsc::Sender<Vec<Frame>>,
        ended: CancellationToken,
    ) -> Self {
        Self {
            agent,
            answers,
            creating: Mutex::default(),
            ended,
        }
    }

    /// Answers with an error without asking the agent.
    pub(super) async fn refuse(&self, frame: &Frame, error: AgentError) {
        let base = json::from_slice(&frame.payload).unwrap_or_default();
        self.answer(frame, &base, Err::<Empty, _>(error)).await;
    }

    /// Answers the negotiation; true if the versions meet.
    pub(super) async fn negotiate(&self, frame: &Frame) -> bool {
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
    pub(super) async fn handle(self: Arc<Self>, message: MessageType, frame: Frame) {
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

    fn creating(&self) -> MutexGuard<'_, HashSet<String>> {
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
