//! From a frame to a request and from an answer to a frame. Whatever does not fit becomes an error that does.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::AgentError;
use crate::frame::{Frame, GUEST_LIMIT, HEADER};
use crate::message::{ErrorRecord, MessageType, RequestBase, ResponseBase, WithBase};
use crate::{hresult, json};

/// How much of an error text is sent.
const TEXT_LIMIT: usize = 8 << 10;

/// Reads a request.
pub(super) fn decode<T: DeserializeOwned>(frame: &Frame) -> Result<(RequestBase, T), AgentError> {
    json::object(&frame.payload)
        .and_then(json::split)
        .map_err(|error| AgentError::new(hresult::INVALID_JSON, format!("request cannot be read: {error}")))
}

/// Writes an answer. One that is too large for the host becomes an error.
pub(super) fn encode<R: Serialize>(
    request: &Frame,
    base: &RequestBase,
    answer: Result<R, AgentError>,
) -> Frame {
    let number = MessageType::response_to(request.message);
    let written = match &answer {
        Ok(body) => serde_json::to_vec(&WithBase {
            base: &success(base),
            body,
        })
        .map_err(|error| AgentError::fail(format!("answer cannot be written: {error}"))),
        Err(error) => Err(error.clone()),
    };
    let written = written.and_then(|payload| {
        if payload.len() + HEADER <= GUEST_LIMIT {
            return Ok(payload);
        }
        Err(AgentError::fail(format!(
            "answer of {} bytes is too large",
            payload.len()
        )))
    });
    let payload = written.unwrap_or_else(|error| {
        serde_json::to_vec(&failure(base, error)).expect("a response base is always JSON")
    });
    Frame::new(number, request.id, payload)
}

fn success(base: &RequestBase) -> ResponseBase {
    // The host's decoder takes only a GUID here.
    let activity_id = match uuid::Uuid::try_parse(&base.activity_id) {
        Ok(_) if base.activity_id.len() == 36 => base.activity_id.clone(),
        _ => String::new(),
    };
    ResponseBase {
        activity_id,
        ..ResponseBase::default()
    }
}

fn failure(base: &RequestBase, error: AgentError) -> ResponseBase {
    let result = if error.hresult == 0 {
        hresult::FAIL
    } else {
        error.hresult
    };
    let message = cut(error.message, TEXT_LIMIT);
    let record = ErrorRecord {
        result,
        message: message.clone(),
        module_name: "gcs".to_owned(),
        line: u32::MAX,
        ..ErrorRecord::default()
    };
    ResponseBase {
        result,
        error_message: message,
        error_records: vec![record],
        ..success(base)
    }
}

/// Cuts a text at a character boundary.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
    }
    text
}
