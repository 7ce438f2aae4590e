//! Starts shims, and finds those that an earlier daemon started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::io::BufReader;
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

use super::client::{END, ShimSandbox, lost_exits, remove};
use super::connection::Calls;
use super::life::{self, Life};
use super::protocol::{Call, Hello, VERSION, read_line, unreadable};
use super::transport::{self, Sockets};
use super::{directory, load_spec};
use crate::document::guest;
use crate::error::{ErrorKind, Result, TaskError};
use crate::{Runtime, Sandbox, SandboxSpec};

/// How long a shim that runs may take to say hello.
const HELLO: Duration = Duration::from_secs(5);
/// How soon a shim that does not listen yet is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Removes what a dead sandbox left on the host: mounts, devices, processes. Called with its directory, on a thread
/// that may block; the directory itself is removed afterwards, if nothing is left in it. Called also when the sandbox has cleared up itself.
pub type Cleanup = Arc<dyn Fn(&Path) + Send + Sync>;

/// How shims are started.
#[derive(Clone)]
pub struct ShimConfig {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its first arguments; `--dir <directory>` follows.
    pub arguments: Vec<OsString>,
    /// Where sandboxes have their directories: `<run_dir>/sandboxes/<id>`.
    pub run_dir: PathBuf,
    /// How long a shim may take until its sandbox is ready.
    pub start_timeout: Duration,
    /// How a shim is reached; the shim has to be given the like.
    pub sockets: Sockets,
    /// Removes what a dead sandbox left.
    pub cleanup: Cleanup,
}

impl std::fmt::Debug for ShimConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ShimConfig")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// Gives every sandbox a process of its own.
#[derive(Debug)]
pub struct ShimRuntime {
    config: ShimConfig,
    tracker: TaskTracker,
}

impl ShimRuntime {
    /// A runtime that starts shims as configured.
    pub fn new(config: ShimConfig) -> Self {
        Self {
            config,
            tracker: TaskTracker::new(),
        }
    }

    fn spawn(&self, dir: &Path) -> std::io::Result<Child> {
        let log = life::log_for(dir)?;
        let mut command = Command::new(&self.config.program);
        command.args(&self.config.arguments).arg("--dir").arg(dir);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .current_dir(dir);
        transport::configure(&mut command);
        let child = command.spawn()?;
        if let Err(error) = self.config.sockets.note(dir, &child) {
            tracing::warn!(dir = %dir.display(), %error, "the next daemon cannot end this shim if it hangs");
        }
        Ok(child)
    }

    /// Starts a shim and waits until its sandbox is ready.
    async fn start(&self, dir: &Path) -> Result<Calls> {
        let program = self.config.program.display();
        let failed = |error| TaskError::io(format_args!("start shim {program}"), error);
        let mut child = self.spawn(dir).map_err(failed)?;
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let answer = tokio::time::timeout(self.config.start_timeout, read_line(&mut stdout)).await;
        let outcome = match answer {
            Ok(Ok(Some(serde_json::Value::Object(answer)))) if answer.is_empty() => Ok(()),
            Ok(Ok(Some(answer))) => Err(serde_json::from_value(answer).unwrap_or_else(unreadable)),
            Ok(Ok(None)) => Err(TaskError::new(
                ErrorKind::Shim,
                format!("shim ended at once{}", last_words(dir)),
            )),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => {
                let text = format!("shim was not ready within {:?}", self.config.start_timeout);
                Err(TaskError::new(ErrorKind::Timeout, text))
            }
        };
        let connected = match outcome {
            // It has just said so, and only a host that stands still keeps it from answering.
            Ok(()) => self.connect(dir, self.config.start_timeout).await,
            Err(error) => Err(error),
        };
        if connected.is_err() {
            // One that failed is about to end; one that hangs has to.
            let ended = tokio::time::timeout(HELLO, child.wait()).await;
            if ended.is_err() {
                let _ = child.kill().await;
            }
            return connected;
        }
        // Not for the exit status: a child that nobody waits for stays a zombie.
        self.tracker.spawn(async move {
            if let Ok(status) = child.wait().await {
                tracing::debug!(%status, "shim ended");
            }
        });
        connected
    }

    async fn connect(&self, dir: &Path, limit: Duration) -> Result<Calls> {
        let silent = || TaskError::new(ErrorKind::Timeout, "shim does not answer");
        let connect = async {
            let calls = Calls::open(&self.config.sockets, dir, &self.tracker).await;
            let calls = calls.map_err(|error| match error.kind() {
                // It may live, and is not ours to talk to or to kill.
                std::io::ErrorKind::PermissionDenied => {
                    TaskError::new(ErrorKind::Shim, format!("connect to the shim: {error}"))
                }
                _ => TaskError::io("connect to the shim", error),
            })?;
            let hello: Hello = calls.call(Call::Hello).await?;
            if hello.protocol != VERSION {
                let text = format!("shim speaks protocol {}, expected {VERSION}", hello.protocol);
                return Err(TaskError::new(ErrorKind::Shim, text));
            }
            Ok(calls)
        };
        tokio::time::timeout(limit, connect).await.map_err(|_| silent())?
    }

    /// What became of one sandbox.
    async fn recover_one(&self, dir: PathBuf) -> Option<ShimSandbox> {
        let spec = match load_spec(&dir) {
            Ok(spec) => spec,
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "directory without sandbox removed");
                remove(dir, Arc::clone(&self.config.cleanup)).await;
                return None;
            }
        };
        let life = Life::of(&dir, &self.config.sockets);
        match self.reconnect(&dir, &life).await {
            Ok(Some(calls)) => return Some(self.sandbox(spec, dir, calls, life)),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(sandbox = spec.id, %error, "sandbox left alone");
                return None;
            }
        }
        let exits = lost_exits(&dir);
        tracing::warn!(sandbox = spec.id, tasks = exits.len(), "sandbox died");
        // It has the log open.
        drop(life);
        remove(dir.clone(), Arc::clone(&self.config.cleanup)).await;
        (!exits.is_empty())
            .then(|| ShimSandbox::dead(spec, dir, self.config.sockets.clone(), exits, &self.tracker))
    }

    /// Connects to the shim of an earlier daemon, which may still be booting. None when it has died, or had to be killed
    /// because it does not answer.
    async fn reconnect(&self, dir: &Path, life: &Life) -> Result<Option<Calls>> {
        let deadline = Instant::now() + self.config.start_timeout;
        while !life.is_over().await {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.connect(dir, left).await {
                Ok(calls) => return Ok(Some(calls)),
                // It lives and is of another kind.
                Err(error) if error.kind == ErrorKind::Shim => return Err(error),
                Err(error) if left.is_zero() => {
                    tracing::warn!(dir = %dir.display(), %error, "shim does not answer and is killed");
                    let killed = life.kill().await;
                    killed.map_err(|error| TaskError::io("kill a shim that does not answer", error))?;
                    if !life.ends_within(END).await {
                        return Err(error);
                    }
                }
                // It does not listen yet, or it is ending.
                Err(_) => tokio::time::sleep(TRY_AGAIN.min(left)).await,
            }
        }
        Ok(None)
    }

    fn sandbox(&self, spec: SandboxSpec, dir: PathBuf, calls: Calls, life: Life) -> ShimSandbox {
        ShimSandbox::new(
            spec,
            dir,
            self.config.sockets.clone(),
            calls,
            life,
            Arc::clone(&self.config.cleanup),
            &self.tracker,
        )
    }
}

/// The end of what a shim wrote to its log, ready to be appended to a message.
fn last_words(dir: &Path) -> String {
    let text = std::fs::read(directory::log(dir)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(1024)..])
        .trim()
        .to_owned();
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}

#[async_trait]
impl Runtime for ShimRuntime {
    async fn create_sandbox(&self, mut spec: SandboxSpec) -> Result<Arc<dyn Sandbox>> {
        guest::check_id(&spec.id)?;
        spec.run_dir.clone_from(&self.config.run_dir);
        let dir = spec.dir();
        let failed = |error| TaskError::io(format_args!("create {}", dir.display()), error);
        std::fs::create_dir_all(&dir).map_err(failed)?;
        std::fs::write(
            directory::spec(&dir),
            serde_json::to_vec(&spec).map_err(unreadable)?,
        )
        .map_err(failed)?;
        match self.start(&dir).await {
            Ok(calls) => {
                let life = Life::of(&dir, &self.config.sockets);
                Ok(Arc::new(self.sandbox(spec, dir.clone(), calls, life)))
            }
            Err(error) => {
                remove(dir.clone(), Arc::clone(&self.config.cleanup)).await;
                Err(error)
            }
        }
    }

    async fn recover(&self) -> Result<Vec<Arc<dyn Sandbox>>> {
        let sandboxes = self.config.run_dir.join("sandboxes");
        let entries = match std::fs::read_dir(&sandboxes) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(TaskError::io(format_args!("read {}", sandboxes.display()), error)),
        };
        let found = join_all(entries.flatten().map(|entry| self.recover_one(entry.path()))).await;
        Ok(found
            .into_iter()
            .flatten()
            .map(|sandbox| Arc::new(sandbox) as Arc<dyn Sandbox>)
            .collect())
    }
}
