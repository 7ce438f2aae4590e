//! The document of schema 1 that creates a Windows container: still accepted, and what older runtimes send.
//!
//! Its fields partly have no default: those are written even when they are zero.

use crate::document::document;

document! {
    /// A container, on the host or (with `HvPartition`) in a machine of its own.
    strict ContainerConfig = "hcs_v1.ContainerConfig" {
        /// Who created it.
        owner: String = "Owner",
        /// The writable volume, without a trailing back-slash.
        volume_path: String = "VolumePath",
        /// Whether flushes are ignored while it boots for the first time.
        ignore_flushes_during_boot: bool = "IgnoreFlushesDuringBoot",
        /// The scratch directory.
        layer_folder_path: String = "LayerFolderPath",
        /// The credential spec, JSON in a string.
        credentials: String = "Credentials",
        /// That many processors.
        processor_count: u32 = "ProcessorCount",
        /// That relative weight.
        processor_weight: u64 = "ProcessorWeight",
        /// That share of all processors, of 10000.
        processor_maximum: i64 = "ProcessorMaximum",
        /// Operations per second.
        storage_iops_maximum: u64 = "StorageIOPSMaximum",
        /// Bytes per second.
        storage_bandwidth_maximum: u64 = "StorageBandwidthMaximum",
        /// The size of the scratch.
        storage_sandbox_size: u64 = "StorageSandboxSize",
        /// The limit of memory.
        memory_maximum_in_mb: i64 = "MemoryMaximumInMB",
        /// The host name.
        host_name: String = "HostName",
        /// Directories of the host.
        mapped_directories: Vec<MappedDir> = "MappedDirectories",
        /// Pipes of the host.
        mapped_pipes: Vec<MappedPipe> = "MappedPipes",
        /// Disks of the host.
        mapped_virtual_disks: Vec<MappedVirtualDisk> = "MappedVirtualDisks",
        /// Endpoints of the network service.
        endpoint_list: Vec<String> = "EndpointList",
        /// The machine of its own.
        hv_runtime: Option<HvRuntime> = "HvRuntime",
        /// Whether this is a boot to install updates.
        servicing: bool = "Servicing",
        /// Whether names without a dot are looked up.
        allow_unqualified_dns_query: bool = "AllowUnqualifiedDNSQuery",
        /// Search domains, separated by commas.
        dns_search_list: String = "DNSSearchList",
        /// `Windows` or `Linux`.
        container_type: String = "ContainerType",
        /// Whether it ends with its last handle.
        terminate_on_last_handle_closed: bool = "TerminateOnLastHandleClosed",
        /// The container whose network is shared.
        network_shared_container_name: String = "NetworkSharedContainerName",
        /// Devices of the host.
        assigned_devices: Vec<AssignedDevice> = "AssignedDevices",
    } always {
        /// `Container`.
        system_type: String = "SystemType",
        /// The name.
        name: String = "Name",
        /// Read-only layers, topmost first.
        layers: Vec<Layer> = "Layers",
        /// Whether it runs in a machine of its own.
        hv_partition: bool = "HvPartition",
    }
}

document! {
    /// A layer.
    strict Layer = "hcs_v1.Layer" {} always {
        /// The name of the layer directory as a GUID.
        id: String = "ID",
        /// The layer directory.
        path: String = "Path",
    }
}

document! {
    /// The machine of a container in a machine of its own.
    strict HvRuntime = "hcs_v1.HvRuntime" {
        /// The directory with the files of a Windows guest.
        image_path: String = "ImagePath",
        /// Whether the machine is not cloned from a template.
        skip_template: bool = "SkipTemplate",
        /// The initial ramdisk of a Linux guest.
        linux_initrd_file: String = "LinuxInitrdFile",
        /// The kernel of a Linux guest.
        linux_kernel_file: String = "LinuxKernelFile",
        /// The kernel's command line.
        linux_boot_parameters: String = "LinuxBootParameters",
        /// What is booted from.
        boot_source: String = "BootSource",
        /// Whether that is writable.
        writable_boot_source: bool = "WritableBootSource",
    }
}

document! {
    /// A directory of the host.
    strict MappedDir = "hcs_v1.MappedDir" {
        /// Whether Linux metadata is kept.
        linux_metadata: bool = "LinuxMetadata",
    } always {
        /// Where on the host.
        host_path: String = "HostPath",
        /// Where in the container.
        container_path: String = "ContainerPath",
        /// No writes.
        read_only: bool = "ReadOnly",
        /// Bytes per second; 0 is no limit.
        bandwidth_maximum: u64 = "BandwidthMaximum",
        /// Operations per second; 0 is no limit.
        iops_maximum: u64 = "IOPSMaximum",
        /// Whether it belongs to the machine and not to the container.
        create_in_utility_vm: bool = "CreateInUtilityVM",
    }
}

document! {
    /// A pipe of the host.
    strict MappedPipe = "hcs_v1.MappedPipe" {} always {
        /// The pipe on the host.
        host_path: String = "HostPath",
        /// Its name in the container.
        container_pipe_name: String = "ContainerPipeName",
    }
}

document! {
    /// A disk of the host.
    strict MappedVirtualDisk = "hcs_v1.MappedVirtualDisk" {
        /// The file on the host.
        host_path: String = "HostPath",
        /// Whether it belongs to the machine and not to the container.
        create_in_utility_vm: bool = "CreateInUtilityVM",
        /// No writes.
        read_only: bool = "ReadOnly",
        /// How it is cached.
        cache: String = "Cache",
        /// Whether it is attached and not mounted.
        attach_only: bool = "AttachOnly",
    } always {
        /// Where in the container.
        container_path: String = "ContainerPath",
    }
}

document! {
    /// A device of the host.
    strict AssignedDevice = "hcs_v1.AssignedDevice" {
        /// The interface class, a GUID.
        interface_class_guid: String = "InterfaceClassGuid",
    }
}
