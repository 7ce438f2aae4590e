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

mod answer;
mod request;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::WriteHalf;
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::request::Connection;
use crate::error::{CloseReason, GcsError};
use crate::frame::{Codec, Frame, FrameError, GUEST_LIMIT, HOST_LIMIT};
use crate::message::{
    Capabilities, ContainerConfig, ExecuteSettings, MessageType, ModifyRequest, NotificationKind,
    PropertyQuery, ResizeConsole, SignalProcess,
};
use crate::{Stream, hresult};

/// How many requests may run at once.
const REQUEST_LIMIT: usize = 4096;
/// How long requests may run on after the connection has ended.
const GRACE: Duration = Duration::from_secs(5);

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

/// Serves one connection until it ends. The error says why; a host that closes the connection is `Ok`.
pub async fn serve(
    stream: Stream,
    agent: Arc<dyn Agent>,
    shutdown: CancellationToken,
) -> Result<(), GcsError> {
    let (read, write) = tokio::io::split(stream);
    let (answers, queue) = mpsc::channel(32);
    let ended = CancellationToken::new();
    let connection = Arc::new(Connection::new(agent, answers, ended.clone()));
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
