//! Why a request failed, before it becomes the error of the compute seam.
//!
//! Everything below the service returns a [`Failure`]: a code and one sentence with the facts. [`Failure::into_error`]
//! adds operation and system and writes the result document, so that callers see what the Host Compute Service would give
//! them. System errors are mapped to the Windows code of the same meaning.

use std::io;

use compute::ComputeError;
use hcs::{Document, HResult, ResultError};
use rustix::io::Errno;

/// The component named in result documents.
const SOURCE: &str = "ctr-like emulator";

/// A request that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The code of the answer.
    pub(crate) code: HResult,
    message: String,
    #[source]
    source: Option<io::Error>,
}

/// `ERROR_FILE_NOT_FOUND`.
pub(crate) const FILE_NOT_FOUND: HResult = HResult::from_win32(0x2);
/// `ERROR_PATH_NOT_FOUND`.
const PATH_NOT_FOUND: HResult = HResult::from_win32(0x3);
/// `ERROR_ALREADY_EXISTS`.
pub(crate) const ALREADY_EXISTS: HResult = HResult::from_win32(0xB7);

impl Failure {
    pub(crate) fn new(code: HResult, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            source: None,
        }
    }

    /// A value that is well-formed but not acceptable.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(HResult::E_INVALIDARG, message)
    }

    /// A document that does not follow the schema.
    pub(crate) fn json(message: impl Into<String>) -> Self {
        Self::new(HResult::INVALID_JSON, message)
    }

    /// Something that exists in the schema and that this back end does not have; the message names the alternative.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(HResult::NOT_SUPPORTED, message)
    }

    /// A call to the system that failed; `what` begins like "cannot open x".
    pub(crate) fn io(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let source = error.into();
        Self {
            code: code_of(&source),
            message: format!("{}: {source}", what.into()),
            source: Some(source),
        }
    }

    /// The error of the seam, with a result document.
    pub(crate) fn into_error(self, operation: &'static str, id: &str) -> ComputeError {
        let document = ResultError::new(self.code, SOURCE, self.message.clone()).to_json();
        let error = ComputeError::new(operation, id, self.code).with_document(document);
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

/// Reads a document; the error names the place.
pub(crate) fn read<T: Document>(text: &str) -> Result<T, Failure> {
    T::from_json(text).map_err(|invalid| Failure::json(invalid.to_string()))
}

/// As [`read`], with empty text (an absent document) as the default.
pub(crate) fn read_optional<T: Document + Default>(text: &str) -> Result<T, Failure> {
    if text.trim().is_empty() {
        Ok(T::default())
    } else {
        read(text)
    }
}

fn code_of(error: &io::Error) -> HResult {
    let Some(errno) = Errno::from_io_error(error) else {
        return HResult::E_FAIL;
    };
    match errno {
        Errno::NOENT => FILE_NOT_FOUND,
        Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP => PATH_NOT_FOUND,
        Errno::ACCESS | Errno::PERM => HResult::ACCESS_DENIED_BY_WINDOWS,
        Errno::EXIST => ALREADY_EXISTS,
        Errno::WOULDBLOCK | Errno::TXTBSY => HResult::SHARING_VIOLATION,
        Errno::NOMEM => HResult::E_OUTOFMEMORY,
        Errno::MFILE | Errno::NFILE => HResult::from_win32(0x4),
        Errno::ROFS => HResult::from_win32(0x13),
        Errno::NOSPC | Errno::DQUOT => HResult::from_win32(0x70),
        Errno::BUSY => HResult::from_win32(0xAA),
        Errno::INVAL | Errno::ISDIR => HResult::E_INVALIDARG,
        Errno::NOSYS | Errno::OPNOTSUPP => HResult::NOT_SUPPORTED,
        Errno::ADDRINUSE => HResult::from_win32(0x2740),
        _ => HResult::E_FAIL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_code_document_and_cause() {
        let failure = Failure::io("cannot open /x", io::Error::from(Errno::NOENT));
        let error = failure.into_error("modify", "vm1");
        assert_eq!(error.hresult, FILE_NOT_FOUND);
        assert!(
            error.to_string().contains("cannot open /x: No such file"),
            "{error}"
        );
        assert!(error.source.is_some());
        assert_eq!(error.result().unwrap().error, FILE_NOT_FOUND);
    }

    #[test]
    fn an_absent_document_is_the_default_and_a_bad_one_is_not() {
        assert_eq!(
            read_optional::<hcs::PropertyQuery>("").unwrap(),
            hcs::PropertyQuery::default()
        );
        assert_eq!(
            read_optional::<hcs::PropertyQuery>("{").unwrap_err().code,
            HResult::INVALID_JSON
        );
    }
}
