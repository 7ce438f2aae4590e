//! The lines of the wire: JSON objects, one per line, UTF-8, ended by LF (a CR before it is ignored).
//!
//! ```text
//! -> {"id":7,"method":"ctr.v1.Containers/Create","params":{...},"deadline_ms":30000}
//! -> {"id":7,"cancel":true}
//! <- {"id":7,"result":{...}}                              the answer to a unary call
//! <- {"id":7,"item":{...}} ... {"id":7,"end":{}}          the answer to a stream
//! <- {"id":7,"error":{"code":"NOT_FOUND","message":"..."}}
//! ```
//!
//! Ids are the client's: integers from 0 to 2^53, unique among its calls in flight. An error whose id could not be read
//! has the id null. A cancelled call is answered by an error with the code `CANCELLED`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Status;
use crate::limits::{self, MAX_DEPTH};

/// The largest id: every JSON reader represents it exactly.
pub const MAX_ID: u64 = 1 << 53;

/// The method that turns a connection into a byte stream.
pub const OPEN_STREAM: &str = "ctr.v1.Streams/Open";

/// The method that opens a conversation.
pub const VERSION: &str = "ctr.v1.System/Version";

/// A line of the client.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    Call {
        id: u64,
        method: String,
        params: Option<&'a RawValue>,
        deadline_ms: Option<u64>,
    },
    Cancel {
        id: u64,
    },
}

/// A line that cannot be understood, with the id where that much could be read.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) id: Option<u64>,
    pub(crate) status: Status,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    deadline_ms: Option<&'a RawValue>,
    cancel: Option<bool>,
}

/// Reads one line of a client.
pub(crate) fn parse_request(line: &[u8]) -> Result<Incoming<'_>, Malformed> {
    let malformed = |id, message: String| Malformed {
        id,
        status: Status::invalid(message),
    };
    if limits::depth(line) > MAX_DEPTH {
        return Err(malformed(
            None,
            format!("the request is nested deeper than {MAX_DEPTH} levels"),
        ));
    }
    let envelope: Envelope<'_> = serde_json::from_slice(line)
        .map_err(|error| malformed(salvage_id(line), format!("not a request: {error}")))?;
    let id = envelope.id.and_then(parse_id).ok_or_else(|| {
        malformed(
            None,
            format!("the id of a request must be an integer from 0 to {MAX_ID}"),
        )
    })?;
    if envelope.cancel == Some(true) {
        return Ok(Incoming::Cancel { id });
    }
    let method = envelope
        .method
        .and_then(|method| serde_json::from_str::<String>(method.get()).ok())
        .ok_or_else(|| malformed(Some(id), "a request needs a method".to_owned()))?;
    let deadline_ms = match envelope
        .deadline_ms
        .map(|raw| (raw, serde_json::from_str::<u64>(raw.get())))
    {
        None => None,
        Some((_, Ok(deadline))) => Some(deadline),
        // Beyond 64 bits but still a plain number of milliseconds: as good as no deadline.
        Some((raw, Err(_))) if raw.get().bytes().all(|byte| byte.is_ascii_digit()) => Some(u64::MAX),
        Some(_) => {
            return Err(malformed(
                Some(id),
                "deadline_ms must be a number of milliseconds, 0 or more".to_owned(),
            ));
        }
    };
    Ok(Incoming::Call {
        id,
        method,
        params: envelope.params,
        deadline_ms,
    })
}

fn parse_id(raw: &RawValue) -> Option<u64> {
    serde_json::from_str::<u64>(raw.get())
        .ok()
        .filter(|id| *id <= MAX_ID)
}

/// The id of a line whose rest is wrong.
fn salvage_id(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct OnlyId<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    serde_json::from_slice::<OnlyId<'_>>(line)
        .ok()?
        .id
        .and_then(parse_id)
}

/// Decodes the parameters of a call; absent ones are an empty object.
pub(crate) fn decode_params<T: DeserializeOwned>(params: Option<&RawValue>) -> Result<T, Status> {
    let text = params.map_or("{}", RawValue::get);
    if !text.starts_with('{') {
        return Err(Status::invalid("params must be an object").about("field", "params"));
    }
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let mut status = Status::invalid(format!("invalid parameters: {message}"));
        if let Some(field) = quoted(&message) {
            status = status.about("field", field);
        }
        if message.contains("unknown field") {
            status = status
                .hint("the client may be newer than the daemon; compare the two with `ctr-like version`");
        }
        status
    })
}

/// The first name between backquotes, as serde writes fields.
fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

/// Encodes parameters without what equals the default.
pub(crate) fn encode_params<T: Serialize + Default>(params: &T) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(params)?;
    if let (Value::Object(fields), Value::Object(defaults)) =
        (&mut value, serde_json::to_value(T::default())?)
    {
        fields.retain(|name, value| defaults.get(name) != Some(value));
    }
    Ok(value)
}

/// A line of the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    pub(crate) id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) item: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<crate::message::Empty>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Status>,
}

impl Outgoing {
    const NOTHING: Self = Self {
        id: None,
        result: None,
        item: None,
        end: None,
        error: None,
    };

    pub(crate) fn result(id: u64, result: Box<RawValue>) -> Self {
        Self {
            id: Some(id),
            result: Some(result),
            ..Self::NOTHING
        }
    }

    pub(crate) fn item(id: u64, item: Box<RawValue>) -> Self {
        Self {
            id: Some(id),
            item: Some(item),
            ..Self::NOTHING
        }
    }

    pub(crate) fn end(id: u64) -> Self {
        Self {
            id: Some(id),
            end: Some(crate::message::Empty {}),
            ..Self::NOTHING
        }
    }

    pub(crate) fn error(id: Option<u64>, status: Status) -> Self {
        Self {
            id,
            error: Some(status),
            ..Self::NOTHING
        }
    }

    /// The line, with its line feed; one that would be longer than `limit` becomes an error.
    pub(crate) fn line(self, limit: usize) -> Vec<u8> {
        let id = self.id;
        let mut line = match serde_json::to_vec(&self) {
            Ok(line) if line.len() <= limit => line,
            Ok(line) => too_long(id, line.len(), limit),
            Err(_) => too_long(id, 0, limit),
        };
        line.push(b'\n');
        line
    }
}

fn too_long(id: Option<u64>, length: usize, limit: usize) -> Vec<u8> {
    let status = Status::exhausted(format!("the answer has {length} bytes, a line may have {limit}"))
        .hint("ask for less: use filters, a tail or a limit");
    serde_json::to_vec(&Outgoing::error(id, status)).expect("an error object has no keys but strings")
}

/// A line of the client, to be sent.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) id: u64,
    pub(crate) method: &'a str,
    pub(crate) params: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::Code;
    use crate::message::{AttachContainer, CreateContainer, ListContainers, PullImage, ReadLogs};

    /// Lines of which changed ones still resemble requests.
    const LINES: &[&str] = &[
        r#"{"id":7,"method":"ctr.v1.System/Ping"}"#,
        r#"{"id":9007199254740992,"cancel":true}"#,
        r#"{"id":1,"method":"ctr.v1.Containers/Create","params":{"image":"busybox","name":"web","env":["A=1"],"cmd":["sh","-c","true"],"labels":{"a":"b"},"tty":true,"ports":[],"mounts":[],"memory":1048576},"deadline_ms":30000}"#,
        r#"{"id":2,"method":"ctr.v1.Containers/Logs","params":{"container":"web","follow":true,"tail":10,"since":"5m"}}"#,
        r#"{"id":3,"method":"ctr.v1.Containers/List","params":{"all":true,"limit":5,"filters":{"status":["running"]}}}"#,
        r#"{"id":4,"method":"ctr.v1.Images/Pull","params":{"reference":"busybox:latest","platform":"linux/amd64"}}"#,
    ];

    /// Pieces of JSON that a byte at a time would hardly come to.
    const PIECES: &[&str] = &[
        "null",
        "-1",
        "1e400",
        "18446744073709551616",
        "\"\\ud800\"",
        "[[[[",
        "{}",
        "[]",
        ",",
        "\"id\":2,",
        "\0",
        "\u{feff}",
    ];

    /// Every kind of reading that a line can meet.
    fn read(line: &[u8]) -> Result<(), TestCaseError> {
        match parse_request(line) {
            Err(Malformed { id, status }) => {
                prop_assert_eq!(status.code, Code::InvalidArgument);
                prop_assert!(!status.message.is_empty());
                prop_assert!(id.is_none_or(|id| id <= MAX_ID));
            }
            Ok(Incoming::Cancel { id }) => prop_assert!(id <= MAX_ID),
            Ok(Incoming::Call { id, params, .. }) => {
                prop_assert!(id <= MAX_ID);
                for refused in [
                    decode_params::<CreateContainer>(params).err(),
                    decode_params::<ReadLogs>(params).err(),
                    decode_params::<AttachContainer>(params).err(),
                    decode_params::<ListContainers>(params).err(),
                    decode_params::<PullImage>(params).err(),
                ]
                .into_iter()
                .flatten()
                {
                    prop_assert_eq!(refused.code, Code::InvalidArgument);
                    prop_assert!(!refused.message.is_empty());
                }
            }
        }
        // The client reads lines as well.
        if let Ok(reply) = serde_json::from_slice::<Outgoing>(line) {
            prop_assert!(reply.line(1 << 10).ends_with(b"\n"));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused_with_a_reason(line in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&line)?;
        }

        #[test]
        fn changed_lines_are_read_or_refused_with_a_reason(
            line in prop::sample::select(LINES),
            bytes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
            pieces in prop::collection::vec((any::<Index>(), prop::sample::select(PIECES)), 0..3),
        ) {
            let mut line = line.as_bytes().to_vec();
            for (at, byte) in bytes {
                let at = at.index(line.len());
                line[at] = byte;
            }
            for (at, piece) in pieces {
                let at = at.index(line.len());
                line.splice(at..at, piece.bytes());
            }
            read(&line)?;
        }
    }

    #[test]
    fn the_lines_are_requests_as_they_are() {
        for line in LINES {
            assert!(parse_request(line.as_bytes()).is_ok(), "{line}");
        }
    }
}
