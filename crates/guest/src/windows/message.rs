//! Messages of the control socket, one JSON document each. The emulator has the same types on its side.

use serde::{Deserialize, Serialize};

/// What the emulator asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Starts a process. Its three standard streams come with the message.
    Create(Create),
    /// Acts on a process, in words of the Windows side.
    Tell {
        /// The process.
        number: u32,
        /// The words.
        line: String,
    },
    /// Lists the processes on the stream that comes with the message.
    List,
    /// Tells every process that the system shuts down, and ends when all have ended.
    Shutdown,
}

/// A process to start.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// Names the process in later messages.
    pub(super) number: u32,
    /// The program, where the command line does not name it.
    pub(super) application: String,
    /// As the program is to see it.
    pub(super) command_line: String,
    /// A Windows path.
    pub(super) directory: String,
    /// `NAME=VALUE`
    pub(super) environment: Vec<String>,
    /// Whether the streams are a terminal.
    pub(super) console: bool,
}

/// What happened.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// The container is ready for processes.
    Ready,
    /// A process runs.
    Started {
        /// Which.
        number: u32,
        /// Its id in Windows.
        pid: u32,
    },
    /// A process did not start.
    Failed {
        /// Which.
        number: u32,
        /// The Win32 error.
        code: u32,
    },
    /// A process has ended.
    Exited {
        /// Which.
        number: u32,
        /// Its exit code.
        code: u32,
    },
}
