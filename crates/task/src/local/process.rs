//! One process of a task: its streams, its pid, its exit.
//!
//! A process exists before it runs, so that clients can attach first. Whoever started it hands over its streams and a
//! future of its end to [`Process::began`]; the output is pumped meanwhile. A stream that ends is closed here, because a
//! guest's agent reports the exit only after that. The exit is published when both streams have ended and the end is
//! known, or when the sandbox is gone.
//!
//! [`Process::launch`] is the start in a guest: it listens for the streams ([`super::stdio`]), sends ExecuteProcess, and at once
//! waits for the exit.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use gcs::message::ProcessParameters;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::machine::Machine;
use super::output::{Output, Sink};
use super::stdin::Stdin;
use super::stdio::Listeners;
use crate::error::{ErrorKind, Result, TaskError};
use crate::log::{Channel, Log};
use crate::stream::InputWriter;
use crate::{ExitStatus, TaskState, TaskStatus};

/// How long a sandbox may take to say why it is gone.
const REASON: Duration = Duration::from_secs(10);
/// How long a stream may stay silent after the exit before it is given up.
const QUIET: Duration = Duration::from_secs(2);
/// The exit code when the sandbox is lost.
const LOST: i32 = 255;
/// Sizes of read buffers: small for those who write little, because there may be many.
const SMALLEST: usize = 1 << 10;
const LARGEST: usize = 64 << 10;

/// What is fixed about a process.
pub(crate) struct Setup {
    pub(crate) terminal: bool,
    pub(crate) stdin: Option<Stdin>,
    pub(crate) log: Option<Log>,
}

/// One process.
pub(crate) struct Process {
    container: String,
    terminal: bool,
    stdin: Option<Stdin>,
    output: Output,
    pid: OnceLock<u32>,
    exit: watch::Sender<Option<ExitStatus>>,
    /// A size that was set before the process ran.
    size: Mutex<Option<(u16, u16)>>,
}

impl Process {
    pub(crate) fn new(container: &str, setup: Setup, tracker: &TaskTracker) -> Self {
        Self {
            container: container.to_owned(),
            terminal: setup.terminal,
            stdin: setup.stdin,
            output: Output::new(setup.log, tracker.clone()),
            pid: OnceLock::new(),
            exit: watch::Sender::new(None),
            size: Mutex::new(None),
        }
    }

    /// The pid, once it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid.get().copied()
    }

    /// Where in its life it is.
    pub(crate) fn state(&self) -> TaskState {
        let (pid, exit) = (self.pid(), self.exit());
        let status = match (&exit, pid) {
            (Some(_), _) => TaskStatus::Exited,
            (None, Some(_)) => TaskStatus::Running,
            (None, None) => TaskStatus::Created,
        };
        TaskState { status, pid, exit }
    }

    /// It runs beside the containers, not in one.
    pub(crate) fn is_tool(&self) -> bool {
        self.container == gcs::NULL_ID
    }

    pub(crate) fn has_stdin(&self) -> bool {
        self.stdin.is_some()
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal
    }

    /// How it ended.
    pub(crate) fn exit(&self) -> Option<ExitStatus> {
        self.exit.borrow().clone()
    }

    /// Waits for the exit.
    pub(crate) async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.subscribe();
        let status = exit
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| status.clone());
        status.expect("the sender is borrowed, and the value was waited for")
    }

    /// Adds a client.
    pub(crate) fn attach(&self, sink: Sink, gone: CancellationToken) -> Option<InputWriter> {
        self.output.attach(sink, gone);
        self.stdin.as_ref().map(Stdin::writer)
    }

    /// Starts the process once `ready` is done, and watches it in the background.
    pub(crate) async fn launch(
        self: &Arc<Self>,
        machine: &Arc<Machine>,
        parameters: ProcessParameters,
        ready: impl Future<Output = Result<()>>,
        watcher: Watcher,
    ) -> Result<u32> {
        let wanted = [
            parameters.create_std_in_pipe,
            parameters.create_std_out_pipe,
            parameters.create_std_err_pipe,
        ];
        // Bound while the agent does what comes before.
        let (listeners, ready) = tokio::join!(Listeners::bind(machine, wanted), ready);
        ready?;
        let listeners = listeners?;
        let execute = machine
            .bridge
            .execute(&self.container, &parameters, listeners.ports());
        let (pid, [stdin, stdout, stderr]) = listeners.connect(execute).await?;
        let (watched, container) = (Arc::clone(machine), self.container.clone());
        let ending = async move {
            let outcome = watched.bridge.wait(&container, pid).await;
            match outcome {
                Ok(code) => Ok(ExitStatus::now(code, None)),
                Err(gcs::GcsError::Closed(closed)) => Err(Lost::Sandbox(closed.to_string())),
                Err(error) => Err(Lost::Process(error.to_string())),
            }
        };
        self.began(pid, stdin, [stdout, stderr], ending, watcher);
        if let Some((height, width)) = self.kept_size()
            && let Err(error) = machine.bridge.resize(&self.container, pid, height, width).await
        {
            tracing::debug!(%error, "terminal keeps its first size");
        }
        Ok(pid)
    }

    /// Says that it runs: pumps its streams and publishes how it ended, in the background. Once per process.
    pub(crate) fn began<W, R>(
        self: &Arc<Self>,
        pid: u32,
        stdin: Option<W>,
        output: [Option<R>; 2],
        ending: impl Future<Output = Result<ExitStatus, Lost>> + Send + 'static,
        watcher: Watcher,
    ) where
        W: AsyncWrite + Send + Unpin + 'static,
        R: AsyncRead + Send + Unpin + 'static,
    {
        let _ = self.pid.set(pid);
        let process = Arc::clone(self);
        let Watcher {
            tracker,
            gone,
            settle,
        } = watcher;
        tracker.spawn(async move {
            let status = process.watch(stdin, output, ending, gone).await;
            settle(&status);
            process.exit.send_replace(Some(status));
        });
    }

    /// Pumps the streams and waits for the exit.
    async fn watch(
        &self,
        stdin: Option<impl AsyncWrite + Send + Unpin>,
        [stdout, stderr]: [Option<impl AsyncRead + Send + Unpin>; 2],
        ending: impl Future<Output = Result<ExitStatus, Lost>>,
        mut gone: watch::Receiver<Option<String>>,
    ) -> ExitStatus {
        let exited = CancellationToken::new();
        let waiting = async {
            let outcome = ending.await;
            if outcome.is_err() {
                self.output.lose_patience();
            }
            exited.cancel();
            outcome
        };
        let feeding = async {
            if let (Some(stream), Some(stdin)) = (stdin, &self.stdin) {
                stdin.feed(stream, &exited).await;
            }
        };
        let (outcome, (), (), ()) = tokio::join!(
            waiting,
            self.pump(stdout, Channel::Output, &exited),
            self.pump(stderr, Channel::Errors, &exited),
            feeding,
        );
        self.output.finish();
        match outcome {
            Ok(status) => status,
            Err(Lost::Sandbox(said)) => {
                // The sandbox knows better why than its connection does.
                let reason = tokio::time::timeout(REASON, gone.wait_for(Option::is_some)).await;
                let reason = reason.ok().and_then(Result::ok).and_then(|reason| reason.clone());
                let reason = reason.unwrap_or(said);
                ExitStatus::now(LOST, Some(format!("sandbox ended: {reason}")))
            }
            Err(Lost::Process(said)) => ExitStatus::now(LOST, Some(said)),
        }
    }

    /// Reads one stream to its end. After the exit, a stream that somebody else holds open gets a moment.
    async fn pump(
        &self,
        stream: Option<impl AsyncRead + Send + Unpin>,
        channel: Channel,
        exited: &CancellationToken,
    ) {
        let Some(mut stream) = stream else { return };
        let mut size = SMALLEST;
        loop {
            let mut buffer = BytesMut::with_capacity(size);
            let read = tokio::select! {
                biased;
                read = stream.read_buf(&mut buffer) => read,
                () = quiet(exited) => break,
            };
            match read {
                // A terminal's stream ends with a reset when the guest just closes it.
                Ok(0) | Err(_) => break,
                Ok(count) if count >= size => size = (size * 4).min(LARGEST),
                Ok(count) if count < size / 8 => size = (size / 2).max(SMALLEST),
                Ok(_) => {}
            }
            self.output.write(channel, buffer.freeze()).await;
        }
        drop(stream);
        self.output.end(channel);
    }

    /// It is being killed: clients that do not read must not hold it up.
    pub(crate) fn lose_patience(&self) {
        self.output.lose_patience();
    }

    /// Sends a signal.
    pub(crate) async fn signal(&self, machine: &Machine, signal: i32) -> Result<()> {
        let pid = self.running()?;
        if signal == 9 {
            self.lose_patience();
        }
        let sent = machine.bridge.signal(&self.container, pid, Some(signal)).await;
        sent.map_err(|error| match error.hresult() {
            Some(gcs::hresult::NOT_FOUND) => has_exited(),
            _ => error.into(),
        })
    }

    /// Changes the terminal's size, now or at the start.
    pub(crate) async fn resize(&self, machine: &Machine, height: u16, width: u16) -> Result<()> {
        if !self.keep_size(height, width)? {
            let pid = self.running()?;
            machine.bridge.resize(&self.container, pid, height, width).await?;
        }
        Ok(())
    }

    /// Remembers the terminal's size for the start; false when it runs, so that the size is to be set now.
    pub(crate) fn keep_size(&self, height: u16, width: u16) -> Result<bool> {
        if !self.terminal {
            return Err(TaskError::new(
                ErrorKind::InvalidState,
                "the process has no terminal",
            ));
        }
        let early = self.pid().is_none() && self.exit().is_none();
        if early {
            *self.size.lock().unwrap_or_else(PoisonError::into_inner) = Some((height, width));
        }
        Ok(early)
    }

    /// The terminal's size that was set before the start.
    pub(crate) fn kept_size(&self) -> Option<(u16, u16)> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Its pid, if it runs.
    pub(crate) fn running(&self) -> Result<u32> {
        if self.exit().is_some() {
            return Err(has_exited());
        }
        self.pid()
            .ok_or_else(|| TaskError::new(ErrorKind::InvalidState, "the process has not been started"))
    }

    /// Ends everything about a process that was never started.
    pub(crate) fn discard(&self) {
        self.output.finish();
        self.exit.send_if_modified(|exit| {
            let unset = exit.is_none();
            if unset {
                *exit = Some(ExitStatus::now(
                    0,
                    Some("deleted before it was started".to_owned()),
                ));
            }
            unset
        });
    }
}

/// Why the end of a process is not known.
pub(crate) enum Lost {
    /// Its sandbox is gone; what the connection said.
    Sandbox(String),
    /// It alone is lost.
    Process(String),
}

/// What a launched process needs of its sandbox.
pub(crate) struct Watcher {
    pub(crate) tracker: TaskTracker,
    /// Why the sandbox ended.
    pub(crate) gone: watch::Receiver<Option<String>>,
    /// Called with the exit before it is published.
    pub(crate) settle: Box<dyn FnOnce(&ExitStatus) + Send>,
}

pub(crate) fn has_exited() -> TaskError {
    TaskError::new(ErrorKind::InvalidState, "the process has exited")
}

/// Resolves when the process has exited and a moment has passed.
async fn quiet(exited: &CancellationToken) {
    exited.cancelled().await;
    tokio::time::sleep(QUIET).await;
}
