//! Messages of `ctr.v1.Containers/Logs`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The request of `Containers/Logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadLogs {
    /// Which.
    pub container: String,
    /// Go on until the container ends; of one that was not started, wait for the start.
    pub follow: bool,
    /// Leave out standard output.
    pub no_stdout: bool,
    /// Leave out standard error.
    pub no_stderr: bool,
    /// From this time on.
    pub since: Option<String>,
    /// Up to this time.
    pub until: Option<String>,
    /// The last so many lines; absent: all.
    pub tail: Option<u64>,
}

/// Which output a piece of log came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of log: one line with its line feed, or a part of a long line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogItem {
    /// When it was written.
    pub time: String,
    /// To which output.
    pub stream: LogStream,
    /// The bytes, when they are UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in base64, when they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl LogItem {
    /// A piece with exactly these bytes.
    #[must_use]
    pub fn new(time: impl Into<String>, stream: LogStream, bytes: &[u8]) -> Self {
        let (text, base64) = match std::str::from_utf8(bytes) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(bytes))),
        };
        Self {
            time: time.into(),
            stream,
            text,
            base64,
        }
    }

    /// The bytes; nothing when the base64 is damaged.
    #[must_use]
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match (&self.text, &self.base64) {
            (Some(text), _) => Cow::Borrowed(text.as_bytes()),
            (None, Some(base64)) => Cow::Owned(STANDARD.decode(base64).unwrap_or_default()),
            (None, None) => Cow::Borrowed(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_log_are_exact() {
        for bytes in [&b"hello\n"[..], b"\xff\x00\r\n", b"", "grün\u{1b}[0m".as_bytes()] {
            let item = LogItem::new("t", LogStream::Stderr, bytes);
            let line = serde_json::to_string(&item).unwrap();
            let read: LogItem = serde_json::from_str(&line).unwrap();
            assert_eq!(read.bytes(), bytes);
        }
    }
}
