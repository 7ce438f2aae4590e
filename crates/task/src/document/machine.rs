//! What the compute service gets: the utility VM and what is hot-added to it.

use std::path::Path;

use hcs::{
    Attachment, AttachmentType, Chipset, ComPort, ComputeSystem, Devices, HvSocketDevice,
    HvSocketSystemConfig, LinuxKernelDirect, ModifySettingRequest, NetworkAdapter, Plan9, Plan9Share,
    RequestType, Resource, Scsi, Topology, Version, VirtualMachine, VirtualMachineMemory,
    VirtualMachineProcessor, plan9_flags, scsi,
};

use super::Slot;
use crate::{NetworkSpec, SandboxSpec};

/// The kernel option that tells the emulator to keep the host's network. A kernel ignores it.
pub const HOST_NETWORK_OPTION: &str = "ctr-like.network=host";

/// The utility VM of a sandbox: kernel and initrd booted directly, four SCSI controllers for disks. `console` is the pipe of the host
/// that its first serial port writes to, if any.
pub fn utility_vm(spec: &SandboxSpec, console: Option<&str>) -> ComputeSystem {
    let kernel = LinuxKernelDirect {
        kernel_file_path: text(&spec.kernel),
        init_rd_path: text(&spec.initrd),
        kernel_cmd_line: kernel_command_line(spec, console.is_some()),
    };
    let memory = VirtualMachineMemory {
        // Given to machines in pieces of 2 MiB.
        size_in_mb: spec.memory_mb.next_multiple_of(2),
        allow_overcommit: true,
        ..Default::default()
    };
    let processor = VirtualMachineProcessor {
        count: spec.processors,
        ..Default::default()
    };
    let sockets = HvSocketSystemConfig {
        default_bind_security_descriptor: hcs::hvsocket::ADMINISTRATORS_ONLY.to_owned(),
        ..Default::default()
    };
    let devices = Devices {
        scsi: scsi::CONTROLLERS
            .iter()
            .map(|name| ((*name).to_owned(), Scsi::default()))
            .collect(),
        hv_socket: Some(HvSocketDevice {
            hv_socket_config: Some(sockets),
        }),
        plan9: Some(Plan9::default()),
        com_ports: console.map(|pipe| (0, serial_port(pipe))).into_iter().collect(),
        ..Default::default()
    };
    let machine = VirtualMachine {
        stop_on_reset: true,
        chipset: Some(Chipset {
            linux_kernel_direct: Some(kernel),
            ..Default::default()
        }),
        compute_topology: Some(Topology {
            memory: Some(memory),
            processor: Some(processor),
            ..Default::default()
        }),
        devices: Some(Box::new(devices)),
        ..Default::default()
    };
    ComputeSystem {
        owner: spec.owner.clone(),
        schema_version: Some(Version::V2_1),
        virtual_machine: Some(Box::new(machine)),
        should_terminate_on_last_handle_closed: true,
        ..Default::default()
    }
}

fn serial_port(pipe: &str) -> ComPort {
    ComPort {
        named_pipe: pipe.to_owned(),
        ..Default::default()
    }
}

/// The pipe for the console of a machine, a name that only one machine has.
pub fn console_pipe(id: &str) -> String {
    format!(r"\\.\pipe\ctr-like-console-{id}")
}

/// The kernel's options and, after `--`, the arguments of init: entropy, then the agent with its log on a port.
fn kernel_command_line(spec: &SandboxSpec, console: bool) -> String {
    // The empty first part is where the reference runtime has the options of other root file systems.
    let mut parts = vec![
        String::new(),
        "initcall_blacklist=virtio_vsock_init".to_owned(),
        // Without a console the kernel does not look for serial ports, which takes its time.
        match console {
            true => "8250_core.nr_uarts=1 8250_core.skip_txen_test=1 console=ttyS0,115200",
            false => "8250_core.nr_uarts=0",
        }
        .to_owned(),
        "panic=-1 quiet".to_owned(),
    ];
    parts.extend(spec.kernel_options.iter().cloned());
    if spec.host_network {
        parts.push(HOST_NETWORK_OPTION.to_owned());
    }
    parts.push("pci=off".to_owned());
    parts.push(format!("nr_cpus={} brd.rd_nr=0 pmtmr=0", spec.processors));
    let (entropy, log, level) = (gcs::port::ENTROPY, gcs::port::LOG, &spec.log_level);
    parts.push(format!(
        "-- -e {entropy} /bin/vsockexec -e {log} /bin/gcs -v4 -log-format json -loglevel {level}"
    ));
    parts.join(" ")
}

/// Attaches a disk.
pub fn attach_disk(slot: Slot, path: &Path, read_only: bool) -> ModifySettingRequest {
    let disk = Attachment {
        attachment_type: Some(AttachmentType::VirtualDisk),
        path: text(path),
        read_only,
        ..Default::default()
    };
    ModifySettingRequest::new(RequestType::Add, &attachment(slot), &disk)
}

/// Detaches the disk of a slot.
pub fn detach_disk(slot: Slot) -> ModifySettingRequest {
    ModifySettingRequest::bare(RequestType::Remove, &attachment(slot))
}

fn attachment(slot: Slot) -> Resource {
    let controller = scsi::CONTROLLERS[usize::from(slot.controller())].to_owned();
    Resource::ScsiAttachment {
        controller,
        lun: u32::from(slot.lun()),
    }
}

/// Plugs the machine into an endpoint. `id` is a fresh GUID, by which the guest finds the adapter.
pub fn add_adapter(id: &str, network: &NetworkSpec) -> ModifySettingRequest {
    adapter(RequestType::Add, id, network)
}

/// Unplugs it.
pub fn remove_adapter(id: &str, network: &NetworkSpec) -> ModifySettingRequest {
    adapter(RequestType::Remove, id, network)
}

fn adapter(request: RequestType, id: &str, network: &NetworkSpec) -> ModifySettingRequest {
    let adapter = NetworkAdapter {
        endpoint_id: network.endpoint.clone(),
        mac_address: network.mac_address.clone(),
        ..Default::default()
    };
    ModifySettingRequest::new(request, &Resource::NetworkAdapter(id.to_owned()), &adapter)
}

/// Shares a directory, or of a directory one file.
pub fn add_share(name: &str, directory: &Path, file: Option<&str>, read_only: bool) -> ModifySettingRequest {
    let mut flags = plan9_flags::LINUX_METADATA;
    if read_only {
        flags |= plan9_flags::READ_ONLY;
    }
    if file.is_some() {
        flags |= plan9_flags::RESTRICT_FILE_ACCESS;
    }
    let share = Plan9Share {
        path: text(directory),
        flags,
        allowed_files: file.map(str::to_owned).into_iter().collect(),
        ..named_share(name)
    };
    ModifySettingRequest::new(RequestType::Add, &Resource::Plan9Shares, &share)
}

/// Ends a share.
pub fn remove_share(name: &str) -> ModifySettingRequest {
    ModifySettingRequest::new(RequestType::Remove, &Resource::Plan9Shares, &named_share(name))
}

fn named_share(name: &str) -> Plan9Share {
    Plan9Share {
        name: name.to_owned(),
        access_name: name.to_owned(),
        port: i32::try_from(gcs::port::PLAN9).expect("a port number"),
        ..Default::default()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
