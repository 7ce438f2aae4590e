//! The service itself: schema versions, processors, processor groups, identities in the domain.
//!
//! Requests are strict, answers are open.

use serde_json::Value;

use crate::document::{choice, document};
use crate::{ContainerCredentialGuardState, HvSocketServiceConfig, PropertyType, Version};

document! {
    /// The answer of a query of the service: one entry per property that was asked for.
    open ServiceProperties = "hcs_v2.ServiceProperties" {
        /// The entries.
        properties: Vec<Value> = "Properties",
    }
}

document! {
    /// Property `Basic`.
    open BasicInformation = "-published" {
        /// The schemas the host knows; an entry stands for all minor versions up to it.
        supported_schema_versions: Vec<Version> = "SupportedSchemaVersions",
    }
}

document! {
    /// Property `ProcessorTopology`.
    open ProcessorTopology = "hcs_v2.ProcessorTopology" {
        /// The number of logical processors.
        logical_processor_count: u32 = "LogicalProcessorCount",
        /// The processors.
        logical_processors: Vec<LogicalProcessor> = "LogicalProcessors",
    }
}

document! {
    /// One logical processor.
    open LogicalProcessor = "hcs_v2.LogicalProcessor" {
        /// Its number.
        lp_index: u32 = "LpIndex",
        /// Its NUMA node.
        node_number: u8 = "NodeNumber",
        /// Its package.
        package_id: u32 = "PackageId",
        /// Its core.
        core_id: u32 = "CoreId",
        /// The virtual processor of the host that runs on it.
        root_vp_index: i32 = "RootVpIndex",
    }
}

document! {
    /// Property `CpuGroup`.
    open CpuGroupConfigurations = "hcs_v2.CpuGroupConfigurations" {
        /// The groups.
        cpu_groups: Vec<CpuGroupConfig> = "CpuGroups",
    }
}

document! {
    /// One group of processors.
    open CpuGroupConfig = "hcs_v2.CpuGroupConfig" {
        /// The group, a GUID.
        group_id: String = "GroupId",
        /// Its processors.
        affinity: Option<CpuGroupAffinity> = "Affinity",
        /// Its properties.
        group_properties: Vec<CpuGroupProperty> = "GroupProperties",
        /// Its number in the hypervisor.
        hypervisor_group_id: u64 = "HypervisorGroupId",
    }
}

document! {
    /// The processors of a group.
    open CpuGroupAffinity = "hcs_v2.CpuGroupAffinity" {
        /// How many.
        logical_processor_count: i32 = "LogicalProcessorCount",
        /// Which.
        logical_processors: Vec<i32> = "LogicalProcessors",
    }
}

document! {
    /// A property of a group.
    open CpuGroupProperty = "hcs_v2.CpuGroupProperty" {
        /// Which.
        property_code: u32 = "PropertyCode",
        /// Its value.
        property_value: u32 = "PropertyValue",
    }
}

choice! {
    /// What to do with a group of processors.
    strict CpuGroupOperation = "hcs_v2.CPUGroupOperation" {
        /// Create it.
        CreateGroup = "CreateGroup",
        /// Delete it.
        DeleteGroup = "DeleteGroup",
        /// Set a property.
        SetProperty = "SetProperty",
    }
}

document! {
    /// Settings of a change of processor groups.
    strict CpuGroupRequest = "hcs_v2.HostProcessorModificationRequest" {
        /// What to do.
        operation: Option<CpuGroupOperation> = "Operation",
        /// [`CreateCpuGroup`] or [`DeleteCpuGroup`].
        operation_details: Option<Value> = "OperationDetails",
    }
}

document! {
    /// Creates a group of processors.
    strict CreateCpuGroup = "hcs_v2.CreateGroupOperation" {
        /// The group, a GUID.
        group_id: String = "GroupId",
        /// How many processors.
        logical_processor_count: u32 = "LogicalProcessorCount",
        /// Which.
        logical_processors: Vec<u32> = "LogicalProcessors",
    }
}

document! {
    /// Deletes a group of processors.
    strict DeleteCpuGroup = "hcs_v2.DeleteGroupOperation" {
        /// The group, a GUID.
        group_id: String = "GroupId",
    }
}

document! {
    /// A change of the service.
    strict ServiceModificationRequest = "hcs_v2.ModificationRequest" {
        /// `CpuGroup` or `ContainerCredentialGuard`.
        property_type: Option<PropertyType> = "PropertyType",
        /// The settings that belong to it.
        settings: Option<Value> = "Settings",
    }
}

choice! {
    /// What to do with an identity in the domain.
    strict CredentialGuardOperation = "hcs_v2.ContainerCredentialGuardModifyOperation" {
        /// Make it available.
        AddInstance = "AddInstance",
        /// Withdraw it; nobody else does.
        RemoveInstance = "RemoveInstance",
    }
}

document! {
    /// Settings of a change of identities.
    strict CredentialGuardRequest = "hcs_v2.ContainerCredentialGuardOperationRequest" {
        /// What to do.
        operation: Option<CredentialGuardOperation> = "Operation",
        /// [`AddCredentialGuard`] or [`RemoveCredentialGuard`].
        operation_details: Option<Value> = "OperationDetails",
    }
}

document! {
    /// Makes an identity available to a container.
    strict AddCredentialGuard = "hcs_v2.ContainerCredentialGuardAddInstanceRequest" {
        /// The container.
        id: String = "Id",
        /// The credential spec, JSON in a string.
        credential_spec: String = "CredentialSpec",
        /// `LRPC`, or `HvSocket` for a container in a machine.
        transport: String = "Transport",
    }
}

document! {
    /// Withdraws an identity.
    strict RemoveCredentialGuard = "hcs_v2.ContainerCredentialGuardRemoveInstanceRequest" {
        /// The container.
        id: String = "Id",
    }
}

document! {
    /// Property `ContainerCredentialGuard`.
    open CredentialGuardInformation = "hcs_v2.ContainerCredentialGuardSystemInfo" {
        /// The identities.
        instances: Vec<CredentialGuardInstance> = "Instances",
    }
}

document! {
    /// One identity.
    open CredentialGuardInstance = "hcs_v2.ContainerCredentialGuardInstance" {
        /// The container.
        id: String = "Id",
        /// What goes into the container's document.
        credential_guard: Option<ContainerCredentialGuardState> = "CredentialGuard",
        /// The socket to open for it, for a container in a machine.
        hv_socket_config: Option<CredentialGuardService> = "HvSocketConfig",
    }
}

document! {
    /// The socket through which a container in a machine reaches the credential guard.
    open CredentialGuardService = "hcs_v2.ContainerCredentialGuardHvSocketServiceConfig" {
        /// The service, a GUID.
        service_id: String = "ServiceId",
        /// Who may use it.
        service_config: Option<HvSocketServiceConfig> = "ServiceConfig",
    }
}
