//! A process of a Windows container, or a tool that works on its files.
//!
//! Streams, log and exit are those of every process ([`Process`]); what is different is who ends it: a handle of the
//! compute service, or, for a tool, a token that it looks at.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use compute::ComputeSystem;
use hcs::{Document, ProcessModifyRequest};
use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;

use super::super::execs::AsProcess;
use super::super::process::{Lost, Process, Watcher, has_exited};
use crate::ExitStatus;
use crate::document::windows::{self as document, Order};
use crate::error::Result;

/// A process or a tool.
pub(super) struct WindowsProcess {
    process: Arc<Process>,
    handle: OnceLock<Arc<dyn compute::Process>>,
    /// Ends a tool.
    pub(super) cancelled: CancellationToken,
}

impl AsProcess for WindowsProcess {
    fn as_process(&self) -> &Process {
        &self.process
    }
}

impl WindowsProcess {
    pub(super) fn new(process: Process) -> Self {
        Self {
            process: Arc::new(process),
            handle: OnceLock::new(),
            cancelled: CancellationToken::new(),
        }
    }

    pub(super) fn as_process(&self) -> &Process {
        &self.process
    }

    pub(super) fn shared(&self) -> &Arc<Process> {
        &self.process
    }

    /// Starts it in a compute system; takes a `ProcessParameters` document.
    pub(super) async fn launch(
        &self,
        system: &dyn ComputeSystem,
        parameters: &str,
        watcher: Watcher,
    ) -> Result<u32> {
        let mut process = system.create_process(parameters).await?;
        let (pid, stdio) = (process.pid(), process.take_stdio());
        let handle: Arc<dyn compute::Process> = Arc::from(process);
        let _ = self.handle.set(Arc::clone(&handle));
        let stdin = stdio.stdin.map(|inner| Input {
            inner: Some(inner),
            ended: CancellationToken::new(),
        });
        if let Some(stdin) = &stdin {
            let (ended, handle) = (stdin.ended.clone(), Arc::clone(&handle));
            watcher.tracker.spawn(async move {
                let told = ended.cancelled();
                let outcome = tokio::select! {
                    () = told => handle.modify(&ProcessModifyRequest::close_stdin().to_json()).await,
                    _ = handle.exited() => Ok(()),
                };
                if let Err(error) = outcome {
                    tracing::debug!(%error, "process was not told the end of its input");
                }
            });
        }
        let ending = {
            let handle = Arc::clone(&handle);
            async move {
                match handle.exited().await {
                    Ok(status) => {
                        let said = document::describe(status.code);
                        Ok(ExitStatus::now(status.code.cast_signed(), said))
                    }
                    Err(error) => Err(Lost::Sandbox(error.to_string())),
                }
            }
        };
        self.process
            .began(pid, stdin, [stdio.stdout, stdio.stderr], ending, watcher);
        if let Some((height, width)) = self.process.kept_size()
            && let Err(error) = handle
                .modify(&ProcessModifyRequest::resize(height, width).to_json())
                .await
        {
            tracing::debug!(%error, "terminal keeps its first size");
        }
        Ok(pid)
    }

    /// Delivers a signal by its Linux number.
    pub(super) async fn signal(&self, number: i32) -> Result<()> {
        self.process.running()?;
        if number == 9 {
            self.process.lose_patience();
        }
        let Some(handle) = self.handle.get() else {
            self.cancelled.cancel();
            return Ok(());
        };
        let sent = match document::signal(number)? {
            Order::Terminate => handle.terminate().await,
            Order::Signal(options) => handle.signal(&options.to_json()).await,
        };
        match sent {
            Err(error) if error.is_already_stopped() => Err(has_exited()),
            other => Ok(other?),
        }
    }

    /// Changes the terminal's size, now or at the start.
    pub(super) async fn resize(&self, height: u16, width: u16) -> Result<()> {
        if !self.process.keep_size(height, width)?
            && let Some(handle) = self.handle.get()
        {
            self.process.running()?;
            handle
                .modify(&ProcessModifyRequest::resize(height, width).to_json())
                .await?;
        }
        Ok(())
    }
}

/// A standard input whose end is told to the service, because dropping the pipe is not enough everywhere.
struct Input {
    inner: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    ended: CancellationToken,
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_write(context, data),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(inner) = &mut self.inner {
            std::task::ready!(Pin::new(inner).poll_shutdown(context))?;
        }
        self.inner = None;
        self.ended.cancel();
        Poll::Ready(Ok(()))
    }
}
