//! Namespaces and load balancers.

use serde_json::Value;

use super::{NetworkRequestType, SchemaVersion};
use crate::document::{choice, document};

/// The kinds of namespaces.
pub mod namespace_type {
    /// Of a container on this host.
    pub const HOST: &str = "Host";
    /// The one of the host itself.
    pub const HOST_DEFAULT: &str = "HostDefault";
    /// Of a container in a machine.
    pub const GUEST: &str = "Guest";
    /// The default one of a machine.
    pub const GUEST_DEFAULT: &str = "GuestDefault";
}

document! {
    /// A namespace: what containers that share their network are in.
    open HostComputeNamespace = "hcn.HostComputeNamespace" {
        /// The id, a GUID.
        id: String = "ID",
        /// The number of the compartment.
        namespace_id: u32 = "NamespaceId",
        /// The kind, one of [`namespace_type`].
        namespace_type: String = "Type",
        /// What is in it.
        resources: Vec<NamespaceResource> = "Resources",
        /// The schema.
        schema_version: Option<SchemaVersion> = "SchemaVersion",
    }
}

document! {
    /// Something in a namespace.
    open NamespaceResource = "hcn.NamespaceResource" {
        /// [`NamespaceResourceId`].
        data: Option<Value> = "Data",
    } always {
        /// `Container` or `Endpoint`.
        resource_type: String = "Type",
    }
}

document! {
    /// The id of something in a namespace.
    open NamespaceResourceId = "hcn.NamespaceResourceEndpoint" {} always {
        /// The id.
        id: String = "ID",
    }
}

choice! {
    /// What kind of resource a change of a namespace is about.
    open NamespaceResourceType = "hcn.NamespaceResourceType" {
        /// A container.
        Container = "Container",
        /// An endpoint.
        Endpoint = "Endpoint",
    } else {
        /// Something newer than this crate.
        Unknown = "Unknown"
    }
}

document! {
    /// A change of a namespace.
    open ModifyNamespaceRequest = "hcn.ModifyNamespaceSettingRequest" {
        /// What it is about.
        resource_type: Option<NamespaceResourceType> = "ResourceType",
        /// What to do.
        request_type: Option<NetworkRequestType> = "RequestType",
        /// [`NamespaceEndpoint`].
        settings: Option<Value> = "Settings",
    }
}

document! {
    /// The endpoint to attach to or detach from a namespace.
    open NamespaceEndpoint = "-free map in the reference runtime" {
        /// The endpoint, a GUID.
        endpoint_id: String = "EndpointId",
    }
}

document! {
    /// A load balancer.
    open HostComputeLoadBalancer = "hcn.HostComputeLoadBalancer" {
        /// The id, a GUID.
        id: String = "ID",
        /// Where requests are spread to.
        host_compute_endpoints: Vec<String> = "HostComputeEndpoints",
        /// The address they seem to come from.
        source_vip: String = "SourceVIP",
        /// The addresses they go to.
        frontend_vips: Vec<String> = "FrontendVIPs",
        /// Ports.
        port_mappings: Vec<LoadBalancerPortMapping> = "PortMappings",
        /// 1: answers go directly; 2: IPv6.
        flags: u32 = "Flags",
        /// The schema.
        schema_version: Option<SchemaVersion> = "SchemaVersion",
    }
}

document! {
    /// A port of a load balancer.
    open LoadBalancerPortMapping = "hcn.LoadBalancerPortMapping" {
        /// 6 TCP, 17 UDP.
        protocol: u32 = "Protocol",
        /// The port inside.
        internal_port: u16 = "InternalPort",
        /// The port outside.
        external_port: u16 = "ExternalPort",
        /// 0 none, 1 by source, protocol, 2 by source.
        distribution_type: u32 = "DistributionType",
        /// 1 internal, 2 local, 4 multiplexed, 8 address kept.
        flags: u32 = "Flags",
    }
}
