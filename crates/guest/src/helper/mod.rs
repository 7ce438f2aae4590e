//! The helper: a single-threaded process that makes one container, or one process in a container, and ends.
//!
//! libcontainer clones processes, joins namespaces and changes the working directory; none of that may happen in the
//! agent. The agent keeps one helper waiting ([`client`]), so that a start does not pay for its exec, and sends it one
//! [`Request`] with the process's descriptors. The helper answers once and exits; the process it made is then a child
//! of the agent, which is pid 1.
//!
//! While it waits it makes the control groups of the container to come ([`crate::cgroup::slots`]), the slowest part of
//! a start.
//!
//! The container waits, prepared, until the agent writes to its start socket; an exec runs at once.
//!
//! Privileges are not left to libcontainer: the helper's own [`program`] applies seccomp filter and capabilities
//! immediately before the exec, from a filter that is compiled once per profile. Hence the order is always right and
//! an exec gets the same confinement as the init.

pub(crate) mod client;
pub(crate) mod filter;
pub(crate) mod program;
pub(crate) mod run;
mod wire;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::capabilities::Masks;

/// The word on the command line that makes this program a helper.
pub(crate) const COMMAND: &str = "helper";

/// What a helper is asked to do. Descriptors travel with it: standard input, output and error, unless there is a
/// terminal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a container from `<bundle>/config.json`, up to the point where it waits to be started.
    Create {
        /// The container.
        id: String,
        /// Where libcontainer keeps its state.
        state: PathBuf,
        /// The directory with `config.json`.
        bundle: PathBuf,
        /// The root cannot be pivoted away from.
        no_pivot: bool,
        /// What the process runs with.
        process: Process,
    },
    /// Run a process in a container.
    Exec {
        /// The container.
        id: String,
        /// Its control groups.
        group: String,
        /// Where libcontainer keeps its state.
        state: PathBuf,
        /// The OCI process, a file.
        document: PathBuf,
        /// What the process runs with.
        process: Process,
    },
}

/// What libcontainer is not told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Answer with the master of a terminal.
    pub(crate) terminal: bool,
    /// Its rows and columns.
    pub(crate) size: Option<(u16, u16)>,
    /// The capabilities.
    pub(crate) masks: Masks,
    /// Filters need no privilege then.
    pub(crate) no_new_privileges: bool,
    /// The seccomp filter.
    pub(crate) filter: Option<Filter>,
    /// Bring the loopback interface of a new network namespace up.
    pub(crate) loopback: bool,
}

/// A seccomp filter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// The compiled program, a file.
    pub(crate) program: PathBuf,
    /// The profile to compile first, when the program is not there yet.
    pub(crate) profile: Option<serde_json::Value>,
    /// Flags of the system call.
    pub(crate) flags: u32,
}

/// A helper's answer. The master of a terminal travels with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The process exists.
    Done {
        /// Its pid, as the agent sees it.
        pid: i32,
    },
    /// It does not.
    Failed {
        /// Why, for the user.
        message: String,
    },
}
