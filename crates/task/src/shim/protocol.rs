//! What daemon and shim say to each other.
//!
//! One JSON object per line. The daemon sends `{"id":1,"method":"start","params":{"id":"c1"}}`, the shim answers
//! `{"id":1,"result":..}` or `{"id":1,"error":..}`, in any order; `{"id":1,"cancel":true}` means that nobody waits
//! for the answer any more. Three calls turn their connection into a stream once they are answered, and are alone on
//! it: `attach`, `files` and an `exec` that is not detached. From then on the shim sends attach frames as in
//! [`crate::AttachStreams::output`], and the daemon sends frames of channel 0: data, or the end of input when empty.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::error::{ErrorKind, Result, TaskError};
use crate::{FilesSpec, ProcessSpec, TaskSpec};

/// The version of the protocol, in the answer to `hello`.
pub(crate) const VERSION: u32 = 1;

/// The longest line.
const LINE: u64 = 8 << 20;

/// A call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub(crate) enum Call {
    Hello,
    Create(Box<TaskSpec>),
    Start {
        id: String,
    },
    Exec {
        id: String,
        exec: String,
        process: Box<ProcessSpec>,
    },
    Files {
        id: String,
        exec: String,
        spec: Box<FilesSpec>,
    },
    DeleteExec {
        id: String,
        exec: String,
    },
    Signal {
        id: String,
        exec: Option<String>,
        signal: i32,
    },
    Resize {
        id: String,
        exec: Option<String>,
        height: u16,
        width: u16,
    },
    Attach {
        id: String,
        exec: Option<String>,
    },
    Wait {
        id: String,
        exec: Option<String>,
    },
    State {
        id: String,
    },
    Tasks,
    Stats {
        id: String,
    },
    Update {
        id: String,
        resources: Value,
    },
    Delete {
        id: String,
    },
    Trim,
    Retire,
    Shutdown,
    /// Answered with the reason when the sandbox has ended.
    Closed,
}

impl Call {
    /// It is no mere question: once begun it is finished, whoever asked for it.
    pub(crate) fn changes_something(&self) -> bool {
        match self {
            Self::Create(_)
            | Self::Start { .. }
            | Self::Exec { .. }
            | Self::Files { .. }
            | Self::DeleteExec { .. }
            | Self::Signal { .. }
            | Self::Update { .. }
            | Self::Delete { .. }
            | Self::Trim
            | Self::Retire
            | Self::Shutdown => true,
            Self::Hello
            | Self::Resize { .. }
            | Self::Attach { .. }
            | Self::Wait { .. }
            | Self::State { .. }
            | Self::Tasks
            | Self::Stats { .. }
            | Self::Closed => false,
        }
    }
}

/// The answer to `hello`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    pub(crate) pid: u32,
}

/// The answer to a call that becomes a stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// Of an exec.
    pub(crate) pid: Option<u32>,
    /// Input is taken.
    pub(crate) stdin: bool,
}

/// A line of the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Request {
    Call {
        id: u64,
        #[serde(flatten)]
        call: Call,
    },
    Cancel {
        id: u64,
        cancel: bool,
    },
}

/// A line of the shim.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) id: u64,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) result: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<TaskError>,
}

impl Response {
    pub(crate) fn new(id: u64, outcome: Result<Value>) -> Self {
        match outcome {
            Ok(result) => Self {
                id,
                result,
                error: None,
            },
            Err(error) => Self {
                id,
                result: Value::Null,
                error: Some(error),
            },
        }
    }

    pub(crate) fn outcome<T: DeserializeOwned>(self) -> Result<T> {
        match self.error {
            Some(error) => Err(error),
            None => serde_json::from_value(self.result).map_err(unreadable),
        }
    }
}

/// What the other side said is not what it should be.
pub(crate) fn unreadable(error: serde_json::Error) -> TaskError {
    TaskError::new(
        ErrorKind::Shim,
        format!("shim and daemon do not understand each other: {error}"),
    )
    .because(error)
}

/// A line to send.
pub(crate) fn line<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message).map_err(unreadable)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a line; `None` at the end.
pub(crate) async fn read_line<T: DeserializeOwned>(
    reader: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    (&mut *reader).take(LINE).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&line).map(Some).map_err(io::Error::from)
}

/// The header of a frame.
pub(crate) fn header(channel: u8, length: usize) -> [u8; 5] {
    let mut header = [channel, 0, 0, 0, 0];
    let length = u32::try_from(length).expect("pieces are cut to the size of a buffer");
    header[1..].copy_from_slice(&length.to_le_bytes());
    header
}

/// Reads the header of a frame; `None` at the end.
pub(crate) async fn read_header(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<(u8, usize)>> {
    if reader.fill_buf().await?.is_empty() {
        return Ok(None);
    }
    let channel = reader.read_u8().await?;
    let length = reader.read_u32_le().await?;
    Ok(Some((
        channel,
        usize::try_from(length).map_err(io::Error::other)?,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_lines_with_method_and_params() {
        let call = Call::Signal {
            id: "c1".into(),
            exec: None,
            signal: 15,
        };
        let text = String::from_utf8(line(&Request::Call { id: 7, call }).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"id\":7,\"method\":\"signal\",\"params\":{\"id\":\"c1\",\"exec\":null,\"signal\":15}}\n"
        );
        let Request::Call {
            id: 7,
            call: Call::Signal { signal: 15, .. },
        } = serde_json::from_str(&text).unwrap()
        else {
            panic!("read back as something else");
        };
        let text = String::from_utf8(
            line(&Request::Call {
                id: 1,
                call: Call::Tasks,
            })
            .unwrap(),
        )
        .unwrap();
        assert!(matches!(
            serde_json::from_str(&text).unwrap(),
            Request::Call {
                call: Call::Tasks,
                ..
            }
        ));
        let cancel = serde_json::from_str(r#"{"id":7,"cancel":true}"#).unwrap();
        assert!(matches!(cancel, Request::Cancel { id: 7, cancel: true }));
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_taken() {
        assert!(read_line::<Value>(&mut &b"{\"id\":1}"[..]).await.is_err());
        assert!(read_line::<Value>(&mut &b""[..]).await.unwrap().is_none());
    }
}
