//! Documents about processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_default;
use crate::json::embedded;

/// The `TimeoutInMs` of a wait without limit.
pub const NO_TIMEOUT: u32 = u32::MAX;

/// Starts a process: a container's init, another process in a container, or one in the VM itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecuteProcess {
    /// What to start and where its streams go.
    pub settings: ExecuteSettings,
}

/// What to start and where its streams go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecuteSettings {
    /// Travels as a string.
    #[serde(with = "embedded")]
    pub process_parameters: ProcessParameters,
    /// The ports to dial; one that no `create_*_pipe` asks for is ignored.
    pub vsock_stdio_relay_settings: StdioPorts,
}

/// The ports of the standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct StdioPorts {
    /// Standard input.
    #[serde(rename = "StdIn", skip_serializing_if = "Option::is_none")]
    pub stdin: Option<u32>,
    /// Standard output.
    #[serde(rename = "StdOut", skip_serializing_if = "Option::is_none")]
    pub stdout: Option<u32>,
    /// Standard error.
    #[serde(rename = "StdErr", skip_serializing_if = "Option::is_none")]
    pub stderr: Option<u32>,
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessParameters {
    /// For processes in the VM: used, split like a shell does, when `command_args` is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command_line: String,
    /// For processes in the VM: the program and its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command_args: Vec<String>,
    /// For processes in the VM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_directory: String,
    /// For processes in the VM: the complete environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// For processes in the VM: allocate a terminal.
    #[serde(skip_serializing_if = "is_default")]
    pub emulate_console: bool,
    /// Standard input exists.
    #[serde(skip_serializing_if = "is_default")]
    pub create_std_in_pipe: bool,
    /// Standard output exists.
    #[serde(skip_serializing_if = "is_default")]
    pub create_std_out_pipe: bool,
    /// Standard error exists; never with a terminal.
    #[serde(skip_serializing_if = "is_default")]
    pub create_std_err_pipe: bool,
    /// Run in the VM although a container is addressed.
    #[serde(rename = "CreateInUtilityVM", skip_serializing_if = "is_default")]
    pub create_in_utility_vm: bool,
    /// An OCI `process`; absent means the container's init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci_process: Option<Value>,
}

/// The answer to [`ExecuteProcess`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecuteProcessResponse {
    /// In the VM's pid namespace.
    pub process_id: u32,
}

/// Waits for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct WaitForProcess {
    /// The process.
    pub process_id: u32,
    /// [`NO_TIMEOUT`] for no limit.
    pub timeout_in_ms: u32,
}

/// The answer to [`WaitForProcess`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct WaitForProcessResponse {
    /// 128 + n for a process of a container that signal n ended.
    pub exit_code: u32,
}

/// Signals a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct SignalProcess {
    /// The process.
    pub process_id: u32,
    /// Absent means SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<SignalOptions>,
}

impl SignalProcess {
    /// The Linux signal number asked for; SIGKILL when none is.
    pub fn signal(&self) -> i32 {
        match self.options {
            Some(SignalOptions { signal }) if signal != 0 => signal,
            _ => 9,
        }
    }
}

/// Which signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct SignalOptions {
    /// Linux number; 0 means SIGKILL.
    pub signal: i32,
}

/// Changes the size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResizeConsole {
    /// The process.
    pub process_id: u32,
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}
