//! One container: made, started, entered, measured, deleted.
//!
//! Create leaves its init waiting inside the finished container; the first ExecuteProcess connects the streams and
//! releases it. A container is *created*, *started* or *exited*; the exit is known as soon as the reaper has it, and is
//! announced once, with the first wait on init that is answered.
//!
//! Everything the agent keeps of a container lies below `/run/gcs/work/<id>` and `/run/gcs/state/<id>`; the bundle
//! directory of the host holds only the files of name resolution.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use gcs::guest::{AgentError, Exit};
use gcs::hresult;
use gcs::message::{ContainerConfig, NotificationKind, ProcessParameters, PropertyQuery, StdioPorts};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::process::{self, Process};
use super::runtime::{Created, Exec, Launched, state, work};
use super::{Inner, RELEASE, lock, modify};
use crate::cgroup::freezer::{Freezer, Still};
use crate::cgroup::hierarchy::Hierarchy;
use crate::cgroup::tree::Groups;
use crate::cgroup::{limits, stats};
use crate::reaper;
use crate::rootfs;
use crate::spec::capabilities::Masks;
use crate::spec::{self, Prepared};
use crate::stdio::{Pipes, Streams, Terminal, Wanted};

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    id: String,
    bundle: PathBuf,
    scratch: Option<PathBuf>,
    groups: Groups,
    /// Who wants its processes to stand still.
    freezer: Arc<Freezer>,
    group: String,
    network: String,
    own_pids: bool,
    template: Template,
    init: i32,
    exit: reaper::Exit,
    terminal: Option<Terminal>,
    /// Until the container is started.
    pipes: Mutex<Option<Pipes>>,
    state: Mutex<State>,
    processes: Mutex<HashMap<i32, Arc<Process>>>,
    execs: AtomicU32,
}

/// What an exec takes over from the container.
#[derive(Debug)]
struct Template {
    root: String,
    masks: Masks,
    filter: Option<Arc<Value>>,
    limits: Option<Value>,
    user: Value,
}

#[derive(Debug, Default)]
struct State {
    started: bool,
    /// The runtime knows that the container runs.
    recorded: bool,
    kind: Option<NotificationKind>,
    announced: bool,
}

/// Makes a container whose root file system is mounted.
pub(super) async fn create(
    inner: &Arc<Inner>,
    id: &str,
    config: ContainerConfig,
) -> Result<Arc<Container>, AgentError> {
    let bundle = modify::checked(&config.oci_bundle_path, "OciBundlePath")?;
    let scratch = match config.scratch_dir_path.as_str() {
        "" => None,
        path => Some(modify::checked(path, "ScratchDirPath")?),
    };
    let mut prepared = spec::prepare(config.oci_specification, &inner.facts, rootfs::users)
        .map_err(|error| AgentError::fail(error.to_string()))?;
    let Created { init, group } = match make(inner, id, &bundle, &mut prepared).await {
        Ok(created) => created,
        Err(error) => {
            let _ = fs::remove_dir_all(work(id));
            let _ = fs::remove_dir_all(state(id));
            return Err(error);
        }
    };
    let Launched {
        pid: init,
        exit,
        terminal,
        pipes,
    } = init;
    let process = &prepared.config["process"];
    Ok(Arc::new(Container {
        id: id.to_owned(),
        bundle,
        scratch,
        groups: Groups::at(&inner.hierarchies, &group),
        freezer: Arc::default(),
        group,
        network: prepared.network.clone(),
        own_pids: prepared.own_pids,
        template: Template {
            root: prepared.root.clone(),
            masks: prepared.process.masks,
            filter: prepared
                .seccomp
                .take()
                .map(|profile| inner.filters.shared(profile)),
            limits: process.get("rlimits").cloned(),
            user: process["user"].clone(),
        },
        init,
        exit,
        terminal,
        pipes: Mutex::new(pipes),
        state: Mutex::default(),
        processes: Mutex::default(),
        execs: AtomicU32::new(0),
    }))
}

async fn make(
    inner: &Arc<Inner>,
    id: &str,
    bundle: &Path,
    prepared: &mut Prepared,
) -> Result<Created, AgentError> {
    write_files(inner, bundle, prepared)?;
    rootfs::make_dir(Path::new(&prepared.root), &prepared.process.cwd)
        .map_err(|error| AgentError::fail(format!("create working directory: {error}")))?;
    inner.runtime.create(inner, id, prepared).await
}

/// Writes the files of name resolution that the specification does not mount itself, and mounts them.
fn write_files(inner: &Inner, bundle: &Path, prepared: &mut Prepared) -> Result<(), AgentError> {
    let machine = || {
        nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let hostname = if prepared.hostname.is_empty() {
        machine()
    } else {
        prepared.hostname.clone()
    };
    let resolv = lock(&inner.networks)
        .resolv(&prepared.network)
        .map_err(|error| AgentError::fail(error.to_string()))?
        // A machine that shares its host's network has the host's name servers.
        .unwrap_or_else(|| fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let mut hosts = spec::files::hosts(&hostname);
    if let (false, Ok(inherited)) = (prepared.own_network, fs::read_to_string("/etc/hosts")) {
        hosts = format!("{inherited}127.0.0.1 {hostname}\n");
    }
    let mut files = Vec::new();
    for (name, text) in [
        ("hostname", format!("{hostname}\n")),
        ("hosts", hosts),
        ("resolv.conf", resolv),
    ] {
        let destination = match name {
            "hostname" => "/etc/hostname",
            "hosts" => "/etc/hosts",
            _ => "/etc/resolv.conf",
        };
        if spec::mounts_at(&prepared.config, destination) {
            continue;
        }
        let source = bundle.join(name);
        crate::mounts::create_dir(bundle, 0o755)
            .and_then(|()| fs::write(&source, text))
            .and_then(|()| rootfs::clear_target(Path::new(&prepared.root), destination))
            .map_err(|error| AgentError::fail(format!("write {}: {error}", source.display())))?;
        files.push((destination, source.to_string_lossy().into_owned()));
    }
    spec::add_files(prepared, &files);
    Ok(())
}

impl Container {
    /// Starts the init, once.
    pub(super) async fn start(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        parameters: &ProcessParameters,
        ports: StdioPorts,
    ) -> Result<i32, AgentError> {
        {
            let mut state = lock(&self.state);
            if self.has_exited() {
                return Err(self.stopped());
            }
            if std::mem::replace(&mut state.started, true) {
                let text = format!("container {} has been started already", self.id);
                return Err(AgentError::new(hresult::INVALID_STATE, text));
            }
        }
        let released = self.release(inner, parameters, ports).await;
        if released.is_err() {
            lock(&self.state).started = false;
        }
        let streams = released?;
        let init = Process::new(self.init, self.exit.clone(), streams, self.terminal.clone());
        lock(&self.processes).insert(self.init, Arc::clone(&init));
        let container = Arc::clone(self);
        inner.tasks.spawn(async move {
            init.end_input().await;
            if !container.own_pids {
                // Others of this container may still run, and hold its streams open.
                container.groups.kill(Signal::SIGKILL);
            }
        });
        Ok(self.init)
    }

    /// Connects the streams and lets the waiting init go on.
    async fn release(
        &self,
        inner: &Inner,
        parameters: &ProcessParameters,
        ports: StdioPorts,
    ) -> Result<Streams, AgentError> {
        let failed = |error: io::Error| AgentError::fail(format!("start container {}: {error}", self.id));
        let connections = Wanted::new(parameters, ports).dial().await.map_err(failed)?;
        inner.runtime.start(inner, &self.id).await?;
        match &self.terminal {
            Some(terminal) => Ok(Streams::terminal(terminal, connections, &inner.tasks)),
            None => {
                let pipes = lock(&self.pipes).take();
                let pipes = pipes.ok_or_else(|| failed(io::ErrorKind::NotConnected.into()))?;
                Streams::pipes(pipes, connections, &inner.tasks).map_err(failed)
            }
        }
    }

    /// Runs another process in the container.
    pub(super) async fn exec(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        mut document: Value,
        parameters: &ProcessParameters,
        ports: StdioPorts,
    ) -> Result<i32, AgentError> {
        if self.has_exited() {
            return Err(self.stopped());
        }
        let named = document
            .pointer("/user/username")
            .and_then(Value::as_str)
            .is_some_and(|name| !name.is_empty());
        let own_masks = document.get("capabilities").is_some_and(|value| !value.is_null());
        if let Some(process) = document.as_object_mut() {
            if !named && process.get("user").is_none_or(Value::is_null) {
                process.insert("user".to_owned(), self.template.user.clone());
            }
            match &self.template.limits {
                Some(limits) => process.insert("rlimits".to_owned(), limits.clone()),
                None => process.remove("rlimits"),
            };
        }
        let users = rootfs::users(&self.template.root);
        let settled = spec::process::prepare(&mut document, &inner.facts, &users)
            .map_err(|error| AgentError::fail(error.to_string()))?;
        let connections = Wanted::new(parameters, ports)
            .dial()
            .await
            .map_err(|error| AgentError::fail(format!("exec in container {}: {error}", self.id)))?;
        self.record_running(inner)?;
        let mut settled = settled;
        if !own_masks {
            settled.masks = self.template.masks;
        }
        let exec = Exec {
            id: &self.id,
            group: &self.group,
            number: self.execs.fetch_add(1, Ordering::Relaxed),
            document,
            settled,
            seccomp: self.template.filter.as_deref(),
        };
        let Launched {
            pid,
            exit,
            terminal,
            pipes,
        } = {
            let launched = inner.runtime.exec(inner, exec).await;
            // The container may have ended meanwhile; the runtime's words for that are its own.
            launched.map_err(|error| if self.has_exited() { self.stopped() } else { error })?
        };
        let streams = match (&terminal, pipes) {
            (Some(terminal), _) => Streams::terminal(terminal, connections, &inner.tasks),
            (None, Some(pipes)) => Streams::pipes(pipes, connections, &inner.tasks)
                .map_err(|error| AgentError::fail(format!("standard streams: {error}")))?,
            (None, None) => Streams::none(),
        };
        let process = Process::new(pid, exit, streams, terminal);
        lock(&self.processes).insert(pid, Arc::clone(&process));
        inner.tasks.spawn(async move { process.end_input().await });
        Ok(pid)
    }

    /// Tells the runtime that the container runs, when that first matters.
    fn record_running(&self, inner: &Inner) -> Result<(), AgentError> {
        let mut known = lock(&self.state);
        if !known.recorded {
            inner.runtime.record_running(&self.id)?;
            known.recorded = true;
        }
        Ok(())
    }

    /// Waits for a process. Init can be waited for any number of times, others until somebody has the answer.
    pub(super) async fn wait(&self, pid: i32) -> Result<Exit, AgentError> {
        let process = self.process(pid)?;
        let code = process.finished().await.code();
        if pid != self.init {
            lock(&self.processes).remove(&pid);
            return Ok(Exit { code, announce: None });
        }
        let mut state = lock(&self.state);
        let first = !std::mem::replace(&mut state.announced, true);
        let kind = state.kind.clone().unwrap_or_default();
        Ok(Exit {
            code,
            announce: first.then_some(kind),
        })
    }

    /// A process the host knows.
    pub(super) fn process(&self, pid: i32) -> Result<Arc<Process>, AgentError> {
        lock(&self.processes)
            .get(&pid)
            .cloned()
            .ok_or_else(|| process::unknown(pid))
    }

    /// Signals a process.
    pub(super) fn signal(&self, pid: i32, signal: i32) -> Result<(), AgentError> {
        self.process(pid)?.signal(signal)?;
        if pid == self.init {
            self.remember(signal);
        }
        Ok(())
    }

    /// Signals the init.
    pub(super) fn shutdown(&self, forced: bool) -> Result<(), AgentError> {
        if self.has_exited() {
            return Err(self.stopped());
        }
        let signal = if forced { libc::SIGKILL } else { libc::SIGTERM };
        process::send(self.init, signal)?;
        self.remember(signal);
        Ok(())
    }

    /// The kind of exit follows from the signals that were sent.
    fn remember(&self, signal: i32) {
        let kind = match signal {
            libc::SIGTERM => NotificationKind::GracefulExit,
            libc::SIGKILL => NotificationKind::ForcedExit,
            _ => return,
        };
        lock(&self.state).kind = Some(kind);
    }

    /// Has its processes stand still until the value is dropped, on a thread that may block.
    pub(super) async fn freeze(&self) -> Result<Still, AgentError> {
        if self.has_exited() {
            return Err(self.stopped());
        }
        let (freezer, groups) = (Arc::clone(&self.freezer), self.groups.clone());
        let frozen = tokio::task::spawn_blocking(move || freezer.freeze(&groups)).await;
        frozen.map_err(io::Error::other).flatten().map_err(|error| {
            let code = match error.kind() {
                io::ErrorKind::Unsupported => hresult::NOT_SUPPORTED,
                io::ErrorKind::TimedOut => hresult::TIMEOUT,
                _ => hresult::FAIL,
            };
            AgentError::new(code, format!("container {} cannot be frozen: {error}", self.id))
        })
    }

    /// `ProcessList` and `LCOWMetrics`, as asked.
    pub(super) fn properties(&self, hierarchies: &[Hierarchy], query: &PropertyQuery) -> Value {
        let mut properties = json!({});
        if query.wants("ProcessList") {
            let pids = self.groups.processes();
            properties["ProcessList"] = pids.into_iter().map(|pid| json!({ "ProcessId": pid })).collect();
        }
        if query.wants("Statistics") {
            properties["LCOWMetrics"] = stats::read(hierarchies, &self.group);
        }
        properties
    }

    /// Changes limits.
    pub(super) fn constrain(&self, hierarchies: &[Hierarchy], resources: &Value) -> Result<(), AgentError> {
        limits::apply(hierarchies, &self.group, resources).map_err(|error| {
            AgentError::fail(format!(
                "limits of container {}: {}",
                self.id,
                crate::chain(&error)
            ))
        })
    }

    /// Removes everything that is left of the container. One that was never started is ended first.
    pub(super) async fn delete(&self, inner: &Arc<Inner>) -> Result<(), AgentError> {
        if !self.has_exited() {
            if lock(&self.state).started {
                let text = format!("container {} is running", self.id);
                return Err(AgentError::new(hresult::INVALID_STATE, text));
            }
            let _ = process::send(self.init, libc::SIGKILL);
            reaper::ended(self.exit.clone()).await;
        }
        inner.runtime.delete(inner, &self.id).await?;
        lock(&inner.networks).forget(&self.network);
        let (groups, work, state) = (self.groups.clone(), work(&self.id), state(&self.id));
        let (scratch, bundle) = (self.scratch.clone(), self.bundle.clone());
        let remove = move || -> io::Result<()> {
            groups.destroy(RELEASE)?;
            for directory in [Some(work), Some(state), scratch, Some(bundle)]
                .into_iter()
                .flatten()
            {
                crate::mounts::remove_tree(&directory)?;
            }
            crate::sys::release_memory();
            Ok(())
        };
        let removed = tokio::task::spawn_blocking(remove)
            .await
            .map_err(io::Error::other)
            .flatten();
        removed.map_err(|error| AgentError::fail(format!("delete container {}: {error}", self.id)))
    }

    /// A line for humans.
    pub(super) fn describe(&self) -> String {
        let phase = match (self.has_exited(), lock(&self.state).started) {
            (true, _) => "exited",
            (false, true) => "running",
            (false, false) => "created",
        };
        format!(
            "{phase}, init {}, known processes {}",
            self.init,
            lock(&self.processes).len()
        )
    }

    fn has_exited(&self) -> bool {
        self.exit.borrow().is_some()
    }

    fn stopped(&self) -> AgentError {
        AgentError::new(
            hresult::SYSTEM_ALREADY_STOPPED,
            format!("container {} is not running", self.id),
        )
    }
}
