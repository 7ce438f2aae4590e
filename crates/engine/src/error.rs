//! What can go wrong in the domain, as one type.
//!
//! Every back-end error passes through here on its way to a client: [`Error`] keeps what failed, on which resource, what to
//! do next and the cause chain. The daemon maps [`Kind`] to a wire status in one exhaustive match; nothing else looks at it.

use std::error::Error as StdError;
use std::fmt;

/// The meaning of a failure; one to one with the status codes of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong and will be wrong again.
    InvalidArgument,
    /// The named thing does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The thing exists, in a state that forbids the request.
    FailedPrecondition,
    /// Somebody else changed it first; try again.
    Aborted,
    /// A part that is needed cannot be reached now; try again later.
    Unavailable,
    /// A limit was reached.
    ResourceExhausted,
    /// Not allowed.
    PermissionDenied,
    /// Credentials are missing or wrong.
    Unauthenticated,
    /// We do not do that; the message names the alternative.
    Unimplemented,
    /// The caller gave up.
    Cancelled,
    /// It took longer than allowed.
    DeadlineExceeded,
    /// Bytes are not what their digest says.
    DataLoss,
    /// A defect of ours or of the host.
    Internal,
}

/// The thing an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `container`, `image`, `exec`, `command`, `mount`, …
    pub kind: &'static str,
    /// Its name or id as the user wrote it.
    pub name: String,
}

/// An error of the domain.
#[derive(Debug)]
#[expect(
    clippy::error_impl_error,
    reason = "it is the error of this crate and always written engine::Error outside"
)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    hints: Vec<String>,
    subject: Option<Subject>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of a domain operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` is lower case, without a full stop, and names what failed.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            hints: Vec::new(),
            subject: None,
            source: None,
        }))
    }

    /// [`Kind::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidArgument, message)
    }

    /// [`Kind::Unimplemented`]; `instead` tells what to use.
    pub fn unimplemented(message: impl Into<String>, instead: impl Into<String>) -> Self {
        Self::new(Kind::Unimplemented, message).hint(instead)
    }

    /// No container answers to `name`.
    pub fn no_such_container(name: &str) -> Self {
        Self::new(Kind::NotFound, format!("No such container: {name}")).about("container", name)
    }

    /// Adds a sentence that says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Names the resource that the error is about.
    #[must_use]
    pub fn about(mut self, kind: &'static str, name: impl Into<String>) -> Self {
        self.0.subject = Some(Subject {
            kind,
            name: name.into(),
        });
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The meaning.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What to do next, in order of promise.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// The resource concerned.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.0.subject.as_ref()
    }

    /// The messages of the causes, outermost first.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // A converted error often has the text of its source for its own.
            if causes.last().unwrap_or(&self.0.message) != &text {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_listed_outermost_first_without_repeats() {
        let io = std::io::Error::other("disk on fire");
        let error = Error::new(Kind::Internal, "cannot start")
            .because(io)
            .hint("buy an extinguisher");
        assert_eq!(error.causes(), ["disk on fire"]);
        assert_eq!(error.hints(), ["buy an extinguisher"]);
        assert_eq!(error.to_string(), "cannot start");
    }
}
