//! Every request that the reference runtime was recorded to send to a Linux guest: our types read it and write the
//! same document.
//!
//! The files in `data` are recordings; `{"$json": ..}` in them stands for a document inside a string.

use std::collections::BTreeSet;
use std::path::PathBuf;

use gcs::json;
use gcs::message::{
    Create, Empty, ExecuteProcess, GetProperties, MessageType, ModifySettings, NegotiateProtocol,
    RequestBase, ResizeConsole, SignalProcess, WaitForProcess, WithBase,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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
