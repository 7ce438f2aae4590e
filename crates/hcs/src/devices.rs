//! Devices of a virtual machine. Disks are in [`crate::disks`], sockets in [`crate::hvsocket`].

use std::collections::BTreeMap;

use crate::document::{choice, document};
use crate::virtual_machine::Named;
use crate::{HvSocketDevice, Scsi, VirtualPMemController};

document! {
    /// The devices of a virtual machine.
    strict Devices = "hcs_v2.Devices" {
        /// Serial ports by number: 0 is COM1.
        com_ports: BTreeMap<u32, ComPort> = "ComPorts",
        /// SCSI controllers by name or GUID, see [`crate::scsi`].
        scsi: Named<Scsi> = "Scsi",
        /// Persistent memory.
        virtual_pmem: Option<VirtualPMemController> = "VirtualPMem",
        /// Network adapters by GUID.
        network_adapters: Named<NetworkAdapter> = "NetworkAdapters",
        /// A display.
        video_monitor: Option<VideoMonitor> = "VideoMonitor",
        /// A keyboard.
        keyboard: Option<Keyboard> = "Keyboard",
        /// A mouse.
        mouse: Option<Mouse> = "Mouse",
        /// Hyper-V sockets.
        hv_socket: Option<HvSocketDevice> = "HvSocket",
        /// Remote desktop with enhanced mode.
        enhanced_mode_video: Option<EnhancedModeVideo> = "EnhancedModeVideo",
        /// Crash dumps that a Windows guest writes through the host.
        guest_crash_reporting: Option<GuestCrashReporting> = "GuestCrashReporting",
        /// SMB shares over VMBus.
        virtual_smb: Option<VirtualSmb> = "VirtualSmb",
        /// 9P shares.
        plan9: Option<Plan9> = "Plan9",
        /// The battery of the host.
        battery: Option<Battery> = "Battery",
        /// Devices that user code of the host emulates, by GUID.
        flexible_iov: Named<FlexibleIoDevice> = "FlexibleIov",
        /// Memory shared with the host.
        shared_memory: Option<SharedMemoryConfiguration> = "SharedMemory",
        /// Physical devices given to the guest, by GUID. Needs build 19041.
        virtual_pci: Named<VirtualPciDevice> = "VirtualPci",
    }
}

document! {
    /// A serial port.
    strict ComPort = "hcs_v2.ComPort" {
        /// The pipe of the host; somebody must serve it.
        named_pipe: String = "NamedPipe",
        /// Whether the port serves a kernel debugger.
        optimize_for_debugger: bool = "OptimizeForDebugger",
    }
}

document! {
    /// A network adapter.
    strict NetworkAdapter = "hcs_v2.NetworkAdapter" {
        /// The endpoint of the network service, a GUID.
        endpoint_id: String = "EndpointId",
        /// The address, with dashes.
        mac_address: String = "MacAddress",
        /// Hardware acceleration.
        iov_settings: Option<IovSettings> = "IovSettings",
    }
}

choice! {
    /// How eagerly a network adapter interrupts.
    strict InterruptModeration = "hcs_v2.InterruptModerationName" {
        /// As the adapter likes.
        Default = "Default",
        /// By load.
        Adaptive = "Adaptive",
        /// Every packet.
        Off = "Off",
        /// Little moderation.
        Low = "Low",
        /// Medium moderation.
        Medium = "Medium",
        /// Much moderation.
        High = "High",
    }
}

document! {
    /// Hardware acceleration of a network adapter.
    strict IovSettings = "hcs_v2.IovSettings" {
        /// The weight of the offload; 0 turns it off.
        offload_weight: Option<u32> = "OffloadWeight",
        /// Queue pairs asked for.
        queue_pairs_requested: Option<u32> = "QueuePairsRequested",
        /// How eagerly it interrupts.
        interrupt_moderation: Option<InterruptModeration> = "InterruptModeration",
    }
}

document! {
    /// A display.
    strict VideoMonitor = "hcs_v2.VideoMonitor" {
        /// Pixels across.
        horizontal_resolution: u16 = "HorizontalResolution",
        /// Pixels down.
        vertical_resolution: u16 = "VerticalResolution",
        /// Who may connect.
        connection_options: Option<RdpConnectionOptions> = "ConnectionOptions",
    }
}

document! {
    /// Remote desktop with enhanced mode.
    strict EnhancedModeVideo = "hcs_v2.EnhancedModeVideo" {
        /// Who may connect.
        connection_options: Option<RdpConnectionOptions> = "ConnectionOptions",
    }
}

document! {
    /// Who may connect to a display.
    strict RdpConnectionOptions = "hcs_v2.RdpConnectionOptions" {
        /// The accounts, as SIDs.
        access_sids: Vec<String> = "AccessSids",
        /// The pipe to serve.
        named_pipe: String = "NamedPipe",
    }
}

document! {
    /// A keyboard; it has no settings.
    strict Keyboard = "-empty" {}
}

document! {
    /// A mouse; it has no settings.
    strict Mouse = "-empty" {}
}

document! {
    /// The battery of the host; it has no settings.
    strict Battery = "-empty" {}
}

document! {
    /// Crash dumps that a guest writes through the host.
    strict GuestCrashReporting = "hcs_v2.GuestCrashReporting" {
        /// For a Windows guest.
        windows_crash_settings: Option<WindowsCrashReporting> = "WindowsCrashSettings",
    }
}

document! {
    /// Crash dumps of a Windows guest.
    strict WindowsCrashReporting = "hcs_v2.WindowsCrashReporting" {
        /// The file on the host.
        dump_file_name: String = "DumpFileName",
        /// The largest size.
        max_dump_size: u64 = "MaxDumpSize",
        /// How much it holds, such as `Full`.
        dump_type: String = "DumpType",
    }
}

document! {
    /// SMB shares over VMBus.
    strict VirtualSmb = "hcs_v2.VirtualSmb" {
        /// The shares.
        shares: Vec<VirtualSmbShare> = "Shares",
        /// Address space for files mapped directly.
        direct_file_mapping_in_mb: u64 = "DirectFileMappingInMB",
    }
}

document! {
    /// One SMB share; also the settings of adding, updating and removing one.
    strict VirtualSmbShare = "hcs_v2.VirtualSmbShare" {
        /// The name in the guest. `os` is what a Windows guest boots from.
        name: String = "Name",
        /// The directory on the host.
        path: String = "Path",
        /// With restricted file access: full host paths of the files to show.
        allowed_files: Vec<String> = "AllowedFiles",
        /// Options.
        options: Option<VirtualSmbShareOptions> = "Options",
    }
}

document! {
    /// Options of an SMB share.
    strict VirtualSmbShareOptions = "hcs_v2.VirtualSmbShareOptions" {
        /// No writes.
        read_only: bool = "ReadOnly",
        /// The host may write while the guest reads.
        share_read: bool = "ShareRead",
        /// Reads and writes go through the cache of the guest.
        cache_io: bool = "CacheIo",
        /// No caching leases.
        no_oplocks: bool = "NoOplocks",
        /// Files are opened with the backup privilege.
        take_backup_privilege: bool = "TakeBackupPrivilege",
        /// Files are opened as the owner of the root.
        use_share_root_identity: bool = "UseShareRootIdentity",
        /// Files are never mapped into the guest directly. Only such a share can be removed from a running machine.
        no_directmap: bool = "NoDirectmap",
        /// Byte-range locks stay in the guest.
        no_locks: bool = "NoLocks",
        /// No notifications of changed directories.
        no_dirnotify: bool = "NoDirnotify",
        /// The share lives in memory of the machine.
        vm_shared_memory: bool = "VmSharedMemory",
        /// Only the allowed files are visible.
        restrict_file_access: bool = "RestrictFileAccess",
        /// Caching leases are of level II.
        force_level_ii_oplocks: bool = "ForceLevelIIOplocks",
        /// Links of a base layer are resolved by the host.
        reparse_base_layer: bool = "ReparseBaseLayer",
        /// Leases are granted without asking the host's file system.
        pseudo_oplocks: bool = "PseudoOplocks",
        /// Reads and writes bypass the caches.
        non_cache_io: bool = "NonCacheIo",
        /// Notifications only of the guest's own changes.
        pseudo_dirnotify: bool = "PseudoDirnotify",
        /// The share holds one file.
        single_file_mapping: bool = "SingleFileMapping",
    }
}

document! {
    /// 9P shares.
    strict Plan9 = "hcs_v2.Plan9" {
        /// The shares at start.
        shares: Vec<Plan9Share> = "Shares",
    }
}

document! {
    /// One 9P share; also the settings of adding and removing one.
    strict Plan9Share = "hcs_v2.Plan9Share" {
        /// The name.
        name: String = "Name",
        /// The name the guest attaches to.
        access_name: String = "AccessName",
        /// The directory on the host.
        path: String = "Path",
        /// The vsock port of the server.
        port: i32 = "Port",
        /// Bits of [`plan9_flags`].
        flags: u32 = "Flags",
        /// With restricted file access: bare names of the files to show.
        allowed_files: Vec<String> = "AllowedFiles",
    }
}

/// The bits of [`Plan9Share::flags`].
pub mod plan9_flags {
    /// No writes.
    pub const READ_ONLY: u32 = 0x1;
    /// Owner and mode are kept as metadata of the host's files.
    pub const LINUX_METADATA: u32 = 0x4;
    /// New directories are case-sensitive.
    pub const CASE_SENSITIVE: u32 = 0x8;
    /// Files are opened as the owner of the root.
    pub const USE_SHARE_ROOT_IDENTITY: u32 = 0x10;
    /// Only the allowed files are visible. Needs a build after 17763.
    pub const RESTRICT_FILE_ACCESS: u32 = 0x80;
    /// Any number of connections.
    pub const UNLIMITED_CONNECTIONS: u32 = 0x100;
}

document! {
    /// A device that user code of the host emulates.
    strict FlexibleIoDevice = "hcs_v2.FlexibleIoDevice" {
        /// The emulator, a class GUID.
        emulator_id: String = "EmulatorId",
        /// Where it runs: `Internal`, `External`, `ExternalRestricted`.
        hosting_model: String = "HostingModel",
        /// Its parameters.
        configuration: Vec<String> = "Configuration",
    }
}

document! {
    /// Memory shared with the host.
    strict SharedMemoryConfiguration = "hcs_v2.SharedMemoryConfiguration" {
        /// The regions.
        regions: Vec<SharedMemoryRegion> = "Regions",
    }
}

document! {
    /// One region of shared memory.
    strict SharedMemoryRegion = "hcs_v2.SharedMemoryRegion" {
        /// The section object of the host.
        section_name: String = "SectionName",
        /// Where the region begins in it.
        start_offset: u64 = "StartOffset",
        /// Its length.
        length: u64 = "Length",
        /// Whether the guest may write.
        allow_guest_write: bool = "AllowGuestWrite",
        /// Whether the region is invisible until the host shows it.
        hidden_from_guest: bool = "HiddenFromGuest",
    }
}

document! {
    /// A physical device given to the guest.
    strict VirtualPciDevice = "hcs_v2.VirtualPciDevice" {
        /// The functions of the device.
        functions: Vec<VirtualPciFunction> = "Functions",
        /// Whether the guest learns which NUMA node it belongs to. Needs build 26100.
        propagate_numa_affinity: Option<bool> = "PropagateNumaAffinity",
    }
}

document! {
    /// One function of a physical device.
    strict VirtualPciFunction = "hcs_v2.VirtualPciFunction" {
        /// The instance path on the host.
        device_instance_path: String = "DeviceInstancePath",
        /// The virtual function; `0xFFFF` stands for the physical one.
        virtual_function: u16 = "VirtualFunction",
    }
}
