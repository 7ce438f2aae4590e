//! Messages of exec: further processes in a running container.
//!
//! An exec is created, then started once, attached (a byte stream) or detached; its exit code is waited for by id.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TerminalSize;

/// The request of `Containers/ExecCreate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateExec {
    /// In which container.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=VALUE`, added to the container's.
    pub env: Vec<String>,
    /// Absent: the container's.
    pub workdir: Option<String>,
    /// Absent: the container's.
    pub user: Option<String>,
    /// Give it a terminal.
    pub tty: bool,
    /// It reads standard input.
    pub stdin: bool,
    /// Everything is allowed.
    pub privileged: bool,
    /// The terminal's size at first.
    pub console_size: Option<TerminalSize>,
}

/// The answer of `Containers/ExecCreate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreatedExec {
    /// 64 hexadecimal digits.
    pub id: String,
}

/// The request of the other exec methods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecId {
    /// From `Containers/ExecCreate`.
    pub exec: String,
}

/// The answer of `Containers/ExecInspect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExecState {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The container's id.
    pub container: String,
    /// It runs.
    pub running: bool,
    /// Its process id in the sandbox, once started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its code, once ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// It has a terminal.
    pub tty: bool,
    /// The program and its arguments.
    pub command: Vec<String>,
}
