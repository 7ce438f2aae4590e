//! What can go wrong on a bridge.

use std::time::Duration;

use crate::frame::FrameError;

/// A failure of a call or of the bridge itself.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GcsError {
    /// The agent answered with an error. The text is the guest's: bounded and without control characters.
    #[error("guest: {operation} failed with 0x{hresult:08x}: {message}")]
    Remote {
        /// The message that was answered.
        operation: &'static str,
        /// The HRESULT of the answer.
        hresult: i32,
        /// The agent's text.
        message: String,
    },
    /// The agent did not answer in time. The bridge stays open and a late answer is discarded.
    #[error("guest did not answer {operation} within {after:?}")]
    Timeout {
        /// The message that was not answered.
        operation: &'static str,
        /// How long we waited.
        after: Duration,
    },
    /// The bridge is closed.
    #[error("guest bridge is closed: {0}")]
    Closed(CloseReason),
    /// A document could not be written as JSON, or read from it.
    #[error("{operation}: invalid document: {message}")]
    Document {
        /// The message it belongs to.
        operation: &'static str,
        /// What the JSON library says.
        message: String,
    },
    /// The peer's answer to the negotiation is not acceptable.
    #[error("guest speaks protocol version {version}, expected 4")]
    Version {
        /// What the agent chose.
        version: u32,
    },
    /// Too many calls wait for an answer.
    #[error("{limit} calls wait for the guest already")]
    Busy {
        /// The limit.
        limit: usize,
    },
}

impl GcsError {
    /// The HRESULT that the agent reported, if it is that kind of failure.
    pub fn hresult(&self) -> Option<i32> {
        match self {
            Self::Remote { hresult, .. } => Some(*hresult),
            _ => None,
        }
    }
}

/// Why a bridge ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// Our side closed it.
    #[error("closed by the host")]
    Local,
    /// The guest closed the connection.
    #[error("the guest closed the connection")]
    Peer,
    /// Reading or writing failed.
    #[error("connection failed: {0}")]
    Io(String),
    /// The guest broke the protocol.
    #[error("the guest broke the protocol: {0}")]
    Protocol(String),
}

impl From<FrameError> for CloseReason {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Self::Io(error.to_string()),
            other => Self::Protocol(other.to_string()),
        }
    }
}
