//! What a virtual machine document asks for, checked and without options left open.
//!
//! [`read`] is the one place that turns a document into a [`MachineSpec`]; every back end for virtual machines starts from it. Unknown
//! fields and wrong types are rejected by the types of `hcs`; here come the rules that types cannot say: what is required, what
//! excludes what, ranges. Their codes are those of the Host Compute Service: `HCS_E_INVALID_JSON` for a document that does
//! not make sense, `E_INVALIDARG` for a value out of range, `ERROR_NOT_SUPPORTED` for what exists and this service lacks.
//!
//! Files named in the document are not looked at: that is the start's business, as on Windows.

mod adapters;
mod devices;
mod shares;

use std::collections::BTreeMap;
use std::path::PathBuf;

use hcs::{ComputeSystem, HvSocketServiceConfig, NetworkAdapter, Plan9Share, SystemKind, VirtualMachine};

pub(crate) use self::adapters::{adapter_address, check_adapter};
pub(crate) use self::devices::{Controller, Pmem, check_disk, check_pmem};
use self::devices::{controllers, pmem, refuse_devices};
pub(crate) use self::shares::check_share;
use crate::boot;
use crate::failure::{Failure, read as read_document};
use crate::sockets;

/// A virtual machine to make.
#[derive(Debug, Clone)]
pub(crate) struct MachineSpec {
    /// Free text for enumeration.
    pub(crate) owner: String,
    /// Whether it ends with its last handle.
    pub(crate) terminate_with_last_handle: bool,
    /// The kernel; used where one boots.
    pub(crate) kernel: PathBuf,
    /// The initial ramdisk.
    pub(crate) initrd: Option<PathBuf>,
    /// The kernel's command line, as given.
    pub(crate) command_line: String,
    /// Arguments of init, from the kernel command line.
    pub(crate) init_arguments: Vec<String>,
    /// Memory.
    pub(crate) memory_mb: u64,
    /// Processors.
    pub(crate) processors: Processors,
    /// SCSI controllers by number: their disks by LUN. At most four.
    pub(crate) controllers: Vec<Controller>,
    /// Persistent memory.
    pub(crate) pmem: Pmem,
    /// Network adapters by id.
    pub(crate) adapters: BTreeMap<String, NetworkAdapter>,
    /// Shared directories.
    pub(crate) shares: Vec<Plan9Share>,
    /// Socket services by port.
    pub(crate) services: BTreeMap<u32, HvSocketServiceConfig>,
    /// Where the first serial port leads.
    pub(crate) console: Option<PathBuf>,
}

/// Processors of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Processors {
    /// How many.
    pub(crate) count: u32,
    /// Their share of as many processors of the host, of [`FULL_LIMIT`].
    pub(crate) limit: u64,
    /// Relative weight.
    pub(crate) weight: u64,
}

/// The limit that does not limit.
pub(crate) const FULL_LIMIT: u64 = 100_000;
/// The weight that Hyper-V gives by convention.
pub(crate) const USUAL_WEIGHT: u64 = 100;
const HIGHEST_WEIGHT: u64 = 10_000;

/// Reads the document of a new compute system. `host_processors` bounds what it may ask for.
pub(crate) fn read(document: &str, host_processors: u32) -> Result<MachineSpec, Failure> {
    let system: ComputeSystem = read_document(document)?;
    if let Some(version) = &system.schema_version
        && version.major != 2
    {
        return Err(Failure::unsupported(format!(
            "SchemaVersion {}.{} is not supported, use 2.1",
            version.major, version.minor
        )));
    }
    match system.kind() {
        Some(SystemKind::VirtualMachine) => {}
        Some(SystemKind::Container) => {
            return Err(Failure::unsupported(
                "Container: this service runs virtual machine documents; a Windows container needs the Wine back end",
            ));
        }
        Some(SystemKind::HostedSystem) => {
            return Err(Failure::unsupported(
                "HostedSystem: this service does not hold the guest connection; create the container through the guest protocol",
            ));
        }
        None => {
            return Err(Failure::json(
                "exactly one of VirtualMachine, Container and HostedSystem must be given",
            ));
        }
    }
    if !system.hosting_system_id.is_empty() {
        return Err(Failure::json("HostingSystemId is for hosted systems only"));
    }
    let machine = system
        .virtual_machine
        .ok_or_else(|| Failure::json("VirtualMachine is required"))?;
    machine_spec(
        system.owner,
        system.should_terminate_on_last_handle_closed,
        *machine,
        host_processors,
    )
}

fn machine_spec(
    owner: String,
    terminate_with_last_handle: bool,
    machine: VirtualMachine,
    host_processors: u32,
) -> Result<MachineSpec, Failure> {
    refuse(
        "VirtualMachine",
        &[
            (
                machine.guest_connection.is_some(),
                "GuestConnection",
                "leave it out and serve port 0x40000000 yourself",
            ),
            (
                machine.guest_state.is_some(),
                "GuestState",
                "there is no firmware state to keep",
            ),
            (
                machine.restore_state.is_some(),
                "RestoreState",
                "start the machine afresh",
            ),
            (
                machine.registry_changes.is_some(),
                "RegistryChanges",
                "the guest is Linux",
            ),
            (
                machine.storage_qos.is_some(),
                "StorageQoS",
                "limit the containers inside",
            ),
            (
                machine.security_settings.is_some(),
                "SecuritySettings",
                "confidential guests need a Windows host",
            ),
            (
                machine.debug_options.is_some(),
                "DebugOptions",
                "the last console output is in the crash report",
            ),
            (
                !machine.resource_partition_id.is_empty(),
                "ResourcePartitionId",
                "limit memory and processors instead",
            ),
        ],
    )?;
    let chipset = machine
        .chipset
        .ok_or_else(|| Failure::json("VirtualMachine.Chipset is required"))?;
    let kernel = match (chipset.linux_kernel_direct, chipset.uefi) {
        (Some(_), Some(_)) => {
            return Err(Failure::json(
                "VirtualMachine.Chipset: LinuxKernelDirect and Uefi exclude each other",
            ));
        }
        (Some(kernel), None) => kernel,
        (None, Some(_)) => {
            return Err(Failure::unsupported(
                "VirtualMachine.Chipset.Uefi is not supported here, use LinuxKernelDirect",
            ));
        }
        (None, None) => {
            return Err(Failure::json(
                "VirtualMachine.Chipset: LinuxKernelDirect is required",
            ));
        }
    };
    if chipset.firmware_file.is_some() {
        return Err(Failure::unsupported(
            "VirtualMachine.Chipset.FirmwareFile is not supported here",
        ));
    }
    if kernel.kernel_file_path.is_empty() {
        return Err(Failure::json(
            "VirtualMachine.Chipset.LinuxKernelDirect.KernelFilePath is required",
        ));
    }
    let init_arguments = boot::init_arguments(&kernel.kernel_cmd_line)?;

    let topology = machine
        .compute_topology
        .ok_or_else(|| Failure::json("VirtualMachine.ComputeTopology is required"))?;
    if topology.numa.is_some() {
        return Err(Failure::unsupported(
            "VirtualMachine.ComputeTopology.Numa is not supported here",
        ));
    }
    let memory = topology
        .memory
        .ok_or_else(|| Failure::json("VirtualMachine.ComputeTopology.Memory is required"))?;
    if memory.enable_deferred_commit && !memory.allow_overcommit {
        return Err(Failure::invalid(
            "VirtualMachine.ComputeTopology.Memory.EnableDeferredCommit requires AllowOvercommit",
        ));
    }
    let memory_mb = memory_size(memory.size_in_mb)?;
    let processor = topology.processor.unwrap_or_default();
    refuse(
        "VirtualMachine.ComputeTopology.Processor",
        &[
            (processor.reservation != 0, "Reservation", "use Weight"),
            (processor.cpu_group.is_some(), "CpuGroup", "use Limit"),
            (
                processor.numa_processors_settings.is_some(),
                "NumaProcessorsSettings",
                "use Count",
            ),
        ],
    )?;
    // An absent count is one processor, as on Windows.
    let count = processor.count.max(1);
    if count > host_processors {
        return Err(Failure::invalid(format!(
            "VirtualMachine.ComputeTopology.Processor.Count is {count}, the host has {host_processors}"
        )));
    }
    let processors = Processors::new(count, processor.limit, processor.weight)?;

    let devices = machine.devices.map(|devices| *devices).unwrap_or_default();
    refuse_devices(&devices)?;
    let services = match devices.hv_socket.and_then(|device| device.hv_socket_config) {
        Some(config) => sockets::services(config.service_table)?,
        None => BTreeMap::new(),
    };
    let console = match devices.com_ports.into_iter().next() {
        Some((0, port)) if !port.named_pipe.is_empty() => Some(PathBuf::from(port.named_pipe)),
        Some((0, _)) | None => None,
        Some((number, _)) => {
            return Err(Failure::unsupported(format!(
                "VirtualMachine.Devices.ComPorts.{number}: only port 0 is supported"
            )));
        }
    };
    devices.network_adapters.values().try_for_each(check_adapter)?;
    Ok(MachineSpec {
        owner,
        terminate_with_last_handle,
        kernel: PathBuf::from(kernel.kernel_file_path),
        initrd: (!kernel.init_rd_path.is_empty()).then(|| PathBuf::from(kernel.init_rd_path)),
        command_line: kernel.kernel_cmd_line,
        init_arguments,
        memory_mb,
        processors,
        controllers: controllers(devices.scsi)?,
        pmem: devices.virtual_pmem.map(pmem).transpose()?.unwrap_or_default(),
        adapters: devices.network_adapters,
        shares: devices.plan9.map(|plan9| plan9.shares).unwrap_or_default(),
        services,
        console,
    })
}

/// Checks a size of memory: it is given to machines in pieces of 2 MiB.
pub(crate) fn memory_size(size_in_mb: u64) -> Result<u64, Failure> {
    const HIGHEST: u64 = 12 * 1024 * 1024;
    match size_in_mb {
        0 => Err(Failure::json("Memory.SizeInMB is required")),
        size if !size.is_multiple_of(2) => Err(Failure::invalid(format!(
            "Memory.SizeInMB is {size}, it must be even"
        ))),
        size if size > HIGHEST => Err(Failure::invalid(format!(
            "Memory.SizeInMB is {size}, at most {HIGHEST}"
        ))),
        size => Ok(size),
    }
}

impl Processors {
    /// Checks limit and weight; zero stands for "not given".
    pub(crate) fn new(count: u32, limit: u64, weight: u64) -> Result<Self, Failure> {
        if limit > FULL_LIMIT {
            return Err(Failure::invalid(format!(
                "Processor.Limit is {limit}, it must be 1 to {FULL_LIMIT}"
            )));
        }
        if weight > HIGHEST_WEIGHT {
            return Err(Failure::invalid(format!(
                "Processor.Weight is {weight}, it must be 1 to {HIGHEST_WEIGHT}"
            )));
        }
        Ok(Self {
            count,
            limit: if limit == 0 { FULL_LIMIT } else { limit },
            weight: if weight == 0 { USUAL_WEIGHT } else { weight },
        })
    }
}

/// Refuses the first field that is given and not supported, naming what to do instead.
fn refuse(place: &str, fields: &[(bool, &str, &str)]) -> Result<(), Failure> {
    match fields.iter().find(|(given, ..)| *given) {
        Some((_, field, instead)) => Err(Failure::unsupported(format!(
            "{place}.{field} is not supported here: {instead}"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
