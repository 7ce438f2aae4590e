//! The documents of Windows containers against what Microsoft's runtime was recorded to send for the same input. Every
//! difference is listed where it is met, with its reason; anything else fails. Recordings that are not reproduced are listed
//! here.

mod hosted;
mod isolated;
mod machine;
mod processes;

use std::collections::BTreeSet;
use std::path::PathBuf;

use hcs::{ContainerCredentialGuardState, Layer};
use serde_json::{Value, json};

/// Recordings that a test here reproduces.
const REPRODUCED: [&str; 20] = [
    "process-argon",
    "wcow-argon-cimfs-premounted",
    "wcow-argon-cpu-count",
    "wcow-argon-cpu-weight",
    "wcow-argon-full",
    "wcow-argon-minimal",
    "wcow-argon-new-namespace",
    "wcow-argon-update",
    "wcow-argon-wcifs-premounted",
    "wcow-container",
    "wcow-container-cpu-scaled",
    "wcow-container-hostprocess",
    "wcow-container-update",
    "wcow-modify",
    "wcow-modify-vsmb-nodirectmap",
    "wcow-network",
    "wcow-uvm-all-options",
    "wcow-uvm-default",
    "wcow-uvm-no-log-forwarding",
    "wcow-uvm-start",
];

/// Recordings that are not reproduced, and why.
const LEFT_OUT: [(&str, &str); 2] = [
    (
        "wcow-argon-v1",
        "the old schema is for hosts before build 17763, which are not supported",
    ),
    (
        "wcow-uvm-confidential",
        "confidential Windows machines boot from block images with a security policy, which the product does not make",
    ),
];

fn recordings() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../hcs/tests/data/golden")
}

pub(crate) fn scenario(name: &str) -> Value {
    let path = recordings().join(format!("{name}.json"));
    let recorded = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    flat(recorded)
}

/// Recordings show text that holds JSON as `{"$json": ...}`; this makes it text again.
fn flat(value: Value) -> Value {
    match value {
        Value::Object(mut members) if members.len() == 1 && members.contains_key("$json") => {
            text_of(&members.remove("$json").unwrap())
        }
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| (name, flat(member)))
            .collect(),
        Value::Array(items) => items.into_iter().map(flat).collect(),
        other => other,
    }
}

fn text_of(json: &Value) -> Value {
    Value::String(flat(json.clone()).to_string())
}

pub(crate) fn calls(scenario: &Value) -> impl Iterator<Item = &Value> {
    steps(scenario).flat_map(|(_, calls)| calls)
}

fn steps(scenario: &Value) -> impl Iterator<Item = (&str, &Vec<Value>)> {
    let steps = scenario["steps"].as_array().unwrap().iter();
    steps.map(|step| (step["step"].as_str().unwrap(), step["calls"].as_array().unwrap()))
}

/// The documents that a function was called with.
fn documents(name: &str, function: &str, argument: &str) -> Vec<Value> {
    calls(&scenario(name))
        .filter(|call| call["function"] == function)
        .map(|call| call["args"][argument].clone())
        .collect()
}

/// The document of HcsCreateComputeSystem.
fn created(name: &str) -> Value {
    documents(name, "HcsCreateComputeSystem", "configuration").remove(0)
}

/// The documents of HcsModifyComputeSystem.
fn host_changes(name: &str) -> Vec<Value> {
    documents(name, "HcsModifyComputeSystem", "configuration")
}

/// The changes that were sent to the guest.
fn guest_changes(name: &str) -> Vec<Value> {
    calls(&scenario(name))
        .filter(|call| call["gcs_message"] == "ModifySettings")
        .map(|call| call["message"]["Request"].clone())
        .collect()
}

/// The layers of all recordings, in these directories.
fn layers(paths: [&str; 2]) -> Vec<Layer> {
    let layer = |number: u32, path: &str| Layer {
        id: format!("55555555-5555-5555-8555-00000000000{number}"),
        path: path.to_owned(),
        ..Layer::default()
    };
    vec![layer(2, paths[0]), layer(1, paths[1])]
}

/// What the credential guard answered.
fn credentials(spec: &Value) -> ContainerCredentialGuardState {
    ContainerCredentialGuardState {
        cookie: "golden-cookie".to_owned(),
        rpc_endpoint: "golden-rpc-endpoint".to_owned(),
        transport: "LRPC".to_owned(),
        credential_spec: spec.to_string(),
    }
}

/// The specification that most recordings were made from: everything that a container can be given.
pub(crate) fn full() -> Value {
    json!({
        "ociVersion": "1.1.0",
        "hostname": "web-1",
        "process": {"args": ["cmd"]},
        "mounts": [
            {"destination": r"C:\db", "source": r"C:\volumes\db"},
            {"destination": r"C:\ro", "source": r"C:\volumes\ro", "options": ["ro"]},
            {"destination": r"C:\etc\file.txt", "source": r"C:\volumes\file.txt", "options": ["ro"]},
            {"destination": r"\\.\pipe\docker_engine", "source": r"\\.\pipe\docker_engine"},
            {"destination": r"\\.\pipe\othername", "source": r"\\.\pipe\hostname"},
        ],
        "windows": {
            "resources": {
                "cpu": {"maximum": 5000},
                "memory": {"limit": 2_147_483_648_u64},
                "storage": {"iops": 5000, "bps": 104_857_600},
            },
            "network": {
                "allowUnqualifiedDNSQuery": true,
                "DNSSearchList": ["corp.example", "example"],
            },
        },
    })
}

#[test]
fn every_recording_is_reproduced_or_left_out_for_a_reason() {
    let names = std::fs::read_dir(recordings()).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.trim_end_matches(".json").to_owned()
    });
    let recorded: BTreeSet<String> = names
        .filter(|name| name.starts_with("wcow-") || name.starts_with("process-"))
        .collect();
    let known = REPRODUCED
        .into_iter()
        .chain(LEFT_OUT.iter().map(|(name, _)| *name));
    assert_eq!(recorded, known.map(str::to_owned).collect());
    assert!(LEFT_OUT.iter().all(|(_, reason)| !reason.is_empty()));
}
