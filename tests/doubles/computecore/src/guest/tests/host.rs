//! A host of the tests: a machine with files as in the recording, and its end of the connection to the guest.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gcs::NULL_ID;
use gcs::message::MessageType;
use hcs::{ExitType, HResult};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::guest::SERVICE;
use crate::systems::System;
use crate::world::world;
use crate::{access, sockets};

/// What Microsoft's runtime was recorded to send for a container.
pub(super) const RECORDED: &str =
    include_str!("../../../../../../crates/hcs/tests/data/golden/wcow-container.json");
/// For the network of a machine.
pub(super) const NETWORK: &str =
    include_str!("../../../../../../crates/hcs/tests/data/golden/wcow-network.json");
/// For shares that can be removed.
pub(super) const SHARED: &str =
    include_str!("../../../../../../crates/hcs/tests/data/golden/wcow-modify-vsmb-nodirectmap.json");
/// For limits of a running container.
pub(super) const UPDATE: &str =
    include_str!("../../../../../../crates/hcs/tests/data/golden/wcow-container-update.json");
pub(super) const MACHINE: &str = "pod1@vm";
/// The runtime id in the recording.
const RUNTIME: &str = "22222222-2222-4222-8222-222222222222";
pub(super) const SHARES: &str = r"\\?\VMSMB\VSMB-{dcc079ae-60ba-4d07-847c-3493609c0870}";

/// A document inside a recording, as it travels.
pub(super) fn unfolded(value: &Value) -> Value {
    match value {
        Value::Object(members) => match members.get("$json").or_else(|| members.get("$base64json")) {
            Some(inner) => Value::String(unfolded(inner).to_string()),
            None => members
                .iter()
                .map(|(name, value)| (name.clone(), unfolded(value)))
                .collect(),
        },
        Value::Array(items) => items.iter().map(unfolded).collect(),
        other => other.clone(),
    }
}

/// A host with a machine that was started, and the files of the recording.
pub(super) struct Host {
    pub(super) folder: PathBuf,
    pub(super) system: Arc<System>,
    bridge: TcpStream,
    next: u64,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.system.end(ExitType::UnexpectedExit);
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Host {
    pub(super) fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("ctr-like-guest-{}", Uuid::new_v4()));
        let file = |path: &str, text: &str| {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file(r"layers\l1\UtilityVM\Files\EFI\Microsoft\Boot\bootmgfw.efi", "MZ");
        for disk in [
            r"layers\l1\blank-base",
            r"layers\scratch\sandbox",
            r"uvm\sandbox",
            r"volumes\disk",
        ] {
            file(&format!("{disk}.vhdx"), "vhdxfile");
        }
        for path in [
            r"volumes\file.txt",
            r"volumes\db\row",
            r"volumes\ro\row",
            r"layers\l2\Files\note.txt",
        ] {
            file(path, "text");
        }
        let shell = folder.join(r"layers\l2\Files\Windows\System32");
        std::fs::create_dir_all(&shell).unwrap();
        std::fs::copy(r"C:\windows\system32\cmd.exe", shell.join("cmd.exe")).unwrap();
        let layer = |name: &str, number: u8| {
            let id = format!("55555555-5555-5555-8555-{number:012}");
            json!({ "Id": id, "Path": folder.join("layers").join(name) })
        };
        let states = [
            ("l1", "Base", vec![]),
            ("l2", "Layer", vec![layer("l1", 1)]),
            ("scratch", "Scratch", vec![layer("l2", 2), layer("l1", 1)]),
        ];
        for (name, kind, chain) in states {
            let state = json!({
                "kind": kind, "chain": chain, "children": [], "utility": true,
                "activated": false, "prepared": false, "filled": false, "bytes": 0,
            });
            file(&format!(r"layers\{name}\double.json"), &state.to_string());
        }
        world().take_misuse();
        let mut host = Self {
            bridge: TcpStream::connect(
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                    .unwrap()
                    .local_addr()
                    .unwrap(),
            )
            .unwrap(),
            system: System::hosted("none", crate::volume::Volume::combined(folder.clone())),
            folder,
            next: 0,
            _alone: alone,
        };
        host.grant(r"uvm\sandbox.vhdx");
        let document = host.recorded("create-uvm", "HcsCreateComputeSystem")["configuration"].to_string();
        host.system = System::create(MACHINE, &document)
            .map_err(|fault| fault.code)
            .unwrap();
        host
    }

    /// As [`Self::new`], with a guest that works.
    pub(super) fn working() -> Self {
        let mut host = Self::new();
        host.start();
        let (negotiate, settings) = (
            json!({ "MinimumVersion": 4, "MaximumVersion": 4 }),
            json!({
                "LocalAddress": host.system.runtime(), "ParentAddress": "894cc2d6-9d79-424f-93fe-42969ae6d8d1",
            }),
        );
        host.fine(MessageType::NegotiateProtocol, "", negotiate);
        host.fine(
            MessageType::Create,
            NULL_ID,
            json!({ "ContainerConfig": r#"{"SystemType":"Container"}"# }),
        );
        host.fine(MessageType::Start, NULL_ID, json!({}));
        host.fine(
            MessageType::ModifySettings,
            NULL_ID,
            change("Update", "HvSocket", settings),
        );
        host
    }

    /// As [`Self::working`], with the layers of a container put together.
    pub(super) fn combined() -> Self {
        let mut host = Self::working();
        for (name, layer) in [("s1", "l2"), ("s2", "l1")] {
            host.share(name, &format!(r"layers\{layer}"), json!({ "ReadOnly": true }))
                .unwrap();
        }
        host.attach().unwrap();
        host.fine(MessageType::ModifySettings, NULL_ID, disk("Add"));
        host.fine(
            MessageType::ModifySettings,
            NULL_ID,
            change("Add", "CombinedLayers", layers(&["s1", "s2"])),
        );
        host
    }

    /// As [`Self::combined`], with a container that has been started.
    pub(super) fn container() -> Self {
        let mut host = Self::combined();
        host.fine(
            MessageType::Create,
            "c1",
            json!({ "ContainerConfig": hosted(&["s1", "s2"]) }),
        );
        host.fine(MessageType::Start, "c1", json!({}));
        host
    }

    pub(super) fn grant(&self, path: &str) {
        access::grant(MACHINE, &self.folder.join(path).display().to_string());
    }

    pub(super) fn share(&self, name: &str, path: &str, options: Value) -> Result<(), HResult> {
        let settings = json!({ "Name": name, "Path": self.folder.join(path), "Options": options });
        self.change("VirtualMachine/Devices/VirtualSmb/Shares", "Add", settings)
    }

    pub(super) fn attach(&self) -> Result<(), HResult> {
        self.grant(r"layers\l1\blank-base.vhdx");
        self.grant(r"layers\scratch\sandbox.vhdx");
        let settings =
            json!({ "Type": "VirtualDisk", "Path": self.folder.join(r"layers\scratch\sandbox.vhdx") });
        self.change(
            "VirtualMachine/Devices/Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/1",
            "Add",
            settings,
        )
    }

    pub(super) fn change(&self, path: &str, kind: &str, settings: Value) -> Result<(), HResult> {
        let request = json!({ "ResourcePath": path, "RequestType": kind, "Settings": settings });
        self.system
            .modify(&request.to_string())
            .map_err(|fault| fault.code)
    }

    /// Text of the recording with the paths and ids of this host.
    pub(super) fn here(&self, value: &Value) -> Value {
        let folder = serde_json::to_string(&self.folder.display().to_string()).unwrap();
        let folder = folder.trim_matches('"');
        let mut text = value.to_string();
        for name in ["layers", "uvm", "volumes"] {
            text = text.replace(&format!(r#""C:\\{name}"#), &format!(r#""{folder}\\{name}"#));
        }
        text = text.replace(RUNTIME, &self.system.runtime().to_string());
        serde_json::from_str(&text).unwrap()
    }

    /// The arguments of a recorded call.
    fn recorded(&self, step: &str, function: &str) -> Value {
        let recorded: Value = serde_json::from_str(RECORDED).unwrap();
        let steps = recorded["steps"].as_array().unwrap();
        let step = steps.iter().find(|known| known["step"] == step).unwrap();
        let calls = step["calls"].as_array().unwrap();
        let call = calls.iter().find(|call| call["function"] == function).unwrap();
        self.here(&call["args"])
    }

    /// Starts the machine and accepts its guest.
    pub(super) fn start(&mut self) {
        let listener = self.listen(SERVICE);
        self.system.start().map_err(|fault| fault.code).unwrap();
        self.bridge = listener.accept().unwrap().0;
    }

    /// The connection to the guest.
    pub(super) fn stream(&self) -> TcpStream {
        self.bridge.try_clone().unwrap()
    }

    pub(super) fn listen(&self, service: Uuid) -> TcpListener {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        sockets::pretend(&self.system, (self.system.runtime(), service), port);
        listener
    }

    /// Sends a request.
    pub(super) fn send(&mut self, number: u32, document: &Value) -> u64 {
        let (payload, id) = (document.to_string(), self.next);
        self.next += 1;
        let mut frame = number.to_le_bytes().to_vec();
        frame.extend(u32::try_from(16 + payload.len()).unwrap().to_le_bytes());
        frame.extend(id.to_le_bytes());
        frame.extend(payload.as_bytes());
        self.bridge.write_all(&frame).unwrap();
        id
    }

    /// The next frame of the guest: number, id, document.
    pub(super) fn hear(&mut self) -> (u32, u64, Value) {
        let mut header = [0; 16];
        self.bridge.read_exact(&mut header).unwrap();
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let mut payload = vec![0; number(4) as usize - 16];
        self.bridge.read_exact(&mut payload).unwrap();
        let id = u64::from_le_bytes(header[8..].try_into().unwrap());
        (number(0), id, serde_json::from_slice(&payload).unwrap())
    }

    fn ask(&mut self, message: MessageType, id: &str, body: Value) -> Value {
        let mut document = json!({ "ContainerId": id, "ActivityId": Uuid::nil() });
        document
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        let sent = self.send(message.request(), &document);
        let (number, answered, answer) = self.hear();
        assert_eq!((number, answered), (message.response(), sent));
        answer
    }

    pub(super) fn fine(&mut self, message: MessageType, id: &str, body: Value) -> Value {
        let answer = self.ask(message, id, body.clone());
        assert_eq!(answer["Result"], 0, "{} {body}: {answer}", message.name());
        answer
    }

    /// What the report has for a request that is refused with a code.
    pub(super) fn refused(&mut self, message: MessageType, id: &str, body: Value, code: i32) -> Vec<String> {
        let answer = self.ask(message, id, body.clone());
        assert_eq!(answer["Result"], code, "{} {body}: {answer}", message.name());
        world().take_misuse()
    }
}

pub(super) fn change(kind: &str, resource: &str, settings: Value) -> Value {
    json!({ "Request": { "RequestType": kind, "ResourceType": resource, "Settings": settings } })
}

pub(super) fn disk(kind: &str) -> Value {
    change(
        kind,
        "MappedVirtualDisk",
        json!({ "ContainerPath": r"c:\mounts\scsi\m0", "Lun": 1 }),
    )
}

fn chain(shares: &[&str]) -> Value {
    let numbers = [2, 1];
    let layer = |(share, number): (&&str, u8)| {
        let id = format!("55555555-5555-5555-8555-{number:012}");
        json!({ "Id": id, "Path": format!(r"{SHARES}\{share}") })
    };
    shares.iter().zip(numbers).map(layer).collect()
}

pub(super) fn layers(shares: &[&str]) -> Value {
    json!({ "ContainerRootPath": r"c:\mounts\scsi\m0", "Layers": chain(shares) })
}

/// The document of a container.
pub(super) fn hosted(shares: &[&str]) -> String {
    json!({
        "SchemaVersion": { "Major": 2, "Minor": 1 },
        "Container": { "Storage": { "Path": r"c:\mounts\scsi\m0", "Layers": chain(shares) } },
    })
    .to_string()
}
