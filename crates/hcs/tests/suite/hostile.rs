//! Documents from anybody: whatever is parsed, nothing panics, and what was accepted is what is written.

use std::sync::LazyLock;

use hcs::document::unknown_field;
use hcs::{Document, hcn, v1};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

use crate::golden::{as_sent, calls};

/// Any JSON, with our own field names among the keys.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![".{0,12}", "[A-Z][A-Za-z]{1,12}", Just("VirtualDisk".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((field_name(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn field_name() -> impl Strategy<Value = String> {
    let known = [
        "Owner",
        "VirtualMachine",
        "Devices",
        "Scsi",
        "Attachments",
        "Path",
        "Type",
        "0",
        "Container",
        "Storage",
        "Layers",
        "Settings",
        "ResourcePath",
        "GuestRequest",
        "Properties",
        "State",
        "Policies",
        "Signal",
        "Error",
    ];
    prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        "[A-Za-z0-9]{0,10}"
    ]
}

/// A machine, with most kinds of fields.
fn machine() -> Value {
    json!({
        "Owner": "o", "SchemaVersion": { "Major": 2, "Minor": 1 },
        "VirtualMachine": {
            "StopOnReset": true,
            "Chipset": { "LinuxKernelDirect": { "KernelFilePath": "k", "KernelCmdLine": " quiet" } },
            "ComputeTopology": { "Memory": { "SizeInMB": 1024 }, "Processor": { "Count": 2 } },
            "Devices": {
                "Scsi": { "0": { "Attachments": { "3": { "Type": "VirtualDisk", "Path": "p" } } } },
                "HvSocket": { "HvSocketConfig": { "ServiceTable": { "s": { "Disabled": true } } } },
                "Plan9": {}, "ComPorts": { "0": { "NamedPipe": "n" } }
            }
        }
    })
}

/// Every place in a value.
fn places(value: &Value, prefix: &str, found: &mut Vec<String>) {
    found.push(prefix.to_owned());
    if let Value::Object(members) = value {
        for (name, member) in members {
            let name = name.replace('~', "~0").replace('/', "~1");
            places(member, &format!("{prefix}/{name}"), found);
        }
    }
}

/// Parses as one type; what is accepted survives being written.
fn digest<T: Document + PartialEq + std::fmt::Debug>(value: &Value) -> Result<(), TestCaseError> {
    let from_text = T::from_json(&value.to_string()).ok();
    let from_value = T::from_value(value).ok();
    // Both ways agree, but for numbers at the edge of what a text can carry.
    prop_assert_eq!(from_text.is_some(), from_value.is_some());
    if let Some(document) = from_value {
        if T::TABLE.strict {
            prop_assert_eq!(unknown_field(&T::TABLE, value), None);
        }
        prop_assert_eq!(T::from_value(&document.to_value()).ok(), Some(document));
    }
    Ok(())
}

fn digest_as_everything(value: &Value) -> Result<(), TestCaseError> {
    digest::<hcs::ComputeSystem>(value)?;
    digest::<hcs::HostedSystem>(value)?;
    digest::<hcs::ModifySettingRequest>(value)?;
    digest::<hcs::Attachment>(value)?;
    digest::<hcs::GuestRequest>(value)?;
    digest::<hcs::LinuxMappedDisk>(value)?;
    digest::<hcs::ProcessParameters>(value)?;
    digest::<hcs::ProcessModifyRequest>(value)?;
    digest::<hcs::SignalProcessOptions>(value)?;
    digest::<hcs::PropertyQuery>(value)?;
    digest::<hcs::Properties>(value)?;
    digest::<hcs::SystemQuery>(value)?;
    digest::<hcs::SystemExitStatus>(value)?;
    digest::<hcs::ResultError>(value)?;
    digest::<hcs::ServiceModificationRequest>(value)?;
    digest::<v1::ContainerConfig>(value)?;
    digest::<hcn::HostComputeNetwork>(value)?;
    digest::<hcn::HostComputeEndpoint>(value)
}

proptest! {
    #[test]
    fn any_json_is_a_document_or_an_error(value in any_json()) {
        digest_as_everything(&value)?;
    }

    #[test]
    fn a_document_with_one_place_changed_is_a_document_or_an_error(
        place in any::<Index>(),
        replacement in any_json(),
    ) {
        let mut value = machine();
        let mut found = Vec::new();
        places(&value, "", &mut found);
        *value.pointer_mut(&found[place.index(found.len())]).unwrap() = replacement;
        digest_as_everything(&value)?;
    }

    #[test]
    fn an_unknown_field_anywhere_is_rejected_and_named(place in any::<Index>()) {
        let mut value = machine();
        let mut found = Vec::new();
        places(&value, "", &mut found);
        // Sections with free keys take any name; everywhere else it is unknown.
        let free = ["Scsi", "Attachments", "ServiceTable", "ComPorts"];
        found.retain(|path| {
            value.pointer(path).unwrap().is_object() && !free.iter().any(|name| path.ends_with(name))
        });
        let path = &found[place.index(found.len())];
        value.pointer_mut(path).unwrap()["Colour"] = json!(1);
        let error = hcs::ComputeSystem::from_json(&value.to_string()).unwrap_err();
        prop_assert!(error.path.ends_with("Colour"), "{}", error);
        prop_assert!(error.to_string().contains("unknown field `Colour`"), "{}", error);
    }

    #[test]
    fn any_text_is_a_document_or_an_error(text in ".{0,60}") {
        drop(hcs::ComputeSystem::from_json(&text));
        drop(hcs::ResultError::from_json(&text));
        drop(text.parse::<hcs::HResult>());
    }
}

/// Every document that the reference runtime was recorded to send.
static RECORDED: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let calls = calls().into_iter();
    calls
        .flat_map(|(_, call)| {
            let arguments = call.get("args").and_then(Value::as_object).cloned();
            let arguments = arguments.into_iter().flatten().map(|(_, value)| value);
            arguments.chain(call.get("document").cloned()).collect::<Vec<_>>()
        })
        .filter(Value::is_object)
        .map(|document| as_sent(&document))
        .collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_recorded_document_with_one_place_changed_is_a_document_or_an_error(
        document in any::<Index>(),
        place in any::<Index>(),
        replacement in prop::option::of(any_json()),
    ) {
        let mut value = RECORDED[document.index(RECORDED.len())].clone();
        let mut found = Vec::new();
        places(&value, "", &mut found);
        let path = &found[place.index(found.len())];
        match (replacement, path.rsplit_once('/')) {
            (Some(replacement), _) => *value.pointer_mut(path).unwrap() = replacement,
            (None, Some((parent, name))) => {
                value.pointer_mut(parent).and_then(Value::as_object_mut).unwrap().remove(name);
            }
            (None, None) => value = Value::Null,
        }
        digest_as_everything(&value)?;
    }

    #[test]
    fn a_recorded_text_with_bytes_changed_is_a_document_or_an_error(
        document in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = RECORDED[document.index(RECORDED.len())].to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let text = String::from_utf8_lossy(&bytes);
        read::<hcs::ComputeSystem>(&text)?;
        read::<hcs::ModifySettingRequest>(&text)?;
        read::<hcs::ProcessParameters>(&text)?;
        read::<hcs::GuestRequest>(&text)?;
        read::<hcs::ServiceModificationRequest>(&text)?;
        read::<v1::ContainerConfig>(&text)?;
        read::<hcn::HostComputeNetwork>(&text)?;
        read::<hcn::HostComputeEndpoint>(&text)?;
    }
}

/// Reads a text; a refusal says what is wrong.
fn read<T: Document>(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = T::from_json(text) {
        prop_assert!(!error.to_string().is_empty());
    }
    Ok(())
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = format!("{}{}", r#"{"Settings":"#, "[".repeat(100_000));
    assert!(hcs::ModifySettingRequest::from_json(&deep).is_err());
}
