//! Windows containers: storage, mounts, limits, network and credentials.

use crate::document::{choice, document};
use crate::{ContainerDefinitionDevice, HvSocket, RegistryChanges};

document! {
    /// A Windows container, on the host or inside a virtual machine.
    strict Container = "hcs_v2.Container" {
        /// The guest's own settings.
        guest_os: Option<GuestOs> = "GuestOs",
        /// The file system.
        storage: Option<Storage> = "Storage",
        /// Directories and files of the host.
        mapped_directories: Vec<MappedDirectory> = "MappedDirectories",
        /// Pipes of the host.
        mapped_pipes: Vec<MappedPipe> = "MappedPipes",
        /// The limit of memory.
        memory: Option<Memory> = "Memory",
        /// The limit of processors.
        processor: Option<Processor> = "Processor",
        /// The network.
        networking: Option<Networking> = "Networking",
        /// Hyper-V sockets.
        hv_socket: Option<HvSocket> = "HvSocket",
        /// The identity in the domain.
        container_credential_guard: Option<ContainerCredentialGuardState> = "ContainerCredentialGuard",
        /// Registry values and keys.
        registry_changes: Option<RegistryChanges> = "RegistryChanges",
        /// Devices of the host.
        assigned_devices: Vec<Device> = "AssignedDevices",
        /// More names in the object and device namespaces.
        additional_device_namespace: Option<ContainerDefinitionDevice> = "AdditionalDeviceNamespace",
        /// Present for host-process containers.
        isolation_type: Option<IsolationType> = "IsolationType",
    }
}

choice! {
    /// How a container is kept apart from its host, where that is not the default.
    strict IsolationType = "hcs_v2.IsolationType" {
        /// A job of host processes.
        HostProcess = "HostProcess",
    }
}

document! {
    /// The guest's own settings.
    strict GuestOs = "hcs_v2.GuestOs" {
        /// The host name, at most 63 characters.
        host_name: String = "HostName",
    }
}

document! {
    /// The file system of a container.
    strict Storage = "hcs_v2.Storage" {
        /// Read-only layers, topmost first.
        layers: Vec<Layer> = "Layers",
        /// The writable volume: a volume GUID path with a trailing back-slash.
        path: String = "Path",
        /// Limits of the disk.
        qos: Option<StorageQoS> = "QoS",
        /// Where a host-process container sees its files.
        privileged_container_root_path: String = "PrivilegedContainerRootPath",
    }
}

document! {
    /// One layer.
    strict Layer = "hcs_v2.Layer" {
        /// The name of the layer directory as a GUID (`NameToGuid`).
        id: String = "Id",
        /// The layer directory.
        path: String = "Path",
        /// What the path is: `AbsolutePath` or `VirtualSmbShareName`.
        path_type: String = "PathType",
        /// How it is cached: `Disabled`, `Enabled`, `Private`, `PrivateAllowSharing`.
        cache: String = "Cache",
    }
}

document! {
    /// Limits of a disk.
    strict StorageQoS = "hcs_v2.StorageQoS" {
        /// Operations per second.
        iops_maximum: u64 = "IopsMaximum",
        /// Bytes per second.
        bandwidth_maximum: u64 = "BandwidthMaximum",
    }
}

document! {
    /// A directory or file of the host; also the settings of adding one.
    strict MappedDirectory = "hcs_v2.MappedDirectory" {
        /// Where on the host, without a link on the way.
        host_path: String = "HostPath",
        /// What the host path is: `AbsolutePath` or `VirtualSmbShareName`.
        host_path_type: String = "HostPathType",
        /// Where in the container, with a drive.
        container_path: String = "ContainerPath",
        /// No writes.
        read_only: bool = "ReadOnly",
    }
}

document! {
    /// A pipe of the host; also the settings of adding one.
    strict MappedPipe = "hcs_v2.MappedPipe" {
        /// The name in the container, without the prefix `\\.\pipe\`.
        container_pipe_name: String = "ContainerPipeName",
        /// The pipe on the host.
        host_path: String = "HostPath",
        /// What the host path is: `AbsolutePath` or `VirtualSmbPipeName`.
        host_path_type: String = "HostPathType",
    }
}

document! {
    /// The limit of memory.
    strict Memory = "hcs_v2.Memory" {
        /// The limit.
        size_in_mb: u64 = "SizeInMB",
    }
}

document! {
    /// The limit of processors: at most one of the three.
    strict Processor = "hcs_v2.Processor" {
        /// That many processors.
        count: u32 = "Count",
        /// That share of all processors of the host, 1..10000 of 10000.
        maximum: u32 = "Maximum",
        /// That relative weight, 1..10000.
        weight: u32 = "Weight",
    }
}

document! {
    /// The network of a container.
    strict Networking = "hcs_v2.Networking" {
        /// Whether names without a dot are looked up.
        allow_unqualified_dns_query: bool = "AllowUnqualifiedDnsQuery",
        /// Search domains, separated by commas.
        dns_search_list: String = "DnsSearchList",
        /// The container whose network is shared.
        network_shared_container_name: String = "NetworkSharedContainerName",
        /// The namespace of the network service, a GUID.
        namespace: String = "Namespace",
        /// Endpoints, where there is no namespace.
        network_adapters: Vec<String> = "NetworkAdapters",
    }
}

document! {
    /// The credentials of a container's identity in the domain, as the credential guard hands them out.
    strict ContainerCredentialGuardState = "hcs_v2.ContainerCredentialGuardState" {
        /// Authenticates the container.
        cookie: String = "Cookie",
        /// Where the container asks.
        rpc_endpoint: String = "RpcEndpoint",
        /// How it asks: `LRPC` or `HvSocket`.
        transport: String = "Transport",
        /// The credential spec, JSON in a string.
        credential_spec: String = "CredentialSpec",
    }
}

choice! {
    /// What an assigned device is chosen by.
    strict DeviceType = "hcs_v2.DeviceType" {
        /// By interface class.
        ClassGuid = "ClassGuid",
        /// By instance.
        DeviceInstance = "DeviceInstance",
        /// The graphics card of the host, mirrored.
        GpuMirror = "GpuMirror",
    }
}

document! {
    /// A device of the host in a container.
    strict Device = "hcs_v2.Device" {
        /// What it is chosen by; absent: by interface class.
        device_type: Option<DeviceType> = "Type",
        /// The interface class, a GUID.
        interface_class_guid: String = "InterfaceClassGuid",
        /// The location of the instance.
        location_path: String = "LocationPath",
    }
}
