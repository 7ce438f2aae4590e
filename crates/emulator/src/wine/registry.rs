//! Changes of the registry, as the Windows side reads them at the boot: fields that end with NUL.
//!
//! `set` or `volatile`, path below `HKEY_LOCAL_MACHINE`, name, number of the type, data in hexadecimal digits; or `delete`, path.

use std::fmt::Write;

use base64::Engine;
use hcs::{RegistryChanges, RegistryHive, RegistryKey, RegistryValue, RegistryValueType};

use crate::failure::Failure;

/// Where the search list of name resolution is.
const TCPIP: &str = r"System\CurrentControlSet\Services\Tcpip\Parameters";

/// Checks changes and writes them down.
pub(crate) fn changes(changes: RegistryChanges) -> Result<String, Failure> {
    let mut text = String::new();
    for key in &changes.delete_keys {
        let path = path("RegistryChanges.DeleteKeys", key)?;
        text.push_str(&fields(&["delete", &path]));
    }
    for value in &changes.add_values {
        let key = value
            .key
            .as_ref()
            .ok_or_else(|| Failure::json("RegistryChanges.AddValues: Key is required"))?;
        let path = path("RegistryChanges.AddValues", key)?;
        let (kind, data) = data(value)?;
        no_nul("RegistryChanges.AddValues: Name", &value.name)?;
        let kept = if key.volatile { "volatile" } else { "set" };
        text.push_str(&fields(&[
            kept,
            &path,
            &value.name,
            &kind.to_string(),
            &hex(&data),
        ]));
    }
    Ok(text)
}

/// Sets the search list of name resolution, names separated by commas.
pub(crate) fn search_list(list: &str) -> String {
    let clean: String = list.chars().filter(|c| *c != '\0').collect();
    fields(&["set", TCPIP, "SearchList", "1", &hex(&utf16(&clean))])
}

fn fields(fields: &[&str]) -> String {
    fields.iter().flat_map(|field| [*field, "\0"]).collect()
}

fn no_nul(field: &str, text: &str) -> Result<(), Failure> {
    if text.contains('\0') {
        return Err(Failure::invalid(format!("{field} contains a NUL character")));
    }
    Ok(())
}

fn path(field: &str, key: &RegistryKey) -> Result<String, Failure> {
    let hive = match key.hive {
        Some(RegistryHive::System) => "System",
        Some(RegistryHive::Software) => "Software",
        Some(RegistryHive::Security) => "Security",
        Some(RegistryHive::Sam) => "SAM",
        None => return Err(Failure::json(format!("{field}: Key.Hive is required"))),
    };
    let name = key.name.trim_matches('\\');
    if name.is_empty() {
        return Err(Failure::json(format!("{field}: Key.Name is required")));
    }
    no_nul(&format!("{field}: Key.Name"), name)?;
    // On Windows one is a link to the other; Wine has only what programs use.
    let name = match name.split_once('\\') {
        Some((set, rest)) if hive == "System" && set.eq_ignore_ascii_case("ControlSet001") => {
            format!("CurrentControlSet\\{rest}")
        }
        _ => name.to_owned(),
    };
    Ok(format!("{hive}\\{name}"))
}

/// The number of a type, and the bytes of a value.
fn data(value: &RegistryValue) -> Result<(u32, Vec<u8>), Failure> {
    use RegistryValueType as T;
    let kind = value
        .value_type
        .ok_or_else(|| Failure::json("RegistryChanges.AddValues: Type is required"))?;
    let text = &value.string_value;
    if kind != T::MultiString {
        no_nul("RegistryChanges.AddValues: StringValue", text)?;
    }
    Ok(match kind {
        T::None => (0, base64(&value.binary_value)?),
        T::String => (1, utf16(text)),
        T::ExpandedString => (2, utf16(text)),
        T::Binary => (3, base64(&value.binary_value)?),
        T::DWord => (4, value.d_word_value.to_le_bytes().to_vec()),
        // Texts that end with NUL each, and one more.
        T::MultiString => (7, utf16(&format!("{}\0", text.trim_end_matches('\0')))),
        T::QWord => (11, value.q_word_value.to_le_bytes().to_vec()),
        T::CustomType => (value.custom_type, base64(&value.binary_value)?),
    })
}

/// With the terminator.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn base64(text: &str) -> Result<Vec<u8>, Failure> {
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|error| Failure::invalid(format!("RegistryChanges.AddValues: BinaryValue: {error}")))
}

#[cfg(test)]
mod tests {
    use hcs::Document;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_all_types_are_written_down() {
        let key = json!({ "Hive": "System", "Name": r"ControlSet001\Control" });
        let changes_of = |value: serde_json::Value| {
            let mut value = value;
            value["Key"] = key.clone();
            value["Name"] = json!("N");
            changes(RegistryChanges::from_value(&json!({ "AddValues": [value] })).unwrap())
        };
        for (value, end) in [
            (json!({ "Type": "String", "StringValue": "a" }), "1\x0061000000\0"),
            (
                json!({ "Type": "MultiString", "StringValue": "a\0b" }),
                "7\x0061000000620000000000\0",
            ),
            (json!({ "Type": "DWord", "DWordValue": 258 }), "4\x0002010000\0"),
            (
                json!({ "Type": "Binary", "BinaryValue": "AQID/w==" }),
                "3\x00010203ff\0",
            ),
        ] {
            let text = changes_of(value).unwrap();
            let expected = format!("set\0System\\CurrentControlSet\\Control\0N\0{end}");
            assert_eq!(text, expected);
        }
        for bad in [
            json!({ "StringValue": "a" }),
            json!({ "Type": "Binary", "BinaryValue": "A" }),
            json!({ "Type": "Binary", "BinaryValue": "A===" }),
        ] {
            assert!(changes_of(bad).is_err());
        }
    }
}
