//! The agent: what the host asks for over the bridge, done in this machine.
//!
//! `init` runs it as pid 1 after the machine is set up; [`gcs::guest::serve`] calls it through [`gcs::guest::Agent`].
//!
//! One thread runs everything but mounts. Containers are made by helper processes ([`crate::helper`]) and belong to
//! this process afterwards; the reaper ([`crate::reaper`]) is the only one that waits for children. The bridge may
//! break and is dialled again for as long as the machine runs; containers do not notice.
//!
//! Ids and paths come from the host and are checked; pids are only those the agent itself handed out. What this guest
//! does not do is refused with `NOT_SUPPORTED` and a word on what it was.
//!
//! Not here: pods, confidential containers, virtual PCI devices, and several images in one memory device.

pub(crate) mod facts;

mod container;
mod external;
mod modify;
mod network;
mod process;
mod program;
pub(crate) mod runtime;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gcs::guest::{AgentError, Exit};
use gcs::message::{
    ContainerConfig, ExecuteSettings, ModifyRequest, PropertyQuery, ResizeConsole, Resource, SchemaVersion,
    SignalProcess,
};
use gcs::{NULL_ID, hresult};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::container::Container;
use self::network::Networks;
use self::process::Process;
use self::runtime::Runtime;
use crate::cgroup::hierarchy::{self, Hierarchy};
use crate::cgroup::slots;
use crate::helper::client::Helpers;
use crate::helper::filter::Cache;
use crate::link;
use crate::reaper::Reaper;
use crate::spec::Facts;

/// Where the agent keeps what belongs to containers: libcontainer's state, configurations, seccomp programs.
const RUN: &str = "/run/gcs";
/// How long the kernel may take to let go of a dead container's control groups.
const RELEASE: Duration = Duration::from_secs(30);
/// How long to wait before the bridge is dialled again: from the first to the last of a growing pause.
const REDIAL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// The agent. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    inner: Arc<Inner>,
}

/// What all requests share.
#[derive(Debug)]
struct Inner {
    facts: Facts,
    hierarchies: Vec<Hierarchy>,
    reaper: Reaper,
    runtime: Runtime,
    /// The root is the initial RAM disk.
    initial_root: bool,
    helpers: Helpers,
    filters: Cache,
    tasks: TaskTracker,
    /// `None` while a container is being made.
    containers: Mutex<HashMap<String, Option<Arc<Container>>>>,
    external: Mutex<HashMap<i32, Arc<Process>>>,
    networks: Mutex<Networks>,
    power: CancellationToken,
}

/// The guarded data stays consistent between statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    /// Prepares the directories and reads what the machine grants.
    pub(crate) fn new(runtime: Runtime) -> io::Result<Self> {
        for directory in ["state", "work", "seccomp"] {
            crate::mounts::create_dir(&Path::new(RUN).join(directory), 0o700)?;
        }
        let hierarchies = hierarchy::mounted()?;
        if runtime == Runtime::Library {
            slots::prepare(&hierarchies)?;
        }
        let tasks = TaskTracker::new();
        let inner = Inner {
            facts: facts::read(&hierarchies)?,
            hierarchies,
            reaper: Reaper::default(),
            runtime,
            initial_root: runtime::on_initial_root(),
            helpers: Helpers::new(tasks.clone()),
            filters: Cache::new(Path::new(RUN).join("seccomp")),
            tasks,
            containers: Mutex::default(),
            external: Mutex::default(),
            networks: Mutex::default(),
            power: CancellationToken::new(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Serves the host until it turns the machine off.
    pub(crate) async fn run(self) -> io::Result<()> {
        let reaping = self.inner.tasks.spawn(self.inner.reaper.clone().run());
        if self.inner.runtime == Runtime::Library {
            self.inner.helpers.refill();
        }
        let power = self.inner.power.clone();
        tokio::select! {
            () = power.cancelled() => Ok(()),
            result = reaping => result.map_err(io::Error::other)?,
            never = self.bridge() => match never {},
        }
    }

    async fn bridge(&self) -> std::convert::Infallible {
        let (mut pause, longest) = REDIAL;
        loop {
            match link::dial(gcs::port::BRIDGE).await {
                Ok(stream) => {
                    tracing::info!("bridge connected");
                    crate::platform::settle();
                    let served =
                        gcs::guest::serve(Box::new(stream), Arc::new(self.clone()), self.inner.power.clone());
                    match served.await {
                        Ok(()) => tracing::info!("bridge closed by the host"),
                        Err(error) => tracing::warn!(%error, "bridge lost"),
                    }
                    pause = longest;
                }
                Err(error) => tracing::debug!(%error, "bridge cannot be reached"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// The container with this id.
    fn container(&self, id: &str) -> Result<Arc<Container>, AgentError> {
        match lock(&self.inner.containers).get(id) {
            Some(Some(container)) => Ok(Arc::clone(container)),
            Some(None) => Err(AgentError::new(
                hresult::INVALID_STATE,
                format!("container {id} is being created"),
            )),
            None => Err(AgentError::new(
                hresult::SYSTEM_NOT_FOUND,
                format!("there is no container {id}"),
            )),
        }
    }

    /// A process of a container, or of the machine itself.
    fn process(&self, id: &str, pid: i32) -> Result<Arc<Process>, AgentError> {
        if id == NULL_ID {
            return lock(&self.inner.external)
                .get(&pid)
                .cloned()
                .ok_or_else(|| process::unknown(pid));
        }
        self.container(id)?.process(pid)
    }
}

/// Pids travel unsigned.
fn pid(pid: u32) -> Result<i32, AgentError> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .ok_or_else(|| process::unknown(0))
}

/// Ids become file names.
fn check_id(id: &str) -> Result<(), AgentError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if !id.is_empty() && id.len() <= 128 && id.bytes().all(plain) && id != "." && id != ".." && id != NULL_ID
    {
        return Ok(());
    }
    Err(AgentError::new(
        hresult::INVALID_ARGUMENT,
        format!("{id:?} is not a container id"),
    ))
}

#[async_trait]
impl gcs::guest::Agent for Agent {
    async fn create(&self, container_id: &str, config: ContainerConfig) -> Result<(), AgentError> {
        check_id(container_id)?;
        if config.schema_version < SchemaVersion::V2_1 {
            return Err(AgentError::new(
                hresult::INVALID_JSON,
                "container schema is older than 2.1",
            ));
        }
        let mut reserved = {
            let mut containers = lock(&self.inner.containers);
            if containers.contains_key(container_id) {
                let text = format!("container {container_id} exists already");
                return Err(AgentError::new(hresult::SYSTEM_ALREADY_EXISTS, text));
            }
            containers.insert(container_id.to_owned(), None);
            Reservation {
                inner: &self.inner,
                id: container_id,
                keep: false,
            }
        };
        let container = container::create(&self.inner, container_id, config).await?;
        lock(&self.inner.containers).insert(container_id.to_owned(), Some(container));
        reserved.keep = true;
        Ok(())
    }

    async fn execute_process(
        &self,
        container_id: &str,
        settings: ExecuteSettings,
    ) -> Result<u32, AgentError> {
        let parameters = settings.process_parameters;
        let ports = settings.vsock_stdio_relay_settings;
        let pid = if container_id == NULL_ID || parameters.create_in_utility_vm {
            external::run(&self.inner, parameters, ports).await?
        } else {
            let container = self.container(container_id)?;
            match &parameters.oci_process {
                Some(document) => {
                    container
                        .exec(&self.inner, document.clone(), &parameters, ports)
                        .await?
                }
                None => container.start(&self.inner, &parameters, ports).await?,
            }
        };
        u32::try_from(pid).map_err(|_| process::unknown(pid))
    }

    async fn wait_for_process(&self, container_id: &str, process_id: u32) -> Result<Exit, AgentError> {
        let pid = pid(process_id)?;
        if container_id == NULL_ID {
            let process = self.process(container_id, pid)?;
            let ended = process.finished().await;
            lock(&self.inner.external).remove(&pid);
            let code = match ended {
                crate::reaper::Ended::Code(code) => code.cast_unsigned(),
                // What the reference agent answers for a process that is not in a container.
                crate::reaper::Ended::Signal(_) => u32::MAX,
            };
            return Ok(Exit { code, announce: None });
        }
        self.container(container_id)?.wait(pid).await
    }

    async fn signal_process(&self, container_id: &str, request: SignalProcess) -> Result<(), AgentError> {
        let pid = pid(request.process_id)?;
        if container_id == NULL_ID {
            return self.process(container_id, pid)?.signal(request.signal());
        }
        self.container(container_id)?.signal(pid, request.signal())
    }

    async fn resize_console(&self, container_id: &str, request: ResizeConsole) -> Result<(), AgentError> {
        self.process(container_id, pid(request.process_id)?)?
            .resize(request.height, request.width)
    }

    async fn shutdown(&self, container_id: &str, forced: bool) -> Result<(), AgentError> {
        if container_id == NULL_ID {
            tracing::info!("the host turns the machine off");
            self.inner.power.cancel();
            // There is no answer: the host sees the machine end.
            return std::future::pending().await;
        }
        self.container(container_id)?.shutdown(forced)
    }

    async fn properties(&self, container_id: &str, query: PropertyQuery) -> Result<Value, AgentError> {
        Ok(self
            .container(container_id)?
            .properties(&self.inner.hierarchies, &query))
    }

    async fn modify(&self, container_id: &str, request: ModifyRequest) -> Result<(), AgentError> {
        let kind = request.request_type;
        if let Resource::ContainerConstraints(constraints) = request.resource {
            return self
                .container(container_id)?
                .constrain(&self.inner.hierarchies, &constraints.linux);
        }
        if container_id != NULL_ID {
            let text = format!("{} is not a setting of a container", request.resource.name());
            return Err(AgentError::new(hresult::INVALID_ARGUMENT, text));
        }
        match request.resource {
            Resource::MappedVirtualDisk(disk) => modify::disk(&kind, disk).await,
            Resource::ScsiDevice(device) => modify::scsi(&kind, device),
            Resource::VpMemDevice(device) => modify::pmem(&kind, device).await,
            Resource::CombinedLayers(layers) => {
                modify::layers(&kind, layers, self.inner.facts.device_control).await
            }
            Resource::MappedDirectory(directory) => {
                modify::directory(&kind, directory, self.inner.facts.device_control).await
            }
            Resource::Network(network) => self.inner.network(&kind, network).await,
            // The machine's memory is the host's; there is no reserve of ours to adjust.
            Resource::PodCgroupMemoryLimit => Ok(()),
            other => {
                let text = format!("{} is not supported by this guest", other.name());
                Err(AgentError::new(hresult::NOT_SUPPORTED, text))
            }
        }
    }

    async fn dump_stacks(&self) -> Result<String, AgentError> {
        let mut text = format!(
            "ctr-like-guest {}, pid {}\n",
            env!("CARGO_PKG_VERSION"),
            std::process::id()
        );
        for (id, container) in lock(&self.inner.containers).iter() {
            let state = container
                .as_ref()
                .map_or_else(|| "being created".to_owned(), |known| known.describe());
            text.push_str(&format!("container {id}: {state}\n"));
        }
        text.push_str(&format!(
            "external processes: {}\ntasks: {}\nadapters: {}\n",
            lock(&self.inner.external).len(),
            self.inner.tasks.len(),
            lock(&self.inner.networks).len(),
        ));
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for line in status
            .lines()
            .filter(|line| line.starts_with("VmRSS") || line.starts_with("Threads"))
        {
            text.push_str(&format!("{line}\n"));
        }
        Ok(text)
    }

    async fn delete_container_state(&self, container_id: &str) -> Result<(), AgentError> {
        let container = self.container(container_id)?;
        container.delete(&self.inner).await?;
        lock(&self.inner.containers).remove(container_id);
        Ok(())
    }
}

/// An id whose container is being made. It is free again when that fails.
struct Reservation<'a> {
    inner: &'a Inner,
    id: &'a str,
    keep: bool,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.keep {
            lock(&self.inner.containers).remove(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_would_be_paths_are_refused() {
        check_id("3f1c9d0e7a5b").unwrap();
        for id in ["", ".", "..", "a/b", "a b", NULL_ID, &"x".repeat(129)] {
            assert_eq!(
                check_id(id).unwrap_err().hresult,
                hresult::INVALID_ARGUMENT,
                "{id}"
            );
        }
    }

    #[test]
    fn pids_that_mean_groups_or_everyone_are_refused() {
        assert!(pid(0).is_err() && pid(u32::MAX).is_err());
        assert_eq!(pid(7).unwrap(), 7);
    }
}
