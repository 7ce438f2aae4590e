//! What can go wrong with files of a container.

use std::io::{self, ErrorKind};

/// What a failure means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesErrorKind {
    /// What was asked for is not there.
    NotFound,
    /// The request or the archive is wrong.
    InvalidArgument,
    /// What is there does not allow it.
    Precondition,
    /// Nobody reads the output any more.
    Closed,
    /// Anything else.
    Internal,
}

/// A failed operation on files of a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
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
    /// The system said no.
    #[error("cannot {action} {path}")]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Nobody reads the output any more.
    #[error("the output was closed")]
    Closed,
}

impl FilesError {
    /// What it means.
    #[must_use]
    pub fn kind(&self) -> FilesErrorKind {
        match self {
            Self::Invalid { .. } => FilesErrorKind::InvalidArgument,
            Self::NotFound { .. } => FilesErrorKind::NotFound,
            Self::Refused { .. } => FilesErrorKind::Precondition,
            Self::Closed => FilesErrorKind::Closed,
            Self::System { source, .. } => match source.kind() {
                ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::AlreadyExists
                | ErrorKind::DirectoryNotEmpty
                | ErrorKind::ResourceBusy
                | ErrorKind::ExecutableFileBusy
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::FileTooLarge
                | ErrorKind::CrossesDevices
                | ErrorKind::PermissionDenied
                | ErrorKind::InvalidFilename
                | ErrorKind::TooManyLinks
                | ErrorKind::WouldBlock => FilesErrorKind::Precondition,
                _ => FilesErrorKind::Internal,
            },
        }
    }

    pub(super) fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid {
            problem: problem.into(),
        }
    }

    pub(super) fn not_found(path: &str) -> Self {
        Self::NotFound {
            path: path.to_owned(),
        }
    }

    pub(super) fn refused(path: &str, reason: impl Into<String>) -> Self {
        Self::Refused {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(in crate::windows) fn system(action: &'static str, path: &str, source: impl Into<io::Error>) -> Self {
        Self::System {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(super) fn output(source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => Self::Closed,
            _ => Self::system("write", "the output", source),
        }
    }
}
