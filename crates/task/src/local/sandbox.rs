//! A sandbox in this process.
//!
//! Operations that change something run as tasks of their own, so that dropping the caller's future does not leave
//! half a container behind. Create, start and delete of one task take turns; everything else, and different tasks,
//! run at the same time. A monitor waits for the end of the VM or of its bridge: either is the end of the sandbox and
//! of all its tasks.

mod files;
mod programs;
mod tasks;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use compute::ComputeService;
use futures_util::future::join_all;
use gcs::message::PropertyQuery;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::layers::Layers;
use super::machine::Machine;
use super::process::{Process, Setup, Watcher};
use super::stdin::Stdin;
use super::task::Task;
use super::{LocalConfig, boot, persist};
use crate::console;
use crate::document::guest;
use crate::error::{ErrorKind, Result, TaskError};
use crate::stream::OutputReader;
use crate::{
    AttachStreams, ExitStatus, FilesSpec, MACHINE, ProcessSpec, Sandbox, SandboxSpec, TaskInfo, TaskSpec,
    TaskState, TaskStatus,
};

/// How much output waits between a process and a client in this process.
const CLIENT_BUFFER: usize = 32 << 10;

/// A sandbox in this process. Clones share it.
#[derive(Clone)]
pub struct LocalSandbox {
    shared: Arc<Shared>,
}

struct Shared {
    spec: SandboxSpec,
    config: LocalConfig,
    dir: PathBuf,
    machine: Arc<Machine>,
    layers: Arc<Layers>,
    tasks: Mutex<HashMap<String, Arc<Task>>>,
    /// No task: holds the programs that run beside them.
    itself: Task,
    retiring: AtomicBool,
    ending: AtomicBool,
    /// The VM is gone, and all that it had on the host.
    ended: CancellationToken,
    closed: watch::Sender<Option<String>>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl LocalSandbox {
    /// Boots a sandbox.
    pub async fn boot(
        compute: Arc<dyn ComputeService>,
        spec: SandboxSpec,
        config: LocalConfig,
    ) -> Result<Self> {
        guest::check_id(&spec.id)?;
        let dir = spec.dir();
        persist::prepare(&dir)
            .map_err(|error| TaskError::io(format_args!("create {}", dir.display()), error))?;
        let tracker = TaskTracker::new();
        let stop = CancellationToken::new();
        let booting = tracker.spawn({
            let (tracker, stop) = (tracker.clone(), stop.clone());
            async move {
                let outcome = boot::boot(compute.as_ref(), &spec, &config, &tracker, &stop).await;
                if outcome.is_err() {
                    stop.cancel();
                    leave(&spec.dir());
                }
                outcome.map(|booted| (booted, spec, config))
            }
        });
        let ((system, bridge), spec, config) = booting.await.map_err(panicked)??;
        let machine = Arc::new(Machine::new(system, bridge));
        let layers = Layers::new(
            Arc::clone(&machine),
            config.layer_linger,
            tracker.clone(),
            stop.clone(),
        );
        let nothing = Setup {
            terminal: false,
            stdin: None,
            log: None,
        };
        let itself = Task::new(MACHINE, Process::new(gcs::NULL_ID, nothing, &tracker));
        let shared = Arc::new(Shared {
            spec,
            config,
            dir,
            machine,
            layers: Arc::new(layers),
            tasks: Mutex::default(),
            itself,
            retiring: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            ended: CancellationToken::new(),
            closed: watch::Sender::new(None),
            tracker: tracker.clone(),
            stop,
        });
        tracker.spawn(Arc::clone(&shared).monitor());
        Ok(Self { shared })
    }

    /// Runs a change to its end even if the caller gives up.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.shared.alive()?;
        self.shared.tracker.spawn(work).await.map_err(panicked)?
    }
}

/// Removes what a sandbox has in its directory, and the directory unless others have something in it.
pub(super) fn leave(dir: &Path) {
    persist::clear(dir);
    if let Err(error) = std::fs::remove_dir(dir) {
        tracing::debug!(dir = %dir.display(), %error, "sandbox directory stays");
    }
}

pub(super) fn panicked(error: tokio::task::JoinError) -> TaskError {
    TaskError::new(ErrorKind::SandboxGone, "operation of the sandbox broke off").because(error)
}

impl Shared {
    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Arc<Task>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self, id: &str) -> Result<Arc<Task>> {
        self.tasks()
            .get(id)
            .map(Arc::clone)
            .ok_or_else(|| TaskError::no_task(id))
    }

    fn reason(&self) -> Option<String> {
        self.closed.borrow().clone()
    }

    fn alive(&self) -> Result<()> {
        match self.reason() {
            Some(reason) => Err(TaskError::gone(&reason)),
            None => Ok(()),
        }
    }

    fn watcher(&self, settle: impl FnOnce(&ExitStatus) + Send + 'static) -> Watcher {
        Watcher {
            tracker: self.tracker.clone(),
            gone: self.closed.subscribe(),
            settle: Box::new(settle),
        }
    }

    async fn exec(&self, id: &str, exec_id: &str, spec: ProcessSpec) -> Result<(u32, Option<AttachStreams>)> {
        if id == MACHINE {
            return self.program(exec_id, spec).await;
        }
        let task = self.task(id)?;
        let ProcessSpec {
            mut oci_process,
            terminal,
            stdin,
            detached,
        } = spec;
        let Some(members) = oci_process.as_object_mut() else {
            return Err(TaskError::new(
                ErrorKind::InvalidArgument,
                "the OCI process is not an object",
            ));
        };
        members.insert("terminal".to_owned(), terminal.into());
        let stdin = (stdin && !detached).then(|| Stdin::new(true));
        let parameters = guest::process(stdin.is_some(), terminal, !detached, Some(oci_process));
        let process = Arc::new(Process::new(
            id,
            Setup {
                terminal,
                stdin,
                log: None,
            },
            &self.tracker,
        ));
        task.execs.add(exec_id, &process)?;
        let streams = (!detached).then(|| self.attach(&process));
        let launched = process
            .launch(&self.machine, parameters, async { Ok(()) }, self.watcher(|_| {}))
            .await;
        if launched.is_err() {
            process.discard();
            task.execs.remove(exec_id);
        }
        Ok((launched?, streams))
    }

    fn attach(&self, process: &Process) -> AttachStreams {
        let (client, ours) = tokio::io::duplex(CLIENT_BUFFER);
        let left = CancellationToken::new();
        let stdin = process.attach(Box::new(ours), left.clone());
        AttachStreams {
            stdin: stdin.map(|writer| Box::new(writer) as crate::Stream),
            output: Box::new(OutputReader::new(client, left.drop_guard())),
        }
    }

    /// Waits for the end of the VM or the bridge.
    async fn monitor(self: Arc<Self>) {
        let exit = compute::wait_for_exit(self.machine.system.as_ref());
        let reason = tokio::select! {
            () = self.stop.cancelled() => return,
            exit = exit => match exit {
                Ok(status) => format!("the VM ended: {:?}", status.exit_type),
                Err(error) => format!("the compute service lost the VM: {error}"),
            },
            reason = self.machine.bridge.closed() => format!("lost the guest: {reason}"),
        };
        let reason = match console::last_words(&self.spec.consoles(), &self.spec.id) {
            Some(words) => format!("{reason}; {words}"),
            None => reason,
        };
        tracing::warn!(sandbox = self.spec.id, reason, "sandbox ended");
        self.end(reason).await;
    }

    /// Ends the VM. All tasks exit with the reason. The second call waits for the first.
    async fn end(&self, reason: String) {
        if self.ending.swap(true, Ordering::AcqRel) {
            return self.ended.cancelled().await;
        }
        // Also when this is given up or panics: nobody is to wait in vain.
        let _ended = self.ended.clone().drop_guard();
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            if first {
                *closed = Some(reason);
            }
            first
        });
        self.machine.bridge.close();
        let system = &self.machine.system;
        if let Err(error) = system.terminate().await
            && !error.is_already_stopped()
            && !error.is_not_found()
        {
            tracing::warn!(sandbox = self.spec.id, %error, "VM not terminated");
        }
        system.close().await;
        self.stop.cancel();
        if self.tasks().is_empty() {
            leave(&self.dir);
        }
    }

    /// Kills and takes down every task, so that their disks are complete, then ends the VM.
    async fn shutdown(self: Arc<Self>) -> Result<()> {
        let tasks: Vec<Arc<Task>> = self.tasks().values().map(Arc::clone).collect();
        let ended = join_all(tasks.iter().map(|task| async {
            for process in task.living() {
                if let Err(error) = process.signal(&self.machine, 9).await {
                    tracing::debug!(task = task.id, %error, "process not killed");
                }
            }
            if task.state().status == TaskStatus::Running {
                task.init.exited().await;
            }
            Arc::clone(&self).delete(task.id.clone()).await
        }));
        if self.reason().is_none()
            && tokio::time::timeout(self.config.shutdown_grace, ended)
                .await
                .is_err()
        {
            tracing::warn!(sandbox = self.spec.id, "tasks did not end in time");
        }
        self.end("shut down".to_owned()).await;
        Ok(())
    }
}

#[async_trait]
impl Sandbox for LocalSandbox {
    fn id(&self) -> &str {
        &self.shared.spec.id
    }

    fn spec(&self) -> &SandboxSpec {
        &self.shared.spec
    }

    async fn create(&self, task: TaskSpec) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        self.run(async move { shared.create(task).await }).await
    }

    async fn start(&self, id: &str) -> Result<u32> {
        self.run(Arc::clone(&self.shared).start(id.to_owned())).await
    }

    async fn exec(
        &self,
        id: &str,
        exec_id: &str,
        process: ProcessSpec,
    ) -> Result<(u32, Option<AttachStreams>)> {
        let shared = Arc::clone(&self.shared);
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        self.run(async move { shared.exec(&id, &exec_id, process).await })
            .await
    }

    async fn files(&self, id: &str, exec_id: &str, spec: FilesSpec) -> Result<AttachStreams> {
        let shared = Arc::clone(&self.shared);
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        self.run(async move { shared.files(&id, &exec_id, &spec).await })
            .await
    }

    async fn delete_exec(&self, id: &str, exec_id: &str) -> Result<()> {
        self.shared.task(id)?.execs.forget(exec_id)
    }

    async fn signal(&self, id: &str, exec: Option<&str>, signal: i32) -> Result<()> {
        self.shared
            .process(id, exec)?
            .signal(&self.shared.machine, signal)
            .await
    }

    async fn resize(&self, id: &str, exec: Option<&str>, height: u16, width: u16) -> Result<()> {
        self.shared
            .process(id, exec)?
            .resize(&self.shared.machine, height, width)
            .await
    }

    async fn attach(&self, id: &str, exec: Option<&str>) -> Result<AttachStreams> {
        let process = self.shared.process(id, exec)?;
        Ok(self.shared.attach(&process))
    }

    async fn wait(&self, id: &str, exec: Option<&str>) -> Result<ExitStatus> {
        Ok(self.shared.process(id, exec)?.exited().await)
    }

    async fn state(&self, id: &str) -> Result<TaskState> {
        Ok(self.shared.task(id)?.state())
    }

    async fn tasks(&self) -> Result<Vec<TaskInfo>> {
        Ok(self.shared.tasks().values().map(|task| task.info()).collect())
    }

    async fn stats(&self, id: &str) -> Result<Value> {
        self.shared.task(id)?;
        let query = PropertyQuery::statistics();
        let mut properties = self.shared.machine.bridge.properties(id, &query).await?;
        Ok(properties
            .get_mut("LCOWMetrics")
            .map(Value::take)
            .unwrap_or_default())
    }

    async fn update(&self, id: &str, resources: Value) -> Result<()> {
        self.shared.task(id)?;
        Ok(self
            .shared
            .machine
            .bridge
            .modify(id, &guest::constrain(resources))
            .await?)
    }

    async fn delete(&self, id: &str) -> Result<ExitStatus> {
        // Also when the sandbox is gone: the records of its tasks remain.
        let work = Arc::clone(&self.shared).delete(id.to_owned());
        self.shared.tracker.spawn(work).await.map_err(panicked)?
    }

    async fn trim(&self) -> Result<()> {
        let layers = Arc::clone(&self.shared.layers);
        self.run(async move {
            layers.trim().await;
            Ok(())
        })
        .await
    }

    async fn retire(&self) -> Result<()> {
        self.shared.retiring.store(true, Ordering::Release);
        if self.shared.tasks().is_empty() {
            self.shared.end("no task is left".to_owned()).await;
        }
        Ok(())
    }

    async fn shutdown(&self) -> Result<()> {
        let work = Arc::clone(&self.shared).shutdown();
        self.shared.tracker.spawn(work).await.map_err(panicked)?
    }

    fn closed(&self) -> Option<String> {
        self.shared.reason()
    }

    async fn wait_closed(&self) -> String {
        let mut closed = self.shared.closed.subscribe();
        let reason = closed
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| "shut down".to_owned())
    }
}
