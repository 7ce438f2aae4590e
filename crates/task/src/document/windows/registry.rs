//! What the service writes into a Windows guest's registry before it starts.

use std::collections::BTreeMap;

use hcs::{RegistryChanges, RegistryHive, RegistryKey, RegistryValue, RegistryValueType};

use super::spec::invalid;
use crate::Result;

/// Where in the container dumps of its programs go; `{container_id}` at the end stands for the container's id.
const DUMP_LOCATION: &str = "io.microsoft.container.processdumplocation";
/// `mini` or `full`.
const DUMP_TYPE: &str = "io.microsoft.wcow.processdumptype";
/// How many dumps are kept.
const DUMP_COUNT: &str = "io.microsoft.wcow.processdumpcount";
const LOCAL_DUMPS: &str = r"Microsoft\Windows\Windows Error Reporting\LocalDumps";
const PLACE_OF_ID: &str = "{container_id}";

/// The changes of a container: the time that its services get to end, and where dumps go if an annotation says so.
pub(super) fn container(id: &str, annotations: &BTreeMap<String, String>) -> Result<RegistryChanges> {
    // Otherwise the guest kills its services five seconds after it was told to shut down.
    let mut add_values = vec![text(
        RegistryHive::System,
        r"ControlSet001\Control",
        "WaitToKillServiceTimeout",
        i32::MAX.to_string(),
    )];
    if let Some(location) = annotations.get(DUMP_LOCATION) {
        let folder = match location.strip_suffix(PLACE_OF_ID) {
            Some(parent) => format!("{parent}{id}"),
            None => location.clone(),
        };
        let kind = match annotations.get(DUMP_TYPE).map(String::as_str) {
            None | Some("mini") => 1,
            Some("full") => 2,
            Some(other) => {
                return Err(invalid(format!(
                    "annotation {DUMP_TYPE} is {other:?}, not mini or full"
                )));
            }
        };
        add_values.push(text(RegistryHive::Software, LOCAL_DUMPS, "DumpFolder", folder));
        add_values.push(number(RegistryHive::Software, LOCAL_DUMPS, "DumpType", kind));
        if let Some(count) = annotations.get(DUMP_COUNT) {
            let count = count
                .parse()
                .map_err(|_| invalid(format!("annotation {DUMP_COUNT} is {count:?}, not a number")))?;
            add_values.push(number(RegistryHive::Software, LOCAL_DUMPS, "DumpCount", count));
        }
    }
    Ok(RegistryChanges {
        add_values,
        ..RegistryChanges::default()
    })
}

/// A text.
fn text(hive: RegistryHive, key: &str, name: &str, value: String) -> RegistryValue {
    RegistryValue {
        value_type: Some(RegistryValueType::String),
        string_value: value,
        ..named(hive, key, name)
    }
}

/// A number of 32 bits.
pub(super) fn number(hive: RegistryHive, key: &str, name: &str, value: u32) -> RegistryValue {
    RegistryValue {
        value_type: Some(RegistryValueType::DWord),
        d_word_value: value,
        ..named(hive, key, name)
    }
}

fn named(hive: RegistryHive, key: &str, name: &str) -> RegistryValue {
    RegistryValue {
        key: Some(RegistryKey {
            hive: Some(hive),
            name: key.to_owned(),
            volatile: false,
        }),
        name: name.to_owned(),
        ..RegistryValue::default()
    }
}
