//! What can go wrong, in the codes that the host expects.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// A failed verb.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    /// The request or the archive is wrong.
    #[error("{problem}")]
    Invalid {
        /// What is wrong.
        problem: String,
    },
    /// What was asked for is not there.
    #[error("{path}: no such file or directory")]
    NotFound {
        /// What was asked for.
        path: String,
    },
    /// What is there does not allow it.
    #[error("{path}: {reason}")]
    Refused {
        /// What is in the way.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The kernel said no.
    #[error("{action} {path}: {}", words(.source))]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Nobody reads the output any more.
    #[error("the output was closed")]
    Closed,
}

impl FilesError {
    pub(super) fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid {
            problem: problem.into(),
        }
    }

    pub(super) fn not_found(path: &[u8]) -> Self {
        Self::NotFound { path: shown(path) }
    }

    pub(super) fn refused(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Refused {
            path: shown(path),
            reason: reason.into(),
        }
    }

    pub(super) fn system(action: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::System {
            action,
            path: shown(path),
            source: source.into(),
        }
    }

    /// The same for something that the request names: that it is missing is an answer of its own.
    pub(super) fn named(action: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        let source = source.into();
        if source.kind() == ErrorKind::NotFound {
            Self::not_found(path)
        } else {
            Self::system(action, path, source)
        }
    }

    pub(super) fn output(source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => Self::Closed,
            _ => Self::system("write", b"standard output", source),
        }
    }

    /// The code of the protocol.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "INVALID_ARGUMENT",
            Self::NotFound { .. } => "NOT_FOUND",
            Self::Refused { .. } => "FAILED_PRECONDITION",
            Self::Closed => "INTERNAL",
            Self::System { source, .. } => match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(
                    Errno::NOENT
                    | Errno::NOTDIR
                    | Errno::ISDIR
                    | Errno::EXIST
                    | Errno::NOTEMPTY
                    | Errno::BUSY
                    | Errno::TXTBSY
                    | Errno::ROFS
                    | Errno::NOSPC
                    | Errno::DQUOT
                    | Errno::FBIG
                    | Errno::XDEV
                    | Errno::PERM
                    | Errno::ACCESS
                    | Errno::LOOP
                    | Errno::NAMETOOLONG
                    | Errno::MLINK
                    | Errno::AGAIN
                    | Errno::SRCH,
                ) => "FAILED_PRECONDITION",
                _ => "INTERNAL",
            },
        }
    }
}

/// A path in a message. Names are bytes; what is not text is shown as well as it can be.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The kernel's words in the style of a message: no number, no capital.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}
