//! Sandboxes and the tasks in them: what runs between a container's record and the compute system.
//!
//! The engine asks a [`Runtime`] for a [`Sandbox`] and a sandbox for tasks; the builder does the same for its steps.
//! A sandbox is one utility VM with the guest agent in it; a task is one container in the VM: layers and scratch
//! attached and mounted, processes, their streams and the log file.
//!
//! Two runtimes: [`local::LocalRuntime`] keeps sandboxes in this process, [`shim::ShimRuntime`] gives each a process
//! of its own that outlives the daemon. Both run the same code; a shim is a local sandbox behind a socket.
//!
//! Every operation is undone when it fails half-way, and runs to completion when its future is dropped. The end of a
//! process is reported after its output has been drained. A sandbox that dies ends all its tasks with a reason.
//!
//! Not here: images, records, restart policy (`engine`), what the documents mean (`hcs`), the protocol (`gcs`).

pub mod console;
pub mod document;
mod error;
mod files;
pub mod local;
mod log;
pub mod shim;
mod spec;
mod state;
mod stream;

pub use error::{ErrorKind, Result, TaskError};
pub use files::{
    ERRORS_KEPT, FileWork, FilesSpec, Place, failure as files_failure, warnings as files_warnings,
};
pub use spec::{LogConfig, NetworkDescription, NetworkSpec, ProcessSpec, SandboxSpec, Share, TaskSpec};
pub use state::{ExitStatus, TaskInfo, TaskState, TaskStatus};

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

pub use gcs::{Duplex, Stream};

/// In place of a task's id: the machine itself. [`Sandbox::exec`] then runs a program beside the containers, of whose OCI
/// process only `args`, `env` and `cwd` count; wait, signal, resize and attach take the same pair of ids.
pub const MACHINE: &str = "";

/// Makes sandboxes.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Whether this host can have sandboxes at all, to be asked before work is put into a container.
    fn ready(&self) -> Result<()> {
        Ok(())
    }

    /// Boots a sandbox; returns when its agent answers.
    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>>;

    /// Sandboxes that outlived an earlier daemon. Of one that died in the meantime, what it left on the host is
    /// removed; if it had tasks, it is returned closed, so that their exits can still be read.
    async fn recover(&self) -> Result<Vec<Arc<dyn Sandbox>>>;
}

/// A utility VM and the tasks in it.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// The id given at creation.
    fn id(&self) -> &str;

    /// The spec given at creation.
    fn spec(&self) -> &SandboxSpec;

    /// Attaches and mounts what the task needs and makes the container. Nothing is left after a failure. A task
    /// that is still being deleted is waited for. One without specification is only mounted, for
    /// [`Sandbox::files`].
    async fn create(&self, task: TaskSpec) -> Result<()>;

    /// Starts a task's first process and returns its pid in the VM. Once per task.
    async fn start(&self, id: &str) -> Result<u32>;

    /// Starts another process in a task and returns its pid; unless detached, with its streams, which miss nothing.
    /// The exec is known under its id until the task is deleted or [`Sandbox::delete_exec`].
    async fn exec(
        &self,
        id: &str,
        exec_id: &str,
        process: ProcessSpec,
    ) -> Result<(u32, Option<AttachStreams>)>;

    /// Starts a tool on the files of a task, in any state of it, and returns its streams: the result is channel 1, the
    /// input of an extraction its standard input, and its end is its exit (see [`Sandbox::wait`] and
    /// [`files_failure`]). It is known under the id of an exec; deleting the task kills it.
    async fn files(&self, id: &str, exec_id: &str, spec: FilesSpec) -> Result<AttachStreams>;

    /// Forgets an exec that has exited.
    async fn delete_exec(&self, id: &str, exec_id: &str) -> Result<()>;

    /// Signals a task's first process or an exec, by Linux number.
    async fn signal(&self, id: &str, exec: Option<&str>, signal: i32) -> Result<()>;

    /// Changes the size of a terminal, in characters.
    async fn resize(&self, id: &str, exec: Option<&str>, height: u16, width: u16) -> Result<()>;

    /// Attaches to the streams. Attached before the start, nothing is missed; later, output begins now.
    async fn attach(&self, id: &str, exec: Option<&str>) -> Result<AttachStreams>;

    /// Waits for the exit of a task's first process or of an exec; returns at once when it has exited. Cancel-safe.
    async fn wait(&self, id: &str, exec: Option<&str>) -> Result<ExitStatus>;

    /// The state of a task.
    async fn state(&self, id: &str) -> Result<TaskState>;

    /// All tasks.
    async fn tasks(&self) -> Result<Vec<TaskInfo>>;

    /// Statistics of a running task: containerd's cgroup v1 metrics object.
    async fn stats(&self, id: &str) -> Result<Value>;

    /// Changes the limits of a task: OCI `linux.resources`, of a Windows container in a machine `windows.resources`.
    async fn update(&self, id: &str, resources: Value) -> Result<()>;

    /// Unmounts and detaches what a task had, forgets it and returns how it ended. A task that was never started
    /// is deleted with code 0; a running one is an error.
    async fn delete(&self, id: &str) -> Result<ExitStatus>;

    /// Unmounts layers that no task uses any more, so that their files can be removed.
    async fn trim(&self) -> Result<()>;

    /// Ends the sandbox as soon as it has no task.
    async fn retire(&self) -> Result<()>;

    /// Ends the sandbox with everything in it.
    async fn shutdown(&self) -> Result<()>;

    /// Why the sandbox ended; `None` while it lives.
    fn closed(&self) -> Option<String>;

    /// Waits for the end of the sandbox and returns the reason. Cancel-safe.
    async fn wait_closed(&self) -> String;
}

/// The client's end of the streams of a process.
pub struct AttachStreams {
    /// Present when the process has a standard input. A `shutdown` is the end of input (for a task only with
    /// `stdin_once`); dropping it only detaches.
    pub stdin: Option<Stream>,
    /// Frames: `u8` channel (1 output, 2 errors), `u32` little-endian length, payload. Ends when the process has
    /// exited and everything was delivered. A client that does not read holds the process up.
    pub output: Stream,
}

impl std::fmt::Debug for AttachStreams {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AttachStreams")
            .field("stdin", &self.stdin.is_some())
            .finish_non_exhaustive()
    }
}
