//! A process of a container in a machine: its pid, its sockets, and its end, which is asked for at once.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use compute::{ComputeError, ExitStatus, GuestStream, Process, Stdio};
use gcs::host::Bridge;
use hcs::{Document, HResult, ProcessModifyRequest, SignalProcessOptions};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::container::failed;

/// How a process ended; of one that was lost, the code and the guest's words.
type End = Result<u32, (HResult, String)>;

/// A process.
pub(super) struct HostedProcess {
    container: String,
    pid: u32,
    /// Behind a lock for the compiler alone: only the owner takes them.
    stdio: Mutex<Stdio>,
    bridge: Bridge,
    end: watch::Receiver<Option<End>>,
}

impl HostedProcess {
    /// A process that has just been started, with its input, output and errors.
    pub(super) fn new(
        container: &str,
        pid: u32,
        [stdin, stdout, stderr]: [Option<GuestStream>; 3],
        bridge: &Bridge,
        tracker: &TaskTracker,
    ) -> Self {
        let (end, ended) = watch::channel(None);
        // The guest reads the end of input; it must not see its socket closed before the process has ended.
        let (kept, stdin) = stdin.map(tokio::io::split).unzip();
        tracker.spawn({
            let (bridge, container) = (bridge.clone(), container.to_owned());
            async move {
                let code = bridge.wait(&container, pid).await;
                let code = code.map(i32::cast_unsigned).map_err(|error| {
                    let said = error.to_string();
                    (failed("wait for process", &container, error).hresult, said)
                });
                end.send_replace(Some(code));
                drop(kept);
            }
        });
        let stdio = Stdio {
            stdin: stdin.map(|stream| Box::new(stream) as _),
            stdout: stdout.map(|stream| Box::new(stream) as _),
            stderr: stderr.map(|stream| Box::new(stream) as _),
        };
        Self {
            container: container.to_owned(),
            pid,
            stdio: Mutex::new(stdio),
            bridge: bridge.clone(),
            end: ended,
        }
    }

    fn error(&self, operation: &'static str, code: HResult) -> ComputeError {
        ComputeError::new(operation, &self.container, code)
    }

    /// Sends a signal; without options the process ends.
    async fn send(
        &self,
        operation: &'static str,
        options: Option<&serde_json::Value>,
    ) -> compute::Result<()> {
        if self.end.borrow().is_some() {
            return Err(self.error(operation, HResult::PROCESS_ALREADY_STOPPED));
        }
        let sent = self
            .bridge
            .signal_document(&self.container, self.pid, options)
            .await;
        sent.map_err(|error| match error.hresult() {
            Some(gcs::hresult::NOT_FOUND) => self.error(operation, HResult::PROCESS_ALREADY_STOPPED),
            _ => failed(operation, &self.container, error),
        })
    }
}

#[async_trait]
impl Process for HostedProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn take_stdio(&mut self) -> Stdio {
        std::mem::take(self.stdio.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// The size of the console. The end of input needs no request: the stream's own end is one.
    async fn modify(&self, request: &str) -> compute::Result<()> {
        const OPERATION: &str = "modify process";
        let request = ProcessModifyRequest::from_json(request)
            .map_err(|error| self.error(OPERATION, HResult::INVALID_JSON).with_source(error))?;
        let Some(size) = request.console_size else {
            return Ok(());
        };
        let resized = self
            .bridge
            .resize(&self.container, self.pid, size.height, size.width);
        resized
            .await
            .map_err(|error| failed(OPERATION, &self.container, error))
    }

    async fn signal(&self, options: &str) -> compute::Result<()> {
        const OPERATION: &str = "signal process";
        let options = SignalProcessOptions::from_json(options)
            .map_err(|error| self.error(OPERATION, HResult::INVALID_JSON).with_source(error))?;
        self.send(OPERATION, Some(&options.to_value())).await
    }

    async fn terminate(&self) -> compute::Result<()> {
        self.send("terminate process", None).await
    }

    async fn properties(&self) -> compute::Result<String> {
        Err(self.error("properties of process", HResult::NOT_SUPPORTED))
    }

    async fn exited(&self) -> compute::Result<ExitStatus> {
        const OPERATION: &str = "wait for process";
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        match ended.ok().and_then(|end| end.clone()) {
            Some(Ok(code)) => Ok(ExitStatus { code }),
            Some(Err((code, said))) => Err(self.error(OPERATION, code).with_source(said)),
            None => Err(self.error(OPERATION, HResult::CONNECTION_CLOSED)),
        }
    }
}
