//! A sandbox behind a shim, as the daemon sees it.
//!
//! A monitor waits for the end of the sandbox or of the shim. In both cases what is known of the tasks' exits is
//! fetched first (from the shim, or from the records it left), so that waits and states can be answered afterwards;
//! then the shim is told to end, and what is left on the host is removed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Calls, open_stream};
use super::directory;
use super::life::{LOOK_AGAIN, Life};
use super::protocol::{Call, Opened};
use super::runtime::Cleanup;
use super::transport::{OPEN_FILES_STAY, Sockets};
use crate::error::{ErrorKind, Result, TaskError};
use crate::local::records;
use crate::{
    AttachStreams, ExitStatus, FilesSpec, ProcessSpec, Sandbox, SandboxSpec, TaskInfo, TaskSpec, TaskState,
    TaskStatus,
};

/// The exit code of tasks whose shim died.
const LOST: i32 = 137;
/// How long a shim may take to end after it was told to.
pub(crate) const END: Duration = Duration::from_secs(10);
/// The same where nobody waits. What it leaves after that is the next daemon's.
const GONE: Duration = Duration::from_secs(60);

/// Tasks and their exits.
type Exits = BTreeMap<String, Option<ExitStatus>>;

/// A sandbox behind a shim.
pub(crate) struct ShimSandbox {
    shared: Arc<Shared>,
}

struct Shared {
    spec: SandboxSpec,
    dir: PathBuf,
    sockets: Sockets,
    tracker: TaskTracker,
    calls: Option<Calls>,
    closed: watch::Sender<Option<String>>,
    /// What is known of the tasks of a closed sandbox.
    exits: Mutex<Exits>,
    /// We have told the shim to end.
    told: AtomicBool,
    /// Nothing is left of it, or what is left cannot be removed.
    cleared: CancellationToken,
}

impl ShimSandbox {
    /// A living sandbox.
    pub(crate) fn new(
        spec: SandboxSpec,
        dir: PathBuf,
        sockets: Sockets,
        calls: Calls,
        life: Life,
        cleanup: Cleanup,
        tracker: &TaskTracker,
    ) -> Self {
        let shared = Arc::new(Shared {
            spec,
            dir,
            sockets,
            tracker: tracker.clone(),
            calls: Some(calls.clone()),
            closed: watch::Sender::new(None),
            exits: Mutex::default(),
            told: AtomicBool::new(false),
            cleared: CancellationToken::new(),
        });
        let monitor = Arc::clone(&shared).monitor(calls, life, cleanup);
        let cleared = shared.cleared.clone().drop_guard();
        tracker.spawn(async move {
            monitor.await;
            drop(cleared);
        });
        Self { shared }
    }

    /// What is left of a sandbox whose shim died.
    pub(crate) fn dead(
        spec: SandboxSpec,
        dir: PathBuf,
        sockets: Sockets,
        exits: Exits,
        tracker: &TaskTracker,
    ) -> Self {
        let closed = watch::Sender::new(Some("its shim died".to_owned()));
        let shared = Shared {
            spec,
            dir,
            sockets,
            tracker: tracker.clone(),
            calls: None,
            closed,
            exits: Mutex::new(exits),
            told: AtomicBool::new(false),
            cleared: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

/// The records of a dead sandbox. A task without exit was running: it has been lost.
pub(crate) fn lost_exits(dir: &Path) -> Exits {
    let lost = || ExitStatus::now(LOST, Some("the sandbox's shim died".to_owned()));
    records(dir)
        .into_iter()
        .map(|(id, exit)| (id, Some(exit.unwrap_or_else(lost))))
        .collect()
}

/// Removes what a dead sandbox left. Where open files stay, that may have to wait for the end of the shim's process.
pub(crate) async fn remove(dir: PathBuf, cleanup: Cleanup) {
    let first = dir.clone();
    let work = tokio::task::spawn_blocking(move || cleanup(&first));
    if let Err(error) = work.await {
        tracing::error!(%error, "clean-up of a sandbox failed");
    }
    let gone = async {
        while OPEN_FILES_STAY && !directory::try_remove(&dir).is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // The last attempt says what is left.
    let _ = tokio::time::timeout(END, gone).await;
    directory::remove(&dir);
}

impl Shared {
    /// Waits for the end and clears up.
    async fn monitor(self: Arc<Self>, calls: Calls, life: Life, cleanup: Cleanup) {
        let reason = calls.call::<String>(Call::Closed).await;
        let (reason, exits) = match reason {
            Ok(reason) => {
                let tasks = calls.call::<Vec<TaskInfo>>(Call::Tasks).await.unwrap_or_default();
                (
                    reason,
                    tasks.into_iter().map(|task| (task.id, task.state.exit)).collect(),
                )
            }
            Err(error) => {
                tracing::debug!(sandbox = self.spec.id, %error, "shim does not answer");
                let reason = if self.told.load(Ordering::Acquire) {
                    "shut down"
                } else {
                    "its shim died"
                };
                (reason.to_owned(), lost_exits(&self.dir))
            }
        };
        *self.exits.lock().unwrap_or_else(PoisonError::into_inner) = exits;
        self.closed.send_replace(Some(reason));
        // A shim that died, or that has no task left, does not hear it.
        let _ = tokio::time::timeout(END, calls.call::<()>(Call::Shutdown)).await;
        // It clears up until its process ends; who clears up beside it would find half of everything.
        if tokio::time::timeout(GONE, calls.ended()).await.is_err() || !life.ends_within(GONE).await {
            tracing::error!(sandbox = self.spec.id, "shim does not end");
            return;
        }
        // It has the log open.
        drop(life);
        remove(self.dir.clone(), cleanup).await;
    }

    fn reason(&self) -> Option<String> {
        self.closed.borrow().clone()
    }

    async fn wait_closed(&self) -> String {
        let mut closed = self.closed.subscribe();
        let reason = closed
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }

    fn calls(&self) -> Result<&Calls> {
        match (self.reason(), &self.calls) {
            (None, Some(calls)) => Ok(calls),
            (reason, _) => Err(TaskError::gone(&reason.unwrap_or_default())),
        }
    }

    async fn call<T: serde::de::DeserializeOwned>(&self, call: Call) -> Result<T> {
        self.calls()?.call(call).await
    }

    /// A call that becomes a stream.
    async fn open(&self, call: Call) -> Result<(Option<u32>, AttachStreams)> {
        self.calls()?;
        open_stream(&self.sockets, &self.dir, call, &self.tracker).await
    }

    /// A call whose answer is known after the end of the sandbox, too.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        call: Call,
        known: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        match self.call(call).await {
            Err(error) if error.kind == ErrorKind::SandboxGone => {
                self.wait_closed().await;
                known()
            }
            outcome => outcome,
        }
    }

    /// How a task of the closed sandbox ended.
    fn known(&self, id: &str) -> Result<TaskState> {
        let exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        let exit = exits.get(id).ok_or_else(|| TaskError::no_task(id))?;
        let status = if exit.is_some() {
            TaskStatus::Exited
        } else {
            TaskStatus::Created
        };
        Ok(TaskState {
            status,
            pid: None,
            exit: exit.clone(),
        })
    }

    /// How a process of the closed sandbox ended. With the sandbox, every process did.
    fn known_exit(&self, id: &str, exec: Option<&str>) -> Result<ExitStatus> {
        let state = self.known(id)?;
        let lost = || {
            ExitStatus::now(
                LOST,
                self.reason().map(|reason| format!("sandbox ended: {reason}")),
            )
        };
        Ok(state.exit.filter(|_| exec.is_none()).unwrap_or_else(lost))
    }
}

fn owned(exec: Option<&str>) -> Option<String> {
    exec.map(str::to_owned)
}

#[async_trait]
impl Sandbox for ShimSandbox {
    fn id(&self) -> &str {
        &self.shared.spec.id
    }

    fn spec(&self) -> &SandboxSpec {
        &self.shared.spec
    }

    async fn create(&self, task: TaskSpec) -> Result<()> {
        self.shared.call(Call::Create(Box::new(task))).await
    }

    async fn start(&self, id: &str) -> Result<u32> {
        self.shared.call(Call::Start { id: id.to_owned() }).await
    }

    async fn exec(
        &self,
        id: &str,
        exec_id: &str,
        process: ProcessSpec,
    ) -> Result<(u32, Option<AttachStreams>)> {
        let detached = process.detached;
        let call = Call::Exec {
            id: id.to_owned(),
            exec: exec_id.to_owned(),
            process: Box::new(process),
        };
        let missing = || TaskError::new(ErrorKind::Shim, "exec without pid");
        if detached {
            let opened: Opened = self.shared.call(call).await?;
            return Ok((opened.pid.ok_or_else(missing)?, None));
        }
        let (pid, streams) = self.shared.open(call).await?;
        Ok((pid.ok_or_else(missing)?, Some(streams)))
    }

    async fn files(&self, id: &str, exec_id: &str, spec: FilesSpec) -> Result<AttachStreams> {
        let call = Call::Files {
            id: id.to_owned(),
            exec: exec_id.to_owned(),
            spec: Box::new(spec),
        };
        let (_, streams) = self.shared.open(call).await?;
        Ok(streams)
    }

    async fn delete_exec(&self, id: &str, exec_id: &str) -> Result<()> {
        self.shared
            .call(Call::DeleteExec {
                id: id.to_owned(),
                exec: exec_id.to_owned(),
            })
            .await
    }

    async fn signal(&self, id: &str, exec: Option<&str>, signal: i32) -> Result<()> {
        self.shared
            .call(Call::Signal {
                id: id.to_owned(),
                exec: owned(exec),
                signal,
            })
            .await
    }

    async fn resize(&self, id: &str, exec: Option<&str>, height: u16, width: u16) -> Result<()> {
        self.shared
            .call(Call::Resize {
                id: id.to_owned(),
                exec: owned(exec),
                height,
                width,
            })
            .await
    }

    async fn attach(&self, id: &str, exec: Option<&str>) -> Result<AttachStreams> {
        let call = Call::Attach {
            id: id.to_owned(),
            exec: owned(exec),
        };
        let (_, streams) = self.shared.open(call).await?;
        Ok(streams)
    }

    async fn wait(&self, id: &str, exec: Option<&str>) -> Result<ExitStatus> {
        let call = Call::Wait {
            id: id.to_owned(),
            exec: owned(exec),
        };
        self.shared.ask(call, || self.shared.known_exit(id, exec)).await
    }

    async fn state(&self, id: &str) -> Result<TaskState> {
        self.shared
            .ask(Call::State { id: id.to_owned() }, || self.shared.known(id))
            .await
    }

    async fn tasks(&self) -> Result<Vec<TaskInfo>> {
        let known = || {
            let ids: Vec<String> = self
                .shared
                .exits
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .keys()
                .cloned()
                .collect();
            let info = |id: String| {
                Ok(TaskInfo {
                    running: false,
                    state: self.shared.known(&id)?,
                    id,
                })
            };
            ids.into_iter().map(info).collect()
        };
        self.shared.ask(Call::Tasks, known).await
    }

    async fn stats(&self, id: &str) -> Result<Value> {
        self.shared.call(Call::Stats { id: id.to_owned() }).await
    }

    async fn update(&self, id: &str, resources: Value) -> Result<()> {
        self.shared
            .call(Call::Update {
                id: id.to_owned(),
                resources,
            })
            .await
    }

    async fn delete(&self, id: &str) -> Result<ExitStatus> {
        let known = || {
            let exit = self.shared.known_exit(id, None)?;
            self.shared
                .exits
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(id);
            Ok(exit)
        };
        self.shared.ask(Call::Delete { id: id.to_owned() }, known).await
    }

    async fn trim(&self) -> Result<()> {
        self.shared.call(Call::Trim).await
    }

    async fn retire(&self) -> Result<()> {
        self.shared.call(Call::Retire).await
    }

    async fn shutdown(&self) -> Result<()> {
        if self.shared.calls.is_none() {
            return Ok(());
        }
        self.shared.told.store(true, Ordering::Release);
        match self.shared.call::<()>(Call::Shutdown).await {
            // It ended on its own in this moment.
            Err(error) if error.kind != ErrorKind::SandboxGone => return Err(error),
            _ => {}
        }
        self.shared.cleared.cancelled().await;
        Ok(())
    }

    fn closed(&self) -> Option<String> {
        self.shared.reason()
    }

    async fn wait_closed(&self) -> String {
        self.shared.wait_closed().await
    }
}
