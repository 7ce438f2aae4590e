//! Endpoints.

use serde_json::Value;

use super::{Dns, Health, NetworkRequestType, Route, SchemaVersion};
use crate::document::{choice, document};

/// The bit of [`HostComputeEndpoint::flags`] for an endpoint on another host.
pub const REMOTE_ENDPOINT: u32 = 1;

document! {
    /// An endpoint: the end of a network that a container or machine gets.
    open HostComputeEndpoint = "hcn.HostComputeEndpoint" {
        /// The id, a GUID.
        id: String = "ID",
        /// The name.
        name: String = "Name",
        /// The network, a GUID.
        host_compute_network: String = "HostComputeNetwork",
        /// The namespace it is in; only in answers.
        host_compute_namespace: String = "HostComputeNamespace",
        /// Policies.
        policies: Vec<EndpointPolicy> = "Policies",
        /// Addresses; absent lets the service choose.
        ip_configurations: Vec<IpConfig> = "IpConfigurations",
        /// Name servers.
        dns: Option<Dns> = "Dns",
        /// Routes.
        routes: Vec<Route> = "Routes",
        /// The address, with dashes.
        mac_address: String = "MacAddress",
        /// 0, or [`REMOTE_ENDPOINT`].
        flags: u32 = "Flags",
        /// Its state.
        health: Option<Health> = "Health",
        /// The schema.
        schema_version: Option<SchemaVersion> = "SchemaVersion",
    }
}

document! {
    /// A policy of an endpoint.
    open EndpointPolicy = "hcn.EndpointPolicy" {
        /// The settings that belong to the kind.
        settings: Option<Value> = "Settings",
    } always {
        /// The kind, one of [`super::policy_type`].
        policy_type: String = "Type",
    }
}

document! {
    /// An address.
    open IpConfig = "hcn.IpConfig" {
        /// The address.
        ip_address: String = "IpAddress",
        /// The length of the prefix.
        prefix_length: u8 = "PrefixLength",
    }
}

choice! {
    /// What kind of resource a change of an endpoint is about.
    open EndpointResourceType = "hcn.EndpointResourceType" {
        /// Its policies.
        Policy = "Policy",
        /// Its port.
        Port = "Port",
    } else {
        /// Something newer than this crate.
        Unknown = "Unknown"
    }
}

document! {
    /// A change of an endpoint.
    open ModifyEndpointRequest = "hcn.ModifyEndpointSettingRequest" {
        /// What it is about.
        resource_type: Option<EndpointResourceType> = "ResourceType",
        /// What to do.
        request_type: Option<NetworkRequestType> = "RequestType",
        /// [`PolicyEndpointRequest`] or [`VmEndpointRequest`].
        settings: Option<Value> = "Settings",
    }
}

document! {
    /// Policies to add to, change on or remove from an endpoint.
    open PolicyEndpointRequest = "hcn.PolicyEndpointRequest" {
        /// The policies.
        policies: Vec<EndpointPolicy> = "Policies",
    }
}

document! {
    /// The machine to attach an endpoint to.
    open VmEndpointRequest = "hcn.VmEndpointRequest" {
        /// The port, a GUID.
        port_id: String = "PortId",
        /// The name of the adapter.
        virtual_nic_name: String = "VirtualNicName",
        /// The machine, a GUID.
        virtual_machine_id: String = "VirtualMachineId",
    }
}
