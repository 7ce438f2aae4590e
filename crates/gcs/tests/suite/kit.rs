//! An agent that does what its test says, a bridge to it, and frames written and read by hand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gcs::error::CloseReason;
use gcs::guest::{Agent, AgentError, Exit};
use gcs::host::{Bridge, Config};
use gcs::message::{
    ContainerConfig, ExecuteSettings, MessageType, ModifyRequest, NotificationKind, PropertyQuery,
    ResizeConsole, Resource, SignalProcess,
};
use gcs::{GcsError, hresult};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// An agent whose processes exit when told, and whose creates wait for a permit.
pub(crate) struct Script {
    pub(crate) exits: Mutex<HashMap<u32, watch::Sender<Option<u32>>>>,
    pub(crate) announced: AtomicUsize,
    pub(crate) creates: Semaphore,
}

impl Script {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            exits: Mutex::default(),
            announced: AtomicUsize::new(0),
            creates: Semaphore::new(64),
        })
    }

    pub(crate) fn exit(&self, pid: u32, code: u32) {
        self.exits
            .lock()
            .unwrap()
            .entry(pid)
            .or_default()
            .send_replace(Some(code));
    }
}

#[async_trait]
impl Agent for Script {
    async fn create(&self, container_id: &str, config: ContainerConfig) -> Result<(), AgentError> {
        self.creates.acquire().await.unwrap().forget();
        if config.oci_specification == json!("bad") {
            return Err(AgentError::new(
                hresult::INVALID_ARGUMENT,
                format!("{container_id}\u{1b}[31m is bad"),
            ));
        }
        Ok(())
    }

    async fn execute_process(&self, _: &str, settings: ExecuteSettings) -> Result<u32, AgentError> {
        let pid = settings.vsock_stdio_relay_settings.stdout.unwrap_or(7);
        self.exits.lock().unwrap().entry(pid).or_default();
        Ok(pid)
    }

    async fn wait_for_process(&self, _: &str, pid: u32) -> Result<Exit, AgentError> {
        let receiver = self.exits.lock().unwrap().get(&pid).map(watch::Sender::subscribe);
        let mut receiver =
            receiver.ok_or_else(|| AgentError::new(hresult::NOT_FOUND, format!("no process {pid}")))?;
        let code = receiver.wait_for(Option::is_some).await.unwrap().unwrap();
        let first = self.announced.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(Exit {
            code,
            announce: first.then_some(NotificationKind::UnexpectedExit),
        })
    }

    async fn signal_process(&self, _: &str, request: SignalProcess) -> Result<(), AgentError> {
        self.exit(request.process_id, 128 + request.signal().unsigned_abs());
        Ok(())
    }

    async fn resize_console(&self, _: &str, request: ResizeConsole) -> Result<(), AgentError> {
        Err(AgentError::fail(format!(
            "pid: {}, is not a tty and cannot be resized",
            request.process_id
        )))
    }

    async fn shutdown(&self, _: &str, _: bool) -> Result<(), AgentError> {
        Ok(())
    }

    async fn properties(&self, _: &str, query: PropertyQuery) -> Result<Value, AgentError> {
        if query.wants("Huge") {
            return Ok(Value::String("x".repeat(100_000)));
        }
        Ok(json!({"asked": query.property_types}))
    }

    async fn modify(&self, _: &str, request: ModifyRequest) -> Result<(), AgentError> {
        match request.resource {
            Resource::ScsiDevice(_) => Ok(()),
            other => Err(AgentError::fail(other.name())),
        }
    }

    async fn dump_stacks(&self) -> Result<String, AgentError> {
        Ok("ä".repeat(100_000))
    }

    async fn delete_container_state(&self, _: &str) -> Result<(), AgentError> {
        Ok(())
    }
}

pub(crate) async fn connected(agent: Arc<Script>) -> (Bridge, CancellationToken) {
    let (host, guest) = tokio::io::duplex(64 << 10);
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move { gcs::guest::serve(Box::new(guest), agent, token).await });
    (
        Bridge::connect(Box::new(host), Config::default()).await.unwrap(),
        stop,
    )
}

pub(crate) async fn read_frame(stream: &mut DuplexStream) -> (u32, u64, Value) {
    let message = stream.read_u32_le().await.unwrap();
    let size = stream.read_u32_le().await.unwrap();
    let id = stream.read_u64_le().await.unwrap();
    let mut payload = vec![0; usize::try_from(size).unwrap() - 16];
    stream.read_exact(&mut payload).await.unwrap();
    (message, id, serde_json::from_slice(&payload).unwrap())
}

pub(crate) async fn write_frame(stream: &mut DuplexStream, message: u32, id: u64, payload: &[u8]) {
    stream.write_u32_le(message).await.unwrap();
    stream
        .write_u32_le(u32::try_from(payload.len() + 16).unwrap())
        .await
        .unwrap();
    stream.write_u64_le(id).await.unwrap();
    stream.write_all(payload).await.unwrap();
}

pub(crate) async fn answer(stream: &mut DuplexStream, message: MessageType, id: u64, payload: &Value) {
    write_frame(stream, message.response(), id, payload.to_string().as_bytes()).await;
}

/// Sends a request with a document.
pub(crate) async fn request(stream: &mut DuplexStream, message: MessageType, id: u64, payload: &Value) {
    write_frame(stream, message.request(), id, payload.to_string().as_bytes()).await;
}

/// Asks for the only version there is.
pub(crate) async fn negotiate(host: &mut DuplexStream) {
    let versions = json!({"MinimumVersion": 4, "MaximumVersion": 4});
    request(host, MessageType::NegotiateProtocol, 0, &versions).await;
}

/// A bridge, and the raw stream of the guest that it has negotiated with.
pub(crate) async fn negotiated() -> (Bridge, DuplexStream) {
    let (host, mut guest) = tokio::io::duplex(1 << 20);
    let connecting = tokio::spawn(Bridge::connect(Box::new(host), Config::default()));
    let (_, id, _) = read_frame(&mut guest).await;
    let agreed = json!({"Result": 0, "Version": 4, "Capabilities": {}});
    answer(&mut guest, MessageType::NegotiateProtocol, id, &agreed).await;
    (connecting.await.unwrap().unwrap(), guest)
}

/// Negotiates, sends a wait that stays pending, and lets the guest misbehave.
pub(crate) async fn misbehave(work: impl AsyncFnOnce(&mut DuplexStream)) -> CloseReason {
    let (bridge, mut guest) = negotiated().await;
    let waiting = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.wait("c1", 3).await }
    });
    let (number, id, _) = read_frame(&mut guest).await;
    assert_eq!((number, id), (MessageType::WaitForProcess.request(), 1));
    work(&mut guest).await;
    let reason = bridge.closed().await;
    assert!(waiting.await.unwrap().is_err());
    reason
}

/// A guest server and the raw stream of its host.
pub(crate) fn served() -> (DuplexStream, tokio::task::JoinHandle<Result<(), GcsError>>) {
    let (host, guest) = tokio::io::duplex(1 << 20);
    let serving = tokio::spawn(gcs::guest::serve(
        Box::new(guest),
        Script::new(),
        CancellationToken::new(),
    ));
    (host, serving)
}
