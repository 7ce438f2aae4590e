//! A Windows container in this process: one sandbox, one task, one compute system, and with Hyper-V isolation a machine.
//!
//! Where a Linux sandbox boots first and then takes containers, the document of a Windows container says everything about it,
//! so the compute system is made by [`crate::Sandbox::create`]: the layers and the scratch are joined ([`snapshot::windows::Activation`]), the container
//! document names the result, and the first process is started in the running system. The same holds for a task that is
//! only mounted; it has no compute system.
//!
//! With Hyper-V isolation nothing is joined on the host. The container is one of a machine's guest ([`hosted`]), which is made and
//! ends with it; for everything else here it is a compute system like the other.
//!
//! The end of the first process ends the container: [`crate::Sandbox::delete`] terminates what else runs in it. A compute system
//! that ends by itself ends the sandbox, with a reason. Tools on files run in this process, on the joined tree ([`files`]).
//!
//! Not here: what the documents mean (`crate::document`), and how layers are joined (`snapshot`).

mod files;
mod hosted;
mod process;
mod running;
mod sandbox;
mod system;
mod task;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compute::{ComputeService, ComputeSystem};
use hcs::Document;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::hosted::{Hosted, Lifeline};
use self::process::WindowsProcess;
use self::system::{activate, container, deactivate, shut_down, terminate};
use self::task::Task;
use super::process::{Process, Setup, Watcher};
use super::stdin::Stdin;
use super::{LocalConfig, output, persist};
use crate::document::{guest, windows as document};
use crate::error::{ErrorKind, Result, TaskError};
use crate::stream::OutputReader;
use crate::{AttachStreams, ExitStatus, Sandbox, SandboxSpec, TaskSpec, TaskStatus};

/// How much output waits between a process and a client in this process.
const CLIENT_BUFFER: usize = 32 << 10;

/// How long the end of the first process may be heard of after that of its container.
const LAST_EXIT: Duration = Duration::from_secs(10);

/// The sandbox of a Windows container. Clones share it.
#[derive(Clone)]
pub struct WindowsSandbox {
    shared: Arc<Shared>,
}

struct Shared {
    spec: SandboxSpec,
    config: LocalConfig,
    dir: PathBuf,
    compute: Arc<dyn ComputeService>,
    task: Mutex<Option<Arc<Task>>>,
    /// Of the machine that the container runs in, if it does.
    lifeline: Mutex<Option<Lifeline>>,
    retiring: AtomicBool,
    ending: AtomicBool,
    ended: CancellationToken,
    closed: watch::Sender<Option<String>>,
    tracker: TaskTracker,
}

impl WindowsSandbox {
    /// A sandbox without a container yet.
    pub fn new(compute: Arc<dyn ComputeService>, spec: SandboxSpec, config: LocalConfig) -> Result<Self> {
        guest::check_id(&spec.id)?;
        let dir = spec.dir();
        persist::prepare(&dir)
            .map_err(|error| TaskError::io(format_args!("create {}", dir.display()), error))?;
        Ok(Self {
            shared: Arc::new(Shared {
                spec,
                config,
                dir,
                compute,
                task: Mutex::default(),
                lifeline: Mutex::default(),
                retiring: AtomicBool::new(false),
                ending: AtomicBool::new(false),
                ended: CancellationToken::new(),
                closed: watch::Sender::new(None),
                tracker: TaskTracker::new(),
            }),
        })
    }

    /// Runs a change to its end even if the caller gives up.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if let Some(reason) = self.closed() {
            return Err(TaskError::gone(&reason));
        }
        self.shared
            .tracker
            .spawn(work)
            .await
            .map_err(super::sandbox::panicked)?
    }
}

impl Shared {
    fn known(&self) -> Option<Arc<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn task(&self, id: &str) -> Result<Arc<Task>> {
        self.known()
            .filter(|task| task.id == id)
            .ok_or_else(|| TaskError::no_task(id))
    }

    fn reason(&self) -> Option<String> {
        self.closed.borrow().clone()
    }

    fn watcher(&self, settle: impl FnOnce(&ExitStatus) + Send + 'static) -> Watcher {
        Watcher {
            tracker: self.tracker.clone(),
            gone: self.closed.subscribe(),
            settle: Box::new(settle),
        }
    }

    fn process(&self, container: &str, setup: Setup) -> Arc<WindowsProcess> {
        Arc::new(WindowsProcess::new(Process::new(container, setup, &self.tracker)))
    }

    async fn create(self: Arc<Self>, spec: TaskSpec) -> Result<()> {
        guest::check_id(&spec.id)?;
        let setup = Setup {
            terminal: spec.terminal,
            stdin: spec.stdin.then(|| Stdin::new(spec.stdin_once)),
            log: output::open_log(&spec.log)?,
        };
        let init = self.process(&spec.id, setup);
        let task = Arc::new(Task::new(&spec, init));
        let mut stage = Arc::clone(&task.turn)
            .try_lock_owned()
            .expect("nobody else knows the task yet");
        {
            let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(other) = known.as_ref() {
                let text = format!("the sandbox holds container {} already", other.id);
                return Err(TaskError::new(ErrorKind::AlreadyExists, text));
            }
            *known = Some(Arc::clone(&task));
        }
        persist::write(&self.dir, &spec.id, None);
        let outcome = self.assemble(&spec, &mut stage).await;
        if outcome.is_err() {
            self.forget(&task);
        }
        outcome
    }

    async fn assemble(self: &Arc<Self>, spec: &TaskSpec, stage: &mut task::Stage) -> Result<()> {
        if self.spec.virtual_machine && !spec.oci_spec.is_null() {
            let (hosted, system) = Hosted::assemble(
                self.compute.as_ref(),
                &self.spec,
                &self.config,
                spec,
                &self.tracker,
            )
            .await
            .map_err(about_the_machine)?;
            self.tracker.spawn(Arc::clone(self).watch_machine(hosted.lost()));
            *self.lifeline.lock().unwrap_or_else(PoisonError::into_inner) = Some(hosted.lifeline());
            stage.hosted = Some(hosted);
            self.hold(spec, stage, system);
            return Ok(());
        }
        let base = self.config.windows_base.clone();
        let activation = activate(spec, base).await?;
        if !spec.oci_spec.is_null() {
            let document = container(&self.spec, spec, &activation)?;
            let system = self.compute.create(&self.spec.id, &document.to_json()).await?;
            self.hold(spec, stage, system);
        }
        stage.activation = Some(Arc::new(activation));
        Ok(())
    }

    /// Takes the compute system of a container.
    fn hold(self: &Arc<Self>, spec: &TaskSpec, stage: &mut task::Stage, system: Arc<dyn ComputeSystem>) {
        stage.process = spec.oci_spec.get("process").cloned().unwrap_or_default();
        stage.system = Some(Arc::clone(&system));
        self.tracker.spawn(Arc::clone(self).monitor(system));
    }

    async fn start(self: Arc<Self>, id: String) -> Result<u32> {
        let task = self.task(&id)?;
        let mut stage = task.turn.lock().await;
        let Some(system) = stage.system.clone() else {
            return Err(TaskError::new(
                ErrorKind::InvalidState,
                format!("task {id} has nothing to run"),
            ));
        };
        if std::mem::replace(&mut stage.started, true) {
            return Err(TaskError::new(
                ErrorKind::InvalidState,
                format!("task {id} has been started already"),
            ));
        }
        system.start().await?;
        let init = task.init.as_process();
        let parameters =
            document::process(&stage.process, init.has_stdin(), init.has_terminal(), true)?.to_json();
        let (dir, owner) = (self.dir.clone(), id.clone());
        let watcher = self.watcher(move |exit| persist::write(&dir, &owner, Some(exit)));
        task.init.launch(system.as_ref(), &parameters, watcher).await
    }

    async fn delete(self: Arc<Self>, id: String) -> Result<ExitStatus> {
        let task = self.task(&id)?;
        let mut stage = task.turn.lock().await;
        let status = task.state().status;
        if self.reason().is_none() && status == TaskStatus::Running {
            return Err(TaskError::new(
                ErrorKind::InvalidState,
                format!("task {id} is running"),
            ));
        }
        self.take_down(&task, &mut stage).await;
        if status == TaskStatus::Running {
            // The sandbox is gone, and so is the process; its exit is about to be published with the reason.
            task.init.as_process().exited().await;
        }
        task.init.as_process().discard();
        let exit = task.init.as_process().exit().unwrap_or_default();
        self.forget(&task);
        if self.retiring.load(Ordering::Acquire) {
            let shared = Arc::clone(&self);
            self.tracker
                .spawn(async move { shared.end("no task is left".to_owned()).await });
        }
        Ok(exit)
    }

    /// Ends what runs, then separates scratch and layers.
    async fn take_down(&self, task: &Task, stage: &mut task::Stage) {
        task.deleting.store(true, Ordering::Release);
        if let Some(system) = stage.system.take() {
            if task.state().status == TaskStatus::Exited {
                shut_down(system.as_ref()).await;
            }
            terminate(system.as_ref()).await;
        }
        files::end_tools(task).await;
        if let Some(hosted) = stage.hosted.take() {
            hosted.take_down().await;
        }
        deactivate(stage.activation.take()).await;
    }

    fn forget(&self, task: &Arc<Task>) {
        task.init.as_process().discard();
        persist::remove(&self.dir, &task.id);
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|other| Arc::ptr_eq(other, task)) {
            *known = None;
        }
    }

    /// Waits for the end of the compute system. One that nobody asked for ends the sandbox.
    async fn monitor(self: Arc<Self>, system: Arc<dyn ComputeSystem>) {
        let reason = match compute::wait_for_exit(system.as_ref()).await {
            // The end of the machine is told by who watches that.
            Ok(status) if self.spec.virtual_machine && status.status.is(hosted::LOST) => return,
            Ok(status) => format!("the container ended: {:?}", status.exit_type),
            Err(error) => format!("the compute service lost the container: {error}"),
        };
        let task = self.known();
        if let Some(task) = &task {
            // The end of the first process may still be on its way.
            let exited = tokio::time::timeout(LAST_EXIT, task.init.as_process().exited());
            if exited.await.is_err() {
                tracing::debug!(task = task.id, "container ended before its first process");
            }
        }
        let expected = task.is_none_or(|task| task.deleting.load(Ordering::Acquire));
        if !expected && !self.ending.load(Ordering::Acquire) {
            tracing::warn!(sandbox = self.spec.id, reason, "container ended by itself");
            self.end(reason).await;
        }
    }

    /// Waits for the end of the machine that the container runs in, which is the sandbox's.
    async fn watch_machine(self: Arc<Self>, lost: impl Future<Output = Option<String>>) {
        if let Some(reason) = lost.await
            && !self.ending.load(Ordering::Acquire)
        {
            tracing::warn!(sandbox = self.spec.id, reason, "sandbox ended");
            self.end(reason).await;
        }
    }

    /// Ends everything, with a reason for those who wait. The second call waits for the first.
    async fn end(&self, reason: String) {
        if self.ending.swap(true, Ordering::AcqRel) {
            return self.ended.cancelled().await;
        }
        let _ended = self.ended.clone().drop_guard();
        self.closed.send_replace(Some(reason));
        match self.known() {
            Some(task) => {
                let mut stage = task.turn.lock().await;
                self.take_down(&task, &mut stage).await;
            }
            None => super::sandbox::leave(&self.dir),
        }
    }

    async fn shutdown(self: Arc<Self>) -> Result<()> {
        if let Some(task) = self.known()
            && self.reason().is_none()
        {
            let killed = async {
                if task.state().status == TaskStatus::Running {
                    if let Err(error) = task.init.signal(9).await {
                        tracing::debug!(task = task.id, %error, "process not killed");
                    }
                    task.init.as_process().exited().await;
                }
                Arc::clone(&self).delete(task.id.clone()).await
            };
            if tokio::time::timeout(self.config.shutdown_grace, killed)
                .await
                .is_err()
            {
                tracing::warn!(sandbox = self.spec.id, "container did not end in time");
            }
        }
        self.end("shut down".to_owned()).await;
        Ok(())
    }
}

/// A code of the compute service says something about a program only where one is started. What it means stays in the message.
fn about_the_machine(error: TaskError) -> TaskError {
    let hresult = error.hresult.filter(|_| error.kind != ErrorKind::Compute);
    TaskError { hresult, ..error }
}

fn attach(process: &Process) -> AttachStreams {
    let (client, ours) = tokio::io::duplex(CLIENT_BUFFER);
    let left = CancellationToken::new();
    let stdin = process.attach(Box::new(ours), left.clone());
    AttachStreams {
        stdin: stdin.map(|writer| Box::new(writer) as crate::Stream),
        output: Box::new(OutputReader::new(client, left.drop_guard())),
    }
}
