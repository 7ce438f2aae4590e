//! One process inside a compute system.

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Result;

/// The ends of the pipes that the process parameters asked for.
#[derive(Default)]
pub struct Stdio {
    /// What the process reads. Dropping it alone does not give the process an end of input on every service: use
    /// `CloseHandle` of [`Process::modify`].
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// What the process writes. With an emulated console it carries the errors as well.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// What the process writes as errors.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
}

impl std::fmt::Debug for Stdio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdio")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .finish()
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// The exit code, unsigned as Windows has it.
    pub code: u32,
}

/// A handle of one process. Dropping it does not end the process.
#[async_trait]
pub trait Process: Send + Sync {
    /// The process id inside the compute system.
    fn pid(&self) -> u32;

    /// The pipes; the second call returns none.
    fn take_stdio(&mut self) -> Stdio;

    /// Resizes the console or closes a handle; takes a `ProcessModifyRequest` document.
    async fn modify(&self, request: &str) -> Result<()>;

    /// Delivers a signal; takes a `SignalProcessOptions` document.
    async fn signal(&self, options: &str) -> Result<()>;

    /// Ends the process by force. A process that has ended is `HCS_E_PROCESS_ALREADY_STOPPED`.
    async fn terminate(&self) -> Result<()>;

    /// The `ProcessStatus` document.
    async fn properties(&self) -> Result<String>;

    /// Waits for the end of the process, at once when it has ended. Cancel-safe, and may be called many times.
    ///
    /// A lost service or guest is an error, never an exit code of our making.
    async fn exited(&self) -> Result<ExitStatus>;
}
