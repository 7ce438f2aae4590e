//! Documents of callers, read strictly.

use hcs::document::unknown_field;
use hcs::hcn::{HostComputeQuery, SchemaVersion};
use hcs::{Document, HResult};
use layerstore::journal::misuse;
use layerstore::{Answer, Code};
use serde_json::Value;
use uuid::Uuid;

/// A code of the network service.
pub(crate) fn code(code: HResult) -> Code {
    Code(code.bits())
}

/// Notes a misuse.
pub(crate) fn wrong<T>(function: &str, what: impl std::fmt::Display, with: HResult) -> Answer<T> {
    misuse(function, what);
    Err(code(with))
}

/// Reads a document of which every field is known.
pub(crate) fn read<T: Document>(function: &str, what: &str, value: &Value) -> Answer<T> {
    const WITH: HResult = HResult::HCN_INVALID_JSON;
    if let Some(field) = unknown_field(&T::TABLE, value) {
        return wrong(function, format_args!("{what} have no field {field}"), WITH);
    }
    T::from_value(value)
        .or_else(|error| wrong(function, format_args!("{what} cannot be read: {error}"), WITH))
}

/// Reads a text as JSON.
pub(crate) fn parse(function: &str, what: &str, text: &str) -> Answer<Value> {
    serde_json::from_str(text).or_else(|error| {
        wrong(
            function,
            format_args!("{what} are no JSON: {error}"),
            HResult::HCN_INVALID_JSON,
        )
    })
}

/// Checks that a document says that it is of version 2.
pub(crate) fn version(function: &str, what: &str, version: Option<SchemaVersion>) -> Answer {
    if version.is_some_and(|version| version.major == 2) {
        return Ok(());
    }
    wrong(
        function,
        format_args!("the schema version of {what} is not 2.0"),
        HResult::HCN_INVALID_JSON,
    )
}

/// Reads a query; the filter, parsed, or null.
pub(crate) fn query(function: &str, value: &Value) -> Answer<Value> {
    let query: HostComputeQuery = read(function, "queries", value)?;
    version(function, "the query", Some(query.schema_version))?;
    if query.filter.is_empty() {
        return Ok(Value::Null);
    }
    let filter = parse(function, "filters", &query.filter)?;
    let known =
        |name: &String| ["ID", "Name", "VirtualNetwork", "VirtualNetworkName"].contains(&name.as_str());
    if !filter.as_object().is_some_and(|filter| filter.keys().all(known)) {
        return wrong(
            function,
            format_args!("the filter {filter} has something unknown"),
            HResult::HCN_INVALID_JSON,
        );
    }
    Ok(filter)
}

/// Whether an object is what a filter asks for. Texts are compared without case.
pub(crate) fn matches(filter: &Value, id: Uuid, name: &str, network: &str) -> bool {
    let same = |field: &str, text: &str| {
        filter[field]
            .as_str()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(text))
    };
    same("ID", &id.to_string()) && same("Name", name) && same("VirtualNetwork", network)
}

/// Reads an id in a document.
pub(crate) fn id(function: &str, what: &str, text: &str) -> Answer<Uuid> {
    text.parse().or_else(|_| {
        wrong(
            function,
            format_args!("{what} is no id: {text}"),
            HResult::HCN_GUID_CONVERSION_FAILURE,
        )
    })
}
