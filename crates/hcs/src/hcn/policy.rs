//! Settings of the policies of networks and endpoints.

use crate::document::{choice, document};

/// The kinds of policies.
pub mod policy_type {
    /// A port of the host leads into the endpoint; [`super::PortMappingPolicySetting`].
    pub const PORT_MAPPING: &str = "PortMapping";
    /// The endpoint's addresses are translated; [`super::OutboundNatPolicySetting`].
    pub const OUT_BOUND_NAT: &str = "OutBoundNAT";
    /// Traffic is allowed or blocked; [`super::AclPolicySetting`].
    pub const ACL: &str = "ACL";
    /// Bandwidth is limited; [`super::QosPolicySetting`].
    pub const QOS: &str = "QOS";
    /// A prefix is routed; [`super::SdnRoutePolicySetting`].
    pub const SDN_ROUTE: &str = "SDNRoute";
    /// The address of the host in an overlay; [`super::ProviderAddressPolicySetting`].
    pub const PROVIDER_ADDRESS: &str = "ProviderAddress";
    /// Hardware acceleration; [`super::IovPolicySetting`].
    pub const IOV: &str = "Iov";
    /// Bytes that encapsulation takes; [`super::EncapOverheadPolicySetting`].
    pub const ENCAP_OVERHEAD: &str = "EncapOverhead";
    /// The name of the switch port; [`super::PortNamePolicySetting`].
    pub const PORT_NAME: &str = "PortName";
    /// Connections go through a proxy; [`super::L4WfpProxyPolicySetting`].
    pub const L4_WFP_PROXY: &str = "L4WFPPROXY";
    /// Traffic is filtered in tiers; [`super::TierAclPolicySetting`].
    pub const TIER_ACL: &str = "TierAcl";
    /// The adapter of the host; [`super::NetAdapterNamePolicySetting`].
    pub const NET_ADAPTER_NAME: &str = "NetAdapterName";
    /// The hardware address that leaves the host; [`super::SourceMacAddressPolicySetting`].
    pub const SOURCE_MAC_ADDRESS: &str = "SourceMacAddress";
    /// The interface of the host; [`super::InterfaceConstraintPolicySetting`].
    pub const INTERFACE_CONSTRAINT: &str = "InterfaceConstraint";
    /// A prefix on another host of the overlay; [`super::RemoteSubnetRoutePolicySetting`].
    pub const REMOTE_SUBNET_ROUTE: &str = "RemoteSubnetRoute";
    /// A set of addresses; [`super::SetPolicySetting`].
    pub const SET_POLICY: &str = "SetPolicy";
}

document! {
    /// A port of the host leads into the endpoint.
    open PortMappingPolicySetting = "hcn.PortMappingPolicySetting" {
        /// 6 TCP, 17 UDP.
        protocol: u32 = "Protocol",
        /// The port inside.
        internal_port: u16 = "InternalPort",
        /// The port of the host; 0 lets the service choose.
        external_port: u16 = "ExternalPort",
        /// The address of the host.
        vip: String = "VIP",
        /// 0 none, 1 also from the host itself, 2 IPv6.
        flags: u32 = "Flags",
    }
}

document! {
    /// The endpoint's addresses are translated.
    open OutboundNatPolicySetting = "hcn.OutboundNatPolicySetting" {
        /// The address it gets.
        virtual_ip: String = "VirtualIP",
        /// Destinations that are not translated.
        exceptions: Vec<String> = "Exceptions",
        /// Destinations that are translated.
        destinations: Vec<String> = "Destinations",
        /// As for port mappings.
        flags: u32 = "Flags",
        /// The most ports to use.
        max_port_pool_usage: u16 = "MaxPortPoolUsage",
    }
}

choice! {
    /// What a rule does.
    open AclAction = "hcn.ActionType" {
        /// Lets traffic pass.
        Allow = "Allow",
        /// Drops it.
        Block = "Block",
        /// Asks the next tier.
        Pass = "Pass",
    } else {
        /// Something newer than this crate.
        Unknown = "Unknown"
    }
}

choice! {
    /// Which traffic a rule is about.
    open AclDirection = "hcn.DirectionType" {
        /// Into the endpoint.
        In = "In",
        /// Out of it.
        Out = "Out",
    } else {
        /// Something newer than this crate.
        Unknown = "Unknown"
    }
}

choice! {
    /// Where a rule works.
    open AclRuleType = "hcn.RuleType" {
        /// In the host's filter.
        Host = "Host",
        /// In the switch.
        Switch = "Switch",
    } else {
        /// Something newer than this crate.
        Unknown = "Unknown"
    }
}

document! {
    /// Traffic is allowed or blocked.
    open AclPolicySetting = "hcn.AclPolicySetting" {
        /// Numbers of protocols, separated by commas; 256 is any.
        protocols: String = "Protocols",
        /// What happens.
        action: Option<AclAction> = "Action",
        /// In which direction.
        direction: Option<AclDirection> = "Direction",
        /// Addresses inside.
        local_addresses: String = "LocalAddresses",
        /// Addresses outside.
        remote_addresses: String = "RemoteAddresses",
        /// Ports inside.
        local_ports: String = "LocalPorts",
        /// Ports outside.
        remote_ports: String = "RemotePorts",
        /// Where the rule works.
        rule_type: Option<AclRuleType> = "RuleType",
        /// Its rank; low numbers first.
        priority: u16 = "Priority",
    }
}

document! {
    /// Bandwidth is limited.
    open QosPolicySetting = "hcn.QosPolicySetting" {} always {
        /// Bytes per second out of the endpoint.
        maximum_outgoing_bandwidth_in_bytes: u64 = "MaximumOutgoingBandwidthInBytes",
    }
}

document! {
    /// A prefix is routed.
    open SdnRoutePolicySetting = "hcn.SDNRoutePolicySetting" {
        /// The prefix.
        destination_prefix: String = "DestinationPrefix",
        /// The next hop.
        next_hop: String = "NextHop",
        /// Whether it is encapsulated.
        need_encap: bool = "NeedEncap",
    }
}

document! {
    /// The address of the host in an overlay.
    open ProviderAddressPolicySetting = "hcn.ProviderAddressEndpointPolicySetting" {
        /// The address.
        provider_address: String = "ProviderAddress",
    }
}

document! {
    /// Hardware acceleration.
    open IovPolicySetting = "hcn.IovPolicySetting" {
        /// The weight of the offload.
        iov_offload_weight: u32 = "IovOffloadWeight",
        /// Queue pairs asked for.
        queue_pairs_requested: u32 = "QueuePairsRequested",
        /// How eagerly the adapter interrupts.
        interrupt_moderation: u32 = "InterruptModeration",
    }
}

document! {
    /// Bytes that encapsulation takes from the packet size.
    open EncapOverheadPolicySetting = "hcn.EncapOverheadEndpointPolicySetting" {
        /// The bytes.
        overhead: u16 = "Overhead",
    }
}

document! {
    /// The name of the switch port.
    open PortNamePolicySetting = "hcn.PortnameEndpointPolicySetting" {
        /// The name.
        name: String = "Name",
    }
}

document! {
    /// Connections go through a proxy.
    open L4WfpProxyPolicySetting = "hcn.L4WfpProxyPolicySetting" {
        /// The port for connections into the endpoint.
        inbound_proxy_port: String = "InboundProxyPort",
        /// The port for connections out of it.
        outbound_proxy_port: String = "OutboundProxyPort",
        /// Which connections.
        filter_tuple: Option<FiveTuple> = "FilterTuple",
        /// The account of the proxy, whose connections pass.
        user_sid: String = "UserSID",
        /// What passes inwards.
        inbound_exceptions: Option<ProxyExceptions> = "InboundExceptions",
        /// What passes outwards.
        outbound_exceptions: Option<ProxyExceptions> = "OutboundExceptions",
    }
}

document! {
    /// Connections, by protocol, addresses and ports.
    open FiveTuple = "hcn.FiveTuple" {
        /// Numbers of protocols.
        protocols: String = "Protocols",
        /// Addresses inside.
        local_addresses: String = "LocalAddresses",
        /// Addresses outside.
        remote_addresses: String = "RemoteAddresses",
        /// Ports inside.
        local_ports: String = "LocalPorts",
        /// Ports outside.
        remote_ports: String = "RemotePorts",
        /// The rank; low numbers first.
        priority: u16 = "Priority",
    }
}

document! {
    /// What a proxy does not see.
    open ProxyExceptions = "hcn.ProxyExceptions" {
        /// Addresses.
        ip_address_exceptions: Vec<String> = "IpAddressExceptions",
        /// Ports.
        port_exceptions: Vec<String> = "PortExceptions",
    }
}

document! {
    /// Traffic is filtered in tiers.
    open TierAclPolicySetting = "hcn.TierAclPolicySetting" {
        /// In which direction.
        direction: Option<AclDirection> = "Direction",
        /// The rules.
        tier_acl_rules: Vec<TierAclRule> = "TierAclRules",
    } always {
        /// The tier.
        name: String = "Name",
        /// Its rank.
        order: u16 = "Order",
    }
}

document! {
    /// A rule of a tier.
    open TierAclRule = "hcn.TierAclRule" {
        /// The id.
        id: String = "Id",
        /// Numbers of protocols.
        protocols: String = "Protocols",
        /// What happens.
        tier_acl_rule_action: Option<AclAction> = "TierAclRuleAction",
        /// Addresses inside.
        local_addresses: String = "LocalAddresses",
        /// Addresses outside.
        remote_addresses: String = "RemoteAddresses",
        /// Ports inside.
        local_ports: String = "LocalPorts",
        /// Ports outside.
        remote_ports: String = "RemotePorts",
        /// Its rank; low numbers first.
        priority: u16 = "Priority",
    }
}

document! {
    /// The adapter of the host.
    open NetAdapterNamePolicySetting = "hcn.NetAdapterNameNetworkPolicySetting" {
        /// The name.
        network_adapter_name: String = "NetworkAdapterName",
    }
}

document! {
    /// The hardware address that leaves the host.
    open SourceMacAddressPolicySetting = "hcn.SourceMacAddressNetworkPolicySetting" {
        /// The address, with dashes.
        source_mac_address: String = "SourceMacAddress",
    }
}

document! {
    /// The interface of the host.
    open InterfaceConstraintPolicySetting = "hcn.InterfaceConstraintPolicySetting" {
        /// Its GUID.
        interface_guid: String = "InterfaceGuid",
        /// Its unique number.
        interface_luid: u64 = "InterfaceLuid",
        /// Its index.
        interface_index: u32 = "InterfaceIndex",
        /// Its medium.
        interface_media_type: u32 = "InterfaceMediaType",
        /// Its name.
        interface_alias: String = "InterfaceAlias",
        /// Its description.
        interface_description: String = "InterfaceDescription",
    }
}

document! {
    /// A prefix on another host of the overlay.
    open RemoteSubnetRoutePolicySetting = "hcn.RemoteSubnetRoutePolicySetting" {} always {
        /// The prefix.
        destination_prefix: String = "DestinationPrefix",
        /// The virtual subnet.
        isolation_id: u16 = "IsolationId",
        /// The other host.
        provider_address: String = "ProviderAddress",
        /// The hardware address of the other host's router.
        distributed_router_mac_address: String = "DistributedRouterMacAddress",
    }
}

document! {
    /// A set of addresses that rules can name.
    open SetPolicySetting = "hcn.SetPolicySetting" {} always {
        /// The id.
        id: String = "Id",
        /// The name.
        name: String = "Name",
        /// `IPSET` or `NESTEDIPSET`.
        policy_type: String = "PolicyType",
        /// The addresses, separated by commas.
        values: String = "Values",
    }
}
