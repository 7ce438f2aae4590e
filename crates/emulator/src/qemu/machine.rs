//! The back end: one machine in QEMU, from its files to its end.

use std::sync::Arc;

use compute::GuestListener;
use hcs::{Attachment, HResult, NetworkAdapter, Plan9Share, SaveOptions, VirtualPMemDevice};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::accelerator::{Plan, Verdict};
use super::adapters::Adapters;
use super::boot_files::BootFiles;
use super::command::{MOST_PMEM, Processor};
use super::disks::{Disks, refused};
use super::ends::end_of;
use super::plan9::Shares;
use super::pmem::Pmem;
use super::process::Process;
use super::qmp::Qmp;
use super::vsock::{Device, Ports};
use crate::backend::{Backend, OnEnd, Slot};
use crate::cgroup::{Cgroup, ProcessUsage, Usage};
use crate::config::{Config, QemuConfig};
use crate::failure::Failure;

use crate::machine::{self, MachineSpec, Processors};
use crate::sandbox::{host_memory_mb, host_processors, limits};
use crate::workspace::Workspace;

/// Least memory in which a kernel and its initial ramdisk unpack.
const LEAST_MEMORY_MB: u64 = 64;

/// One machine.
pub(crate) struct Qemu {
    pub(super) id: String,
    pub(super) qemu: QemuConfig,
    pub(super) spec: MachineSpec,
    pub(super) ports: Arc<Ports>,
    pub(super) disks: Disks,
    pub(super) pmem: Pmem,
    pub(super) adapters: Adapters,
    pub(super) shares: Shares,
    // In the order in which they have to go.
    pub(super) qmp: Option<Qmp>,
    pub(super) process: Option<Process>,
    pub(super) device: Option<Device>,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) workspace: Option<Workspace>,
}

impl Qemu {
    /// Prepares a machine: its directory exists and ports can be listened on.
    pub(crate) fn new(
        id: &str,
        spec: &MachineSpec,
        config: &Config,
        qemu: &QemuConfig,
    ) -> Result<Self, Failure> {
        let workspace = Workspace::claim(&config.run_dir, id)?;
        let ports = Arc::<Ports>::default();
        Ok(Self {
            id: id.to_owned(),
            qemu: qemu.clone(),
            spec: spec.clone(),
            pmem: Pmem::default(),
            adapters: Adapters::default(),
            shares: Shares::new(Arc::clone(&ports)),
            ports,
            disks: Disks::default(),
            qmp: None,
            process: None,
            device: None,
            cgroup: None,
            workspace: Some(workspace),
        })
    }

    fn qmp(&mut self) -> Result<&mut Qmp, Failure> {
        self.qmp.as_mut().ok_or_else(gone)
    }

    pub(super) fn command(&mut self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let what = format!("cannot change the virtual machine {}", self.id);
        self.qmp()?
            .execute(command, arguments)
            .map_err(|error| refused(&what, error))
    }

    fn check(&self) -> Result<BootFiles, Failure> {
        let least = LEAST_MEMORY_MB;
        if self.spec.memory_mb < least {
            return Err(Failure::invalid(format!(
                "Memory.SizeInMB is {}, a virtual machine needs {least} at least",
                self.spec.memory_mb
            )));
        }
        let host = host_memory_mb();
        if self.spec.memory_mb > host {
            return Err(Failure::new(
                HResult::E_OUTOFMEMORY,
                format!(
                    "Memory.SizeInMB is {}, this host has {host}: give the virtual machine less",
                    self.spec.memory_mb
                ),
            ));
        }
        BootFiles::check(&self.spec.kernel, self.spec.initrd.as_deref())
    }
}

impl Backend for Qemu {
    fn start(&mut self, ended: OnEnd) -> Result<(), Failure> {
        let files = self.check()?;
        allow_many_files();
        for share in self.spec.shares.clone() {
            self.share(&share)?;
        }
        let verdict = Verdict::about(&self.qemu.state_dir, &files.kernel);
        let booted = match verdict.plan(self.qemu.accelerator)? {
            Plan::Certain(processor) => self.boot(&files, processor, false),
            Plan::TryKvm => match self.boot(&files, Processor::Kvm, true) {
                Ok(()) => {
                    verdict.keep(true);
                    Ok(())
                }
                Err(failure) => {
                    self.undo();
                    tracing::warn!(%failure, "KVM does not work here, processors are emulated: expect slow virtual machines");
                    let emulated = self.boot(&files, Processor::Tcg, false);
                    // What fails with both is not the fault of KVM.
                    if emulated.is_ok() {
                        verdict.keep(false);
                    }
                    emulated
                }
            },
        };
        if let Err(failure) = booted {
            self.undo();
            return Err(failure);
        }
        let process = self.process.as_ref().ok_or_else(gone)?;
        let outcome = self.qmp.as_ref().ok_or_else(gone)?.outcome();
        process.watch(Box::new(move |exit| ended(end_of(exit, &outcome))));
        Ok(())
    }

    fn kill(&mut self) -> Result<bool, Failure> {
        let Some(process) = &self.process else {
            return Ok(false);
        };
        process
            .kill()
            .map_err(|error| Failure::io("cannot kill QEMU", error))?;
        Ok(true)
    }

    fn release(&mut self) {
        self.qmp = None;
        self.process = None;
        self.device = None;
        self.cgroup = None;
        self.workspace = None;
    }

    fn pause(&mut self) -> Result<(), Failure> {
        self.command("stop", Value::Null).map(drop)
    }

    fn resume(&mut self) -> Result<(), Failure> {
        self.command("cont", Value::Null).map(drop)
    }

    fn save(&mut self, _options: &SaveOptions) -> Result<(), Failure> {
        Err(Failure::unsupported(
            "QEMU cannot save a machine that has sockets to its host (vhost-user-vsock is not migratable): \
             stop its containers and start them again instead",
        ))
    }

    fn attach(&mut self, slot: Slot, disk: &Attachment) -> Result<(), Failure> {
        let qmp = self.qmp.as_mut().ok_or_else(gone)?;
        self.disks.attach(qmp, slot, disk)
    }

    fn replace(&mut self, slot: Slot, disk: &Attachment) -> Result<(), Failure> {
        let qmp = self.qmp.as_mut().ok_or_else(gone)?;
        self.disks.replace(qmp, slot, disk)
    }

    fn detach(&mut self, slot: Slot) -> Result<(), Failure> {
        let qmp = self.qmp.as_mut().ok_or_else(gone)?;
        self.disks.detach(qmp, slot)
    }

    fn attach_pmem(&mut self, number: u32, device: &VirtualPMemDevice) -> Result<(), Failure> {
        let count = self.spec.pmem.count.min(MOST_PMEM);
        if number >= count {
            return Err(Failure::new(
                HResult::ELEMENT_NOT_FOUND,
                format!(
                    "there is no persistent memory device {number}: VirtualPMem has {count}, of at most {MOST_PMEM}"
                ),
            ));
        }
        let directory = self.workspace.as_ref().ok_or_else(gone)?.vsock();
        let qmp = self.qmp.as_mut().ok_or_else(gone)?;
        self.pmem.attach(qmp, number, device, &directory)
    }

    fn detach_pmem(&mut self, number: u32) -> Result<(), Failure> {
        self.pmem.detach(number)
    }

    fn attach_adapter(&mut self, id: &str, adapter: &NetworkAdapter) -> Result<(), Failure> {
        let qmp = self.qmp.as_mut().ok_or_else(gone)?;
        self.adapters.attach(qmp, id, adapter)
    }

    fn detach_adapter(&mut self, id: &str) -> Result<(), Failure> {
        let qmp = self.qmp.as_mut().ok_or_else(gone)?;
        self.adapters.detach(qmp, id)
    }

    fn share(&mut self, share: &Plan9Share) -> Result<(), Failure> {
        machine::check_share(share)?;
        self.shares.add(share)
    }

    fn unshare(&mut self, name: &str) -> Result<(), Failure> {
        self.shares.remove(name)
    }

    fn set_memory(&mut self, size_in_mb: u64) -> Result<(), Failure> {
        if size_in_mb > self.spec.memory_mb {
            return Err(Failure::unsupported(format!(
                "a virtual machine cannot get more memory than it started with ({} MB)",
                self.spec.memory_mb
            )));
        }
        let bytes = size_in_mb.saturating_mul(1024 * 1024);
        self.command("balloon", json!({ "value": bytes })).map(drop)
    }

    fn set_processors(&mut self, processors: Processors) -> Result<(), Failure> {
        let cgroup = self.cgroup.as_ref().ok_or_else(gone)?;
        cgroup.limit(limits(u64::MAX, processors, host_memory_mb(), host_processors()))
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
        if self.workspace.is_none() {
            return Err(gone());
        }
        self.ports.listen(&self.id, port, stopped)
    }
}

/// Every connection of the guest and every file it holds is a descriptor here.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(errno) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%errno, "the limit of open files stays");
        }
    }
}

/// The part that was asked for went with the machine, or is not there yet.
pub(super) fn gone() -> Failure {
    Failure::new(HResult::SYSTEM_ALREADY_STOPPED, "the virtual machine has ended")
}
