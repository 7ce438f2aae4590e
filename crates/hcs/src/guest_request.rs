//! The guest's half of a change: requests and their settings, for Linux and Windows guests.
//!
//! They travel inside [`crate::ModifySettingRequest`] where the service owns the guest connection, and as a message
//! of the guest protocol (`gcs`) where we do.

use serde_json::Value;

use crate::document::{choice, document};
use crate::{Layer, RequestType};

choice! {
    /// What a guest request is about.
    strict GuestResourceType = "guest_requests.guestrequest.ResourceType" {
        /// A directory of the host.
        MappedDirectory = "MappedDirectory",
        /// A disk that was attached.
        MappedVirtualDisk = "MappedVirtualDisk",
        /// A disk that becomes the scratch of a confidential container.
        MappedVirtualDiskForContainerScratch = "MappedVirtualDiskForContainerScratch",
        /// Layers and scratch, put together.
        CombinedLayers = "CombinedLayers",
        /// The same for a confidential Windows container.
        ConfidentialCombinedLayers = "CWCOWCombinedLayers",
        /// A network adapter.
        Network = "Network",
        /// A network namespace.
        NetworkNamespace = "NetworkNamespace",
        /// A disk that is about to go.
        ScsiDevice = "SCSIDevice",
        /// A persistent memory device.
        PMemDevice = "VPMemDevice",
        /// A physical device.
        PciDevice = "VPCIDevice",
        /// Limits of a container.
        ContainerConstraints = "ContainerConstraints",
        /// The memory limit of all containers of a pod.
        PodCgroupMemoryLimit = "PodCgroupMemoryLimit",
        /// The addresses of the guest's sockets.
        HvSocket = "HvSocket",
        /// The policy of a confidential guest.
        SecurityPolicy = "SecurityPolicy",
        /// A part of that policy.
        SecurityPolicyFragment = "SecurityPolicyFragment",
        /// Block images of a Windows guest.
        BlockCims = "WCOWBlockCims",
    }
}

document! {
    /// A request to the guest.
    strict GuestRequest = "guest_requests.ModificationRequest" {
        /// What it is about.
        resource_type: Option<GuestResourceType> = "ResourceType",
        /// What to do.
        request_type: Option<RequestType> = "RequestType",
        /// The settings that belong to it.
        settings: Option<Value> = "Settings",
    }
}

document! {
    /// Linux: mounts a disk, or puts its device somewhere.
    strict LinuxMappedDisk = "guest_requests.LCOWMappedVirtualDisk" {
        /// Where in the guest.
        mount_path: String = "MountPath",
        /// The controller.
        controller: u8 = "Controller",
        /// The LUN.
        lun: u8 = "Lun",
        /// The partition; 0 is the whole disk.
        partition: u64 = "Partition",
        /// No writes.
        read_only: bool = "ReadOnly",
        /// Whether the disk is encrypted with a fresh key.
        encrypted: bool = "Encrypted",
        /// Mount options.
        options: Vec<String> = "Options",
        /// Whether only the device node is wanted.
        block_dev: bool = "BlockDev",
        /// Checksums to verify against.
        verity_info: Option<DeviceVerityInfo> = "VerityInfo",
        /// Whether a blank disk is formatted.
        ensure_filesystem: bool = "EnsureFilesystem",
        /// The file system.
        filesystem: String = "Filesystem",
    }
}

document! {
    /// Linux: checksums of a device (dm-verity).
    strict DeviceVerityInfo = "guest_requests.DeviceVerityInfo" {
        /// The size of the file system in front of the checksums.
        ext4_size_in_bytes: i64 = "Ext4SizeInBytes",
        /// The version of the format.
        version: i32 = "Version",
        /// The hash function.
        algorithm: String = "Algorithm",
        /// Whether the checksums begin with a super block.
        super_block: bool = "SuperBlock",
        /// The hash of all hashes.
        root_digest: String = "RootDigest",
        /// What is hashed along.
        salt: String = "Salt",
        /// The size of a block.
        block_size: i32 = "BlockSize",
    }
}

document! {
    /// Windows: mounts a disk of the first controller.
    strict WindowsMappedDisk = "guest_requests.WCOWMappedVirtualDisk" {
        /// Where in the guest.
        container_path: String = "ContainerPath",
        /// The LUN.
        lun: i32 = "Lun",
    }
}

document! {
    /// Linux: a disk that is about to be detached.
    strict ScsiDevice = "guest_requests.SCSIDevice" {
        /// The controller.
        controller: u8 = "Controller",
        /// The LUN.
        lun: u8 = "Lun",
    }
}

document! {
    /// Linux: mounts a persistent memory device, or one image in it.
    strict LinuxPMemDevice = "guest_requests.LCOWMappedVPMemDevice" {
        /// The device.
        device_number: u32 = "DeviceNumber",
        /// Where in the guest.
        mount_path: String = "MountPath",
        /// The image, if there are several in the device.
        mapping_info: Option<PMemMappingInfo> = "MappingInfo",
        /// Checksums to verify against.
        verity_info: Option<DeviceVerityInfo> = "VerityInfo",
    }
}

document! {
    /// Linux: one image in a persistent memory device.
    strict PMemMappingInfo = "guest_requests.LCOWVPMemMappingInfo" {
        /// Where it begins.
        device_offset_in_bytes: u64 = "DeviceOffsetInBytes",
        /// Its size.
        device_size_in_bytes: u64 = "DeviceSizeInBytes",
    }
}

document! {
    /// Linux: a physical device that was given to the guest.
    strict LinuxPciDevice = "guest_requests.LCOWMappedVPCIDevice" {
        /// The GUID of the device on the bus.
        vm_bus_guid: String = "VMBusGUID",
    }
}

document! {
    /// Linux: mounts a 9P share.
    strict LinuxMappedDirectory = "guest_requests.LCOWMappedDirectory" {
        /// Where in the guest.
        mount_path: String = "MountPath",
        /// The port of the server.
        port: i32 = "Port",
        /// The name to attach to.
        share_name: String = "ShareName",
        /// No writes.
        read_only: bool = "ReadOnly",
    }
}

document! {
    /// Linux: puts layers and scratch together.
    strict LinuxCombinedLayers = "guest_requests.LCOWCombinedLayers" {
        /// The container.
        container_id: String = "ContainerID",
        /// Where in the guest.
        container_root_path: String = "ContainerRootPath",
        /// The layers, topmost first; only their paths.
        layers: Vec<Layer> = "Layers",
        /// The writable directory.
        scratch_path: String = "ScratchPath",
    }
}

choice! {
    /// How a Windows guest puts layers together.
    strict FileSystemFilterType = "hcs_v2.FileSystemFilterType" {
        /// The union file system.
        UnionFs = "UnionFS",
        /// The classic filter.
        Wcifs = "WCIFS",
    }
}

document! {
    /// Windows: puts layers and scratch together.
    strict WindowsCombinedLayers = "guest_requests.WCOWCombinedLayers" {
        /// Where in the guest.
        container_root_path: String = "ContainerRootPath",
        /// The layers, topmost first.
        layers: Vec<Layer> = "Layers",
        /// The writable directory.
        scratch_path: String = "ScratchPath",
        /// How; absent for the classic filter, because older guests reject the field.
        filter_type: Option<FileSystemFilterType> = "FilterType",
    }
}

document! {
    /// Linux: a network adapter, with everything to configure it.
    strict LinuxNetworkAdapter = "guest_requests.LCOWNetworkAdapter" {
        /// The namespace, a GUID.
        namespace_id: String = "NamespaceID",
        /// The adapter: the instance GUID on the bus.
        id: String = "ID",
        /// The address, with dashes.
        mac_address: String = "MacAddress",
        /// Addresses.
        ip_configs: Vec<LinuxIpConfig> = "IPConfigs",
        /// Routes.
        routes: Vec<LinuxRoute> = "Routes",
        /// Search domains, separated by commas.
        dns_suffix: String = "DNSSuffix",
        /// Name servers, separated by commas.
        dns_server_list: String = "DNSServerList",
        /// Whether the default route gets a low metric.
        enable_low_metric: bool = "EnableLowMetric",
        /// Bytes that encapsulation takes from the packet size.
        encap_overhead: u16 = "EncapOverhead",
        /// Whether the adapter is a physical device.
        vpci_assigned: bool = "VPCIAssigned",
        /// Whether the adapter gets a routing table of its own.
        policy_based_routing: bool = "PolicyBasedRouting",
    }
}

document! {
    /// Linux: an address.
    strict LinuxIpConfig = "guest_requests.LCOWIPConfig" {
        /// The address.
        ip_address: String = "IPAddress",
        /// The length of the prefix.
        prefix_length: u8 = "PrefixLength",
    }
}

document! {
    /// Linux: a route.
    strict LinuxRoute = "guest_requests.LCOWRoute" {
        /// The next hop.
        next_hop: String = "NextHop",
        /// The destination.
        destination_prefix: String = "DestinationPrefix",
        /// The metric.
        metric: u16 = "Metric",
    }
}

document! {
    /// Windows: a network adapter; the settings are the endpoint.
    strict WindowsNetworkRequest = "guest_requests.NetworkModifyRequest" {
        /// The adapter, a GUID.
        adapter_id: String = "AdapterId",
        /// What to do.
        request_type: Option<RequestType> = "RequestType",
        /// The endpoint.
        settings: Option<Value> = "Settings",
    }
}

document! {
    /// Limits of a container; the settings are those of the OCI runtime spec.
    strict ContainerConstraints = "guest_requests.LCOWContainerConstraints" {
        /// The Windows resources.
        windows: Option<Value> = "Windows",
        /// The Linux resources.
        linux: Option<Value> = "Linux",
    }
}
