//! A virtual machine document answered with namespaces: no kernel boots, the same agent serves.
//!
//! The back end prepares a directory, disks as loop devices, shares as bind mounts, ports as unix sockets and a cgroup, then starts
//! the guest agent's `sandbox` command, which makes its own namespaces and becomes their init. The kernel and initial ramdisk
//! that the document names are not used.
//!
//! Everything belongs to a value that undoes it when dropped, so a failure half-way leaves nothing. When this process is
//! killed, the kernel kills the sandbox and clears the loop devices; what remains are mounts, cgroups and
//! directories, which [`reap`] removes.
//!
//! A sandbox cannot be saved: there is no machine state, only processes of the host.

mod adapters;
mod disks;
mod growing;
mod loop_device;
pub(crate) mod mounts;
mod ports;
mod shares;

use std::path::PathBuf;
use std::sync::Arc;

use compute::GuestListener;
use hcs::{Attachment, NetworkAdapter, Plan9Share, SaveOptions, VirtualPMemDevice};
use serde::Serialize;
use tokio::sync::watch;

pub(crate) use self::loop_device::LoopDevices;
use crate::backend::{Backend, OnEnd, Slot};
use crate::cgroup::{Cgroup, Limits};
use crate::cgroup::{ProcessUsage, Usage};
use crate::config::Config;
use crate::failure::Failure;
use crate::launcher::Launcher;
use crate::machine::{FULL_LIMIT, MachineSpec, Processors};
use crate::sandbox::adapters::Adapters;
use crate::sandbox::disks::Disks;
use crate::sandbox::mounts::Mounted;
use crate::sandbox::shares::Shares;
use crate::workspace::Workspace;

/// Longest host name of Linux, without the terminator.
const HOST_NAME: usize = 63;

/// What the agent's `sandbox` command is told.
#[derive(Debug, Serialize)]
struct Parameters<'a> {
    id: &'a str,
    hostname: String,
    root_dir: PathBuf,
    vsock_dir: PathBuf,
    devices_dir: PathBuf,
    shares_dir: PathBuf,
    host_network: bool,
    cgroup: &'a str,
    init_args: &'a [String],
    console: Option<&'a PathBuf>,
}

/// One sandbox.
pub(crate) struct Sandbox {
    id: String,
    config: Arc<Config>,
    loops: Arc<LoopDevices>,
    spec: MachineSpec,
    /// Processors and memory as they are now.
    limits: (u64, Processors),
    adapters: Adapters,
    launcher: Option<Launcher>,
    // In the order in which they have to go.
    cgroup: Option<Cgroup>,
    shares: Option<Shares>,
    disks: Option<Disks>,
    mounts: Vec<Mounted>,
    workspace: Option<Workspace>,
}

impl Sandbox {
    /// Prepares a sandbox: its directory exists and ports can be listened on.
    pub(crate) fn new(
        id: &str,
        spec: &MachineSpec,
        config: Arc<Config>,
        loops: Arc<LoopDevices>,
    ) -> Result<Self, Failure> {
        if !spec.pmem.devices.is_empty() {
            return Err(no_pmem());
        }
        if !spec.adapters.is_empty() {
            return Err(Failure::unsupported(
                "a sandbox has no network adapters before its start: add them when it runs",
            ));
        }
        let workspace = Workspace::claim(&config.run_dir, id)?;
        Ok(Self {
            id: id.to_owned(),
            config,
            loops,
            limits: (spec.memory_mb, spec.processors),
            spec: spec.clone(),
            adapters: Adapters::default(),
            launcher: None,
            cgroup: None,
            shares: None,
            disks: None,
            mounts: Vec::new(),
            workspace: Some(workspace),
        })
    }

    fn workspace(&self) -> Result<&Workspace, Failure> {
        self.workspace.as_ref().ok_or_else(gone)
    }

    fn disks(&mut self) -> Result<&mut Disks, Failure> {
        self.disks.as_mut().ok_or_else(gone)
    }

    fn shares(&mut self) -> Result<&mut Shares, Failure> {
        self.shares.as_mut().ok_or_else(gone)
    }

    fn limit(&mut self, memory_mb: u64, processors: Processors) -> Result<(), Failure> {
        let cgroup = self.cgroup.as_ref().ok_or_else(gone)?;
        cgroup.limit(limits(memory_mb, processors, host_memory_mb(), host_processors()))?;
        self.limits = (memory_mb, processors);
        Ok(())
    }
}

impl Backend for Sandbox {
    fn start(&mut self, ended: OnEnd) -> Result<(), Failure> {
        let workspace = self.workspace()?;
        let (devices, shares) = (workspace.devices(), workspace.shares());
        let (root_dir, vsock_dir) = (workspace.root(), workspace.vsock());

        self.mounts.push(Mounted::tmpfs(&devices, true, false)?);
        self.mounts.push(Mounted::tmpfs(&shares, false, true)?);
        let disks = self.disks.insert(Disks::new(
            &devices,
            self.spec.controllers.len(),
            Arc::clone(&self.loops),
        )?);
        for (controller, content) in self.spec.controllers.iter().enumerate() {
            for (lun, disk) in &content.disks {
                disks.attach(
                    Slot {
                        controller,
                        lun: *lun,
                    },
                    disk,
                )?;
            }
        }
        let shared = self.shares.insert(Shares::new(&shares));
        for share in &self.spec.shares {
            shared.add(share)?;
        }
        self.cgroup = Some(Cgroup::create(&self.id)?);
        self.limit(self.spec.memory_mb, self.spec.processors)?;

        let cgroup = self.cgroup.as_ref().ok_or_else(gone)?;
        let parameters = Parameters {
            id: &self.id,
            hostname: host_name(&self.id),
            root_dir,
            vsock_dir,
            devices_dir: devices,
            shares_dir: shares,
            host_network: self.config.host_network,
            cgroup: cgroup.path(),
            init_args: &self.spec.init_arguments,
            console: self.spec.console.as_ref(),
        };
        let parameters = serde_json::to_string(&parameters)
            .map_err(|error| Failure::io("cannot write the sandbox parameters", error))?;
        let agent = &self.config.agent;
        let launcher =
            Launcher::start(agent, "sandbox", &self.id, &parameters, Vec::new(), ended).map_err(|error| {
                Failure::io(format!("cannot start the guest agent {}", agent.display()), error)
            })?;
        self.launcher = Some(launcher);
        Ok(())
    }

    fn kill(&mut self) -> Result<bool, Failure> {
        let Some(launcher) = &self.launcher else {
            return Ok(false);
        };
        // The launcher first and always: with it the kernel kills the rest, even when the cgroup does not answer.
        launcher
            .kill()
            .map_err(|error| Failure::io("cannot kill the sandbox", error))?;
        if let Some(cgroup) = &self.cgroup {
            cgroup
                .kill()
                .map_err(|error| Failure::io("cannot kill the processes of the sandbox", error))?;
        }
        Ok(true)
    }

    fn release(&mut self) {
        self.launcher = None;
        self.cgroup = None;
        self.shares = None;
        self.disks = None;
        while self.mounts.pop().is_some() {}
        self.workspace = None;
    }

    fn pause(&mut self) -> Result<(), Failure> {
        self.cgroup.as_ref().ok_or_else(gone)?.freeze(true)
    }

    fn resume(&mut self) -> Result<(), Failure> {
        self.cgroup.as_ref().ok_or_else(gone)?.freeze(false)
    }

    fn save(&mut self, _options: &SaveOptions) -> Result<(), Failure> {
        Err(Failure::unsupported(
            "a sandbox cannot be saved, only a virtual machine can: use hypervisor isolation",
        ))
    }

    fn attach(&mut self, slot: Slot, disk: &Attachment) -> Result<(), Failure> {
        self.disks()?.attach(slot, disk)
    }

    fn replace(&mut self, slot: Slot, disk: &Attachment) -> Result<(), Failure> {
        self.disks()?.replace(slot, disk)
    }

    fn detach(&mut self, slot: Slot) -> Result<(), Failure> {
        self.disks()?.detach(slot)
    }

    fn attach_pmem(&mut self, _number: u32, _device: &VirtualPMemDevice) -> Result<(), Failure> {
        Err(no_pmem())
    }

    fn detach_pmem(&mut self, _number: u32) -> Result<(), Failure> {
        Err(no_pmem())
    }

    fn attach_adapter(&mut self, id: &str, adapter: &NetworkAdapter) -> Result<(), Failure> {
        let cgroup = self.cgroup.as_ref().ok_or_else(gone)?;
        self.adapters.attach(cgroup, id, adapter)
    }

    fn detach_adapter(&mut self, id: &str) -> Result<(), Failure> {
        let cgroup = self.cgroup.as_ref().ok_or_else(gone)?;
        self.adapters.detach(cgroup, id)
    }

    fn share(&mut self, share: &Plan9Share) -> Result<(), Failure> {
        self.shares()?.add(share)
    }

    fn unshare(&mut self, name: &str) -> Result<(), Failure> {
        self.shares()?.remove(name)
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
        self.cgroup
            .as_ref()
            .map(Cgroup::process_usage)
            .unwrap_or_default()
    }

    fn listen(
        &mut self,
        port: u32,
        stopped: watch::Receiver<bool>,
    ) -> Result<Box<dyn GuestListener>, Failure> {
        ports::listen(&self.workspace()?.vsock(), &self.id, port, stopped)
    }
}

fn no_pmem() -> Failure {
    Failure::unsupported("a sandbox has no persistent memory: attach the image to a SCSI controller")
}

/// The part that was asked for went with the sandbox, between the check of the state and the action.
fn gone() -> Failure {
    Failure::new(hcs::HResult::SYSTEM_ALREADY_STOPPED, "the sandbox has ended")
}

/// Limits that the host can keep: one that is not below what the host has would only cost.
pub(crate) fn limits(
    memory_mb: u64,
    processors: Processors,
    host_memory_mb: u64,
    host_processors: u32,
) -> Limits {
    const PERIOD_US: u64 = 100_000;
    let quota = u64::from(processors.count) * PERIOD_US * processors.limit / FULL_LIMIT;
    let unlimited = u64::from(host_processors) * PERIOD_US;
    Limits {
        memory: (memory_mb < host_memory_mb).then(|| memory_mb * 1024 * 1024),
        // The kernel takes no quota below a millisecond.
        quota_us: (quota < unlimited).then(|| quota.max(1000)),
        weight: Some(processors.weight),
    }
}

/// Online processors of the host.
pub(crate) fn host_processors() -> u32 {
    let count = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN)
        .ok()
        .flatten();
    count
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(1)
        .max(1)
}

/// Memory of the host in MB.
pub(crate) fn host_memory_mb() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) / (1024 * 1024)
}

/// An id as a host name: letters, digits and inner hyphens.
fn host_name(id: &str) -> String {
    let name: String = id
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(HOST_NAME)
        .collect();
    let name = name.trim_matches('-');
    if name.is_empty() {
        "sandbox".to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_becomes_a_host_name() {
        assert_eq!(host_name("abc@vm"), "abc-vm");
        assert_eq!(host_name("_x_"), "x");
        assert_eq!(host_name("@"), "sandbox");
        assert_eq!(host_name(&"a".repeat(80)).len(), 63);
    }

    #[test]
    fn limits_at_or_above_the_host_are_not_set() {
        let all = Processors {
            count: 2,
            limit: FULL_LIMIT,
            weight: 100,
        };
        assert_eq!(
            limits(8192, all, 8192, 2),
            Limits {
                memory: None,
                quota_us: None,
                weight: Some(100)
            }
        );
        let half = Processors {
            limit: FULL_LIMIT / 2,
            ..all
        };
        assert_eq!(
            limits(1024, half, 8192, 2),
            Limits {
                memory: Some(1 << 30),
                quota_us: Some(100_000),
                weight: Some(100)
            }
        );
        let tiny = Processors { limit: 1, ..all };
        assert_eq!(limits(1024, tiny, 8192, 2).quota_us, Some(1000));
    }
}
