//! What is known of a task.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Exit code; 128 + n when signal n ended it; 255 when the sandbox was lost.
    pub code: i32,
    /// When it was noticed.
    pub exited_unix_ms: u64,
    /// Why it ended without its own doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ExitStatus {
    /// An exit now.
    pub fn now(code: i32, reason: Option<String>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            code,
            exited_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            reason,
        }
    }
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// Made, not started.
    #[default]
    Created,
    /// Its first process runs.
    Running,
    /// Its first process has exited; the mounts are there until it is deleted.
    Exited,
}

/// The state of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Where it is in its life.
    pub status: TaskStatus,
    /// The first process, in the VM's numbering.
    pub pid: Option<u32>,
    /// How the first process ended.
    pub exit: Option<ExitStatus>,
}

/// A task of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// The container's id.
    pub id: String,
    /// Its first process runs.
    pub running: bool,
    /// Its state.
    pub state: TaskState,
}
