//! What the service reports: exits, crashes and failures of operations.
//!
//! `compute` publishes these as events and keeps them in its errors. All are open documents: a newer Windows adds
//! attributions. [`ResultError`] is also written by our own services, through its constructors.

use serde_json::Value;

use crate::document::{choice, document};
use crate::{HResult, InvalidDocument};

choice! {
    /// How a compute system ended. Decide by this and not by the status.
    open ExitType = "-published" {
        /// It has not ended.
        None = "None",
        /// The guest shut down.
        GracefulExit = "GracefulExit",
        /// It was terminated from outside.
        ForcedExit = "ForcedExit",
        /// It crashed.
        UnexpectedExit = "UnexpectedExit",
    } else {
        /// The service does not know, or says something newer than this crate.
        Unknown = "Unknown"
    }
}

document! {
    /// The data of the event that a compute system has ended.
    open SystemExitStatus = "-published" {
        /// How it ended; absent on the first builds of schema 2.
        exit_type: Option<ExitType> = "ExitType",
        /// Who or what ended it.
        attribution: Vec<Value> = "Attribution",
    } always {
        /// The result code. A forced stop may carry success.
        status: HResult = "Status",
    }
}

impl SystemExitStatus {
    /// The status of a system that ended in this way with this code.
    pub fn new(exit_type: ExitType, status: HResult) -> Self {
        Self {
            exit_type: Some(exit_type),
            status,
            attribution: Vec::new(),
        }
    }

    /// Whether the system crashed rather than being stopped by guest or host.
    ///
    /// Where the service gives no exit type, a failure that nobody asked for counts as a crash.
    pub fn is_unexpected(&self, stop_was_requested: bool) -> bool {
        match self.exit_type {
            Some(exit_type) => exit_type == ExitType::UnexpectedExit,
            None => self.status.is_failure() && !stop_was_requested,
        }
    }
}

document! {
    /// What is known of a crash of the guest.
    open CrashReport = "-published" {
        /// The compute system.
        system_id: String = "SystemId",
        /// Correlates with the service's trace.
        activity_id: String = "ActivityId",
        /// Dump file and the like, from a Windows guest.
        windows_crash_info: Option<Value> = "WindowsCrashInfo",
        /// The parameters of the bug check.
        crash_parameters: Vec<u64> = "CrashParameters",
        /// The kernel's last words, from a Linux guest.
        crash_log: String = "CrashLog",
        /// Whether writing the report worked.
        status: HResult = "Status",
        /// The operating system before the crash.
        pre_os_id: u32 = "PreOSId",
        /// Whether the stack at the crash could not be captured.
        crash_stack_unavailable: bool = "CrashStackUnavailable",
    }
}

document! {
    /// The result document of an operation that failed.
    open ResultError = "-published" {
        /// The code again.
        error: HResult = "Error",
        /// The service's general sentence for the code, in the language of the host.
        error_message: String = "ErrorMessage",
        /// The causes; often the only place where the real one is named.
        error_events: Vec<ErrorEvent> = "ErrorEvents",
        /// Which part failed.
        attribution: Vec<Value> = "Attribution",
    }
}

document! {
    /// One cause in a [`ResultError`].
    open ErrorEvent = "-published" {
        /// The sentence.
        message: String = "Message",
        /// The stack at the failure.
        stack_trace: String = "StackTrace",
        /// The event provider, a GUID.
        provider: String = "Provider",
        /// The number of the event.
        event_id: u32 = "EventId",
        /// Flags of the event.
        flags: u32 = "Flags",
        /// The component that failed.
        source: String = "Source",
        /// The values in the sentence.
        data: Vec<Value> = "Data",
    }
}

impl ResultError {
    /// The result document of a failure with one cause.
    pub fn new(error: HResult, source: &str, message: impl Into<String>) -> Self {
        Self {
            error,
            error_message: error
                .explain()
                .map(|row| row.meaning.to_owned())
                .unwrap_or_default(),
            error_events: vec![ErrorEvent {
                message: message.into(),
                source: source.to_owned(),
                ..Default::default()
            }],
            attribution: Vec::new(),
        }
    }

    /// The result document of a document that was rejected; the cause names the place.
    pub fn invalid_document(source: &str, invalid: &InvalidDocument) -> Self {
        Self::new(HResult::INVALID_JSON, source, invalid.to_string())
    }

    /// The most telling sentence: the first event, else the general message.
    pub fn detail(&self) -> Option<&str> {
        self.error_events
            .iter()
            .map(|event| event.message.as_str())
            .chain([self.error_message.as_str()])
            .map(str::trim)
            .find(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;

    #[test]
    fn a_crash_of_the_guest_is_unexpected_and_a_stop_is_not() {
        let crash = SystemExitStatus::from_json(
            r#"{"Status":-1070137082,"ExitType":"UnexpectedExit",
                "Attribution":[{"GuestCrash":{"CrashParameters":[239,1,2,3,4]}}]}"#,
        )
        .unwrap();
        assert!(crash.is_unexpected(true));
        assert!(crash.status.is(HResult::UNEXPECTED_EXIT));
        let stop = SystemExitStatus::from_json(r#"{"Status":0,"ExitType":"GracefulExit"}"#).unwrap();
        assert!(!stop.is_unexpected(false));
        let old = SystemExitStatus::from_json(r#"{"Status":-1070137082}"#).unwrap();
        assert!(old.is_unexpected(false));
        assert!(!old.is_unexpected(true));
    }

    #[test]
    fn newer_services_may_say_more() {
        let status = SystemExitStatus::from_json(r#"{"ExitType":"Evaporated","Moon":"full"}"#).unwrap();
        assert_eq!(status.exit_type, Some(ExitType::Unknown));
    }

    #[test]
    fn the_cause_is_found_in_the_events() {
        let result = ResultError::from_json(
            r#"{"Error":-2143878899,"ErrorMessage":"The document is invalid.",
                "ErrorEvents":[{"Message":"Invalid JSON document '$'","EventId":2103,"Data":[]}],
                "Attribution":[{"OperationFailure":{"Detail":"CreateInternal"}}]}"#,
        )
        .unwrap();
        assert_eq!(result.detail(), Some("Invalid JSON document '$'"));
        assert_eq!(result.error, HResult::INVALID_JSON);
    }
}
