//! Reading JSON the way Go's decoder does, because the peer may be written for it.
//!
//! Every document of the protocol is read through here. The rules that differ from serde's: field names match without
//! regard to case (an exact match wins), unknown fields are ignored, `null` is as good as absent, and absent is zero
//! (`#[serde(default)]` on the types). A number that does not fit its field fails the whole document.
//!
//! The matching works on the field names that derived structs announce, so free-form documents (an OCI
//! specification, kept as [`Value`]) keep their keys as they are. `#[serde(flatten)]` does not announce names; types
//! that are read must not use it.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde_json::{Error, Map, Value};

/// Reads a document from text.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    from_value(serde_json::from_slice(bytes)?)
}

/// Reads a document from a tree.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Tolerant(value))
}

/// A document that travels as a string inside another. An empty string is the empty document.
pub mod embedded {
    use serde::Deserialize;
    use serde::de::{DeserializeOwned, Deserializer, Error as _};
    use serde::ser::{Error as _, Serialize, Serializer};

    /// Writes the document as compact text in a string.
    pub fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(value).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }

    /// Reads the document from the text in a string.
    pub fn deserialize<'de, T: DeserializeOwned + Default, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(T::default());
        }
        super::from_slice(text.as_bytes()).map_err(D::Error::custom)
    }
}

/// A tree that is read with the rules of this module.
struct Tolerant(Value);

/// Gives every key of the object the spelling of the field it means, and drops what is `null`.
fn canonical(object: Map<String, Value>, fields: &'static [&'static str]) -> Vec<(String, Tolerant)> {
    let mut members: Vec<(String, Tolerant)> = Vec::with_capacity(object.len());
    let mut inexact: Vec<(&'static str, Value)> = Vec::new();
    for (key, value) in object {
        if value.is_null() {
            continue;
        }
        if fields.contains(&key.as_str()) {
            members.push((key, Tolerant(value)));
        } else if let Some(field) = fields.iter().find(|field| field.eq_ignore_ascii_case(&key)) {
            inexact.push((field, value));
        }
    }
    for (field, value) in inexact {
        if !members.iter().any(|(key, _)| key == field) {
            members.push((field.to_owned(), Tolerant(value)));
        }
    }
    members
}

impl<'de> IntoDeserializer<'de, Error> for Tolerant {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Tolerant {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Self))),
            Value::Object(members) => visitor.visit_map(MapDeserializer::new(
                members.into_iter().map(|(key, value)| (key, Self(value))),
            )),
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(members) => {
                visitor.visit_map(MapDeserializer::new(canonical(members, fields).into_iter()))
            }
            Value::Null => visitor.visit_map(MapDeserializer::new(std::iter::empty::<(String, Self)>())),
            // A derived struct would take a sequence for its fields in order; the protocol knows no such form.
            _ => Err(serde::de::Error::custom("expected an object")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// True when the text is a document at all, and an object.
pub(crate) fn object(bytes: &[u8]) -> Result<Value, Error> {
    let value: Value = serde_json::from_slice(bytes)?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(serde::de::Error::custom("expected an object"))
    }
}

/// Reads two overlapping views of one object: the base that every message has, and the rest.
pub(crate) fn split<B: DeserializeOwned, T: DeserializeOwned>(value: Value) -> Result<(B, T), Error> {
    let base = B::deserialize(Tolerant(value.clone()))?;
    Ok((base, from_value(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Create, MappedVirtualDisk, ModifySettings, NegotiateProtocolResponse, Resource};
    use serde_json::json;

    #[test]
    fn names_match_without_regard_to_case_and_unknown_ones_are_ignored() {
        let disk: MappedVirtualDisk =
            from_value(json!({"mountpath": "/m", "LUN": 3, "readonly": true, "VerityInfo": {"x": 1}}))
                .unwrap();
        assert_eq!(
            disk,
            MappedVirtualDisk {
                mount_path: "/m".into(),
                lun: 3,
                read_only: true,
                ..Default::default()
            }
        );
    }

    #[test]
    fn an_exact_name_wins_over_a_similar_one() {
        let disk: MappedVirtualDisk = from_value(json!({"LUN": 3, "Lun": 4, "lun": 5})).unwrap();
        assert_eq!(disk.lun, 4);
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let response: NegotiateProtocolResponse =
            from_value(json!({"Version": 4, "Capabilities": {"GuestDefinedCapabilities": null}})).unwrap();
        assert_eq!(response.version, 4);
        let disk: MappedVirtualDisk = from_value(json!({"MountPath": null, "Options": null})).unwrap();
        assert_eq!(disk, MappedVirtualDisk::default());
    }

    #[test]
    fn a_number_that_does_not_fit_fails_the_document() {
        for lun in [json!(256), json!(-1), json!(1.5), json!("1")] {
            let settings = json!({"MountPath": "/m", "Lun": lun});
            assert!(from_value::<MappedVirtualDisk>(settings).is_err());
        }
    }

    #[test]
    fn nested_documents_are_read_with_the_same_rules() {
        let modify: ModifySettings = from_value(
            json!({"request": {"requesttype": "Remove", "RESOURCETYPE": "SCSIDevice",
            "settings": {"lun": 2}}}),
        )
        .unwrap();
        let Resource::ScsiDevice(device) = modify.request.resource else {
            panic!("wrong resource")
        };
        assert_eq!(device.lun, 2);
    }

    #[test]
    fn free_form_documents_keep_their_keys() {
        let text = r#"{"ociSpecification":{"process":{"cwd":"/","Cwd":null}},"SchemaVersion":{"Major":2,"Minor":1}}"#;
        let create: Create = from_value(json!({ "ContainerConfig": text })).unwrap();
        assert_eq!(
            create.container_config.oci_specification,
            json!({"process": {"cwd": "/", "Cwd": null}})
        );
    }

    #[test]
    fn a_list_is_not_an_object() {
        assert!(from_slice::<MappedVirtualDisk>(b"[\"/m\", 0, 1]").is_err());
    }
}
