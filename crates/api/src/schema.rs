//! The reference of the wire, generated from the service table and the message types.
//!
//! A test writes what [`reference`] returns into `docs/reference/` (with `CTR_LIKE_BLESS=1`) or fails when the files
//! there differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::message::{OpenStream, StreamTicket};
use crate::service::{Kind, METHODS, Method, SERVICES};
use crate::{Control, Status};

/// The files of the reference: their paths below `docs/reference/` and their contents.
#[must_use]
pub fn reference() -> Vec<(String, String)> {
    let mut files = vec![("api.md".to_owned(), index())];
    for (service, _) in SERVICES {
        let mut schemas = generator();
        let methods: Map<String, Value> = METHODS
            .iter()
            .filter(|method| method.service == *service)
            .map(|method| {
                let entry = json!({
                    "kind": kind(method.kind),
                    "description": method.doc.trim(),
                    "params": (method.params)(&mut schemas),
                    result_key(method.kind): (method.result)(&mut schemas),
                });
                (method.name.to_owned(), entry)
            })
            .collect();
        files.push(file(service, json!({ "methods": methods }), schemas));
    }
    let mut schemas = generator();
    let wire = json!({
        "error": schemas.subschema_for::<Status>(),
        "control": schemas.subschema_for::<Control>(),
        "ctr.v1.Streams/Open": { "params": schemas.subschema_for::<OpenStream>(), "result": {} },
        "ticket": schemas.subschema_for::<StreamTicket>(),
    });
    files.push(file("wire", wire, schemas));
    files
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

fn file(title: &str, mut body: Value, mut schemas: SchemaGenerator) -> (String, String) {
    body["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    body["title"] = title.into();
    body["$defs"] = Value::Object(schemas.take_definitions(true));
    let text = serde_json::to_string_pretty(&sorted(body)).expect("a schema has no keys but strings");
    (format!("schemas/{title}.json"), format!("{text}\n"))
}

/// The same with the keys in order, whatever map serde_json was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Unary => "unary",
        Kind::Wait => "wait",
        Kind::Stream => "stream",
        Kind::Bytes => "bytes",
    }
}

fn result_key(kind: Kind) -> &'static str {
    if kind == Kind::Stream { "item" } else { "result" }
}

const PREFACE: &str = "\
# API reference

Generated from `crates/api`; do not edit. The JSON Schemas are in [`schemas/`](schemas/).

The daemon listens on `\\\\.\\pipe\\ctr-like` (Windows), `/run/ctr-like/ctr-like.sock` (Linux, root) or
`$XDG_RUNTIME_DIR/ctr-like/ctr-like.sock` (Linux, others). A connection carries one JSON object per line, UTF-8, ended by LF:

```text
-> {\"id\":7,\"method\":\"ctr.v1.Containers/Create\",\"params\":{\"image\":\"busybox\"},\"deadline_ms\":30000}
-> {\"id\":7,\"cancel\":true}
<- {\"id\":7,\"result\":{\"id\":\"4f1c...\"}}                     unary, wait, bytes
<- {\"id\":7,\"item\":{...}} ... {\"id\":7,\"end\":{}}             stream
<- {\"id\":7,\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"...\"}}
```

* Ids are the client's: integers, unique among its calls in flight. Calls of one connection run concurrently.
* `params` may leave out every field whose value is the default (empty, zero, false, null). Unknown fields are refused.
  Results may gain fields: skip what you do not know.
* `deadline_ms` bounds a call. Unary calls have a deadline of ten minutes when none is given; `wait` and `stream` have none.
* A conversation may begin with `ctr.v1.System/Version` and the range of API versions that the client speaks; the daemon
  answers `FAILED_PRECONDITION` when it speaks none of them. This reference is for version 1.
* Limits: a line has at most 4 MiB and 64 levels of nesting; a connection has at most 256 calls and 64 streams in flight,
  must say something within 10 seconds, and is closed after 10 minutes without a call. What exceeds a limit is answered
  by `RESOURCE_EXHAUSTED`. Replies must be read: after 60 seconds without progress the connection is closed and its calls
  are cancelled.
* A connection that ends cancels its calls (those that answer at once are still answered when only the sending side closed).

**Byte streams.** A `bytes` method answers with a token. Open a second connection as the same user, send
`{\"id\":1,\"method\":\"ctr.v1.Streams/Open\",\"params\":{\"token\":\"...\"}}` as its first line within 30 seconds, and read the reply line;
from then on both directions carry frames: `u8` channel, `u32` little-endian length, payload (at most 1 MiB). Channels: 0
standard input (to the daemon), 1 standard output, 2 standard error, 3 control (JSON: `progress`, `result` or `error`). Length 0 ends a
channel in its direction. The daemon closes the connection when the stream is over; closing it earlier detaches.

**Errors** have a `code` (the names of gRPC), a `message`, and where they help `hints`, the `resource`, `causes` and what the
compute service said (`hcs`): see [Status](#status).
";

/// The overview: methods by service, then every message with its fields.
fn index() -> String {
    let mut text = PREFACE.to_owned();
    let mut schemas = generator();
    for (service, doc) in SERVICES {
        let _ = write!(
            text,
            "\n## {service}\n\n{}\n\n| method | kind | params | result | |\n|---|---|---|---|---|\n",
            doc.trim()
        );
        for method in METHODS.iter().filter(|method| method.service == *service) {
            let Method {
                name,
                kind: how,
                doc,
                params,
                result,
                ..
            } = method;
            let (params, result) = (
                kind_of((params)(&mut schemas).as_value()),
                kind_of((result)(&mut schemas).as_value()),
            );
            let _ = writeln!(
                text,
                "| `{name}` | {} | {params} | {result} | {} |",
                kind(*how),
                one_line(doc)
            );
        }
    }
    schemas.subschema_for::<Status>();
    schemas.subschema_for::<Control>();
    schemas.subschema_for::<OpenStream>();
    let definitions: BTreeMap<String, Value> = schemas
        .take_definitions(true)
        .into_iter()
        .map(|(name, schema)| (name, sorted(schema)))
        .collect();
    text.push_str("\n## Messages\n");
    for (name, schema) in &definitions {
        let _ = write!(
            text,
            "\n### {name}\n\n{}\n",
            one_line(schema["description"].as_str().unwrap_or_default())
        );
        message(&mut text, schema);
    }
    text
}

fn message(text: &mut String, schema: &Value) {
    if let Some(fields) = schema["properties"].as_object() {
        let required: BTreeSet<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        text.push_str("\n| field | type | |\n|---|---|---|\n");
        for (name, field) in fields {
            let mark = if required.contains(name.as_str()) {
                " *"
            } else {
                ""
            };
            let doc = one_line(field["description"].as_str().unwrap_or_default());
            let _ = writeln!(text, "| `{name}`{mark} | {} | {doc} |", kind_of(field));
        }
    }
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        let doc = one_line(variant["description"].as_str().unwrap_or_default());
        let names = variant["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let named: Vec<String> = match (&variant["const"], variant["properties"].as_object()) {
            (Value::String(name), _) => vec![format!("`{name}`")],
            (_, Some(fields)) => fields
                .iter()
                .map(|(name, field)| format!("`{name}`: {}", kind_of(field)))
                .collect(),
            _ => names.map(|name| format!("`{name}`")).collect(),
        };
        let _ = write!(text, "\n* {} {doc}", named.join(", "));
    }
    if schema["oneOf"].is_array() {
        text.push('\n');
    }
}

/// The type of a schema in a few words.
fn kind_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    let union = schema["anyOf"].as_array().or(schema["allOf"].as_array());
    if let Some(first) = union.and_then(|union| union.first()) {
        return kind_of(first);
    }
    let named = match &schema["type"] {
        Value::String(name) => name.as_str(),
        Value::Array(names) => names.first().and_then(Value::as_str).unwrap_or("any"),
        _ => "any",
    };
    match named {
        "array" => format!("list of {}", kind_of(&schema["items"])),
        "object"
            if !schema["additionalProperties"].is_boolean() && !schema["additionalProperties"].is_null() =>
        {
            format!("map to {}", kind_of(&schema["additionalProperties"]))
        }
        name => name.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
