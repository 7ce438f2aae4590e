//! From the first mount of a task to the last: create, start and delete, which take turns.
//!
//! Called by the sandbox, each on a task of its own. What one step leaves when it fails, it takes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::super::adapter::Adapter;
use super::super::mounts::Mounts;
use super::super::process::{Process, Setup};
use super::super::stdin::Stdin;
use super::super::task::{Stage, Task};
use super::super::{output, persist};
use super::Shared;
use crate::document::guest;
use crate::error::{ErrorKind, Result, TaskError};
use crate::{ExitStatus, TaskSpec, TaskStatus};

impl Shared {
    pub(super) async fn create(&self, spec: TaskSpec) -> Result<()> {
        guest::check_id(&spec.id)?;
        let log = output::open_log(&spec.log)?;
        let stdin = spec.stdin.then(|| Stdin::new(spec.stdin_once));
        let init = Process::new(
            &spec.id,
            Setup {
                terminal: spec.terminal,
                stdin,
                log,
            },
            &self.tracker,
        );
        let task = Arc::new(Task::new(&spec.id, init));
        let mut stage = Arc::clone(&task.turn)
            .try_lock_owned()
            .expect("nobody else knows the task yet");
        loop {
            let other = {
                let mut tasks = self.tasks();
                match tasks.get(&spec.id) {
                    Some(other) if other.is_deleting() => Arc::clone(&other.turn),
                    Some(_) => {
                        let text = format!("task {} exists already", spec.id);
                        return Err(TaskError::new(ErrorKind::AlreadyExists, text));
                    }
                    None => {
                        tasks.insert(spec.id.clone(), Arc::clone(&task));
                        break;
                    }
                }
            };
            drop(other.lock().await);
        }
        persist::write(&self.dir, &spec.id, None);
        let outcome = self.assemble(&spec, &mut stage).await;
        if outcome.is_err() {
            self.forget(&task);
        }
        outcome
    }

    async fn assemble(&self, spec: &TaskSpec, stage: &mut Stage) -> Result<()> {
        let (machine, layers) = (Arc::clone(&self.machine), Arc::clone(&self.layers));
        if spec.oci_spec.is_null() {
            stage.mounts = Some(Mounts::assemble(machine, layers, spec).await?);
            stage.only_mounted = true;
            return Ok(());
        }
        let adapter = match &spec.network {
            Some(network) => Some(Adapter::add(&machine, network).await?),
            None => None,
        };
        let made = self.make(spec, adapter.as_ref().map(Adapter::namespace)).await;
        match (made, adapter) {
            (Ok(mounts), adapter) => {
                stage.mounts = Some(mounts);
                stage.adapter = adapter;
                Ok(())
            }
            (Err(error), None) => Err(error),
            (Err(error), Some(adapter)) => {
                adapter.remove().await;
                Err(error)
            }
        }
    }

    /// Mounts what a container needs and makes it, in the network of that name if it has one.
    async fn make(&self, spec: &TaskSpec, network: Option<&str>) -> Result<Mounts> {
        let (machine, layers) = (Arc::clone(&self.machine), Arc::clone(&self.layers));
        let mounts = Mounts::assemble(machine, layers, spec).await?;
        let mut oci_spec = spec.oci_spec.clone();
        if let Some(process) = oci_spec.get_mut("process").and_then(Value::as_object_mut) {
            process.insert("terminal".to_owned(), spec.terminal.into());
        }
        let namespace = network.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        let created = match guest::container(&spec.id, oci_spec, &mounts.binds(), &namespace) {
            Ok(config) => self
                .machine
                .bridge
                .create(&spec.id, &config)
                .await
                .map_err(Into::into),
            Err(error) => Err(error),
        };
        match created {
            Ok(()) => Ok(mounts),
            Err(error) => {
                mounts.go_down().await;
                Err(error)
            }
        }
    }

    pub(super) async fn start(self: Arc<Self>, id: String) -> Result<u32> {
        let task = self.task(&id)?;
        let mut stage = task.turn.lock().await;
        if stage.only_mounted {
            return Err(TaskError::new(
                ErrorKind::InvalidState,
                format!("task {id} has nothing to run"),
            ));
        }
        if stage.started || stage.mounts.is_none() {
            return Err(TaskError::new(
                ErrorKind::InvalidState,
                format!("task {id} has been started already"),
            ));
        }
        stage.started = true;
        let parameters = guest::process(task.init.has_stdin(), task.init.has_terminal(), true, None);
        let ready = async { Ok(self.machine.bridge.start(&id).await?) };
        let (dir, owner) = (self.dir.clone(), id.clone());
        let watcher = self.watcher(move |exit| persist::write(&dir, &owner, Some(exit)));
        task.init.launch(&self.machine, parameters, ready, watcher).await
    }

    pub(super) async fn delete(self: Arc<Self>, id: String) -> Result<ExitStatus> {
        let task = self.task(&id)?;
        let mut stage = task.turn.lock().await;
        let status = task.state().status;
        let alive = self.reason().is_none();
        if alive && status == TaskStatus::Running {
            return Err(TaskError::new(
                ErrorKind::InvalidState,
                format!("task {id} is running"),
            ));
        }
        task.set_deleting(true);
        let (mounts, adapter) = (stage.mounts.take(), stage.adapter.take());
        if alive {
            self.end_tools(&task).await;
        }
        if alive && let Some(mounts) = mounts {
            let bridge = &self.machine.bridge;
            if status == TaskStatus::Created
                && !stage.only_mounted
                && let Err(error) = bridge.shutdown(&id, false).await
            {
                tracing::debug!(task = id, %error, "task that was never started not killed");
            }
            if let Some(adapter) = adapter {
                adapter.remove().await;
            }
            mounts.go_down().await;
            // Last: it removes the directories, and must not find anything mounted there.
            if !stage.only_mounted
                && let Err(error) = bridge.delete_container_state(&id).await
            {
                tracing::warn!(task = id, %error, "container not deleted in the guest");
            }
        }
        if status == TaskStatus::Running {
            // The sandbox is gone, and so is the process; its exit is about to be published with the reason.
            task.init.exited().await;
        }
        task.init.discard();
        let exit = task.init.exit().unwrap_or_default();
        self.forget(&task);
        if self.retiring.load(Ordering::Acquire) && self.tasks().is_empty() {
            let shared = Arc::clone(&self);
            self.tracker
                .spawn(async move { shared.end("no task is left".to_owned()).await });
        }
        Ok(exit)
    }

    /// Takes a task out of the books.
    pub(super) fn forget(&self, task: &Arc<Task>) {
        task.init.discard();
        persist::remove(&self.dir, &task.id);
        let mut tasks = self.tasks();
        if tasks.get(&task.id).is_some_and(|other| Arc::ptr_eq(other, task)) {
            tasks.remove(&task.id);
        }
    }
}
