//! Start, stop, kill and the end of containers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use task::{ExitStatus, LogConfig, Sandbox, Share, TaskSpec};

use crate::clock;
use crate::container::{Attachment, Container, WaitCondition};
use crate::convert;
use crate::engine::{Engine, RemoveOptions};
use crate::error::{Error, Kind, Result};
use crate::record::{ContainerRecord, Status};
use crate::sandboxes::Scope;
use crate::{networks, signal, spec};

/// How long `stop` waits before it kills, unless the container says otherwise.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for Windows, whose programs take longer to end.
const STOP_TIMEOUT_WINDOWS: Duration = Duration::from_secs(30);
/// How long `kill` waits for the end of what it has killed.
const KILLED: Duration = Duration::from_secs(10);
/// Log files of a container are rotated at this size unless it says otherwise.
const LOG_MAX_BYTES: u64 = 64 << 20;
const LOG_MAX_FILES: u32 = 3;

/// The exit of a container of which only that is known.
pub(crate) fn lost(reason: String) -> ExitStatus {
    ExitStatus {
        code: 255,
        exited_unix_ms: u64::try_from(clock::now_ns() / 1_000_000).unwrap_or(0),
        reason: Some(reason),
    }
}

/// The number of a signal, in the numbering of the container's system.
pub(crate) fn signal_of(record: &ContainerRecord, text: &str) -> Result<i32> {
    match record.is_windows() {
        true => spec::windows::signal(text),
        false => signal::parse(text),
    }
}

/// Which sandbox a container needs.
fn scope(record: &ContainerRecord) -> Scope {
    if record.has_windows_machine() {
        Scope::WindowsMachine {
            memory: record.options.memory,
            nano_cpus: record.options.nano_cpus,
        }
    } else if record.is_windows() {
        Scope::Windows
    } else if record.options.isolation.as_deref() == Some("hyperv") {
        Scope::Own {
            memory: record.options.memory,
        }
    } else if spec::host_network(record) {
        Scope::HostNetwork
    } else {
        Scope::Shared
    }
}

impl Engine {
    /// Starts a container; does nothing for one that runs.
    ///
    /// # Errors
    /// The container does not exist or cannot run; the reason is also kept in its state.
    pub async fn start(&self, name: &str) -> Result<()> {
        let container = self.find(name)?;
        let turn = container.turn().await;
        match container.status() {
            Status::Running => return Ok(()),
            Status::Paused => {
                return Err(Error::new(
                    Kind::FailedPrecondition,
                    "cannot start a paused container, try unpause instead",
                )
                .about("container", name));
            }
            Status::Removing | Status::Dead => {
                return Err(Error::new(
                    Kind::FailedPrecondition,
                    "container is marked for removal and cannot be started",
                )
                .about("container", name));
            }
            Status::Created | Status::Exited => {}
        }
        let outcome = self.start_in_turn(&container).await;
        if let Err(error) = &outcome {
            let code = match error.subject().map(|subject| subject.kind) {
                Some("command") if error.kind() == Kind::NotFound => 127,
                Some("command") => 126,
                _ => 128,
            };
            let text = error.to_string();
            let record = container.set_state(|state| {
                state.error = Some(text);
                state.exit_code = code;
                state.pid = None;
            });
            container.take_waiting();
            self.keep(&record).await;
            if record.options.auto_remove {
                drop(turn);
                self.remove_quietly(&record.id).await;
            }
        }
        outcome
    }

    async fn start_in_turn(&self, container: &Arc<Container>) -> Result<()> {
        let record = container.snapshot();
        let scope = scope(&record);
        let ticket = self.0.sandboxes.get(scope).await?;
        let sandbox = ticket.sandbox.clone();
        let started = async {
            let network = self.attach_network(&record).await?;
            let started = self
                .start_in(container, &record, &*sandbox, network.as_ref())
                .await;
            if started.is_err() {
                self.detach_network(&record, network.as_ref()).await;
            }
            Ok((started?, network))
        };
        let (pid, network) = match started.await {
            Ok(started) => started,
            Err(error) => {
                self.0.sandboxes.give_up(&*sandbox).await;
                return Err(error);
            }
        };
        if let Scope::Own { .. } = scope {
            self.refill_pool();
        }
        let record = container.set_state(|state| {
            *state = crate::record::State {
                status: Status::Running,
                pid: Some(pid),
                started_ns: Some(clock::now_ns()),
                sandbox: Some(sandbox.id().to_owned()),
                network,
                ..Default::default()
            };
        });
        self.monitor(container.clone(), sandbox);
        self.0
            .events
            .publish("container", "start", &record.id, record.event_attributes());
        self.keep(&record).await;
        Ok(())
    }

    /// Makes and starts the task of a container; nothing is left of it after a failure.
    async fn start_in(
        &self,
        container: &Container,
        record: &ContainerRecord,
        sandbox: &dyn Sandbox,
        network: Option<&network::Attachment>,
    ) -> Result<u32> {
        let task = self.task_spec(record, network).await?;
        let id = record.id.clone();
        sandbox
            .create(task)
            .await
            .map_err(|error| convert::start(error, record))?;
        let started = async {
            if sandbox.spec().dedicated {
                // From now on it ends with its only task, whatever becomes of the daemon.
                sandbox
                    .retire()
                    .await
                    .map_err(|error| convert::start(error, record))?;
            }
            for waiting in container.take_waiting() {
                let streams = sandbox
                    .attach(&id, None)
                    .await
                    .map_err(|error| convert::task(error, &record.name));
                // The client may have left meanwhile.
                drop(waiting.send(streams));
            }
            sandbox
                .start(&id)
                .await
                .map_err(|error| convert::start(error, record))
        };
        let outcome = started.await;
        if outcome.is_err()
            && let Err(left) = sandbox.delete(&id).await
        {
            tracing::warn!(container = id, error = %left, "task of a failed start not deleted");
        }
        outcome
    }

    pub(crate) async fn task_spec(
        &self,
        record: &ContainerRecord,
        network: Option<&network::Attachment>,
    ) -> Result<TaskSpec> {
        let (oci_spec, binds) = match record.is_windows() {
            true => {
                let namespace = network.map(|network| network.namespace.as_str());
                let sandboxes = &self.0.sandboxes;
                // Limits are shares of the processors that the container sees.
                let processors = match record.has_windows_machine() {
                    true => sandboxes.windows_processors(record.options.nano_cpus),
                    false => sandboxes.host_processors(),
                };
                spec::windows::windows(record, processors, namespace)?
            }
            false => spec::linux(record)?,
        };
        let plugged = match network {
            Some(network) if record.has_windows_machine() => {
                Some(self.described_network(record, network).await?)
            }
            Some(network) if !record.is_windows() => Some(networks::spec(network)),
            _ => None,
        };
        let mut layers = Vec::with_capacity(record.layers.len());
        for diff_id in &record.layers {
            let layer = self.0.snapshots.layer(record, diff_id).await?.ok_or_else(|| {
                Error::new(
                    Kind::DataLoss,
                    format!("layer {diff_id} of the container is missing"),
                )
                .about("container", &record.name)
                .hint(format!("pull {} again", record.image))
            })?;
            if layer.opaque_root {
                // It hides everything below, which overlayfs does not see on a root directory.
                layers.clear();
            }
            layers.push(layer.path);
        }
        let scratch = self.0.snapshots.scratch(record).await?.ok_or_else(|| {
            Error::new(Kind::DataLoss, "the container's writable layer is missing")
                .about("container", &record.name)
                .hint("remove the container and create it again")
        })?;
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        Ok(TaskSpec {
            id: record.id.clone(),
            layers,
            scratch: scratch.path,
            oci_spec,
            shares: binds
                .into_iter()
                .map(|bind| Share {
                    source: bind.source,
                    read_only: bind.read_only,
                    mount_index: bind.mount_index,
                })
                .collect(),
            terminal: record.options.tty,
            stdin: record.options.open_stdin,
            stdin_once: record.options.stdin_once,
            log: LogConfig {
                path: record.log_path.clone(),
                max_bytes: or(record.options.log_max_size, LOG_MAX_BYTES),
                max_files: if record.options.log_max_files == 0 {
                    LOG_MAX_FILES
                } else {
                    record.options.log_max_files
                },
            },
            network: plugged,
        })
    }

    /// Waits for the end of a running container, then settles it. Whatever happens to the task that does, the container
    /// does not run for ever.
    pub(crate) fn monitor(&self, container: Arc<Container>, sandbox: Arc<dyn Sandbox>) {
        let engine = self.clone();
        self.0.tracker.spawn(async move {
            let watched = AssertUnwindSafe(engine.watch(&container, &*sandbox));
            if watched.catch_unwind().await.is_err() {
                tracing::error!(container = container.id(), "monitor of a container panicked");
                let status = lost("the daemon failed while it watched the container".to_owned());
                engine.settle(&container, None, status).await;
            }
        });
    }

    async fn watch(&self, container: &Arc<Container>, sandbox: &dyn Sandbox) {
        let status = match sandbox.wait(&container.id(), None).await {
            Ok(status) => status,
            Err(error) => lost(format!("lost the container's sandbox: {error}")),
        };
        self.settle(container, Some(sandbox), status).await;
        if let Some(patience) = self.0.sandboxes.patience(sandbox) {
            let (engine, id) = (self.clone(), sandbox.id().to_owned());
            // Not tracked: who closes the engine does not wait for it.
            tokio::spawn(async move {
                tokio::time::sleep(patience).await;
                engine.0.sandboxes.end_idle(&id).await;
            });
        }
    }

    /// Boots machines for the pool in the background.
    pub(crate) fn refill_pool(&self) {
        let engine = self.clone();
        tokio::spawn(async move { engine.0.sandboxes.fill_pool().await });
    }

    /// Books the end of a container.
    pub(crate) async fn settle(
        &self,
        container: &Arc<Container>,
        sandbox: Option<&dyn Sandbox>,
        status: ExitStatus,
    ) {
        let turn = container.turn().await;
        let id = container.id();
        let record = container.snapshot();
        let network = record.state.network.as_ref();
        if network.is_some() {
            container.set_ending(true);
            // Whoever has seen its end finds its ports free: so its network goes first, and its processes before that.
            self.delete_task(&id, sandbox).await;
            self.detach_network(&record, network).await;
        }
        let attached = network.is_some();
        let record = container.set_state(|state| {
            state.status = Status::Exited;
            state.network = None;
            state.pid = None;
            state.exit_code = status.code;
            state.error = status.reason;
            state.finished_ns = Some(
                i64::try_from(status.exited_unix_ms)
                    .unwrap_or(0)
                    .saturating_mul(1_000_000),
            );
        });
        container.set_ending(false);
        self.0.execs.container_ended(&id);
        let mut attributes = record.event_attributes();
        attributes.insert("exitCode".to_owned(), status.code.to_string());
        self.0.events.publish("container", "die", &id, attributes);
        container.publish_exit();
        // One that is being restarted is not done yet.
        let remove = record.options.auto_remove && !container.is_restarting();
        if remove {
            self.forget(container).await;
        }
        // Whoever waits for the end need not wait for the unmounting; whoever wants to start or remove waits for the turn.
        if !attached {
            self.delete_task(&id, sandbox).await;
        }
        if remove {
            self.dispose(&id).await;
        } else {
            self.keep(&record).await;
        }
        drop(turn);
    }

    /// Takes an ended task down, where its sandbox lives.
    async fn delete_task(&self, id: &str, sandbox: Option<&dyn Sandbox>) {
        if let Some(sandbox) = sandbox
            && sandbox.closed().is_none()
            && let Err(error) = sandbox.delete(id).await
        {
            tracing::warn!(container = id, %error, "ended task not deleted");
        }
    }

    async fn remove_quietly(&self, id: &str) {
        if let Err(error) = self.remove(id, RemoveOptions::default()).await
            && error.kind() != Kind::NotFound
        {
            tracing::warn!(container = id, %error, "container not removed after its end");
        }
    }

    /// Stores a record; memory stays the truth when that fails, and the failure is logged.
    pub(crate) async fn keep(&self, record: &ContainerRecord) {
        if let Err(error) = self.0.table.put(&record.id, record).await {
            tracing::error!(container = record.id, %error, "container record not stored");
        }
    }

    /// Sends the stop signal, waits, then kills; does nothing for a container that does not run.
    ///
    /// # Errors
    /// The container does not exist or cannot be signalled.
    pub async fn stop(&self, name: &str, signal_name: Option<&str>, timeout: Option<Duration>) -> Result<()> {
        let container = self.find(name)?;
        let record = container.snapshot();
        if !matches!(record.state.status, Status::Running | Status::Paused) {
            return Ok(());
        }
        let number = match signal_name {
            Some(text) => signal_of(&record, text)?,
            None => record.stop_signal,
        };
        let configured = record
            .options
            .stop_timeout
            .map(|seconds| Duration::from_secs(u64::from(seconds)));
        let usual = match record.is_windows() {
            true => STOP_TIMEOUT_WINDOWS,
            false => STOP_TIMEOUT,
        };
        let timeout = timeout.or(configured).unwrap_or(usual);
        let ended = container.wait(WaitCondition::NotRunning);
        self.signal(&container, number).await?;
        if tokio::time::timeout(timeout, ended).await.is_err() {
            let ended = container.wait(WaitCondition::NotRunning);
            self.kill_quietly(&container).await?;
            ended.await;
        }
        self.0
            .events
            .publish("container", "stop", &record.id, record.event_attributes());
        Ok(())
    }

    /// Stops and starts a container. Who follows its log or removes it at its end takes both runs for one.
    ///
    /// # Errors
    /// The container does not exist, cannot be signalled or cannot run again.
    pub async fn restart(
        &self,
        name: &str,
        signal_name: Option<&str>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let container = self.find(name)?;
        let id = container.id();
        let restarting = container.restarting();
        let outcome = match self.stop(&id, signal_name, timeout).await {
            Ok(()) => self.start(&id).await,
            Err(error) => Err(error),
        };
        drop(restarting);
        let record = container.snapshot();
        if outcome.is_ok() {
            self.0
                .events
                .publish("container", "restart", &id, record.event_attributes());
        } else if record.options.auto_remove && record.state.status == Status::Exited {
            // Its end was taken for that of a restart.
            self.remove_quietly(&id).await;
        }
        outcome
    }

    /// Sends a signal to the first process. After one that cannot be refused, it waits for the end of the container, within limits.
    ///
    /// # Errors
    /// The container does not exist or does not run.
    pub async fn kill(&self, name: &str, signal_name: Option<&str>) -> Result<()> {
        let container = self.find(name)?;
        let record = container.snapshot();
        let number = signal_name.map_or(Ok(signal::KILL), |text| signal_of(&record, text))?;
        if !matches!(record.state.status, Status::Running | Status::Paused) {
            return Err(Error::new(
                Kind::FailedPrecondition,
                format!(
                    "cannot kill container: {name}: container {} is not running",
                    record.id
                ),
            )
            .about("container", name));
        }
        // What is frozen ends when it thaws.
        let ends = number == signal::KILL && record.state.status == Status::Running;
        let ended = ends.then(|| container.wait(WaitCondition::NotRunning));
        self.signal(&container, number).await?;
        let mut attributes = record.event_attributes();
        attributes.insert("signal".to_owned(), number.to_string());
        self.0.events.publish("container", "kill", &record.id, attributes);
        if let Some(ended) = ended {
            // A process that is stuck in the kernel ends later; the signal has been sent all the same.
            drop(tokio::time::timeout(KILLED, ended).await);
        }
        Ok(())
    }

    async fn signal(&self, container: &Container, number: i32) -> Result<()> {
        let record = container.snapshot();
        let sent = async {
            let sandbox = self.sandbox_of(&record).await?;
            let sent = sandbox.signal(&record.id, None, number).await;
            sent.map_err(|error| convert::task(error, &record.name))
        };
        match sent.await {
            // A process that ended in between is what the caller wanted.
            Err(_) if container.has_ended() => Ok(()),
            other => other,
        }
    }

    pub(crate) async fn kill_quietly(&self, container: &Container) -> Result<()> {
        match self.signal(container, signal::KILL).await {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The sandbox in which a running container lives.
    pub(crate) async fn sandbox_of(&self, record: &ContainerRecord) -> Result<Arc<dyn Sandbox>> {
        let wanted = record.state.sandbox.as_deref();
        let found = self
            .0
            .sandboxes
            .all()
            .into_iter()
            .find(|sandbox| Some(sandbox.id()) == wanted);
        found.ok_or_else(|| {
            Error::new(
                Kind::FailedPrecondition,
                format!("container {} is not running", record.id),
            )
            .about("container", &record.name)
        })
    }

    /// Attaches to the streams of a container, now or at its next start.
    ///
    /// # Errors
    /// The container does not exist or is being removed.
    pub async fn attach(&self, name: &str) -> Result<Attachment> {
        let container = self.find(name)?;
        let turn = container.turn().await;
        let record = container.snapshot();
        match record.state.status {
            Status::Running | Status::Paused => {
                let sandbox = self.sandbox_of(&record).await?;
                let streams = sandbox.attach(&record.id, None).await;
                drop(turn);
                Ok(Container::attached(
                    streams.map_err(|error| convert::task(error, &record.name))?,
                ))
            }
            Status::Created | Status::Exited => Ok(container.attach_later()),
            Status::Removing | Status::Dead => {
                Err(Error::new(Kind::FailedPrecondition, "container is being removed")
                    .about("container", name))
            }
        }
    }

    /// Changes the terminal size of a container's first process.
    ///
    /// # Errors
    /// It does not run or has no terminal.
    pub async fn resize(&self, name: &str, height: u16, width: u16) -> Result<()> {
        let record = self.inspect(name)?;
        let sandbox = self.sandbox_of(&record).await?;
        sandbox
            .resize(&record.id, None, height, width)
            .await
            .map_err(|error| convert::task(error, &record.name))
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// The name is taken or not allowed.
    pub async fn rename(&self, name: &str, new_name: &str) -> Result<()> {
        let new_name = crate::names::check_name(new_name)?;
        let container = self.find(name)?;
        let turn = container.turn().await;
        {
            // The map's lock makes the look and the change one step.
            let containers = self.write_containers();
            if containers
                .values()
                .any(|other| other.record.borrow().name == new_name)
            {
                return Err(Error::new(
                    Kind::AlreadyExists,
                    format!("Conflict. The container name \"/{new_name}\" is already in use."),
                )
                .about("container", new_name));
            }
            container
                .record
                .send_modify(|record| record.name.clone_from(&new_name));
        }
        let record = container.snapshot();
        self.keep(&record).await;
        self.0
            .events
            .publish("container", "rename", &record.id, record.event_attributes());
        drop(turn);
        Ok(())
    }
}
