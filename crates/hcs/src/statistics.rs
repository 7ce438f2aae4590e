//! Figures of use in the answer of a property query: processor, memory, storage, processes.
//!
//! All are open: a newer Windows adds figures.

use crate::document::document;

document! {
    /// Processor, memory and storage use.
    open Statistics = "hcs_v2.Statistics" {
        /// When this was measured, RFC 3339.
        timestamp: String = "Timestamp",
        /// When the system started, RFC 3339.
        container_start_time: String = "ContainerStartTime",
        /// For how long it runs.
        uptime_100ns: u64 = "Uptime100ns",
        /// Processor.
        processor: Option<ProcessorStats> = "Processor",
        /// Memory.
        memory: Option<MemoryStats> = "Memory",
        /// Storage.
        storage: Option<StorageStats> = "Storage",
    }
}

document! {
    /// Processor use, in units of 100 ns.
    open ProcessorStats = "hcs_v2.ProcessorStats" {
        /// In all.
        total_runtime_100ns: u64 = "TotalRuntime100ns",
        /// In user mode.
        runtime_user_100ns: u64 = "RuntimeUser100ns",
        /// In the kernel.
        runtime_kernel_100ns: u64 = "RuntimeKernel100ns",
    }
}

document! {
    /// Memory use.
    open MemoryStats = "hcs_v2.MemoryStats" {
        /// Committed.
        memory_usage_commit_bytes: u64 = "MemoryUsageCommitBytes",
        /// The highest commit so far.
        memory_usage_commit_peak_bytes: u64 = "MemoryUsageCommitPeakBytes",
        /// In private pages that are resident.
        memory_usage_private_working_set_bytes: u64 = "MemoryUsagePrivateWorkingSetBytes",
    }
}

document! {
    /// Storage use.
    open StorageStats = "hcs_v2.StorageStats" {
        /// Reads, in units of 8 KiB.
        read_count_normalized: u64 = "ReadCountNormalized",
        /// Bytes read.
        read_size_bytes: u64 = "ReadSizeBytes",
        /// Writes, in units of 8 KiB.
        write_count_normalized: u64 = "WriteCountNormalized",
        /// Bytes written.
        write_size_bytes: u64 = "WriteSizeBytes",
    }
}

document! {
    /// One process in the list.
    open ProcessDetails = "hcs_v2.ProcessDetails" {
        /// The process id in the guest.
        process_id: u32 = "ProcessId",
        /// The program.
        image_name: String = "ImageName",
        /// When it was created, RFC 3339.
        create_timestamp: String = "CreateTimestamp",
        /// Time in user mode.
        user_time_100ns: u64 = "UserTime100ns",
        /// Time in the kernel.
        kernel_time_100ns: u64 = "KernelTime100ns",
        /// Committed memory.
        memory_commit_bytes: u64 = "MemoryCommitBytes",
        /// Resident private memory.
        memory_working_set_private_bytes: u64 = "MemoryWorkingSetPrivateBytes",
        /// Resident shared memory.
        memory_working_set_shared_bytes: u64 = "MemoryWorkingSetSharedBytes",
    }
}

document! {
    /// Memory of a virtual machine.
    open MemoryInformationForVm = "hcs_v2.MemoryInformationForVm" {
        /// The number of virtual nodes.
        virtual_node_count: u32 = "VirtualNodeCount",
        /// The whole machine.
        virtual_machine_memory: Option<VmMemory> = "VirtualMachineMemory",
        /// The nodes.
        virtual_nodes: Vec<VirtualNodeInfo> = "VirtualNodes",
    }
}

document! {
    /// Memory of a whole machine.
    open VmMemory = "hcs_v2.VmMemory" {
        /// What is left, in percent of what is asked for.
        available_memory: i32 = "AvailableMemory",
        /// The reserve that balancing keeps.
        available_memory_buffer: i32 = "AvailableMemoryBuffer",
        /// Reserved, in pages of 4 KiB.
        reserved_memory: u64 = "ReservedMemory",
        /// Assigned, in pages of 4 KiB.
        assigned_memory: u64 = "AssignedMemory",
        /// Whether the guest pages to the host's disk.
        slp_active: bool = "SlpActive",
        /// Whether memory is balanced between machines.
        balancing_enabled: bool = "BalancingEnabled",
        /// Whether memory is being added or removed.
        dm_operation_in_progress: bool = "DmOperationInProgress",
    }
}

document! {
    /// One virtual NUMA node.
    open VirtualNodeInfo = "hcs_v2.VirtualNodeInfo" {
        /// The node.
        virtual_node_index: u32 = "VirtualNodeIndex",
        /// The physical node that backs it.
        physical_node_number: u32 = "PhysicalNodeNumber",
        /// Its processors.
        virtual_processor_count: u32 = "VirtualProcessorCount",
        /// Its memory in pages of 4 KiB.
        memory_usage_in_pages: u64 = "MemoryUsageInPages",
    }
}
