//! The one error of tasks and sandboxes.
//!
//! It crosses the shim's socket as JSON: the kind, the message, the agent's or compute service's code and the chain
//! of causes as text arrive on the other side.

use std::error::Error as StdError;

use serde::{Deserialize, Serialize};

/// What every function here returns.
pub type Result<T, E = TaskError> = std::result::Result<T, E>;

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such task or exec.
    NotFound,
    /// The id is taken.
    AlreadyExists,
    /// The task is in a state that forbids it.
    InvalidState,
    /// The specification is wrong.
    InvalidArgument,
    /// No slot, port or space is left.
    ResourceExhausted,
    /// The sandbox does not do that.
    Unsupported,
    /// The guest agent refused.
    Guest,
    /// The compute service refused.
    Compute,
    /// Either refused the adapter that a container needs for its network.
    Network,
    /// A file or socket of the host.
    Io,
    /// The other side did not answer in time.
    Timeout,
    /// The sandbox is gone.
    SandboxGone,
    /// The shim broke its protocol.
    Shim,
}

/// A failure.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct TaskError {
    /// What it means.
    pub kind: ErrorKind,
    /// What failed, and of the guest's and the compute service's failures also why.
    pub message: String,
    /// The code of the agent or of the compute service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hresult: Option<i32>,
    /// Why.
    #[source]
    #[serde(default, skip_serializing_if = "Option::is_none", with = "causes")]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl TaskError {
    /// A failure without cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hresult: None,
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What a container needs for its network was refused. Other failures stay what they are.
    pub(crate) fn of_network(mut self) -> Self {
        if matches!(self.kind, ErrorKind::Guest | ErrorKind::Compute) {
            self.kind = ErrorKind::Network;
            self.message = format!("cannot plug the container into its network: {}", self.message);
        }
        self
    }

    /// A file or socket failed.
    pub(crate) fn io(what: impl std::fmt::Display, error: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{what}: {error}")).because(error)
    }

    /// No such task.
    pub(crate) fn no_task(id: &str) -> Self {
        Self::new(ErrorKind::NotFound, format!("no such task: {id}"))
    }

    /// The sandbox is gone.
    pub(crate) fn gone(reason: &str) -> Self {
        Self::new(ErrorKind::SandboxGone, format!("sandbox is gone: {reason}"))
    }
}

impl From<gcs::GcsError> for TaskError {
    fn from(error: gcs::GcsError) -> Self {
        let kind = match &error {
            gcs::GcsError::Timeout { .. } => ErrorKind::Timeout,
            gcs::GcsError::Closed(_) => ErrorKind::SandboxGone,
            gcs::GcsError::Busy { .. } => ErrorKind::ResourceExhausted,
            gcs::GcsError::Document { .. } => ErrorKind::InvalidArgument,
            _ => ErrorKind::Guest,
        };
        Self {
            kind,
            message: error.to_string(),
            hresult: error.hresult(),
            source: Some(Box::new(error)),
        }
    }
}

impl From<compute::ComputeError> for TaskError {
    fn from(error: compute::ComputeError) -> Self {
        let hresult = Some(error.hresult.as_i32());
        Self {
            kind: ErrorKind::Compute,
            message: error.to_string(),
            hresult,
            source: Some(Box::new(error)),
        }
    }
}

/// The chain of causes as a list of texts.
mod causes {
    use std::error::Error as StdError;

    use serde::{Deserialize, Deserializer, Serializer};

    /// A cause that came as text.
    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Cause {
        text: String,
        #[source]
        source: Option<Box<Self>>,
    }

    #[expect(clippy::ref_option, reason = "the signature serde calls")]
    pub(super) fn serialize<S: Serializer>(
        source: &Option<Box<dyn StdError + Send + Sync>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut texts = Vec::new();
        let mut next = source.as_deref().map(|error| error as &dyn StdError);
        while let Some(error) = next {
            texts.push(error.to_string());
            next = error.source();
        }
        serializer.collect_seq(texts)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Box<dyn StdError + Send + Sync>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let chain = texts
            .into_iter()
            .rev()
            .fold(None, |source, text| Some(Box::new(Cause { text, source })));
        Ok(chain.map(|cause| cause as Box<dyn StdError + Send + Sync>))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_the_socket_with_its_causes() {
        let inner = TaskError::new(ErrorKind::Io, "disk: broken").because(std::io::Error::other("sector 7"));
        let outer = TaskError::new(ErrorKind::InvalidState, "task c1 cannot start").because(inner);
        let text = serde_json::to_string(&outer).unwrap();
        let back: TaskError = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (back.kind, back.to_string()),
            (ErrorKind::InvalidState, "task c1 cannot start".to_owned())
        );
        let cause = StdError::source(&back).unwrap();
        assert_eq!(cause.to_string(), "disk: broken");
        assert_eq!(cause.source().unwrap().to_string(), "sector 7");
    }
}
