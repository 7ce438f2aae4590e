//! Queries and what they answer: state, guest connection. Figures of use are in [`crate::Statistics`] and the like.
//!
//! Queries are strict, answers are open.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::document::{choice, document};
use crate::{ExitType, MemoryInformationForVm, ProcessDetails, Statistics, Version};

choice! {
    /// What to ask for.
    strict PropertyType = "hcs_v2.PropertyType" {
        /// Memory of a virtual machine.
        Memory = "Memory",
        /// Memory as the guest sees it.
        GuestMemory = "GuestMemory",
        /// Processor, memory and storage use.
        Statistics = "Statistics",
        /// The processes.
        ProcessList = "ProcessList",
        /// Whether the system ends with its last handle.
        TerminateOnLastHandleClosed = "TerminateOnLastHandleClosed",
        /// Shared memory.
        SharedMemoryRegion = "SharedMemoryRegion",
        /// The runtime id of a container.
        SystemGuid = "SystemGUID",
        /// The connection to the guest.
        GuestConnection = "GuestConnection",
        /// Whether the guest is alive.
        HeartbeatStatus = "ICHeartbeatStatus",
        /// Of the service: the processors of the host.
        ProcessorTopology = "ProcessorTopology",
        /// Of the service: groups of processors.
        CpuGroup = "CpuGroup",
        /// Of the service: identities in the domain.
        ContainerCredentialGuard = "ContainerCredentialGuard",
        /// Of the service: the schema versions.
        Basic = "Basic",
        /// Of the service: which limits can be set.
        QoSCapabilities = "QoSCapabilities",
    }
}

document! {
    /// A query of properties; with no types it asks for the basics.
    strict PropertyQuery = "hcs_v2.PropertyQuery" {
        /// What to ask for.
        property_types: Vec<PropertyType> = "PropertyTypes",
        /// Queries with parameters, by name. Needs schema 2.5.
        queries: BTreeMap<String, Value> = "Queries",
    }
}

impl PropertyQuery {
    /// Asks for these properties.
    pub fn of(types: &[PropertyType]) -> Self {
        Self {
            property_types: types.to_vec(),
            queries: BTreeMap::new(),
        }
    }
}

choice! {
    /// What a compute system is.
    open SystemType = "-published" {
        /// A container.
        Container = "Container",
        /// A virtual machine.
        VirtualMachine = "VirtualMachine",
    } else {
        /// Something newer than this crate.
        Unknown = "Unknown"
    }
}

choice! {
    /// The state of a compute system.
    open SystemState = "-published" {
        /// It has not been started.
        Created = "Created",
        /// It runs.
        Running = "Running",
        /// It is paused.
        Paused = "Paused",
        /// It has ended; it goes with its last handle.
        Stopped = "Stopped",
        /// It was saved as a template to clone.
        SavedAsTemplate = "SavedAsTemplate",
    } else {
        /// The service does not know, or says something newer than this crate.
        Unknown = "Unknown"
    }
}

choice! {
    /// The operating system inside.
    open RuntimeOsType = "-published" {
        /// Windows.
        Windows = "Windows",
        /// Linux.
        Linux = "Linux",
    } else {
        /// Not known.
        Unknown = "Unknown"
    }
}

document! {
    /// The properties of a compute system.
    open Properties = "hcs_v2.Properties" {
        /// The id.
        id: String = "Id",
        /// What it is.
        system_type: Option<SystemType> = "SystemType",
        /// The operating system inside.
        runtime_os_type: Option<RuntimeOsType> = "RuntimeOsType",
        /// The name.
        name: String = "Name",
        /// Who created it.
        owner: String = "Owner",
        /// The runtime id, a GUID: the address of a machine's sockets.
        runtime_id: String = "RuntimeId",
        /// The template it was cloned from.
        runtime_template_id: String = "RuntimeTemplateId",
        /// The state.
        state: Option<SystemState> = "State",
        /// Whether it has ended.
        stopped: bool = "Stopped",
        /// How it ended.
        exit_type: Option<ExitType> = "ExitType",
        /// Memory of a virtual machine.
        memory: Option<MemoryInformationForVm> = "Memory",
        /// Processor, memory and storage use.
        statistics: Option<Statistics> = "Statistics",
        /// The processes.
        process_list: Vec<ProcessDetails> = "ProcessList",
        /// Whether it ends with its last handle.
        terminate_on_last_handle_closed: bool = "TerminateOnLastHandleClosed",
        /// The machine that hosts it.
        hosting_system_id: String = "HostingSystemId",
        /// Shared memory.
        shared_memory_region_info: Vec<SharedMemoryRegionInfo> = "SharedMemoryRegionInfo",
        /// The connection to the guest.
        guest_connection_info: Option<GuestConnectionInfo> = "GuestConnectionInfo",
        /// The runtime id of a container, a GUID.
        system_guid: String = "SystemGUID",
        /// Answers of queries with parameters, by name.
        property_responses: BTreeMap<String, PropertyResponse> = "PropertyResponses",
        /// cgroup metrics of a Linux container, from the guest agent.
        lcow_metrics: Option<Value> = "LCOWMetrics",
    }
}

document! {
    /// The answer of one query with parameters.
    open PropertyResponse = "hcs_v2.PropertyResponse" {
        /// The answer.
        response: Option<Value> = "Response",
    }
}

document! {
    /// A region of shared memory.
    open SharedMemoryRegionInfo = "hcs_v2.SharedMemoryRegionInfo" {
        /// The section object of the host.
        section_name: String = "SectionName",
        /// Where the guest sees it.
        guest_physical_address: u64 = "GuestPhysicalAddress",
    }
}

document! {
    /// The connection to the guest.
    open GuestConnectionInfo = "hcs_v2.GuestConnectionInfo" {
        /// The schemas the guest knows; an entry stands for all minor versions up to it.
        supported_schema_versions: Vec<Version> = "SupportedSchemaVersions",
        /// The version of the guest protocol.
        protocol_version: u32 = "ProtocolVersion",
        /// What else the guest can do.
        guest_defined_capabilities: Option<Value> = "GuestDefinedCapabilities",
    }
}

document! {
    /// Which systems to enumerate; every list that is not empty must match.
    strict SystemQuery = "hcs_v1.ComputeSystemQuery" {
        /// Ids.
        ids: Vec<String> = "Ids",
        /// Names.
        names: Vec<String> = "Names",
        /// Types.
        types: Vec<SystemType> = "Types",
        /// Owners.
        owners: Vec<String> = "Owners",
    }
}

impl SystemQuery {
    /// The systems of one owner.
    pub fn owned_by(owner: &str) -> Self {
        Self {
            owners: vec![owner.to_owned()],
            ..Self::default()
        }
    }

    /// Whether a system matches. Ids are compared without case.
    pub fn matches(&self, system: &Properties) -> bool {
        let any = |list: &[String], test: &dyn Fn(&str) -> bool| {
            list.is_empty() || list.iter().any(|entry| test(entry))
        };
        any(&self.ids, &|id| id.eq_ignore_ascii_case(&system.id))
            && any(&self.names, &|name| name == system.name)
            && any(&self.owners, &|owner| owner == system.owner)
            && (self.types.is_empty() || system.system_type.is_some_and(|kind| self.types.contains(&kind)))
    }
}

document! {
    /// How far a pause goes.
    strict PauseOptions = "hcs_v2.PauseOptions" {
        /// `Suspend`, `MemoryLow`, `MemoryMedium` or `MemoryHigh`.
        suspension_level: String = "SuspensionLevel",
        /// What to tell the containers inside.
        hosted_notification: Option<PauseNotification> = "HostedNotification",
    }
}

document! {
    /// What to tell the containers inside a machine that is paused.
    strict PauseNotification = "hcs_v2.PauseNotification" {
        /// `None`, `Save` or `Template`.
        reason: String = "Reason",
    }
}

choice! {
    /// What a saved state is for.
    strict SaveType = "-published" {
        /// To restore this machine.
        ToFile = "ToFile",
        /// To clone machines from.
        AsTemplate = "AsTemplate",
    }
}

document! {
    /// How to save a paused machine.
    strict SaveOptions = "hcs_v2.SaveOptions" {
        /// What the state is for.
        save_type: Option<SaveType> = "SaveType",
        /// The file for it.
        save_state_file_path: String = "SaveStateFilePath",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;

    #[test]
    fn a_query_matches_by_every_list_that_is_not_empty() {
        let system = Properties {
            id: "Abc@VM".into(),
            owner: "ctr-like".into(),
            system_type: Some(SystemType::VirtualMachine),
            ..Default::default()
        };
        assert!(SystemQuery::default().matches(&system));
        assert!(SystemQuery::owned_by("ctr-like").matches(&system));
        assert!(!SystemQuery::owned_by("other").matches(&system));
        let by_id = SystemQuery {
            ids: vec!["abc@vm".into()],
            ..Default::default()
        };
        assert!(by_id.matches(&system));
        let container = SystemQuery {
            types: vec![SystemType::Container],
            ..by_id
        };
        assert!(!container.matches(&system));
    }

    #[test]
    fn the_basics_are_read_and_more_is_tolerated() {
        let properties = Properties::from_json(
            r#"{"Id":"abc@vm","SystemType":"VirtualMachine","RuntimeOsType":"Linux","Owner":"o","Name":"abc@vm",
                "RuntimeId":"7c1f0b0e-9a36-4f6d-8b0f-4b1b0b2d1f01","State":"Running","Novelty":{"A":1}}"#,
        )
        .unwrap();
        assert_eq!(properties.state, Some(SystemState::Running));
        assert!(!properties.stopped);
        assert!(PropertyQuery::from_json(r#"{"PropertyTypes":["Moonphase"]}"#).is_err());
    }
}
