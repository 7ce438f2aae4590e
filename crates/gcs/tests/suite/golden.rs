//! Every request that the reference runtime was recorded to send to a Linux guest: our types read it and write the
//! same document.
//!
//! The files in `data` are recordings; `{"$json": ..}` in them stands for a document inside a string.

use std::collections::BTreeSet;
use std::path::PathBuf;

use gcs::host::{Bridge, Config};
use gcs::json;
use gcs::message::{
    Create, Empty, ExecuteProcess, GetProperties, MessageType, ModifySettings, NegotiateProtocol,
    RequestBase, ResizeConsole, SignalProcess, WaitForProcess, WithBase,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::DuplexStream;

use crate::kit::{negotiated, read_frame};

/// One recorded request.
pub(crate) struct Recorded {
    pub(crate) place: String,
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) message: Value,
}

pub(crate) fn recorded() -> Vec<Recorded> {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let scenario: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for step in scenario["steps"].as_array().unwrap() {
            for call in step["calls"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|call| call.get("gcs_message").is_some())
            {
                let number = call["type"].as_str().unwrap().trim_start_matches("0x");
                found.push(Recorded {
                    place: format!("{} step {} id {}", path.display(), step["step"], call["id"]),
                    name: call["gcs_message"].as_str().unwrap().to_owned(),
                    number: u32::from_str_radix(number, 16).unwrap(),
                    message: call["message"].clone(),
                });
            }
        }
    }
    found
}

/// Puts the documents marked `$json` into strings, as they travel.
pub(crate) fn travelling(value: &Value) -> Value {
    match value {
        Value::Object(members) => match members.get("$json") {
            Some(document) => Value::String(travelling(document).to_string()),
            None => members
                .iter()
                .map(|(key, value)| (key.clone(), travelling(value)))
                .collect(),
        },
        Value::Array(items) => items.iter().map(travelling).collect(),
        plain => plain.clone(),
    }
}

/// Parses the strings that hold documents, so that spacing and order do not matter.
fn comparable(mut message: Value) -> Value {
    for pointer in ["/ContainerConfig", "/Query", "/Settings/ProcessParameters"] {
        if let Some(text) = message.pointer_mut(pointer) {
            let document: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            *text = document;
        }
    }
    message
}

fn through<T: DeserializeOwned + Serialize>(message: &Value) -> Value {
    let base: RequestBase = json::from_value(message.clone()).unwrap();
    let body: T = json::from_value(message.clone()).unwrap();
    serde_json::to_value(WithBase {
        base: &base,
        body: &body,
    })
    .unwrap()
}

#[test]
fn recorded_requests_are_read_and_written_back_unchanged() {
    let mut seen = BTreeSet::new();
    for Recorded {
        place,
        name,
        number,
        message,
    } in recorded()
    {
        let message = travelling(&message);
        let kind = MessageType::from_request(number).unwrap_or_else(|| panic!("{place}: {number:#x}"));
        assert_eq!(kind.name(), name, "{place}");
        let written = match kind {
            MessageType::NegotiateProtocol => through::<NegotiateProtocol>(&message),
            MessageType::Create => through::<Create>(&message),
            MessageType::ExecuteProcess => through::<ExecuteProcess>(&message),
            MessageType::WaitForProcess => through::<WaitForProcess>(&message),
            MessageType::SignalProcess => through::<SignalProcess>(&message),
            MessageType::ResizeConsole => through::<ResizeConsole>(&message),
            MessageType::GetProperties => through::<GetProperties>(&message),
            MessageType::ModifySettings => through::<ModifySettings>(&message),
            MessageType::Start
            | MessageType::ShutdownGraceful
            | MessageType::ShutdownForced
            | MessageType::DumpStacks
            | MessageType::DeleteContainerState => through::<Empty>(&message),
            other => panic!("{place}: {other:?} was never recorded"),
        };
        assert_eq!(comparable(written), comparable(message), "{place}");
        seen.insert(kind);
    }
    assert_eq!(
        seen.len(),
        13,
        "the recordings hold every message a Linux guest gets: {seen:?}"
    );
}

/// What a bridge sends for one call.
async fn sent(
    bridge: &Bridge,
    guest: &mut DuplexStream,
    call: impl AsyncFnOnce(Bridge) + Send + 'static,
) -> (u32, Value) {
    let task = tokio::task::spawn_local(call(bridge.clone()));
    let (number, _, message) = read_frame(guest).await;
    // What it is answered does not matter here.
    task.abort();
    (number, message)
}

#[tokio::test]
async fn a_bridge_sends_what_was_recorded_for_the_same_calls() {
    let local = tokio::task::LocalSet::new();
    local.run_until(every_recorded_call()).await;
}

async fn every_recorded_call() {
    let (bridge, mut guest) = negotiated().await;
    for Recorded {
        place,
        number,
        message,
        ..
    } in recorded()
    {
        let message = travelling(&message);
        let base: RequestBase = json::from_value(message.clone()).unwrap();
        let id = base.container_id;
        fn body<T: DeserializeOwned>(message: &Value) -> T {
            json::from_value(message.clone()).unwrap()
        }
        let kind = MessageType::from_request(number).unwrap();
        let copy = message.clone();
        let (got, ours) = sent(&bridge, &mut guest, async move |bridge| {
            let message = copy;
            // Only what is sent matters, and that nobody answers.
            match kind {
                MessageType::Create => {
                    let _ = bridge
                        .create(&id, &body::<Create>(&message).container_config)
                        .await;
                }
                MessageType::Start => drop(bridge.start(&id).await),
                MessageType::ExecuteProcess => {
                    let settings = body::<ExecuteProcess>(&message).settings;
                    let (parameters, ports) =
                        (settings.process_parameters, settings.vsock_stdio_relay_settings);
                    let _ = bridge.execute(&id, &parameters, ports).await;
                }
                MessageType::WaitForProcess => {
                    let _ = bridge
                        .wait(&id, body::<WaitForProcess>(&message).process_id)
                        .await;
                }
                MessageType::SignalProcess => {
                    let signal: SignalProcess = body(&message);
                    let number = signal.options.as_ref().map(|options| options.signal);
                    let _ = bridge.signal(&id, signal.process_id, number).await;
                }
                MessageType::ResizeConsole => {
                    let size: ResizeConsole = body(&message);
                    let _ = bridge.resize(&id, size.process_id, size.height, size.width).await;
                }
                MessageType::GetProperties => {
                    let _ = bridge
                        .properties(&id, &body::<GetProperties>(&message).query)
                        .await;
                }
                MessageType::ModifySettings => {
                    let _ = bridge
                        .modify(&id, &body::<ModifySettings>(&message).request)
                        .await;
                }
                MessageType::ShutdownGraceful => drop(bridge.shutdown(&id, true).await),
                MessageType::ShutdownForced => drop(bridge.shutdown(&id, false).await),
                MessageType::DumpStacks => drop(bridge.dump_stacks().await),
                MessageType::DeleteContainerState => drop(bridge.delete_container_state(&id).await),
                MessageType::NegotiateProtocol => {
                    // Once for each connection, so on one of its own.
                    let (host, mut guest) = tokio::io::duplex(1 << 20);
                    let connecting = tokio::spawn(Bridge::connect(Box::new(host), Config::default()));
                    let (_, _, ours) = read_frame(&mut guest).await;
                    connecting.abort();
                    assert_eq!(ours, message);
                    drop(bridge.start("instead").await);
                }
                other => panic!("{other:?} was never recorded"),
            }
        })
        .await;
        if kind != MessageType::NegotiateProtocol {
            assert_eq!((got, comparable(ours)), (number, comparable(message)), "{place}");
        }
    }
}

#[test]
fn the_documented_negotiation_answer_is_what_a_linux_agent_says() {
    let documented = json!({"Version": 4, "Capabilities": {"SupportedSchemaVersions": [{"Major": 2, "Minor": 1}],
        "RuntimeOsType": "Linux", "GuestDefinedCapabilities": {"NamespaceAddRequestSupported": true,
        "SignalProcessSupported": true, "DumpStacksSupported": true, "DeleteContainerStateSupported": true}}});
    let ours = gcs::message::NegotiateProtocolResponse {
        version: gcs::PROTOCOL_VERSION,
        capabilities: gcs::message::Capabilities::linux(),
    };
    assert_eq!(serde_json::to_value(ours).unwrap(), documented);
}
