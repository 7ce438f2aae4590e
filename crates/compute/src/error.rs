//! The one error of the compute seam.

use hcs::{HResult, ResultError};

/// What every call of the seam returns.
pub type Result<T> = std::result::Result<T, ComputeError>;

/// A compute operation that failed.
///
/// The HRESULT decides what to do (see the predicates); the result document is for people and logs.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of compute system {id} failed: {hresult}{}", detail(.document.as_deref()))]
pub struct ComputeError {
    /// The operation, a verb phrase such as `create` or `create process`.
    pub operation: &'static str,
    /// The compute system the operation was about; the query for an enumeration.
    pub id: String,
    /// The code of the compute service.
    pub hresult: HResult,
    /// The result document (`ResultError` as JSON), when the service wrote one.
    pub document: Option<String>,
    /// What went wrong below, where the service is our own.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ComputeError {
    /// An error with neither result document nor cause.
    pub fn new(operation: &'static str, id: impl Into<String>, hresult: HResult) -> Self {
        Self {
            operation,
            id: id.into(),
            hresult,
            document: None,
            source: None,
        }
    }

    /// Adds the result document.
    #[must_use]
    pub fn with_document(mut self, document: impl Into<String>) -> Self {
        self.document = Some(document.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The result document as a type, when there is one that can be read.
    pub fn result(&self) -> Option<ResultError> {
        self.document
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
    }

    /// The system (or process) does not exist: success for stop, kill and delete.
    pub fn is_not_found(&self) -> bool {
        self.hresult.is(HResult::SYSTEM_NOT_FOUND) || self.hresult.is(HResult::ELEMENT_NOT_FOUND)
    }

    /// A system with this id exists already.
    pub fn is_already_exists(&self) -> bool {
        self.hresult.is(HResult::SYSTEM_ALREADY_EXISTS)
    }

    /// The system or process has stopped already: success for shutdown, terminate and kill.
    pub fn is_already_stopped(&self) -> bool {
        self.hresult.is(HResult::SYSTEM_ALREADY_STOPPED) || self.hresult.is(HResult::PROCESS_ALREADY_STOPPED)
    }

    /// The operation is not legal in the state the system is in.
    pub fn is_invalid_state(&self) -> bool {
        self.hresult.is(HResult::INVALID_STATE)
    }

    /// The document or value is not known to this service.
    pub fn is_not_supported(&self) -> bool {
        [
            HResult::INVALID_JSON,
            HResult::UNKNOWN_MESSAGE,
            HResult::NOT_SUPPORTED,
            HResult::INVALID_DATA,
        ]
        .iter()
        .any(|code| self.hresult.is(*code))
    }
}

/// The most telling sentence of a result document, with a leading separator.
fn detail(document: Option<&str>) -> String {
    let Some(result) = document.and_then(|text| serde_json::from_str::<ResultError>(text).ok()) else {
        return String::new();
    };
    result
        .detail()
        .map(|text| format!(": {text}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_operation_system_code_and_the_events_of_the_result_document() {
        let error = ComputeError::new("create", "c1", HResult::INVALID_JSON).with_document(
            r#"{"Error":-2143878899,"ErrorMessage":"The document is invalid.",
               "ErrorEvents":[{"Message":"unknown field `Colour` at VirtualMachine.Colour"}]}"#,
        );
        assert_eq!(
            error.to_string(),
            "create of compute system c1 failed: 0x8037010D (HCS_E_INVALID_JSON): \
             unknown field `Colour` at VirtualMachine.Colour"
        );
        assert!(error.is_not_supported());
    }

    #[test]
    fn legacy_codes_mean_the_same() {
        let error = ComputeError::new("terminate", "c1", HResult::from_bits(0xC037_010E));
        assert!(error.is_not_found());
        assert!(!error.is_already_stopped());
    }
}
