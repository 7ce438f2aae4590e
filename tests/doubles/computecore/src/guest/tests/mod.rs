//! The guest as a host meets it: what Microsoft's runtime was recorded to send, and what no careful host sends.
//!
//! Run under Wine, with a machine of this double and frames over loopback.

mod bridge;
mod host;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use gcs::message::MessageType;
use gcs::{NULL_ID, hresult};
use hcs::{ExitType, HResult};
use serde_json::{Value, json};
use uuid::Uuid;

use self::host::{
    Host, MACHINE, NETWORK, RECORDED, SHARED, SHARES, UPDATE, change, disk, hosted, layers, unfolded,
};
use crate::access;
use crate::processes::CONTROL_EXIT;
use crate::world::world;

/// Streams of a process, by service.
type Streams = BTreeMap<String, TcpStream>;

/// Plays a recorded message, and answers with the process that it started.
fn play(host: &mut Host, call: &Value, process: &mut Option<u64>, streams: &mut Streams) {
    let number = call["type"].as_str().unwrap().trim_start_matches("0x");
    let number = u32::from_str_radix(number, 16).unwrap();
    let message = MessageType::from_request(number).unwrap();
    let mut document = unfolded(&host.here(&call["message"]));
    if message == MessageType::ExecuteProcess {
        let parameters = document["Settings"]["ProcessParameters"].as_str().unwrap();
        // What lives until it is told.
        let parameters = parameters.replace("ping -t localhost", "set /p x=");
        document["Settings"]["ProcessParameters"] = json!(parameters);
    }
    let services = document["Settings"]["StdioRelaySettings"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let listeners: Vec<(String, TcpListener)> = services
        .into_iter()
        .map(|(name, service)| (name, host.listen(service.as_str().unwrap().parse().unwrap())))
        .collect();
    if let (Some(pid), Some(member)) = (&process, document.get_mut("ProcessId")) {
        *member = json!(pid);
    }
    let id = host.send(number, &document);
    for (name, listener) in listeners {
        streams.insert(name, listener.accept().unwrap().0);
    }
    if message == MessageType::WaitForProcess {
        return;
    }
    let (mut heard, mut answered, mut answer) = host.hear();
    if heard == MessageType::WaitForProcess.response() {
        assert_eq!(answer["ExitCode"], CONTROL_EXIT);
        (heard, answered, answer) = host.hear();
    }
    assert_eq!(
        (heard, answered),
        (message.response(), id),
        "{document}: {answer}"
    );
    let ended = HResult::PROCESS_ALREADY_STOPPED.as_i32();
    let kill = message == MessageType::SignalProcess && document.get("Options").is_none();
    // The one before it has been heard.
    let expected = if kill { ended } else { 0 };
    assert_eq!(answer["Result"], expected, "{document}: {answer}");
    if message == MessageType::ExecuteProcess {
        *process = answer["ProcessId"].as_u64();
    }
}

/// Plays a recording without the steps that are named, and says what the report has in the end.
fn replay(host: &mut Host, recording: &str, skipped: &[&str]) -> Vec<String> {
    let recorded: Value = serde_json::from_str(recording).unwrap();
    let (mut process, mut streams) = (None, Streams::new());
    for step in recorded["steps"].as_array().unwrap() {
        let name = step["step"].as_str().unwrap();
        if skipped.contains(&name) {
            continue;
        }
        for call in step["calls"].as_array().unwrap() {
            let arguments = host.here(&call["args"]);
            match call["function"].as_str().unwrap_or_default() {
                "HcsStartComputeSystem" => host.start(),
                "GrantVmAccess" => access::grant(MACHINE, arguments["filepath"].as_str().unwrap()),
                "HcsModifyComputeSystem" => {
                    let request = arguments["configuration"].to_string();
                    let modified = host.system.modify(&request).map_err(|fault| fault.code);
                    assert_eq!(modified, Ok(()), "{request}");
                }
                "" => play(host, call, &mut process, &mut streams),
                _ => {}
            }
        }
        if name == "shutdown" {
            let (number, _, notification) = host.hear();
            assert_eq!(number, MessageType::NOTIFICATION);
            assert_eq!(
                (&notification["ContainerId"], &notification["Type"]),
                (&json!("c1"), &json!("GracefulExit"))
            );
        }
    }
    host.system.end(ExitType::ForcedExit);
    world().take_misuse()
}

const NOTHING: [String; 0] = [];

#[test]
fn what_the_reference_runtime_sends_for_a_container_is_done_and_leaves_nothing() {
    let mut host = Host::new();
    host.grant(r"layers\l1\blank-base.vhdx");
    // No console is here to type at.
    let skipped = ["create", "create-uvm", "exec tty", "resize 132x43", "close"];
    assert_eq!(replay(&mut host, RECORDED, &skipped), NOTHING);
    let volume = host.folder.join(r"layers\scratch\volume");
    assert_eq!(std::fs::read_to_string(volume.join("note.txt")).unwrap(), "text");
    // What was mapped is there, and in the container no more.
    assert!(host.folder.join(r"volumes\db\row").is_file());
    assert!(!volume.join(r"db\row").exists());
}

#[test]
fn what_it_sends_for_networks_shares_and_limits_is_done_too() {
    let mut host = Host::new();
    assert_eq!(replay(&mut host, NETWORK, &["create", "close"]), NOTHING);
    drop(host);
    let mut host = Host::new();
    assert_eq!(replay(&mut host, SHARED, &["create", "close"]), NOTHING);
    drop(host);
    let mut host = Host::container();
    let recorded: Value = serde_json::from_str(UPDATE).unwrap();
    let mut changes = 0;
    for step in recorded["steps"].as_array().unwrap() {
        for call in step["calls"].as_array().unwrap() {
            host.fine(
                MessageType::ModifySettings,
                "c1",
                json!({ "Request": call["document"] }),
            );
            changes += 1;
        }
    }
    assert_eq!((changes, world().take_misuse()), (2, Vec::new()));
    let machine_only = json!({ "Request": {
        "ResourcePath": "Container/Memory/SizeInMB", "RequestType": "Add", "Settings": 1024,
    } });
    let code = HResult::E_INVALIDARG.as_i32();
    let lines = host.refused(MessageType::ModifySettings, "c1", machine_only, code);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn a_disk_is_the_machine_s_alone_and_only_with_leave() {
    let host = Host::working();
    let place = |lun: u8| {
        format!("VirtualMachine/Devices/Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/{lun}")
    };
    let disk = |path: &str| json!({ "Type": "VirtualDisk", "Path": host.folder.join(path) });
    let attach = |lun: u8, path: &str| host.change(&place(lun), "Add", disk(path));
    assert_eq!(
        attach(1, r"volumes\disk.vhdx"),
        Err(HResult::ACCESS_DENIED_BY_WINDOWS)
    );
    host.grant(r"volumes\disk.vhdx");
    let shared = Err(HResult::from_win32(32));
    let held = std::fs::File::options()
        .write(true)
        .open(host.folder.join(r"volumes\disk.vhdx"))
        .unwrap();
    assert_eq!(attach(1, r"volumes\disk.vhdx"), shared);
    drop(held);
    assert_eq!(attach(1, r"volumes\disk.vhdx"), Ok(()));
    assert_eq!(attach(2, r"volumes\disk.vhdx"), shared);
    host.attach().expect_err("the place is taken");
    assert_eq!(host.change(&place(1), "Remove", json!(null)), Ok(()));
    assert_eq!(host.attach(), Ok(()));
    let activated = std::fs::File::open(host.folder.join(r"layers\scratch\sandbox.vhdx"));
    assert!(activated.is_err(), "a machine has it");
    assert_eq!(world().take_misuse(), NOTHING);
}

#[test]
fn the_input_and_output_of_a_process_are_connections_that_end_with_them() {
    let mut host = Host::container();
    let names = [("StdIn", 1), ("StdOut", 2), ("StdErr", 3)];
    let listeners = names.map(|(_, port)| host.listen(hcs::hvsocket::service_id(0x4000_0000 + port)));
    let services: Value = names
        .iter()
        .map(|(name, port)| {
            (
                (*name).to_owned(),
                json!(hcs::hvsocket::service_id(0x4000_0000 + port)),
            )
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    let parameters = json!({
        "CommandLine": "cmd /c type note.txt& set /p x=& cmd /c exit 7", "WorkingDirectory": r"C:\",
        "CreateStdInPipe": true, "CreateStdOutPipe": true, "CreateStdErrPipe": true,
    });
    let settings = json!({ "ProcessParameters": parameters.to_string(), "StdioRelaySettings": services });
    let started = host.fine(MessageType::ExecuteProcess, "c1", json!({ "Settings": settings }));
    let [mut stdin, mut stdout, mut stderr] = listeners.map(|listener| listener.accept().unwrap().0);
    stdin.write_all(b"done\r\n").unwrap();
    stdin.shutdown(std::net::Shutdown::Write).unwrap();
    let (mut said, mut errors) = (String::new(), String::new());
    stdout.read_to_string(&mut said).unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    assert_eq!((said.as_str(), errors.as_str()), ("text", ""));
    let wait = json!({ "ProcessId": started["ProcessId"], "TimeoutInMs": u32::MAX });
    assert_eq!(host.fine(MessageType::WaitForProcess, "c1", wait)["ExitCode"], 7);
    assert_eq!(world().take_misuse(), Vec::<String>::new());
}

#[test]
fn nothing_is_done_out_of_order() {
    let mut host = Host::new();
    host.start();
    let early = host.refused(MessageType::Start, NULL_ID, json!({}), hresult::NOT_SUPPORTED);
    assert_eq!(early, ["guest, Start: negotiation comes first, and once"]);
    host.fine(
        MessageType::NegotiateProtocol,
        "",
        json!({ "MinimumVersion": 4, "MaximumVersion": 4 }),
    );
    let early = host.refused(
        MessageType::ModifySettings,
        NULL_ID,
        disk("Add"),
        hresult::INVALID_STATE,
    );
    assert_eq!(
        early,
        ["guest, ModifySettings: the machine is Connected and does not know its address"]
    );
    let early = host.refused(MessageType::Start, NULL_ID, json!({}), hresult::INVALID_STATE);
    assert_eq!(early, ["guest, Start: the machine is Connected"]);
    drop(host);

    let mut host = Host::combined();
    let process = json!({ "Settings": { "ProcessParameters": r#"{"CommandLine":"cmd"}"# } });
    let early = host.refused(
        MessageType::ExecuteProcess,
        "c1",
        process.clone(),
        hresult::SYSTEM_NOT_FOUND,
    );
    assert_eq!(early, ["guest, ExecuteProcess: there is no container c1"]);
    host.fine(
        MessageType::Create,
        "c1",
        json!({ "ContainerConfig": hosted(&["s1", "s2"]) }),
    );
    let early = host.refused(MessageType::ExecuteProcess, "c1", process, hresult::INVALID_STATE);
    assert_eq!(early, ["guest, ExecuteProcess: container c1 was not started"]);
    let early = host.refused(
        MessageType::ModifySettings,
        NULL_ID,
        disk("Remove"),
        hresult::INVALID_STATE,
    );
    assert_eq!(
        early,
        [r"guest, ModifySettings: there are layers at c:\mounts\scsi\m0"]
    );
    let apart = change(
        "Remove",
        "CombinedLayers",
        json!({ "ContainerRootPath": r"c:\mounts\scsi\m0" }),
    );
    let early = host.refused(
        MessageType::ModifySettings,
        NULL_ID,
        apart,
        hresult::INVALID_ARGUMENT,
    );
    assert_eq!(
        early,
        [r"guest, ModifySettings: container c1 lives on the layers at c:\mounts\scsi\m0"]
    );
}

#[test]
fn nothing_is_done_with_what_is_not_there() {
    let mut host = Host::working();
    let nothing = host.refused(
        MessageType::ModifySettings,
        NULL_ID,
        disk("Add"),
        hresult::NOT_FOUND,
    );
    assert_eq!(
        nothing,
        ["guest, ModifySettings: the host has attached no disk for containers at 1"]
    );
    let nothing = host.refused(
        MessageType::ModifySettings,
        NULL_ID,
        change("Add", "CombinedLayers", layers(&["s1", "s2"])),
        hresult::INVALID_ARGUMENT,
    );
    assert_eq!(
        nothing,
        [r"guest, ModifySettings: no scratch is mounted at c:\mounts\scsi\m0"]
    );
    host.attach().unwrap();
    host.fine(MessageType::ModifySettings, NULL_ID, disk("Add"));
    host.share("s1", r"layers\l2", json!({ "ReadOnly": true }))
        .unwrap();
    let combine = |shares: &[&str]| change("Add", "CombinedLayers", layers(shares));
    let nothing = host.refused(
        MessageType::ModifySettings,
        NULL_ID,
        combine(&["s1", "s2"]),
        hresult::INVALID_ARGUMENT,
    );
    assert_eq!(
        nothing,
        [format!(
            r"guest, ModifySettings: {SHARES}\s2 is no layer in a share"
        )]
    );
    let others = host.refused(
        MessageType::ModifySettings,
        NULL_ID,
        combine(&["s1"]),
        hresult::INVALID_ARGUMENT,
    );
    assert_eq!(
        others,
        ["guest, ModifySettings: the layers are [l2], but the scratch was created on [l2, l1]"]
    );
    let adapter = json!({ "AdapterId": Uuid::nil(), "RequestType": "Add" });
    let nothing = host.refused(
        MessageType::ModifySettings,
        NULL_ID,
        change("Add", "Network", adapter),
        hresult::INVALID_STATE,
    );
    assert_eq!(
        nothing,
        [
            "guest, ModifySettings: adapter 00000000-0000-0000-0000-000000000000 was not announced, or is there"
        ]
    );
    let create = json!({ "ContainerConfig": hosted(&["s1", "s2"]) });
    let nothing = host.refused(MessageType::Create, "c1", create, hresult::INVALID_ARGUMENT);
    assert_eq!(
        nothing,
        [r#"guest, Create: no layers were put together at "c:\\mounts\\scsi\\m0""#]
    );
}

#[test]
fn documents_are_read_strictly() {
    let mut host = Host::container();
    let more = json!({ "ProcessId": 1, "TimeoutInMs": 1, "Colour": "red" });
    let line = host.refused(MessageType::WaitForProcess, "c1", more, hresult::INVALID_JSON);
    assert!(
        line[0].starts_with("guest, WaitForProcess: unknown field `Colour`"),
        "{line:?}"
    );
    let less = json!({ "ProcessId": 1 });
    let line = host.refused(MessageType::WaitForProcess, "c1", less, hresult::INVALID_JSON);
    assert_eq!(line, ["guest, WaitForProcess: missing field `TimeoutInMs`"]);
    let settings = json!({ "ContainerPath": "c:\\m", "Lun": 1, "Colour": "red" });
    let disk = change("Add", "MappedVirtualDisk", settings);
    let line = host.refused(MessageType::ModifySettings, NULL_ID, disk, hresult::INVALID_JSON);
    assert!(line[0].contains("unknown field `Colour`"), "{line:?}");
    let object = json!({ "ContainerConfig": { "SchemaVersion": { "Major": 2, "Minor": 1 } } });
    let line = host.refused(MessageType::Create, "c2", object, hresult::INVALID_JSON);
    assert!(line[0].contains("expected a string"), "{line:?}");
    let unmatched =
        json!({ "Settings": { "ProcessParameters": r#"{"CommandLine":"cmd","CreateStdOutPipe":true}"# } });
    let line = host.refused(
        MessageType::ExecuteProcess,
        "c1",
        unmatched,
        hresult::INVALID_ARGUMENT,
    );
    assert_eq!(line, ["guest, ExecuteProcess: services and pipes do not match"]);
}

#[test]
fn what_a_host_forgets_in_a_machine_that_it_ends_is_told() {
    let host = Host::container();
    assert_eq!(world().take_misuse(), Vec::<String>::new());
    let removed = host.change(
        "VirtualMachine/Devices/Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/1",
        "Remove",
        json!(null),
    );
    assert_eq!(removed, Err(HResult::from_win32(32)));
    let removed = host.change(
        "VirtualMachine/Devices/VirtualSmb/Shares",
        "Remove",
        json!({ "Name": "s1" }),
    );
    assert_eq!(removed, Err(HResult::NOT_SUPPORTED));
    host.system.end(ExitType::ForcedExit);
    assert_eq!(
        world().take_misuse(),
        [
            r"HcsModifyComputeSystem: disk 1 is mounted in the guest, at c:\mounts\scsi\m0",
            "HcsModifyComputeSystem: share s1 maps files directly and cannot be removed",
            "HcsTerminateComputeSystem: left in the guest: container c1, which was not shut down",
            r"HcsTerminateComputeSystem: left in the guest: the layers at c:\mounts\scsi\m0",
            r"HcsTerminateComputeSystem: left in the guest: disk 1, mounted at c:\mounts\scsi\m0",
        ]
    );
}
