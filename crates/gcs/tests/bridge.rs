//! Host bridge and guest server against each other, and each against a peer that does not keep to the protocol.
#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is the failure of its test"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gcs::error::CloseReason;
use gcs::guest::{Agent, AgentError, Exit};
use gcs::host::{Bridge, Config};
use gcs::message::{
    ContainerConfig, ExecuteSettings, MessageType, ModifyRequest, NotificationKind, ProcessParameters,
    PropertyQuery, ResizeConsole, Resource, SchemaVersion, ScsiDevice, SignalProcess, StdioPorts,
};
use gcs::{GcsError, NULL_ID, hresult};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// An agent whose processes exit when told, and whose creates wait for a permit.
struct Script {
    exits: Mutex<HashMap<u32, watch::Sender<Option<u32>>>>,
    announced: AtomicUsize,
    creates: Semaphore,
}

impl Script {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            exits: Mutex::default(),
            announced: AtomicUsize::new(0),
            creates: Semaphore::new(64),
        })
    }

    fn exit(&self, pid: u32, code: u32) {
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

async fn connected(agent: Arc<Script>) -> (Bridge, CancellationToken) {
    let (host, guest) = tokio::io::duplex(64 << 10);
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move { gcs::guest::serve(Box::new(guest), agent, token).await });
    (
        Bridge::connect(Box::new(host), Config::default()).await.unwrap(),
        stop,
    )
}

fn config(spec: Value) -> ContainerConfig {
    ContainerConfig {
        schema_version: SchemaVersion::V2_1,
        oci_specification: spec,
        ..Default::default()
    }
}

fn remote(error: &GcsError) -> (i32, &str) {
    let GcsError::Remote { hresult, message, .. } = error else {
        panic!("not an answer: {error}")
    };
    (*hresult, message)
}

#[tokio::test]
async fn a_container_runs_and_its_exit_is_announced_after_the_wait() {
    let agent = Script::new();
    let (bridge, _stop) = connected(Arc::clone(&agent)).await;
    let mut notifications = bridge.notifications();
    bridge.create("c1", &config(json!({}))).await.unwrap();
    bridge.start("c1").await.unwrap();
    let ports = StdioPorts {
        stdout: Some(12),
        ..Default::default()
    };
    let pid = bridge
        .execute("c1", &ProcessParameters::default(), ports)
        .await
        .unwrap();
    assert_eq!(pid, 12);
    let waiting = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.wait("c1", 12).await }
    });
    // Other calls go through while the wait is parked.
    assert_eq!(
        bridge
            .properties("c1", &PropertyQuery::statistics())
            .await
            .unwrap(),
        json!({"asked": ["Statistics"]})
    );
    assert!(notifications.try_recv().is_err());
    bridge.signal("c1", 12, Some(15)).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 143);
    let notification = notifications.recv().await.unwrap();
    assert_eq!(
        (notification.container_id.as_str(), notification.kind),
        ("c1", NotificationKind::UnexpectedExit)
    );
}

#[tokio::test]
async fn an_exit_code_above_the_signed_range_is_minus_one() {
    let agent = Script::new();
    agent.exit(5, u32::MAX);
    agent.announced.store(1, Ordering::SeqCst);
    let (bridge, _stop) = connected(agent).await;
    assert_eq!(bridge.wait(NULL_ID, 5).await.unwrap(), -1);
}

#[tokio::test]
async fn failures_keep_their_code_and_their_text_cannot_reach_a_terminal_raw() {
    let (bridge, _stop) = connected(Script::new()).await;
    let error = bridge.create("c1", &config(json!("bad"))).await.unwrap_err();
    assert_eq!(
        remote(&error),
        (hresult::INVALID_ARGUMENT, "c1\\u{1b}[31m is bad")
    );
    assert_eq!(
        error.to_string(),
        "guest: Create failed with 0x80070057: c1\\u{1b}[31m is bad"
    );
    let error = bridge.wait("c1", 99).await.unwrap_err();
    assert_eq!(remote(&error).0, hresult::NOT_FOUND);
    let error = bridge.resize("c1", 99, 1, 1).await.unwrap_err();
    assert_eq!(
        remote(&error),
        (hresult::FAIL, "pid: 99, is not a tty and cannot be resized")
    );
}

#[tokio::test]
async fn an_old_schema_is_refused() {
    let (bridge, _stop) = connected(Script::new()).await;
    let old = ContainerConfig {
        schema_version: SchemaVersion { major: 2, minor: 0 },
        ..Default::default()
    };
    assert_eq!(
        remote(&bridge.create("c1", &old).await.unwrap_err()).0,
        hresult::INVALID_JSON
    );
}

#[tokio::test]
async fn a_container_under_creation_takes_no_other_message() {
    let agent = Arc::new(Script {
        creates: Semaphore::new(0),
        ..Arc::into_inner(Script::new()).unwrap()
    });
    let (bridge, _stop) = connected(Arc::clone(&agent)).await;
    let creating = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.create("c1", &config(json!({}))).await }
    });
    // Another container's create cannot overtake the first: both are in flight when this answers.
    let modify = ModifyRequest::remove(Resource::ScsiDevice(ScsiDevice::default()));
    bridge.modify(NULL_ID, &modify).await.unwrap();
    assert_eq!(
        remote(&bridge.start("c1").await.unwrap_err()).0,
        hresult::INVALID_STATE
    );
    let again = bridge.create("c1", &config(json!({}))).await.unwrap_err();
    assert_eq!(remote(&again).0, hresult::SYSTEM_ALREADY_EXISTS);
    agent.creates.add_permits(1);
    creating.await.unwrap().unwrap();
    bridge.start("c1").await.unwrap();
}

#[tokio::test]
async fn answers_stay_within_the_host_limit() {
    let (bridge, _stop) = connected(Script::new()).await;
    let huge = PropertyQuery {
        property_types: vec!["Huge".to_owned()],
    };
    let error = bridge.properties("c1", &huge).await.unwrap_err();
    assert_eq!(
        remote(&error),
        (hresult::FAIL, "answer of 100084 bytes is too large")
    );
    assert_eq!(bridge.dump_stacks().await.unwrap().len(), 24 << 10);
}

#[tokio::test]
async fn unknown_resources_and_messages_are_refused() {
    let (bridge, _stop) = connected(Script::new()).await;
    let unknown = Resource::Unknown {
        resource_type: "Teapot".to_owned(),
        settings: json!({"Cups": 2}),
    };
    let error = bridge
        .modify(NULL_ID, &ModifyRequest::add(unknown))
        .await
        .unwrap_err();
    assert_eq!(
        remote(&error),
        (hresult::FAIL, "unknown resource type \"Teapot\"")
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_guest_costs_a_call_its_deadline_and_a_late_answer_is_dropped() {
    let (host, mut guest) = tokio::io::duplex(64 << 10);
    let connecting = tokio::spawn(Bridge::connect(Box::new(host), Config::default()));
    let (_, id, _) = read_frame(&mut guest).await;
    answer(
        &mut guest,
        MessageType::NegotiateProtocol,
        id,
        &json!({"Result": 0, "Version": 4, "Capabilities": {}}),
    )
    .await;
    let bridge = connecting.await.unwrap().unwrap();
    let error = bridge.start("c1").await.unwrap_err();
    assert!(
        matches!(error, GcsError::Timeout { operation: "Start", after } if after == Duration::from_secs(60)),
        "{error}"
    );
    let (_, id, _) = read_frame(&mut guest).await;
    answer(&mut guest, MessageType::Start, id, &json!({"Result": 0})).await;
    // A wait has no deadline, and the bridge still works.
    let waiting = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.wait("c1", 3).await }
    });
    let (_, id, _) = read_frame(&mut guest).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    answer(
        &mut guest,
        MessageType::WaitForProcess,
        id,
        &json!({"Result": 0, "ExitCode": 3}),
    )
    .await;
    assert_eq!(waiting.await.unwrap().unwrap(), 3);
}

#[tokio::test]
async fn a_wait_that_was_dropped_does_not_disturb_the_bridge() {
    let agent = Script::new();
    let (bridge, _stop) = connected(Arc::clone(&agent)).await;
    agent.exits.lock().unwrap().entry(4).or_default();
    let mut dropped = Box::pin(bridge.wait("c1", 4));
    assert!(futures_util::poll!(dropped.as_mut()).is_pending());
    bridge.start("c1").await.unwrap();
    drop(dropped);
    agent.announced.store(1, Ordering::SeqCst);
    agent.exit(4, 0);
    assert_eq!(bridge.wait("c1", 4).await.unwrap(), 0);
}

#[tokio::test]
async fn a_guest_that_closes_fails_every_call_with_the_reason() {
    let agent = Script::new();
    let (bridge, stop) = connected(Arc::clone(&agent)).await;
    agent.exits.lock().unwrap().entry(4).or_default();
    let waiting = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.wait("c1", 4).await }
    });
    bridge.start("c1").await.unwrap();
    stop.cancel();
    assert_eq!(bridge.closed().await, CloseReason::Peer);
    assert!(matches!(
        waiting.await.unwrap(),
        Err(GcsError::Closed(CloseReason::Peer))
    ));
    assert!(matches!(
        bridge.start("c1").await,
        Err(GcsError::Closed(CloseReason::Peer))
    ));
}

async fn read_frame(stream: &mut DuplexStream) -> (u32, u64, Value) {
    let message = stream.read_u32_le().await.unwrap();
    let size = stream.read_u32_le().await.unwrap();
    let id = stream.read_u64_le().await.unwrap();
    let mut payload = vec![0; usize::try_from(size).unwrap() - 16];
    stream.read_exact(&mut payload).await.unwrap();
    (message, id, serde_json::from_slice(&payload).unwrap())
}

async fn write_frame(stream: &mut DuplexStream, message: u32, id: u64, payload: &[u8]) {
    stream.write_u32_le(message).await.unwrap();
    stream
        .write_u32_le(u32::try_from(payload.len() + 16).unwrap())
        .await
        .unwrap();
    stream.write_u64_le(id).await.unwrap();
    stream.write_all(payload).await.unwrap();
}

async fn answer(stream: &mut DuplexStream, message: MessageType, id: u64, payload: &Value) {
    write_frame(stream, message.response(), id, payload.to_string().as_bytes()).await;
}

/// Negotiates, sends a wait that stays pending, and lets the guest misbehave.
async fn misbehave(work: impl AsyncFnOnce(&mut DuplexStream)) -> CloseReason {
    let (host, mut guest) = tokio::io::duplex(1 << 20);
    let connecting = tokio::spawn(Bridge::connect(Box::new(host), Config::default()));
    let (_, id, _) = read_frame(&mut guest).await;
    answer(
        &mut guest,
        MessageType::NegotiateProtocol,
        id,
        &json!({"Result": 0, "Version": 4, "Capabilities": {}}),
    )
    .await;
    let bridge = connecting.await.unwrap().unwrap();
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

fn protocol(reason: &CloseReason) -> &str {
    let CloseReason::Protocol(text) = reason else {
        panic!("{reason}")
    };
    text
}

#[tokio::test]
async fn guests_that_break_the_protocol_lose_the_bridge() {
    let wait = MessageType::WaitForProcess;
    let reason = misbehave(async |guest| answer(guest, wait, 9, &json!({"Result": 0})).await).await;
    assert_eq!(
        protocol(&reason),
        "answer 0x20100601 to call 9, which is not pending"
    );
    let reason =
        misbehave(async |guest| answer(guest, MessageType::Start, 1, &json!({"Result": 0})).await).await;
    assert_eq!(
        protocol(&reason),
        "answer 0x20100201 to call 1, which is WaitForProcess"
    );
    let reason = misbehave(async |guest| write_frame(guest, wait.response(), 1, b"[]").await).await;
    assert!(protocol(&reason).contains("cannot be read"), "{reason}");
    let reason =
        misbehave(async |guest| answer(guest, wait, 1, &json!({"Result": 0, "ExitCode": -1})).await).await;
    assert!(protocol(&reason).contains("cannot be read"), "{reason}");
    let reason =
        misbehave(async |guest| answer(guest, wait, 1, &json!({"Result": 2_147_942_487_u32})).await).await;
    assert!(protocol(&reason).contains("cannot be read"), "{reason}");
    let reason = misbehave(async |guest| guest.write_all(&[0xff; 16]).await.unwrap()).await;
    assert_eq!(
        protocol(&reason),
        "frame of 4294967295 bytes, expected 16 to 65536"
    );
    let notification =
        json!({"ContainerId": "other", "Type": "UnexpectedExit", "Operation": "None", "Result": 0});
    let reason = misbehave(async |guest| {
        write_frame(
            guest,
            MessageType::NOTIFICATION,
            0,
            notification.to_string().as_bytes(),
        )
        .await;
    })
    .await;
    assert_eq!(
        protocol(&reason),
        "notification for container other, which does not live"
    );
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_told_from_a_close() {
    let reason = misbehave(async |guest| {
        guest
            .write_all(&[0x01, 0x06, 0x10, 0x20, 0x40, 0, 0, 0])
            .await
            .unwrap();
        guest.shutdown().await.unwrap();
    })
    .await;
    assert!(
        protocol(&reason).starts_with("stream ended inside a frame"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_guest_with_another_version_is_not_used() {
    let (host, mut guest) = tokio::io::duplex(1 << 20);
    let connecting = tokio::spawn(Bridge::connect(Box::new(host), Config::default()));
    let (_, id, request) = read_frame(&mut guest).await;
    assert_eq!(request["MaximumVersion"], 4);
    answer(
        &mut guest,
        MessageType::NegotiateProtocol,
        id,
        &json!({"Result": 0, "Version": 5}),
    )
    .await;
    assert!(matches!(
        connecting.await.unwrap(),
        Err(GcsError::Version { version: 5 })
    ));
}

/// A guest server and the raw stream of its host.
fn served() -> (DuplexStream, tokio::task::JoinHandle<Result<(), GcsError>>) {
    let (host, guest) = tokio::io::duplex(1 << 20);
    let serving = tokio::spawn(gcs::guest::serve(
        Box::new(guest),
        Script::new(),
        CancellationToken::new(),
    ));
    (host, serving)
}

#[tokio::test]
async fn nothing_is_answered_before_the_negotiation_and_a_second_one_fails() {
    let (mut host, _serving) = served();
    write_frame(
        &mut host,
        MessageType::Start.request(),
        5,
        br#"{"ContainerId":"c1"}"#,
    )
    .await;
    let (number, id, body) = read_frame(&mut host).await;
    assert_eq!((number, id), (MessageType::Start.response(), 5));
    assert_eq!(body["Result"], hresult::NOT_SUPPORTED);
    assert_eq!(
        body["ErrorMessage"],
        "bridge: function not supported, header type: Start"
    );
    let versions = |low: u32, high: u32| json!({"MinimumVersion": low, "MaximumVersion": high}).to_string();
    let negotiate = MessageType::NegotiateProtocol.request();
    write_frame(&mut host, negotiate, 6, versions(5, 6).as_bytes()).await;
    assert_eq!(
        read_frame(&mut host).await.2["Result"],
        hresult::UNSUPPORTED_PROTOCOL
    );
    write_frame(&mut host, negotiate, 7, versions(4, 4).as_bytes()).await;
    assert_eq!(read_frame(&mut host).await.2["Version"], 4);
    write_frame(&mut host, negotiate, 8, versions(4, 4).as_bytes()).await;
    assert_eq!(read_frame(&mut host).await.2["Result"], hresult::NOT_SUPPORTED);
    write_frame(&mut host, 0x1010_ff01, 9, b"{}").await;
    let (number, _, body) = read_frame(&mut host).await;
    assert_eq!(number, 0x2010_ff01);
    assert_eq!(
        body["ErrorMessage"],
        "bridge: function not supported, header type: 269549313"
    );
}

#[tokio::test]
async fn activity_ids_are_echoed_when_they_are_guids_and_a_timeout_is_answered() {
    let (mut host, _serving) = served();
    let negotiate = MessageType::NegotiateProtocol.request();
    let activity = "0f0e0d0c-1111-4222-8333-444455556666";
    let body = json!({"ActivityId": activity, "MinimumVersion": 4, "MaximumVersion": 4});
    write_frame(&mut host, negotiate, 0, format!("{body}\n").as_bytes()).await;
    assert_eq!(read_frame(&mut host).await.2["ActivityId"], activity);
    let execute = json!({"ContainerId": "c1", "ActivityId": "", "Settings": {"ProcessParameters": ""}});
    write_frame(
        &mut host,
        MessageType::ExecuteProcess.request(),
        1,
        execute.to_string().as_bytes(),
    )
    .await;
    let (_, _, body) = read_frame(&mut host).await;
    assert_eq!((&body["ProcessId"], body.get("ActivityId")), (&json!(7), None));
    let wait = json!({"ContainerId": "c1", "ProcessId": 7, "TimeoutInMs": 1});
    write_frame(
        &mut host,
        MessageType::WaitForProcess.request(),
        2,
        wait.to_string().as_bytes(),
    )
    .await;
    let (_, _, body) = read_frame(&mut host).await;
    assert_eq!(body["Result"], hresult::TIMEOUT);
    assert_eq!(body["ErrorRecords"][0]["ModuleName"], "gcs");
}

#[tokio::test]
async fn documents_that_do_not_decode_are_answered() {
    let (mut host, _serving) = served();
    let negotiate = json!({"MinimumVersion": 4, "MaximumVersion": 4}).to_string();
    write_frame(
        &mut host,
        MessageType::NegotiateProtocol.request(),
        0,
        negotiate.as_bytes(),
    )
    .await;
    read_frame(&mut host).await;
    let bodies: [&[u8]; 4] = [b"", b"\xff\xfe", b"[]", br#"{"ProcessId":-1,"Settings":{"ProcessParameters":"{"},"ContainerConfig":"[]","Request":1,"Query":"{"}"#];
    for message in MessageType::ALL {
        for (index, body) in bodies.iter().enumerate() {
            write_frame(&mut host, message.request(), 1000 + index as u64, body).await;
            let (number, id, answer) = read_frame(&mut host).await;
            assert_eq!((number, id), (message.response(), 1000 + index as u64));
            assert!(answer["Result"].is_i64(), "{message:?}: {answer}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_of_a_host_break_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..2048), size in 16_u32..300) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut host, serving) = served();
            let negotiate = json!({"MinimumVersion": 4, "MaximumVersion": 4}).to_string();
            write_frame(&mut host, MessageType::NegotiateProtocol.request(), 0, negotiate.as_bytes()).await;
            for (index, chunk) in bytes.chunks(usize::try_from(size).unwrap()).enumerate() {
                let message = MessageType::ALL[index % MessageType::ALL.len()];
                write_frame(&mut host, message.request(), 1, chunk).await;
            }
            host.write_all(&bytes).await.unwrap();
            let (mut read, mut write) = tokio::io::split(host);
            write.shutdown().await.unwrap();
            let mut rest = Vec::new();
            read.read_to_end(&mut rest).await.unwrap();
            // Framing that is broken is an error, never a panic.
            let _ = serving.await.unwrap();
        });
    }

    #[test]
    fn no_bytes_of_a_guest_break_the_bridge(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let reason = misbehave(async |guest| {
                guest.write_all(&bytes).await.unwrap();
                guest.shutdown().await.unwrap();
            })
            .await;
            assert_ne!(reason, CloseReason::Local);
        });
    }
}
