//! Documents from anybody: whatever is parsed, nothing panics, and what was accepted is what is written.

use hcs::document::unknown_field;
use hcs::{Document, hcn, v1};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

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
        place in any::<prop::sample::Index>(),
        replacement in any_json(),
    ) {
        let mut value = machine();
        let mut found = Vec::new();
        places(&value, "", &mut found);
        *value.pointer_mut(&found[place.index(found.len())]).unwrap() = replacement;
        digest_as_everything(&value)?;
    }

    #[test]
    fn an_unknown_field_anywhere_is_rejected_and_named(place in any::<prop::sample::Index>()) {
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

#[test]
fn deep_nesting_is_an_error() {
    let deep = format!("{}{}", r#"{"Settings":"#, "[".repeat(100_000));
    assert!(hcs::ModifySettingRequest::from_json(&deep).is_err());
}
