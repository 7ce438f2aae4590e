//! What the module promises, case by case.

use hcs::HResult;
use serde_json::{Value, json};

use super::*;

/// The smallest document that makes a machine.
pub(crate) fn document() -> Value {
    json!({
        "Owner": "test",
        "SchemaVersion": { "Major": 2, "Minor": 1 },
        "VirtualMachine": {
            "StopOnReset": true,
            "Chipset": { "LinuxKernelDirect": {
                "KernelFilePath": "/uvm/vmlinux",
                "InitRdPath": "/uvm/initrd.img",
                "KernelCmdLine": "panic=-1 -- -e 1 /bin/gcs" } },
            "ComputeTopology": { "Memory": { "SizeInMB": 256 }, "Processor": { "Count": 1 } },
            "Devices": { "Scsi": { "0": {} } }
        }
    })
}

fn change(pointer: &str, value: Value) -> Value {
    let mut document = document();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(key);
    } else {
        parent.insert(key.to_owned(), value);
    }
    document
}

fn outcome(document: &Value) -> Result<MachineSpec, (HResult, String)> {
    read(&document.to_string(), 4).map_err(|failure| (failure.code, failure.to_string()))
}

#[test]
fn a_plain_document_becomes_a_machine() {
    let spec = outcome(&document()).unwrap();
    assert_eq!(spec.owner, "test");
    assert_eq!(spec.init_arguments, ["-e", "1", "/bin/gcs"]);
    assert_eq!(spec.memory_mb, 256);
    assert_eq!(
        spec.processors,
        Processors {
            count: 1,
            limit: FULL_LIMIT,
            weight: USUAL_WEIGHT
        }
    );
    assert_eq!(spec.controllers.len(), 1);
    assert!(!spec.terminate_with_last_handle);
}

#[test]
fn the_document_of_the_reference_runtime_is_accepted() {
    let devices = json!({
        "Scsi": { "df6d0690-79e5-55b6-a5ec-c1e2f77f580a": {} },
        "VirtualPMem": { "MaximumCount": 64, "MaximumSizeBytes": 4294967296u64 },
        "HvSocket": { "HvSocketConfig": { "DefaultBindSecurityDescriptor": "D:P(A;;FA;;;SY)(A;;FA;;;BA)" } },
        "Plan9": {}
    });
    let spec = outcome(&change("/VirtualMachine/Devices", devices)).unwrap();
    assert_eq!(spec.controllers[0].name, "df6d0690-79e5-55b6-a5ec-c1e2f77f580a");
}

#[test]
fn documents_that_make_no_sense_are_invalid_json() {
    let attachment = |value| {
        change(
            "/VirtualMachine/Devices/Scsi",
            json!({ "0": { "Attachments": value } }),
        )
    };
    for (document, place) in [
        (
            change("/VirtualMachine/Colour", json!("red")),
            "VirtualMachine.Colour",
        ),
        (
            change("/VirtualMachine/StopOnReset", json!("yes")),
            "VirtualMachine.StopOnReset",
        ),
        (
            change("/VirtualMachine/Chipset", Value::Null),
            "VirtualMachine.Chipset",
        ),
        (change("/VirtualMachine/Chipset", json!({})), "LinuxKernelDirect"),
        (
            change(
                "/VirtualMachine/Chipset/LinuxKernelDirect/KernelFilePath",
                Value::Null,
            ),
            "KernelFilePath",
        ),
        (
            change("/VirtualMachine/ComputeTopology", Value::Null),
            "ComputeTopology",
        ),
        (
            change("/VirtualMachine/ComputeTopology/Memory", Value::Null),
            "ComputeTopology.Memory",
        ),
        (
            change("/VirtualMachine/ComputeTopology/Memory/SizeInMB", Value::Null),
            "SizeInMB",
        ),
        (change("/VirtualMachine", Value::Null), "exactly one"),
        (change("/Container", json!({})), "exactly one"),
        (
            attachment(json!({ "0": { "Path": "/x.vhd" } })),
            "Attachment.Type",
        ),
        (
            attachment(json!({ "0": { "Type": "VirtualDisk" } })),
            "Attachment.Path",
        ),
        (attachment(json!({ "x": { "Type": "VirtualDisk" } })), "x"),
    ] {
        let (code, message) = outcome(&document).unwrap_err();
        assert_eq!(code, HResult::INVALID_JSON, "{message}");
        assert!(message.contains(place), "{message:?} does not name {place}");
    }
    assert_eq!(read("", 1).unwrap_err().code, HResult::INVALID_JSON);
    assert_eq!(read("{} trailing", 1).unwrap_err().code, HResult::INVALID_JSON);
}

#[test]
fn values_out_of_range_are_invalid_arguments() {
    let topology = "/VirtualMachine/ComputeTopology";
    for document in [
        change(&format!("{topology}/Memory"), json!({ "SizeInMB": 257 })),
        change(&format!("{topology}/Memory"), json!({ "SizeInMB": u64::MAX - 1 })),
        change(
            &format!("{topology}/Memory"),
            json!({ "SizeInMB": 256, "EnableDeferredCommit": true }),
        ),
        change(&format!("{topology}/Processor"), json!({ "Count": 5 })),
        change(
            &format!("{topology}/Processor"),
            json!({ "Count": 1, "Limit": 100_001 }),
        ),
        change(
            &format!("{topology}/Processor"),
            json!({ "Count": 1, "Weight": 10_001 }),
        ),
        change(
            "/VirtualMachine/Devices/Scsi",
            json!({ "0": { "Attachments": { "64": { "Type": "VirtualDisk", "Path": "/x" } } } }),
        ),
        change(
            "/VirtualMachine/Devices/Scsi",
            json!({ "0": { "Attachments": { "1": { "Type": "VirtualDisk", "Path": "x" } } } }),
        ),
        change(
            "/VirtualMachine/Devices/Scsi",
            json!({ "a": {}, "b": {}, "c": {}, "d": {}, "e": {} }),
        ),
    ] {
        let (code, message) = outcome(&document).unwrap_err();
        assert_eq!(code, HResult::E_INVALIDARG, "{message}");
    }
}

#[test]
fn what_this_service_lacks_is_refused_with_an_alternative() {
    for (document, instead) in [
        (change("/VirtualMachine/GuestConnection", json!({})), "0x40000000"),
        (
            change("/VirtualMachine/Chipset", json!({ "Uefi": {} })),
            "LinuxKernelDirect",
        ),
        (change("/VirtualMachine/Devices/Keyboard", json!({})), "ComPorts"),
        (change("/SchemaVersion", json!({ "Major": 1, "Minor": 0 })), "2.1"),
    ] {
        let (code, message) = outcome(&document).unwrap_err();
        assert_eq!(code, HResult::NOT_SUPPORTED, "{message}");
        assert!(message.contains(instead), "{message}");
    }
}

#[test]
fn controllers_are_numbered_by_their_well_known_names() {
    let disk = json!({ "Attachments": { "3": { "Type": "VirtualDisk", "Path": "/x.vhd" } } });
    let spec = outcome(&change(
        "/VirtualMachine/Devices/Scsi",
        json!({ "aaa": disk, "b5d2d8d4-3a75-51bf-945b-3444dc6b8579": {} }),
    ))
    .unwrap();
    let names: Vec<_> = spec.controllers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["aaa", "", "b5d2d8d4-3a75-51bf-945b-3444dc6b8579"]);
    assert!(spec.controllers[0].disks.contains_key(&3));
    let twice = json!({ "0": {}, "df6d0690-79e5-55b6-a5ec-c1e2f77f580a": {} });
    assert!(outcome(&change("/VirtualMachine/Devices/Scsi", twice)).is_err());
}
