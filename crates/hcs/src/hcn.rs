//! Documents of the compute network service: networks, endpoints, namespaces, load balancers, policies.
//!
//! Whoever drives Windows networks writes and reads these; the emulated service has none of them, so the golden
//! documents are what holds them to the real one. It answers with the types it is sent plus fields of its own, so all
//! are open; [`crate::document::unknown_field`] is the strict check for documents that we receive from others.
//!
//! Kinds of networks and policies are texts and not enumerations: the service compares them without case and answers
//! in either; the texts we write are the constants beside the types.

mod endpoint;
mod namespace;
mod network;
mod policy;

pub use endpoint::*;
pub use namespace::*;
pub use network::*;
pub use policy::*;

use serde_json::Value;

use crate::document::{choice, document};

document! {
    /// A schema version; zero is written.
    open SchemaVersion = "hcn.Version" {} always {
        /// The major number: 2.
        major: i32 = "Major",
        /// The minor number.
        minor: i32 = "Minor",
    }
}

impl SchemaVersion {
    /// What every document declares.
    pub const V2: Self = Self { major: 2, minor: 0 };
}

document! {
    /// A query: which objects to enumerate, or how much to tell of one.
    open HostComputeQuery = "hcn.HostComputeQuery" {
        /// 0, or 1 for details.
        flags: u32 = "Flags",
        /// A filter, JSON in a string: keys `ID`, `Name`, `VirtualNetwork`.
        filter: String = "Filter",
    } always {
        /// The schema.
        schema_version: SchemaVersion = "SchemaVersion",
    }
}

document! {
    /// The state of an object, as the service tells it.
    open Health = "hcn.Health" {
        /// Details.
        data: Option<Value> = "Data",
        /// What belongs to it.
        extra: Option<ExtraParams> = "Extra",
    }
}

document! {
    /// What belongs to an object.
    open ExtraParams = "hcn.ExtraParams" {
        /// Resources.
        resources: Option<Value> = "Resources",
        /// Containers that share it.
        shared_containers: Option<Value> = "SharedContainers",
        /// The network it lies on.
        layered_on: String = "LayeredOn",
        /// The virtual switch.
        switch_guid: String = "SwitchGuid",
        /// The utility VM.
        utility_vm: String = "UtilityVM",
        /// The virtual machine.
        virtual_machine: String = "VirtualMachine",
    }
}

document! {
    /// Name servers and search domains.
    open Dns = "hcn.Dns" {
        /// The domain.
        domain: String = "Domain",
        /// Search domains.
        search: Vec<String> = "Search",
        /// Name servers.
        server_list: Vec<String> = "ServerList",
        /// Options of the resolver.
        options: Vec<String> = "Options",
    }
}

document! {
    /// A route.
    open Route = "hcn.Route" {
        /// The next hop.
        next_hop: String = "NextHop",
        /// The destination.
        destination_prefix: String = "DestinationPrefix",
        /// The metric.
        metric: u16 = "Metric",
    }
}

choice! {
    /// What kind of resource a change of a network is about.
    open NetworkResourceType = "hcn.NetworkResourceType" {
        /// Its policies.
        Policy = "Policy",
        /// Its name servers.
        Dns = "DNS",
        /// Extensions of its switch.
        Extension = "Extension",
    } else {
        /// Something newer than this crate.
        Unknown = "Unknown"
    }
}

document! {
    /// A change of a network.
    open ModifyNetworkRequest = "hcn.ModifyNetworkSettingRequest" {
        /// What it is about.
        resource_type: Option<NetworkResourceType> = "ResourceType",
        /// What to do.
        request_type: Option<NetworkRequestType> = "RequestType",
        /// [`PolicyNetworkRequest`] and the like.
        settings: Option<Value> = "Settings",
    }
}

choice! {
    /// What to do with a network object.
    open NetworkRequestType = "hcn.RequestType" {
        /// Add.
        Add = "Add",
        /// Remove.
        Remove = "Remove",
        /// Change.
        Update = "Update",
        /// Apply again.
        Refresh = "Refresh",
    } else {
        /// Something newer than this crate.
        Unknown = "Unknown"
    }
}
