//! Status codes and the error object of the wire.
//!
//! Codes are gRPC's, by name. The message is one sentence fixed by tests, because scripts match it; hints say what to
//! do next, one step each; causes are the chain of what went wrong below, outermost first.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of failure a [`Status`] is. The names are gRPC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The caller gave up.
    Cancelled,
    /// The request is wrong whatever the state of the system.
    InvalidArgument,
    /// The deadline passed first.
    DeadlineExceeded,
    /// The named thing does not exist.
    NotFound,
    /// The thing to be created exists.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// A limit was reached.
    ResourceExhausted,
    /// The system is not in the state that the call needs.
    FailedPrecondition,
    /// The call lost a race; the same call may work when repeated.
    Aborted,
    /// The value is outside what the system can represent.
    OutOfRange,
    /// Not supported; the hints name an alternative.
    Unimplemented,
    /// A bug, or a failure of the machine below.
    Internal,
    /// The daemon cannot be reached or is going away.
    Unavailable,
    /// Data is damaged: a digest does not match.
    DataLoss,
    /// Credentials are missing or wrong.
    Unauthenticated,
    /// A code that this build does not know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The name used on the wire, for example `NOT_FOUND`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The thing that a failure is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// `container`, `image`, `exec`, `network`, `volume`, `method`, `field`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// As the caller named it.
    pub name: String,
}

/// What the compute service said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HcsDetail {
    /// The operation that failed, for example `HcsStartComputeSystem`.
    pub operation: String,
    /// The HRESULT as eight hexadecimal digits, for example `0xC0370103`.
    pub hresult: String,
    /// The symbolic name of the HRESULT, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The result document of the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// The failure of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The class of the failure.
    pub code: Code,
    /// One sentence.
    pub message: String,
    /// What to do next, one step each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Box<Resource>>,
    /// The chain of causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What the compute service said, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hcs: Option<Box<HcsDetail>>,
}

impl Status {
    /// A failure of class `code`.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hints: Vec::new(),
            resource: None,
            causes: Vec::new(),
            hcs: None,
        }
    }

    /// The same with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same with one more cause, below those already there.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// The same with the whole chain below `error` (and `error` itself) as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    /// The same, about the `kind` called `name`.
    #[must_use]
    pub fn about(mut self, kind: impl Into<String>, name: impl Into<String>) -> Self {
        self.resource = Some(Box::new(Resource {
            kind: kind.into(),
            name: name.into(),
        }));
        self
    }

    /// The same with what the compute service said.
    #[must_use]
    pub fn hcs(mut self, detail: HcsDetail) -> Self {
        self.hcs = Some(Box::new(detail));
        self
    }

    /// `INVALID_ARGUMENT`.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// `NOT_FOUND`.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// `FAILED_PRECONDITION`.
    #[must_use]
    pub fn failed_precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// `UNIMPLEMENTED`; add a hint that names the alternative.
    #[must_use]
    pub fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(Code::Unimplemented, message)
    }

    /// `UNAVAILABLE`.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// `RESOURCE_EXHAUSTED`.
    #[must_use]
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, message)
    }

    /// `INTERNAL`.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    pub(crate) fn unknown_method(method: &str) -> Self {
        let shown: String = method.chars().take(80).collect();
        Self::unimplemented(format!("unknown method {shown:?}"))
            .about("method", shown)
            .hint("docs/reference/api.md lists the methods of this version")
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_written_as_the_wire_says() {
        let status = Status::not_found("No such container: x")
            .about("container", "x")
            .hint("ctr-like ps -a lists them");
        assert_eq!(
            serde_json::to_string(&status).unwrap(),
            r#"{"code":"NOT_FOUND","message":"No such container: x","hints":["ctr-like ps -a lists them"],"resource":{"type":"container","name":"x"}}"#
        );
    }

    #[test]
    fn code_of_a_newer_daemon_is_read_as_unknown() {
        let status: Status = serde_json::from_str(r#"{"code":"TEAPOT","message":"m","extra":1}"#).unwrap();
        assert_eq!(status.code, Code::Unknown);
    }

    #[test]
    fn name_of_every_code_is_its_wire_name() {
        for code in [
            Code::Cancelled,
            Code::Unknown,
            Code::InvalidArgument,
            Code::DeadlineExceeded,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::ResourceExhausted,
            Code::FailedPrecondition,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unimplemented,
            Code::Internal,
            Code::Unavailable,
            Code::DataLoss,
            Code::Unauthenticated,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }

    #[test]
    fn chain_of_an_error_becomes_causes() {
        let inner = std::io::Error::other("disk is full");
        let status = Status::internal("cannot pull").caused_by(&inner);
        assert_eq!(status.causes, ["disk is full"]);
    }
}
