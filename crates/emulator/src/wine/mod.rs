//! A container document answered with Wine: Windows programs in namespaces of their own.
//!
//! [`document`] checks, [`Wine`] starts the agent's `windows` command, which makes the namespaces and becomes their init;
//! [`container`] talks to it over a socket, [`process`] is the handle of one program. [`prefix`] prepares, once per version of
//! Wine, what lies under the layers of every container.
//!
//! The caller brings the container's files as `Storage.Path`: a directory, or `/proc/self/fd/N` of a detached mount, with `Files`
//! and `Registry` in it. Nothing is mounted in the file system of the host. Wine's server belongs to the container, so the
//! registry and everything that Windows programs share ends with it.
//!
//! The system runs on when its programs have ended, until a shutdown or termination. When this process is killed, the container
//! dies with it; [`crate::reap`] removes its cgroups and directory.
//!
//! Not here: layers and their mounts (`snapshot`), networks, services of Windows: none is started, so programs that need one fail.

mod changes;
mod container;
mod document;
mod drives;
mod list;
mod prefix;
mod process;
mod registry;
mod streams;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use compute::GuestListener;
use hcs::{Attachment, HResult, NetworkAdapter, Plan9Share, SaveOptions, SystemKind, VirtualPMemDevice};
use serde::Serialize;
use tokio::sync::watch;

pub(crate) use self::changes::apply;
pub(crate) use self::container::{Container, Request};
pub(crate) use self::document::read;
use self::document::{ContainerSpec, Files};
use self::drives::Mapped;
pub(crate) use self::list::process_list;
pub use self::prefix::{PrefixError, find_wine, prepare_prefix};
pub(crate) use self::process::{create as create_process, open as open_process};
use crate::backend::{Backend, OnEnd, Slot};
use crate::cgroup::{Cgroup, ProcessUsage, Usage};
use crate::config::{Config, WineConfig};
use crate::failure::Failure;
use crate::launcher::{Ended, Launcher};
use crate::machine::Processors;
use crate::sandbox::{host_memory_mb, host_processors, limits};
use crate::system::Identity;
use crate::workspace::Workspace;

/// How long a container that has failed may take to be gone, so that its last words are known.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Longest document for the agent: the kernel takes one argument of twice the size.
const LONGEST: usize = 64 * 1024;

/// What the agent's `windows` command is told.
#[derive(Debug, Serialize)]
struct Parameters<'a> {
    id: &'a str,
    hostname: &'a str,
    root_dir: PathBuf,
    cgroup: &'a str,
    host_network: bool,
    wine: PathBuf,
    helper: &'a Path,
    files: Option<&'a Path>,
    mounts: &'a [Mapped],
    boot: String,
}

impl From<&ContainerSpec> for Identity {
    fn from(spec: &ContainerSpec) -> Self {
        Self {
            kind: SystemKind::Container,
            owner: spec.owner.clone(),
            terminate_with_last_handle: spec.terminate_with_last_handle,
            controllers: Vec::new(),
            memory_mb: spec.memory_mb,
            processors: spec.processors,
            services: std::collections::BTreeMap::new(),
        }
    }
}

/// One container.
pub(crate) struct Wine {
    id: String,
    config: Arc<Config>,
    wine: PathBuf,
    helper: PathBuf,
    spec: ContainerSpec,
    /// Memory and processors as they are now.
    limits: (u64, Processors),
    container: Option<Arc<Container>>,
    launcher: Option<Launcher>,
    // In the order in which they have to go.
    cgroup: Option<Cgroup>,
    workspace: Option<Workspace>,
}

impl Wine {
    /// Prepares a container: its directory exists.
    pub(crate) fn new(
        id: &str,
        spec: ContainerSpec,
        config: Arc<Config>,
        wine: &WineConfig,
    ) -> Result<Self, Failure> {
        let missing = |error: PrefixError| Failure::new(HResult::SERVICE_NOT_AVAILABLE, error.to_string());
        let program = find_wine(wine).map_err(missing)?;
        if !wine.helper.is_file() {
            return Err(missing(PrefixError::NoHelper {
                path: wine.helper.clone(),
            }));
        }
        let workspace = Workspace::claim(&config.run_dir, id)?;
        Ok(Self {
            id: id.to_owned(),
            config,
            wine: program,
            helper: wine.helper.clone(),
            limits: (spec.memory_mb, spec.processors),
            spec,
            container: None,
            launcher: None,
            cgroup: None,
            workspace: Some(workspace),
        })
    }

    fn limit(&mut self, memory_mb: u64, processors: Processors) -> Result<(), Failure> {
        let cgroup = self.cgroup.as_ref().ok_or_else(gone)?;
        cgroup.limit(limits(memory_mb, processors, host_memory_mb(), host_processors()))?;
        self.limits = (memory_mb, processors);
        Ok(())
    }

    /// The document for the agent, and the descriptors that go with it after the control socket.
    fn parameters(&self) -> Result<(String, Option<OwnedFd>), Failure> {
        let cgroup = self.cgroup.as_ref().ok_or_else(gone)?;
        let (directory, mount) = match &self.spec.files {
            Files::Directory(path) => (Some(path.as_path()), None),
            Files::Mount(mount) => {
                let copy = mount.try_clone();
                let copy =
                    copy.map_err(|error| Failure::io("cannot keep the mount of the container", error))?;
                (None, Some(copy))
            }
        };
        let parameters = Parameters {
            id: &self.id,
            hostname: &self.spec.host_name,
            root_dir: self.workspace.as_ref().ok_or_else(gone)?.root(),
            cgroup: cgroup.path(),
            host_network: self.config.host_network,
            wine: self.wine.clone(),
            helper: &self.helper,
            files: directory,
            mounts: &self.spec.mapped,
            boot: boot(&self.spec),
        };
        let text = serde_json::to_string(&parameters)
            .map_err(|error| Failure::io("cannot write the parameters of the container", error))?;
        if text.len() > LONGEST {
            return Err(Failure::invalid(format!(
                "mapped directories and registry changes of the document have {} bytes, at most {LONGEST} are possible",
                text.len()
            )));
        }
        Ok((text, mount))
    }
}

/// What the Windows side reads at the boot: the name, the processors, the changes of the registry.
fn boot(spec: &ContainerSpec) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        let value = line
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim());
        value.unwrap_or_default().replace('\0', "")
    };
    let mhz = value("cpu MHz");
    let mhz = mhz
        .split('.')
        .next()
        .filter(|digits| !digits.is_empty())
        .unwrap_or("0");
    format!(
        "{}\0{}\0{}\0{}\0{mhz}\0{}",
        spec.host_name,
        host_processors(),
        value("vendor_id"),
        value("model name"),
        spec.registry
    )
}

impl Backend for Wine {
    fn start(&mut self, ended: OnEnd) -> Result<(), Failure> {
        self.cgroup = Some(Cgroup::create(&self.id)?);
        self.limit(self.spec.memory_mb, self.spec.processors)?;
        let (parameters, mount) = self.parameters()?;
        let failed = |error| Failure::io("cannot make the control socket of the container", error);
        let (container, theirs, ready) = Container::new().map_err(failed)?;
        let inherited = [Some(theirs), mount].into_iter().flatten().collect();
        // The end is passed on after its last words are kept here: passing it on waits for this start to return.
        let (tell, told) = mpsc::sync_channel(1);
        let ended = Box::new(move |how: Ended| {
            let _ = tell.try_send(how.console.clone());
            ended(how);
        });
        let agent = &self.config.agent;
        let launcher =
            Launcher::start(agent, "windows", &self.id, &parameters, inherited, ended).map_err(|error| {
                Failure::io(format!("cannot start the guest agent {}", agent.display()), error)
            })?;
        self.launcher = Some(launcher);
        if ready.recv().is_err() {
            let words = told.recv_timeout(LAST_WORDS).unwrap_or_default();
            return Err(Failure::new(
                HResult::UNEXPECTED_EXIT,
                format!("the container did not start: {}", last_error(&words)),
            ));
        }
        self.container = Some(Arc::new(container));
        Ok(())
    }

    fn kill(&mut self) -> Result<bool, Failure> {
        let Some(launcher) = &self.launcher else {
            return Ok(false);
        };
        // The launcher first and always: with it the kernel kills the rest, even when the cgroup does not answer.
        launcher
            .kill()
            .map_err(|error| Failure::io("cannot kill the container", error))?;
        if let Some(cgroup) = &self.cgroup {
            cgroup
                .kill()
                .map_err(|error| Failure::io("cannot kill the processes of the container", error))?;
        }
        Ok(true)
    }

    fn release(&mut self) {
        if let Some(launcher) = self.launcher.take()
            && let Err(error) = launcher.kill()
        {
            tracing::warn!(%error, "cannot end the launcher of a container");
        }
        self.container = None;
        self.cgroup = None;
        self.workspace = None;
    }

    fn pause(&mut self) -> Result<(), Failure> {
        Err(machines_only("paused"))
    }

    fn resume(&mut self) -> Result<(), Failure> {
        Err(machines_only("resumed"))
    }

    fn save(&mut self, _options: &SaveOptions) -> Result<(), Failure> {
        Err(machines_only("saved"))
    }

    fn attach(&mut self, _slot: Slot, _disk: &Attachment) -> Result<(), Failure> {
        Err(machines_only("given disks"))
    }

    fn replace(&mut self, _slot: Slot, _disk: &Attachment) -> Result<(), Failure> {
        Err(machines_only("given disks"))
    }

    fn detach(&mut self, _slot: Slot) -> Result<(), Failure> {
        Err(machines_only("given disks"))
    }

    fn attach_pmem(&mut self, _number: u32, _device: &VirtualPMemDevice) -> Result<(), Failure> {
        Err(machines_only("given memory devices"))
    }

    fn detach_pmem(&mut self, _number: u32) -> Result<(), Failure> {
        Err(machines_only("given memory devices"))
    }

    fn attach_adapter(&mut self, _id: &str, _adapter: &NetworkAdapter) -> Result<(), Failure> {
        Err(machines_only("given network adapters"))
    }

    fn detach_adapter(&mut self, _id: &str) -> Result<(), Failure> {
        Err(machines_only("given network adapters"))
    }

    fn share(&mut self, _share: &Plan9Share) -> Result<(), Failure> {
        Err(machines_only("given shares"))
    }

    fn unshare(&mut self, _name: &str) -> Result<(), Failure> {
        Err(machines_only("given shares"))
    }

    fn set_memory(&mut self, size_in_mb: u64) -> Result<(), Failure> {
        self.limit(size_in_mb, self.limits.1)
    }

    fn set_processors(&mut self, processors: Processors) -> Result<(), Failure> {
        self.limit(self.limits.0, processors)
    }

    fn usage(&self) -> Usage {
        self.cgroup.as_ref().map(Cgroup::usage).unwrap_or_default()
    }

    fn processes(&self) -> Vec<ProcessUsage> {
        // The host's numbers mean nothing to Windows; see [`process_list`].
        Vec::new()
    }

    fn container(&self) -> Option<Arc<Container>> {
        self.container.clone()
    }

    fn listen(
        &mut self,
        _port: u32,
        _stopped: watch::Receiver<bool>,
    ) -> Result<Box<dyn GuestListener>, Failure> {
        Err(Failure::unsupported(
            "a container has no Hyper-V sockets: reach its processes by their standard streams",
        ))
    }
}

fn machines_only(what: &str) -> Failure {
    Failure::unsupported(format!(
        "a container cannot be {what}, only a virtual machine can"
    ))
}

/// The part that was asked for went with the container, between the check of the state and the action.
fn gone() -> Failure {
    Failure::new(HResult::SYSTEM_ALREADY_STOPPED, "the container has ended")
}

/// The last thing that the agent logged, as a sentence.
fn last_error(console: &str) -> String {
    let lines = console.lines().rev().filter(|line| !line.trim().is_empty());
    let told = lines.clone().find_map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(record.get("error")?.as_str()?.to_owned())
    });
    told.or_else(|| lines.clone().next().map(str::to_owned))
        .unwrap_or_else(|| "its init ended without a word".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_last_error_is_told() {
        let console =
            "{\"level\":\"info\",\"msg\":\"x\"}\n{\"error\":\"bind /a to /b: no\",\"level\":\"error\"}\n";
        assert_eq!(last_error(console), "bind /a to /b: no");
        assert_eq!(last_error("panicked"), "panicked");
        assert!(last_error("").contains("without a word"));
    }
}
