//! Virtual machines: firmware, topology, state and security. Devices are in [`crate::devices`].

use std::collections::BTreeMap;

use crate::document::{choice, document};
use crate::{Devices, RegistryChanges, StorageQoS, Version};

document! {
    /// A virtual machine.
    strict VirtualMachine = "hcs_v2.VirtualMachine" {
        /// The version of the virtual hardware; hcsshim sets 12 for confidential Windows guests.
        version: Option<Version> = "Version",
        /// Whether a reset by the guest ends the machine. A guest that panics or reboots is then an exit.
        stop_on_reset: bool = "StopOnReset",
        /// Firmware and boot source.
        chipset: Option<Chipset> = "Chipset",
        /// Memory and processors.
        compute_topology: Option<Topology> = "ComputeTopology",
        /// Devices.
        devices: Option<Box<Devices>> = "Devices",
        /// Files with the state of the guest's firmware.
        guest_state: Option<GuestState> = "GuestState",
        /// A saved machine to start from.
        restore_state: Option<RestoreState> = "RestoreState",
        /// Registry of a Windows guest.
        registry_changes: Option<RegistryChanges> = "RegistryChanges",
        /// Limits over all disks.
        storage_qos: Option<StorageQoS> = "StorageQoS",
        /// Present: the service owns the connection to the guest, and start completes when the guest has connected.
        guest_connection: Option<GuestConnection> = "GuestConnection",
        /// TPM and isolation.
        security_settings: Option<SecuritySettings> = "SecuritySettings",
        /// Files for dumps.
        debug_options: Option<DebugOptions> = "DebugOptions",
        /// The resource partition, a GUID.
        resource_partition_id: String = "ResourcePartitionId",
    }
}

document! {
    /// Firmware and boot source: UEFI or a Linux kernel started directly.
    strict Chipset = "hcs_v2.Chipset" {
        /// UEFI firmware.
        uefi: Option<Uefi> = "Uefi",
        /// A Linux kernel without firmware. Needs build 18286.
        linux_kernel_direct: Option<LinuxKernelDirect> = "LinuxKernelDirect",
        /// An image of the firmware.
        firmware_file: Option<FirmwareFile> = "FirmwareFile",
        /// Whether NumLock is off at boot.
        is_num_lock_disabled: bool = "IsNumLockDisabled",
        /// SMBIOS: serial number of the board.
        base_board_serial_number: String = "BaseBoardSerialNumber",
        /// SMBIOS: serial number of the chassis.
        chassis_serial_number: String = "ChassisSerialNumber",
        /// SMBIOS: asset tag.
        chassis_asset_tag: String = "ChassisAssetTag",
        /// Whether the clock shows UTC.
        use_utc: bool = "UseUtc",
    }
}

document! {
    /// A Linux kernel started without firmware.
    strict LinuxKernelDirect = "hcs_v2.LinuxKernelDirect" {
        /// The kernel image on the host.
        kernel_file_path: String = "KernelFilePath",
        /// The initial ramdisk on the host.
        init_rd_path: String = "InitRdPath",
        /// The kernel's command line; what follows ` -- ` is for init.
        kernel_cmd_line: String = "KernelCmdLine",
    }
}

document! {
    /// UEFI firmware.
    strict Uefi = "hcs_v2.Uefi" {
        /// Whether the boot manager's debugger is on.
        enable_debugger: bool = "EnableDebugger",
        /// Whether a secure boot template applies: `Skip` or `Apply`.
        apply_secure_boot_template: String = "ApplySecureBootTemplate",
        /// The secure boot template, a GUID.
        secure_boot_template_id: String = "SecureBootTemplateId",
        /// What to boot.
        boot_this: Option<UefiBootEntry> = "BootThis",
        /// Where the firmware talks: `Default`, `Disabled`, `ComPort1`, `ComPort2`.
        console: String = "Console",
    }
}

choice! {
    /// What the firmware boots from.
    strict UefiBootDevice = "-published" {
        /// A SCSI disk.
        ScsiDrive = "ScsiDrive",
        /// The VMBus file system: a share of the host.
        VmbFs = "VmbFs",
        /// The network.
        Network = "Network",
        /// A file in memory.
        File = "File",
    }
}

document! {
    /// One boot entry of the firmware.
    strict UefiBootEntry = "hcs_v2.UefiBootEntry" {
        /// The kind of the source.
        device_type: Option<UefiBootDevice> = "DeviceType",
        /// The file to boot, with back-slashes.
        device_path: String = "DevicePath",
        /// The disk.
        disk_number: u16 = "DiskNumber",
        /// The command line of what is booted.
        optional_data: String = "OptionalData",
        /// The directory on the host that the VMBus file system shows.
        vmb_fs_root_path: String = "VmbFsRootPath",
    }
}

document! {
    /// An image of the firmware.
    strict FirmwareFile = "hcs_v2.FirmwareFile" {
        /// The parameters, in base64.
        parameters: String = "Parameters",
    }
}

document! {
    /// Memory and processors of a virtual machine.
    strict Topology = "hcs_v2.Topology" {
        /// Memory.
        memory: Option<VirtualMachineMemory> = "Memory",
        /// Processors.
        processor: Option<VirtualMachineProcessor> = "Processor",
        /// Virtual NUMA. Needs memory without overcommit.
        numa: Option<Numa> = "Numa",
    }
}

choice! {
    /// What backs the memory of a guest.
    strict MemoryBackingType = "hcs_v2.MemoryBackingType" {
        /// Memory of the host that is reserved for the guest.
        Physical = "Physical",
        /// Pageable memory of the host.
        Virtual = "Virtual",
        /// Both.
        Hybrid = "Hybrid",
    }
}

choice! {
    /// Where the guest's table of NUMA distances comes from.
    strict VirtualSlitType = "hcs_v2.VirtualSlitType" {
        /// No table.
        None = "None",
        /// The host's firmware.
        Firmware = "Firmware",
        /// Measurement.
        Measured = "Measured",
        /// The firmware, else measurement.
        FirmwareFallbackMeasured = "FirmwareFallbackMeasured",
    }
}

document! {
    /// Memory of a virtual machine.
    strict VirtualMachineMemory = "hcs_v2.VirtualMachineMemory" {
        /// The size; even, because memory comes in pieces of 2 MiB.
        size_in_mb: u64 = "SizeInMB",
        /// Whether the memory is pageable on the host.
        allow_overcommit: bool = "AllowOvercommit",
        /// Whether the guest may say which memory it needs.
        enable_hot_hint: bool = "EnableHotHint",
        /// Whether the guest may say which memory it does not need.
        enable_cold_hint: bool = "EnableColdHint",
        /// Whether cold memory is taken back at once. Needs build 18967.
        enable_cold_discard_hint: bool = "EnableColdDiscardHint",
        /// Whether memory is committed on first use. Needs overcommit.
        enable_deferred_commit: bool = "EnableDeferredCommit",
        /// The window for devices below 4 GiB.
        low_mmio_gap_in_mb: u64 = "LowMmioGapInMB",
        /// Where the window for devices above 4 GiB begins.
        high_mmio_base_in_mb: u64 = "HighMmioBaseInMB",
        /// The window for devices above 4 GiB.
        high_mmio_gap_in_mb: u64 = "HighMmioGapInMB",
        /// What backs the memory.
        backing: Option<MemoryBackingType> = "Backing",
        /// Where the table of NUMA distances comes from.
        slit_type: Option<VirtualSlitType> = "SlitType",
    }
}

document! {
    /// Processors of a virtual machine.
    strict VirtualMachineProcessor = "hcs_v2.VirtualMachineProcessor" {
        /// The number of virtual processors.
        count: u32 = "Count",
        /// The share of the host's time that is at most used, 1..100000 of 100000.
        limit: u64 = "Limit",
        /// The relative weight; 100 by convention.
        weight: u64 = "Weight",
        /// The share that is reserved.
        reservation: u64 = "Reservation",
        /// The group of processors to run on.
        cpu_group: Option<CpuGroup> = "CpuGroup",
        /// How processors spread over NUMA nodes.
        numa_processors_settings: Option<NumaProcessors> = "NumaProcessorsSettings",
    }
}

document! {
    /// A group of processors of the host.
    strict CpuGroup = "hcs_v2.CpuGroup" {
        /// The group, a GUID; the null GUID stands for none.
        id: String = "Id",
    }
}

document! {
    /// Limits of running processors: the settings of a change.
    strict ProcessorLimits = "hcs_v2.ProcessorLimits" {
        /// The share of the host's time that is at most used, 1..100000 of 100000.
        limit: u64 = "Limit",
        /// The relative weight.
        weight: u64 = "Weight",
        /// The share that is reserved.
        reservation: u64 = "Reservation",
        /// The highest frequency.
        maximum_frequency_mhz: u32 = "MaximumFrequencyMHz",
    }
}

document! {
    /// How processors spread over virtual NUMA nodes.
    strict NumaProcessors = "hcs_v2.NumaProcessors" {
        /// Processors per node.
        count_per_node: Option<Range> = "count_per_node",
        /// Nodes per socket.
        node_per_socket: u32 = "node_per_socket",
    }
}

document! {
    /// An upper bound.
    strict Range = "hcs_v2.Range" {
        /// The bound.
        max: u32 = "max",
    }
}

document! {
    /// Virtual NUMA.
    strict Numa = "hcs_v2.Numa" {
        /// The number of virtual nodes.
        virtual_node_count: u32 = "VirtualNodeCount",
        /// Physical nodes to use.
        preferred_physical_nodes: Vec<i64> = "PreferredPhysicalNodes",
        /// The nodes one by one.
        settings: Vec<NumaSetting> = "Settings",
        /// The largest memory of one node, in MB.
        max_size_per_node: u64 = "MaxSizePerNode",
    }
}

document! {
    /// One virtual NUMA node.
    strict NumaSetting = "hcs_v2.NumaSetting" {
        /// The virtual node.
        virtual_node_number: u32 = "VirtualNodeNumber",
        /// The physical node that backs it.
        physical_node_number: u32 = "PhysicalNodeNumber",
        /// The virtual socket it belongs to.
        virtual_socket_number: u32 = "VirtualSocketNumber",
        /// Its processors.
        count_of_processors: u32 = "CountOfProcessors",
        /// Its memory in blocks of 1 MB.
        count_of_memory_blocks: u64 = "CountOfMemoryBlocks",
        /// What backs its memory.
        memory_backing_type: Option<MemoryBackingType> = "MemoryBackingType",
    }
}

document! {
    /// Files with the state of the guest's firmware and of a confidential guest.
    strict GuestState = "hcs_v2.GuestState" {
        /// The file (`.vmgs`).
        guest_state_file_path: String = "GuestStateFilePath",
        /// What the file is: `FileMode` or `BlockStorage`.
        guest_state_file_type: String = "GuestStateFileType",
        /// The file for runtime state (`.vmrs`).
        runtime_state_file_path: String = "RuntimeStateFilePath",
        /// Whether changes are dropped at the end.
        force_transient_state: bool = "ForceTransientState",
    }
}

document! {
    /// A saved machine to start from.
    strict RestoreState = "hcs_v2.RestoreState" {
        /// The file with the saved state.
        save_state_file_path: String = "SaveStateFilePath",
        /// The template system to clone.
        template_system_id: String = "TemplateSystemId",
    }
}

document! {
    /// The connection to the guest that the service owns.
    strict GuestConnection = "hcs_v2.GuestConnection" {
        /// Whether the guest is Linux and connects by vsock.
        use_vsock: bool = "UseVsock",
        /// Whether a suspend keeps the connection.
        use_connected_suspend: bool = "UseConnectedSuspend",
    }
}

document! {
    /// TPM and isolation.
    strict SecuritySettings = "hcs_v2.SecuritySettings" {
        /// Whether there is a virtual TPM.
        enable_tpm: bool = "EnableTpm",
        /// Hardware isolation of a confidential guest.
        isolation: Option<IsolationSettings> = "Isolation",
    }
}

document! {
    /// Hardware isolation of a confidential guest.
    strict IsolationSettings = "hcs_v2.IsolationSettings" {
        /// The technique, such as `SecureNestedPaging`.
        isolation_type: String = "IsolationType",
        /// The machine that debugs the paravisor.
        debug_host: String = "DebugHost",
        /// The port on it.
        debug_port: i64 = "DebugPort",
        /// Data the hardware measures at launch, in base64.
        launch_data: String = "LaunchData",
        /// Whether the paravisor runs.
        hcl_enabled: Option<bool> = "HclEnabled",
    }
}

document! {
    /// Where dumps of a crashed guest go.
    strict DebugOptions = "hcs_v2.DebugOptions" {
        /// Saved state at a bug check.
        bugcheck_saved_state_file_name: String = "BugcheckSavedStateFileName",
        /// Saved state at a bug check that wrote no dump itself.
        bugcheck_no_crashdump_saved_state_file_name: String = "BugcheckNoCrashdumpSavedStateFileName",
        /// Saved state at a triple fault.
        triple_fault_saved_state_file_name: String = "TripleFaultSavedStateFileName",
        /// Dump of the firmware.
        firmware_dump_file_name: String = "FirmwareDumpFileName",
    }
}

/// Sections keyed by a free name, such as the controllers of [`crate::Devices`].
pub type Named<T> = BTreeMap<String, T>;
