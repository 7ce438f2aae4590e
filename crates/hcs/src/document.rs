//! What all documents have in common: strict parsing, printing, and a field table.
//!
//! The macros `document!` and `choice!` declare every type of this crate once. From one declaration come the
//! struct, its serde attributes and a [`Table`] of field names and shapes, so that a test can compare what we emit
//! and read with the recorded field tables of the reference runtime.
//!
//! Two kinds of documents exist. *Strict* ones are what a caller hands to the service: an unknown field is an error,
//! as HCS rejects it. *Open* ones are what the service answers: a newer Windows adds fields, and we must go on.
//! In both an absent field is the default (zero, false, empty, none), and a default is not written: HCS has no
//! `null`, and zero means "not set". Fields under `always` are written nevertheless.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A document type.
pub trait Document: Serialize + DeserializeOwned {
    /// The fields.
    const TABLE: Table;

    /// Reads a document.
    fn from_json(text: &str) -> Result<Self, InvalidDocument> {
        // The value shows lists where objects belong, which serde would read as the fields in order; the text shows
        // fields that are there twice, which a value cannot hold.
        let value = serde_json::from_str(text).map_err(|error| invalid::<Self>(".", error))?;
        check_objects::<Self>(&value)?;
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
            .map_err(|error| invalid::<Self>(&error.path().to_string(), error.into_inner()))
    }

    /// Reads a document that has been parsed to a JSON value.
    fn from_value(value: &Value) -> Result<Self, InvalidDocument> {
        check_objects::<Self>(value)?;
        serde_path_to_error::deserialize(value)
            .map_err(|error| invalid::<Self>(&error.path().to_string(), error.into_inner()))
    }

    /// The document as JSON text.
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("documents have text keys and no fallible fields")
    }

    /// The document as a JSON value.
    fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("documents have text keys and no fallible fields")
    }
}

fn invalid<T: Document>(path: &str, source: serde_json::Error) -> InvalidDocument {
    InvalidDocument {
        document: T::TABLE.name,
        path: path.to_owned(),
        source,
    }
}

fn check_objects<T: Document>(value: &Value) -> Result<(), InvalidDocument> {
    match misfit(&T::TABLE, value, false) {
        Some(path) => Err(invalid::<T>(
            &path,
            serde::de::Error::custom("expected an object"),
        )),
        None => Ok(()),
    }
}

/// A text that is not a document of the expected type.
#[derive(Debug, thiserror::Error)]
#[error("invalid {document} document at {path}: {source}")]
pub struct InvalidDocument {
    /// The type that was expected.
    pub document: &'static str,
    /// The place in the document, such as `VirtualMachine.Devices.Scsi`; `.` for the whole.
    pub path: String,
    /// What is wrong there.
    pub source: serde_json::Error,
}

/// The fields of one document type.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// The type of this crate.
    pub name: &'static str,
    /// The type in the recorded field tables, such as `hcs_v2.Attachment`; starts with `-` when it has none.
    pub source: &'static str,
    /// Whether unknown fields are rejected.
    pub strict: bool,
    /// The fields.
    pub fields: &'static [Field],
}

/// One field of a document.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name in JSON.
    pub name: &'static str,
    /// What the field holds.
    pub shape: Shape,
}

/// What a field holds, in terms of JSON.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Text.
    String,
    /// True or false.
    Boolean,
    /// A number without fraction.
    Integer,
    /// Any number.
    Number,
    /// Any JSON value.
    Any,
    /// A list.
    Array(&'static Self),
    /// An object with free keys.
    Map(&'static Self),
    /// Another document.
    Document(fn() -> Table),
    /// One of some texts: name in the field tables, and the texts.
    Choice(&'static str, &'static [&'static str]),
}

/// A type that can be a field.
pub trait Shaped {
    /// Its shape.
    const SHAPE: Shape;
}

macro_rules! shaped {
    ($($shape:ident: $($type:ty),+;)+) => {
        $($(impl Shaped for $type { const SHAPE: Shape = Shape::$shape; })+)+
    };
}

shaped! {
    String: String;
    Boolean: bool;
    Integer: i16, i32, i64, u8, u16, u32, u64, crate::HResult;
    Number: f64;
    Any: Value;
}

impl<T: Shaped> Shaped for Option<T> {
    const SHAPE: Shape = T::SHAPE;
}

impl<T: Shaped> Shaped for Box<T> {
    const SHAPE: Shape = T::SHAPE;
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::Array(&T::SHAPE);
}

impl<T: Shaped, const N: usize> Shaped for [T; N] {
    const SHAPE: Shape = Shape::Array(&T::SHAPE);
}

impl<K, T: Shaped> Shaped for BTreeMap<K, T> {
    const SHAPE: Shape = Shape::Map(&T::SHAPE);
}

/// The first place in a JSON value that the tables do not have: the strict check for open documents.
///
/// Looks at names and at where objects belong; types of plain fields are the business of parsing.
pub fn unknown_field(table: &Table, value: &Value) -> Option<String> {
    misfit(table, value, true)
}

/// The first place where an object belongs and there is none, or (`names`) where a field is not known.
fn misfit(table: &Table, value: &Value, names: bool) -> Option<String> {
    let Value::Object(members) = value else {
        return Some(".".to_owned());
    };
    members.iter().find_map(|(name, member)| {
        match table.fields.iter().find(|field| field.name == name) {
            // Null stands for an absent field.
            Some(field) if !member.is_null() => misfit_below(field.shape, member, names, name),
            Some(_) => None,
            None => names.then(|| name.clone()),
        }
    })
}

fn misfit_below(shape: Shape, value: &Value, names: bool, place: &str) -> Option<String> {
    let inside = |shape: Shape, value: &Value, place: &str| misfit_below(shape, value, names, place);
    let found = match (shape, value) {
        (Shape::Document(table), _) => misfit(&table(), value, names)?,
        (Shape::Array(inner), Value::Array(items)) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| inside(*inner, item, &index.to_string()))?,
        (Shape::Map(inner), Value::Object(members)) => members
            .iter()
            .find_map(|(name, member)| inside(*inner, member, name))?,
        _ => return None,
    };
    Some(if found == "." {
        place.to_owned()
    } else {
        format!("{place}.{found}")
    })
}

/// Whether a field holds its default and is therefore not written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares one document type:
/// `strict Name = "table.Type" { /// docs\n field: Type = "JsonName", } always { .. }`.
macro_rules! document {
    ($(#[$meta:meta])* strict $($rest:tt)*) => {
        $crate::document::document! { @emit true [deny_unknown_fields] $(#[$meta])* $($rest)* }
    };
    ($(#[$meta:meta])* open $($rest:tt)*) => {
        $crate::document::document! { @emit false [default] $(#[$meta])* $($rest)* }
    };
    (@emit $strict:literal [$unknown:meta] $(#[$meta:meta])* $name:ident = $source:literal {
        $($(#[$field_meta:meta])* $field:ident: $type:ty = $json:literal,)*
    } $(always {
        $($(#[$always_meta:meta])* $always:ident: $always_type:ty = $always_json:literal,)*
    })?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde($unknown)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(rename = $json, default, skip_serializing_if = "crate::document::is_default")]
                pub $field: $type,
            )*
            $($(
                $(#[$always_meta])*
                #[serde(rename = $always_json, default)]
                pub $always: $always_type,
            )*)?
        }

        impl $crate::document::Document for $name {
            const TABLE: $crate::document::Table = $crate::document::Table {
                name: stringify!($name),
                source: $source,
                strict: $strict,
                fields: &[
                    $($crate::document::Field {
                        name: $json,
                        shape: <$type as $crate::document::Shaped>::SHAPE,
                    },)*
                    $($($crate::document::Field {
                        name: $always_json,
                        shape: <$always_type as $crate::document::Shaped>::SHAPE,
                    },)*)?
                ],
            };
        }

        impl $crate::document::Shaped for $name {
            const SHAPE: $crate::document::Shape =
                $crate::document::Shape::Document(|| <$name as $crate::document::Document>::TABLE);
        }
    };
}

/// Declares an enumeration: `strict Name = "table.Type" { /// docs\n Variant = "Text", }`.
///
/// Texts outside a *strict* one are errors; outside an *open* one they are read as its last variant.
macro_rules! choice {
    ($(#[$meta:meta])* strict $name:ident = $source:literal {
        $($(#[$variant_meta:meta])* $variant:ident = $json:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $json)] $variant,)+
        }
        $crate::document::choice! { @impl $name = $source { $($variant = $json,)+ } }
    };
    ($(#[$meta:meta])* open $name:ident = $source:literal {
        $($(#[$variant_meta:meta])* $variant:ident = $json:literal,)+
    } else {
        $(#[$other_meta:meta])* $other:ident = $other_json:literal
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $json)] $variant,)+
            $(#[$other_meta])* #[serde(rename = $other_json, other)] $other,
        }
        $crate::document::choice! { @impl $name = $source { $($variant = $json,)+ $other = $other_json, } }
    };
    (@impl $name:ident = $source:literal { $($variant:ident = $json:literal,)+ }) => {
        impl $name {
            /// The text in documents.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $json,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::document::Shaped for $name {
            const SHAPE: $crate::document::Shape = $crate::document::Shape::Choice($source, &[$($json,)+]);
        }
    };
}

pub(crate) use {choice, document};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ComputeSystem;

    #[test]
    fn an_unknown_field_is_reported_with_its_place() {
        let error = ComputeSystem::from_json(
            r#"{"VirtualMachine":{"Devices":{"Scsi":{"0":{"Attachments":{"1":{"Colour":"red"}}}}}}}"#,
        )
        .unwrap_err();
        assert_eq!(error.path, "VirtualMachine.Devices.Scsi.0.Attachments.1.Colour");
        assert!(error.to_string().contains("unknown field `Colour`"), "{error}");
    }

    #[test]
    fn text_after_the_document_is_an_error() {
        assert!(ComputeSystem::from_json("{} {}").is_err());
        assert!(ComputeSystem::from_json("").is_err());
    }

    #[test]
    fn a_list_is_not_a_document() {
        assert!(ComputeSystem::from_json("[]").is_err());
        assert!(ComputeSystem::from_value(&serde_json::json!(["owner"])).is_err());
        let error = ComputeSystem::from_json(r#"{"Container":{"MappedPipes":[{},[]]}}"#).unwrap_err();
        assert_eq!(error.path, "Container.MappedPipes.1");
    }

    #[test]
    fn a_field_that_is_there_twice_is_an_error() {
        assert!(ComputeSystem::from_json(r#"{"Owner":"a","Owner":"b"}"#).is_err());
    }

    #[test]
    fn unknown_fields_of_open_documents_can_be_found() {
        let value =
            serde_json::json!({"Statistics": {"Memory": {"Humidity": 3}}, "ProcessList": [{"Mood": 1}]});
        let found = unknown_field(&crate::Properties::TABLE, &value).unwrap();
        assert!(
            ["Statistics.Memory.Humidity", "ProcessList.0.Mood"].contains(&found.as_str()),
            "{found}"
        );
        assert!(crate::Properties::from_value(&value).is_ok());
    }

    #[test]
    fn defaults_are_not_written() {
        assert_eq!(ComputeSystem::default().to_json(), "{}");
    }
}
