//! Networks.

use serde_json::Value;

use super::{Dns, Health, Route, SchemaVersion};
use crate::document::document;

/// The kinds of networks.
pub mod network_type {
    /// Addresses are translated by the host.
    pub const NAT: &str = "NAT";
    /// Internet connection sharing, such as the built-in default switch.
    pub const ICS: &str = "ICS";
    /// Containers are on the network of the host, with their own addresses.
    pub const TRANSPARENT: &str = "Transparent";
    /// As transparent, with the MAC address of the host.
    pub const L2_BRIDGE: &str = "L2Bridge";
    /// As a bridge, with every packet going through the fabric.
    pub const L2_TUNNEL: &str = "L2Tunnel";
    /// A network over several hosts.
    pub const OVERLAY: &str = "Overlay";
    /// Containers among themselves.
    pub const PRIVATE: &str = "Private";
    /// Containers and host among themselves.
    pub const INTERNAL: &str = "Internal";
}

/// The bits of [`HostComputeNetwork::flags`].
pub mod network_flags {
    /// The network is gone after a reboot.
    pub const ENABLE_NON_PERSISTENT: u32 = 8;
    /// The host has no port on it.
    pub const DISABLE_HOST_PORT: u32 = 1024;
    /// Adapters may use hardware acceleration.
    pub const ENABLE_IOV: u32 = 8192;
}

document! {
    /// A network.
    open HostComputeNetwork = "hcn.HostComputeNetwork" {
        /// The id, a GUID.
        id: String = "ID",
        /// The name.
        name: String = "Name",
        /// The kind, one of [`network_type`]; absent in answers means NAT.
        network_type: String = "Type",
        /// Policies.
        policies: Vec<NetworkPolicy> = "Policies",
        /// Hardware addresses to give out.
        mac_pool: Option<MacPool> = "MacPool",
        /// Name servers.
        dns: Option<Dns> = "Dns",
        /// Address ranges.
        ipams: Vec<Ipam> = "Ipams",
        /// Bits of [`network_flags`].
        flags: u32 = "Flags",
        /// Its state.
        health: Option<Health> = "Health",
        /// The schema.
        schema_version: Option<SchemaVersion> = "SchemaVersion",
    }
}

document! {
    /// A policy of a network.
    open NetworkPolicy = "hcn.NetworkPolicy" {
        /// The settings that belong to the kind.
        settings: Option<Value> = "Settings",
    } always {
        /// The kind, one of [`super::policy_type`].
        policy_type: String = "Type",
    }
}

document! {
    /// Hardware addresses to give out.
    open MacPool = "hcn.MacPool" {
        /// The ranges.
        ranges: Vec<MacRange> = "Ranges",
    }
}

document! {
    /// A range of hardware addresses, with dashes.
    open MacRange = "hcn.MacRange" {
        /// The first.
        start_mac_address: String = "StartMacAddress",
        /// The last.
        end_mac_address: String = "EndMacAddress",
    }
}

document! {
    /// Address ranges of one kind.
    open Ipam = "hcn.Ipam" {
        /// `Static` or `DHCP`.
        ipam_type: String = "Type",
        /// The ranges.
        subnets: Vec<Subnet> = "Subnets",
    }
}

document! {
    /// A range of addresses.
    open Subnet = "hcn.Subnet" {
        /// The range.
        ip_address_prefix: String = "IpAddressPrefix",
        /// Policies, see [`SubnetPolicy`].
        policies: Vec<Value> = "Policies",
        /// Routes; without a default route containers have no gateway.
        routes: Vec<Route> = "Routes",
        /// 1: the address of the gateway is not reserved.
        flags: u32 = "Flags",
    }
}

document! {
    /// A policy of a range: VLAN or VSID.
    open SubnetPolicy = "hcn.SubnetPolicy" {
        /// The settings that belong to the kind.
        settings: Option<Value> = "Settings",
    } always {
        /// `VLAN` or `VSID`.
        policy_type: String = "Type",
    }
}

document! {
    /// Settings of the subnet policy `VLAN`.
    open VlanPolicySetting = "hcn.VlanPolicySetting" {} always {
        /// The VLAN.
        isolation_id: u32 = "IsolationId",
    }
}

document! {
    /// Settings of the subnet policy `VSID`.
    open VsidPolicySetting = "hcn.VsidPolicySetting" {} always {
        /// The virtual subnet.
        isolation_id: u32 = "IsolationId",
    }
}

document! {
    /// Policies to add to, change on or remove from a network.
    open PolicyNetworkRequest = "hcn.PolicyNetworkRequest" {
        /// The policies.
        policies: Vec<NetworkPolicy> = "Policies",
    }
}
