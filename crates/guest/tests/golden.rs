//! Every request that Microsoft's runtime was recorded to send to a Linux guest, sent to our agent in a sandbox. Needs root.
//!
//! The recordings are those of the protocol crate; a stand-in answered them, so pids are placeholders. What a sandbox cannot
//! have is put in place of what was recorded, in [`adapt`], and every answer that is not success is listed in [`REFUSED`];
//! both give their reasons. Each request carries fields that nobody knows, and between all of them come requests that
//! nobody knows: the former are ignored, the latter are refused, and the bridge stays.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use gcs::hresult;
use serde_json::{Value, json};
use support::{Sandbox, disk, image, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const NOTIFICATION: u32 = 0x3010_0101;
const WAIT: &str = "WaitForProcess";

/// Requests that our agent refuses, by scenario and id, and what is in its message.
const REFUSED: &[(&str, u64, &str)] = &[
    // The root of a sandbox has no programs.
    ("lcow-container", 19, "executable file not found"),
    // The recording asks for it while everything is still mounted. The reference agent fails there, too, after it has deleted
    // what it reached; ours deletes nothing.
    ("lcow-container", 24, "is mounted"),
    // The layers were unmounted before, as far as a guest could tell.
    ("lcow-modify", 19, "No such file or directory"),
    // Devices of the host are not passed to machines.
    ("lcow-modify", 22, "VPCIDevice is not supported"),
    ("lcow-vpci-build26100", 22, "VPCIDevice is not supported"),
    // Nobody but this host could read the disk; that is for confidential machines. What follows finds another place in use.
    (
        "lcow-container-vpmem-single-mapping",
        3,
        "encrypted disks are not supported",
    ),
    ("lcow-container-vpmem-single-mapping", 8, "Directory not empty"),
];

/// One recorded request.
struct Request {
    id: u64,
    number: u32,
    name: String,
    message: Value,
}

fn recorded(scenario: &str) -> Vec<Request> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../gcs/tests/data")
        .join(format!("{scenario}.json"));
    let document: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let steps = document["steps"].as_array().unwrap().iter();
    steps
        .flat_map(|step| step["calls"].as_array().unwrap())
        .filter(|call| call.get("gcs_message").is_some())
        .map(|call| Request {
            id: call["id"].as_u64().unwrap(),
            number: u32::from_str_radix(call["type"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap(),
            name: call["gcs_message"].as_str().unwrap().to_owned(),
            message: call["message"].clone(),
        })
        .collect()
}

/// Puts what a sandbox can have in place of what was recorded.
fn adapt(message: &mut Value) {
    if let Some(request) = message.get_mut("Request") {
        let resource = request["ResourceType"].as_str().unwrap().to_owned();
        let Some(settings) = request.get_mut("Settings") else {
            return;
        };
        match resource.as_str() {
            // The image of all tests is disk 0 already.
            "MappedVirtualDisk" | "SCSIDevice" => {
                settings["Lun"] = json!(settings["Lun"].as_u64().unwrap_or(0) + 1);
                // Its disks are made without partitions.
                settings.as_object_mut().unwrap().remove("Partition");
            }
            // It has no persistent memory. A disk is mounted in the same place instead.
            "VPMemDevice" => {
                let path = settings["MountPath"].clone();
                let second = !path.as_str().unwrap().contains("p0-0-") && path != "/run/layers/p0";
                *settings = json!({ "MountPath": path, "Lun": if second { 9 } else { 8 }, "ReadOnly": true });
                request["ResourceType"] = json!("MappedVirtualDisk");
            }
            _ => {}
        }
    }
    if let Some(specification) = message.pointer_mut("/ContainerConfig/$json/OciSpecification") {
        // The recorded program ends before the requests that need it running.
        specification["process"]["args"] = json!([
            "/bin/sh",
            "-c",
            "trap 'exit 0' TERM; echo hi; while :; do sleep 0.1; done"
        ]);
        // Names of a pod's directories mean something in pods only.
        if let Some(mounts) = specification["mounts"].as_array_mut() {
            mounts.retain(|mount| {
                !mount["source"]
                    .as_str()
                    .unwrap_or_default()
                    .starts_with("sandbox://")
            });
            // No runtime makes a terminal in a container without these.
            let usual = support::specification("/")["mounts"].take();
            mounts.splice(0..0, usual.as_array().unwrap().iter().cloned());
        }
    }
}

/// Puts the documents marked `$json` into strings, as they travel.
fn travelling(value: &Value) -> Value {
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

/// Adds fields of a future protocol to every object.
fn with_unknown_fields(value: &mut Value) {
    if let Value::Object(members) = value {
        // Except where every name is somebody's own.
        let free = ["annotations", "Environment"];
        let fixed = members
            .iter_mut()
            .filter(|(name, _)| !free.contains(&name.as_str()));
        fixed.for_each(|(_, value)| with_unknown_fields(value));
        if !members.contains_key("$json") {
            members.insert("NobodyKnowsThis".into(), json!({ "Deep": [1, null, "x"] }));
        }
    }
}

/// A host that writes frames and reads them.
struct Host<'a> {
    sandbox: &'a Sandbox,
    bridge: UnixStream,
    /// Answers by id that came while another was waited for.
    early: BTreeMap<u64, (u32, Value)>,
    notified: BTreeSet<String>,
    output: Vec<tokio::task::JoinHandle<String>>,
}

impl Host<'_> {
    async fn send(&mut self, number: u32, id: u64, message: &Value) {
        let payload = message.to_string();
        let mut frame = Vec::new();
        frame.extend(number.to_le_bytes());
        frame.extend(u32::try_from(payload.len() + 16).unwrap().to_le_bytes());
        frame.extend(id.to_le_bytes());
        frame.extend(payload.bytes());
        self.bridge.write_all(&frame).await.unwrap();
    }

    /// Reads a frame and keeps it.
    async fn receive(&mut self) {
        let header = async {
            let number = self.bridge.read_u32_le().await.unwrap();
            (
                number,
                self.bridge.read_u32_le().await.unwrap(),
                self.bridge.read_u64_le().await.unwrap(),
            )
        };
        let (number, size, id) = soon("a frame of the agent", header).await;
        assert!((16..=0x1_0000).contains(&size), "a frame of {size} bytes");
        let mut payload = vec![0; usize::try_from(size).unwrap() - 16];
        self.bridge.read_exact(&mut payload).await.unwrap();
        let message: Value = serde_json::from_slice(&payload).unwrap();
        // What a host of this protocol insists on.
        let result = message["Result"].as_i64().unwrap();
        assert!(i32::try_from(result).is_ok(), "{message}");
        if let Some(activity) = message.get("ActivityId") {
            assert_eq!(activity.as_str().unwrap().len(), 36, "{message}");
        }
        if number == NOTIFICATION {
            let container = message["ContainerId"].as_str().unwrap().to_owned();
            assert!(self.notified.insert(container), "told twice: {message}");
        } else {
            assert!(
                self.early.insert(id, (number, message)).is_none(),
                "{id} is answered twice"
            );
        }
    }

    async fn answer(&mut self, id: u64) -> (u32, Value) {
        while !self.early.contains_key(&id) {
            self.receive().await;
        }
        self.early.remove(&id).unwrap()
    }

    /// Listens where a process is going to dial; takes what it says.
    fn listen(&mut self, message: &Value) {
        for (name, port) in message["Settings"]["VsockStdioRelaySettings"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let Some(port) = port.as_u64() else { continue };
            let (listener, input) = (self.sandbox.listen_on(port), name == "StdIn");
            self.output.push(tokio::spawn(async move {
                let mut stream = listener.accept().await.unwrap().0;
                let mut text = String::new();
                // A terminal's input is held until its process ends.
                if stream.read_to_string(&mut text).await.is_err() || input {
                    text.clear();
                }
                text
            }));
        }
    }
}

/// Sends everything of a scenario, and gives back what processes said.
async fn replay(scenario: &str, sandbox: &Sandbox) -> Vec<String> {
    sandbox.bridge.close();
    let mut host = Host {
        sandbox,
        bridge: sandbox.redialled().await,
        early: BTreeMap::new(),
        notified: BTreeSet::new(),
        output: Vec::new(),
    };
    let requests = recorded(scenario);
    let mut process = Value::Null;
    let mut waits = Vec::new();
    let mut refused = Vec::new();
    if requests
        .first()
        .is_none_or(|request| request.name != "NegotiateProtocol")
    {
        host.send(
            0x1010_0b01,
            999,
            &json!({"MinimumVersion": 4, "MaximumVersion": 4}),
        )
        .await;
        assert_eq!(host.answer(999).await.1["Version"], 4);
    }
    let adapters = requests.iter().map(|request| &request.message["Request"]);
    let added =
        adapters.filter(|request| request["RequestType"] == "Add" && request["ResourceType"] == "Network");
    // The recorded ones have one address.
    let addresses: BTreeSet<&str> = added
        .map(|request| request["Settings"]["MacAddress"].as_str().unwrap())
        .collect();
    addresses.iter().for_each(|address| sandbox.interface(address));
    for mut request in requests {
        let place = format!("{scenario} {} {}", request.id, request.name);
        adapt(&mut request.message);
        with_unknown_fields(&mut request.message);
        if let Some(pid) = request.message.get_mut("ProcessId") {
            *pid = process.clone();
        }
        let before = host.output.len();
        host.listen(&request.message);
        if request.name == "DeleteContainerState" {
            // It is forgotten only after its end.
            while !host.notified.contains("c1") {
                host.receive().await;
            }
        }
        if request.name == WAIT && process.is_null() {
            // It was not started.
            continue;
        }
        host.send(request.number, request.id, &travelling(&request.message))
            .await;
        if request.name == WAIT {
            waits.push(request.id);
            continue;
        }
        let (number, answer) = host.answer(request.id).await;
        assert_eq!(number, request.number + 0x1000_0000, "{place}");
        if request.name == "ExecuteProcess" {
            process = answer.get("ProcessId").cloned().unwrap_or_default();
        }
        // The first of two signals may have ended the process already.
        let gone = request.name == "SignalProcess" && answer["Result"] == hresult::NOT_FOUND;
        if answer["Result"] != 0 && !gone {
            // Nobody is going to dial.
            host.output.drain(before..).for_each(|output| output.abort());
            refused.push((
                request.id,
                place.clone(),
                answer["ErrorMessage"].as_str().unwrap().to_owned(),
            ));
        }
        // Of a future protocol.
        let (unknown, id) = (0x1010_7701, request.id + 5000);
        host.send(unknown, id, &json!({"ContainerId": "c1", "What": 1}))
            .await;
        let (number, answer) = host.answer(id).await;
        assert_eq!(
            (number, &answer["Result"]),
            (0x2010_7701, &json!(hresult::NOT_SUPPORTED)),
            "{place}"
        );
    }
    for id in waits {
        let (number, answer) = host.answer(id).await;
        assert_eq!((number, &answer["Result"]), (0x2010_0601, &json!(0)), "{answer}");
    }
    let expected: Vec<_> = REFUSED.iter().filter(|(name, ..)| *name == scenario).collect();
    assert_eq!(refused.len(), expected.len(), "{refused:#?}");
    for ((id, place, why), (_, known, text)) in refused.iter().zip(expected) {
        assert!(id == known && why.contains(text), "{place}: {why}");
    }
    let mut said = Vec::new();
    for output in host.output {
        said.push(soon("the end of output", output).await.unwrap());
    }
    said
}

/// Attaches disks as a scenario has them: empty ones, and ones with the image.
fn attach(sandbox: &Sandbox, empty: &[bool]) {
    for (number, empty) in empty.iter().enumerate() {
        let file = sandbox.scratch_file(&format!("disk{number}"));
        match empty {
            // As a host's template for scratch disks: a sandbox has no program that formats one.
            true => disk(&file, "32m", None),
            false => drop(fs::copy(image(), &file).unwrap()),
        }
        sandbox.attach(&file, false);
    }
}

#[tokio::test]
async fn a_container_as_recorded() {
    let sandbox = Sandbox::start().await;
    // Scratch and a disk for it; then what stands in for persistent memory, at 8 and 9.
    attach(
        &sandbox,
        &[true, false, true, true, true, true, true, false, false],
    );
    for (share, file) in [("0", "db"), ("1", "read-only"), ("2", "file.txt")] {
        fs::create_dir_all(sandbox.shares().join(share)).unwrap();
        fs::write(sandbox.shares().join(share).join(file), "shared\n").unwrap();
    }
    let said = replay("lcow-container", &sandbox).await;
    assert!(said.contains(&"hi\n".to_owned()), "{said:?}");
}

#[tokio::test]
async fn a_container_on_disks_as_recorded() {
    let sandbox = Sandbox::start().await;
    attach(&sandbox, &[false, false, true]);
    replay("lcow-container-scsi-layers", &sandbox).await;
}

#[tokio::test]
async fn changes_of_a_machine_as_recorded() {
    let sandbox = Sandbox::start().await;
    attach(
        &sandbox,
        &[false, false, false, false, true, true, true, false, false],
    );
    for share in ["0", "1"] {
        fs::create_dir_all(sandbox.shares().join(share)).unwrap();
    }
    replay("lcow-modify", &sandbox).await;
}

#[tokio::test]
async fn networks_and_devices_as_recorded() {
    for scenario in ["lcow-network", "lcow-uvm-start", "lcow-vpci-build26100"] {
        let sandbox = Sandbox::start().await;
        replay(scenario, &sandbox).await;
    }
}

#[tokio::test]
async fn memory_devices_one_per_layer_as_recorded() {
    let sandbox = Sandbox::start().await;
    attach(
        &sandbox,
        &[true, false, true, true, true, true, true, false, false],
    );
    replay("lcow-container-vpmem-single-mapping", &sandbox).await;
}
