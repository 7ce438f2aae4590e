//! Processes in a compute system: parameters, changes, signals and status.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::{Document, Field, InvalidDocument, Shape, Table, choice, document};

document! {
    /// How to start a process.
    ///
    /// A Windows guest takes the command line, a Linux guest the arguments or the OCI process.
    strict ProcessParameters = "hcs_v2.ProcessParameters" {
        /// The program, where the command line does not name it.
        application_name: String = "ApplicationName",
        /// The command line, quoted for `CommandLineToArgvW`; see [`crate::command_line`].
        command_line: String = "CommandLine",
        /// The arguments of a process in a Linux guest.
        command_args: Vec<String> = "CommandArgs",
        /// The account; empty is the default of the image.
        user: String = "User",
        /// The directory to start in.
        working_directory: String = "WorkingDirectory",
        /// The environment.
        environment: BTreeMap<String, String> = "Environment",
        /// Whether the token is restricted.
        restricted_token: bool = "RestrictedToken",
        /// Whether there is a console; the errors then go with the output.
        emulate_console: bool = "EmulateConsole",
        /// Whether the host reads the input of the process from a pipe.
        create_std_in_pipe: bool = "CreateStdInPipe",
        /// Whether the host gets the output.
        create_std_out_pipe: bool = "CreateStdOutPipe",
        /// Whether the host gets the errors.
        create_std_err_pipe: bool = "CreateStdErrPipe",
        /// The console: height, then width. Both or none.
        console_size: Vec<u16> = "ConsoleSize",
        /// Whether an existing logon of the account is used.
        use_existing_login: bool = "UseExistingLogin",
        /// Whether the console is of the old kind.
        use_legacy_console: bool = "UseLegacyConsole",
        /// The process of the OCI runtime spec, for a Linux container.
        oci_process: Option<Value> = "OciProcess",
    }
}

choice! {
    /// What to change about a process.
    strict ProcessModifyOperation = "guest_requests.ProcessModifyOperation" {
        /// The size of its console.
        ConsoleSize = "ConsoleSize",
        /// Close one of its standard handles.
        CloseHandle = "CloseHandle",
    }
}

document! {
    /// A change of a running process; the operation says which of the other fields counts.
    strict ProcessModifyRequest = "hcs_v2.ProcessModifyRequest" {
        /// What to change.
        operation: Option<ProcessModifyOperation> = "Operation",
        /// The new size.
        console_size: Option<ConsoleSize> = "ConsoleSize",
        /// The handle to close.
        close_handle: Option<CloseHandle> = "CloseHandle",
    }
}

impl ProcessModifyRequest {
    /// Resizes the console.
    pub fn resize(height: u16, width: u16) -> Self {
        Self {
            operation: Some(ProcessModifyOperation::ConsoleSize),
            console_size: Some(ConsoleSize { height, width }),
            close_handle: None,
        }
    }

    /// Gives the process the end of its input.
    pub fn close_stdin() -> Self {
        Self {
            operation: Some(ProcessModifyOperation::CloseHandle),
            console_size: None,
            close_handle: Some(CloseHandle {
                handle: Some(StdHandle::StdIn),
            }),
        }
    }
}

document! {
    /// The size of a console.
    strict ConsoleSize = "hcs_v2.ConsoleSize" {
        /// Lines.
        height: u16 = "Height",
        /// Columns.
        width: u16 = "Width",
    }
}

choice! {
    /// A standard handle of a process.
    strict StdHandle = "guest_requests.STDIOHandle" {
        /// The input.
        StdIn = "StdIn",
        /// The output.
        StdOut = "StdOut",
        /// The errors.
        StdErr = "StdErr",
        /// All of them.
        All = "All",
    }
}

document! {
    /// The handle to close.
    strict CloseHandle = "hcs_v2.CloseHandle" {
        /// Which one.
        handle: Option<StdHandle> = "Handle",
    }
}

choice! {
    /// What a Windows process can be told.
    strict WindowsSignal = "guest_requests.SignalValueWCOW" {
        /// Ctrl+C.
        CtrlC = "CtrlC",
        /// Ctrl+Break.
        CtrlBreak = "CtrlBreak",
        /// The console closes.
        CtrlClose = "CtrlClose",
        /// The user logs off.
        CtrlLogOff = "CtrlLogOff",
        /// The system shuts down.
        CtrlShutdown = "CtrlShutdown",
    }
}

/// A signal: a number for a Linux guest, a name for a Windows guest.
///
/// An absent signal is what Windows takes as its default, Ctrl+C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalProcessOptions {
    /// The signal.
    #[serde(rename = "Signal", default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
}

/// The signal in [`SignalProcessOptions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Signal {
    /// A Linux signal.
    Linux(i32),
    /// A console event.
    Windows(WindowsSignal),
}

impl Document for SignalProcessOptions {
    const TABLE: Table = Table {
        name: "SignalProcessOptions",
        source: "-number or text: guest_requests.SignalProcessOptionsLCOW and ..WCOW",
        strict: true,
        fields: &[Field {
            name: "Signal",
            shape: Shape::Any,
        }],
    };
}

impl SignalProcessOptions {
    /// A Linux signal.
    pub fn linux(signal: i32) -> Self {
        Self {
            signal: Some(Signal::Linux(signal)),
        }
    }

    /// A console event.
    pub fn windows(signal: WindowsSignal) -> Self {
        Self {
            signal: Some(Signal::Windows(signal)),
        }
    }
}

document! {
    /// The status of a process: the answer of its properties, and the data of its exit.
    open ProcessStatus = "hcs_v2.ProcessStatus" {
        /// The process id in the guest.
        process_id: u32 = "ProcessId",
        /// Whether it has ended.
        exited: bool = "Exited",
        /// How; valid only when it has ended and the last wait succeeded.
        exit_code: u32 = "ExitCode",
        /// Whether waiting for it worked; a failure means that the guest was lost.
        last_wait_result: i32 = "LastWaitResult",
    }
}

impl ProcessStatus {
    /// The exit code, if there is a valid one.
    pub fn code(&self) -> Option<u32> {
        (self.exited && self.last_wait_result == 0).then_some(self.exit_code)
    }
}

impl SignalProcessOptions {
    /// Reads the options; an empty text stands for the default.
    pub fn parse(text: &str) -> Result<Self, InvalidDocument> {
        if text.trim().is_empty() {
            Ok(Self::default())
        } else {
            Self::from_json(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_numbers_for_linux_and_names_for_windows() {
        assert_eq!(SignalProcessOptions::linux(15).to_json(), r#"{"Signal":15}"#);
        assert_eq!(
            SignalProcessOptions::windows(WindowsSignal::CtrlShutdown).to_json(),
            r#"{"Signal":"CtrlShutdown"}"#
        );
        assert_eq!(
            SignalProcessOptions::parse(r#"{"Signal":9}"#).unwrap(),
            SignalProcessOptions::linux(9)
        );
        assert!(SignalProcessOptions::parse(r#"{"Signal":"SIGTERM"}"#).is_err());
        assert!(SignalProcessOptions::parse(r#"{"Signal":1,"To":2}"#).is_err());
        assert_eq!(
            SignalProcessOptions::parse("").unwrap(),
            SignalProcessOptions::default()
        );
    }

    #[test]
    fn a_missing_exit_code_is_zero() {
        let status = ProcessStatus::from_json(r#"{"ProcessId":4,"Exited":true}"#).unwrap();
        assert_eq!(status.code(), Some(0));
        let lost = ProcessStatus::from_json(r#"{"Exited":true,"ExitCode":3,"LastWaitResult":-1}"#).unwrap();
        assert_eq!(lost.code(), None);
    }

    #[test]
    fn resizing_says_height_and_width() {
        assert_eq!(
            ProcessModifyRequest::resize(50, 140).to_json(),
            r#"{"Operation":"ConsoleSize","ConsoleSize":{"Height":50,"Width":140}}"#
        );
        assert_eq!(
            ProcessModifyRequest::close_stdin().to_json(),
            r#"{"Operation":"CloseHandle","CloseHandle":{"Handle":"StdIn"}}"#
        );
    }
}
