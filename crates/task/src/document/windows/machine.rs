//! The utility VM that hosts Windows containers with Hyper-V isolation.
//!
//! It boots the files that a base layer brings in `UtilityVM\Files`, shared with it under the name `os`, and writes to a
//! copy of that layer's disk at place 0 of its only SCSI controller.

use hcs::{
    Attachment, AttachmentType, Chipset, ComPort, ComputeSystem, CpuGroup, DebugOptions, Devices,
    EnhancedModeVideo, GuestCrashReporting, HvSocketDevice, HvSocketServiceConfig, HvSocketSystemConfig,
    Keyboard, RegistryChanges, RegistryHive, RegistryValue, Scsi, StorageQoS, Topology, Uefi, UefiBootDevice,
    UefiBootEntry, Version, VideoMonitor, VirtualMachine, VirtualMachineMemory, VirtualMachineProcessor,
    VirtualSmb, WindowsCrashReporting, hvsocket::ADMINISTRATORS_ONLY, scsi,
};

use serde_json::{Value, json};

use super::{change, registry};

const BOOT_LOADER: &str = r"\EFI\Microsoft\Boot\bootmgfw.efi";
/// The share that the firmware boots from.
const OS_SHARE: &str = "os";
/// Address space for files that the guest maps directly.
const DIRECT_MAP_MB: u64 = 1024;
/// Where the guest's logs come out.
const LOG_SERVICE: &str = "172dad59-976d-45f2-8b6c-6d1b13f2ac4d";

/// What a utility VM is made from.
#[derive(Debug, Clone)]
pub struct WindowsMachine {
    /// Names the compute system.
    pub id: String,
    /// Who made the compute system.
    pub owner: String,
    /// The directory `UtilityVM\Files` of a layer: the topmost that has one.
    pub os_files: String,
    /// The disk it writes to.
    pub scratch: String,
    /// Memory; rounded up to pieces of 2 MiB.
    pub memory_mb: u64,
    /// Virtual processors.
    pub processors: u32,
    /// The share of the host's time that they use at most, of 100000; 0 is all.
    pub processor_limit: u64,
    /// Their relative weight; 0 is the default.
    pub processor_weight: u64,
    /// The group of the host's processors they run on, a GUID.
    pub cpu_group: Option<String>,
    /// Limits over all its disks.
    pub disk_limits: Option<StorageQoS>,
    /// Files are never mapped into the guest directly, so that shares can be removed while it runs.
    pub no_direct_map: bool,
    /// Its logs can be fetched.
    pub log_forwarding: bool,
    /// The pipe of the host that its serial console writes to.
    pub console_pipe: Option<String>,
    /// It has a display, for debugging.
    pub graphics: bool,
    /// Its own error reporting gives way to dumps of its programs.
    pub program_dumps: bool,
    /// The directory of the host for dumps of the machine itself.
    pub dumps: Option<String>,
    /// More registry values.
    pub registry: Vec<RegistryValue>,
}

impl Default for WindowsMachine {
    fn default() -> Self {
        Self {
            id: String::new(),
            owner: "ctr-like".to_owned(),
            os_files: String::new(),
            scratch: String::new(),
            memory_mb: 1024,
            processors: 2,
            processor_limit: 0,
            processor_weight: 0,
            cpu_group: None,
            disk_limits: None,
            no_direct_map: false,
            log_forwarding: false,
            console_pipe: None,
            graphics: false,
            program_dumps: false,
            dumps: None,
            registry: Vec::new(),
        }
    }
}

/// The utility VM.
pub fn utility_vm(machine: &WindowsMachine) -> ComputeSystem {
    let boot = UefiBootEntry {
        device_type: Some(UefiBootDevice::VmbFs),
        device_path: BOOT_LOADER.to_owned(),
        ..UefiBootEntry::default()
    };
    let memory = VirtualMachineMemory {
        size_in_mb: machine.memory_mb.next_multiple_of(2),
        allow_overcommit: true,
        enable_hot_hint: true,
        ..VirtualMachineMemory::default()
    };
    let processor = VirtualMachineProcessor {
        count: machine.processors,
        limit: machine.processor_limit,
        weight: machine.processor_weight,
        cpu_group: machine.cpu_group.clone().map(|id| CpuGroup { id }),
        ..VirtualMachineProcessor::default()
    };
    let chipset = Chipset {
        uefi: Some(Uefi {
            boot_this: Some(boot),
            ..Uefi::default()
        }),
        ..Chipset::default()
    };
    let document = VirtualMachine {
        stop_on_reset: true,
        chipset: Some(chipset),
        compute_topology: Some(Topology {
            memory: Some(memory),
            processor: Some(processor),
            ..Topology::default()
        }),
        devices: Some(Box::new(devices(machine))),
        registry_changes: Some(registry_changes(machine)),
        storage_qos: machine.disk_limits.clone(),
        debug_options: machine.dumps.as_deref().map(|dumps| DebugOptions {
            bugcheck_saved_state_file_name: dump(dumps, &machine.id, "savedstate.vmrs"),
            bugcheck_no_crashdump_saved_state_file_name: dump(
                dumps,
                &machine.id,
                "savedstate_nocrashdump.vmrs",
            ),
            ..DebugOptions::default()
        }),
        ..VirtualMachine::default()
    };
    ComputeSystem {
        owner: machine.owner.clone(),
        schema_version: Some(Version::V2_1),
        virtual_machine: Some(Box::new(document)),
        should_terminate_on_last_handle_closed: true,
        ..ComputeSystem::default()
    }
}

/// What the guest is told of its host before it has containers. Its clock shows UTC, wherever the host is.
pub fn host_description() -> Value {
    const UTC: &str = "Coordinated Universal Time";
    json!({
        "SystemType": "Container",
        "TimeZoneInformation": {
            "StandardName": UTC,
            "StandardDate": {},
            "DaylightName": UTC,
            "DaylightDate": {},
        },
    })
}

fn devices(machine: &WindowsMachine) -> Devices {
    let scratch = Attachment {
        attachment_type: Some(AttachmentType::VirtualDisk),
        path: machine.scratch.clone(),
        ..Attachment::default()
    };
    let controller = Scsi {
        attachments: [(0, scratch)].into(),
    };
    let mut sockets = HvSocketSystemConfig {
        default_bind_security_descriptor: ADMINISTRATORS_ONLY.to_owned(),
        ..HvSocketSystemConfig::default()
    };
    if machine.log_forwarding {
        let service = HvSocketServiceConfig {
            bind_security_descriptor: ADMINISTRATORS_ONLY.to_owned(),
            connect_security_descriptor: ADMINISTRATORS_ONLY.to_owned(),
            allow_wildcard_binds: true,
            ..HvSocketServiceConfig::default()
        };
        sockets.service_table.insert(LOG_SERVICE.to_owned(), service);
    }
    let shares = VirtualSmb {
        shares: vec![change::layer_share(
            OS_SHARE,
            &machine.os_files,
            machine.no_direct_map,
        )],
        direct_file_mapping_in_mb: DIRECT_MAP_MB,
    };
    let crashes = machine.dumps.as_deref().map(|dumps| GuestCrashReporting {
        windows_crash_settings: Some(WindowsCrashReporting {
            dump_file_name: dump(dumps, &machine.id, "windows-crash"),
            dump_type: "Full".to_owned(),
            ..WindowsCrashReporting::default()
        }),
    });
    let console = machine.console_pipe.clone().map(|named_pipe| {
        let port = ComPort {
            named_pipe,
            ..ComPort::default()
        };
        (0, port)
    });
    Devices {
        com_ports: console.into_iter().collect(),
        scsi: [(scsi::CONTROLLERS[0].to_owned(), controller)].into(),
        video_monitor: machine.graphics.then(VideoMonitor::default),
        keyboard: machine.graphics.then(Keyboard::default),
        enhanced_mode_video: machine.graphics.then(EnhancedModeVideo::default),
        hv_socket: Some(HvSocketDevice {
            hv_socket_config: Some(sockets),
        }),
        guest_crash_reporting: crashes,
        virtual_smb: Some(shares),
        ..Devices::default()
    }
}

fn dump(directory: &str, id: &str, what: &str) -> String {
    format!(r"{directory}\{id}-{what}")
}

fn registry_changes(machine: &WindowsMachine) -> RegistryChanges {
    let mut add_values = Vec::new();
    if machine.program_dumps {
        add_values.push(registry::number(
            RegistryHive::System,
            r"ControlSet001\Services\WerSvc",
            "Start",
            2,
        ));
        add_values.push(registry::number(
            RegistryHive::Software,
            r"Microsoft\Windows\Windows Error Reporting",
            "Disabled",
            1,
        ));
    }
    // The guest's network service then keeps the networks of containers apart.
    add_values.push(registry::number(
        RegistryHive::System,
        r"CurrentControlSet\Services\gns",
        "EnableCompartmentNamespace",
        1,
    ));
    add_values.extend(machine.registry.iter().cloned());
    RegistryChanges {
        add_values,
        ..RegistryChanges::default()
    }
}
