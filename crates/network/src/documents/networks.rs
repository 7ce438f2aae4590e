//! Documents of networks: the default one, those of users, and the rules that keep an endpoint to its own network.

use hcs::Document as _;
use hcs::hcn::{
    AclAction, AclDirection, AclPolicySetting, AclRuleType, Dns, EndpointPolicy, HostComputeEndpoint,
    HostComputeNetwork, Ipam, NetAdapterNamePolicySetting, NetworkPolicy, Route, SchemaVersion, Subnet,
    SubnetPolicy, VlanPolicySetting, network_type, policy_type,
};
use uuid::Uuid;

use super::{EVERYWHERE, gateway};
use crate::{Known, NetworkKind, UserNetwork};

/// The name of the default network, the one that other engines make as well.
pub const DEFAULT_NETWORK: &str = "nat";
/// Its id when we make it, so that two who do so at the same time make one.
pub const DEFAULT_NETWORK_ID: Uuid = Uuid::from_u128(0x9f1c_6f0e_5a34_4d0b_8c61_6374_726c_696b);
/// Address ranges for it, the first that the service accepts, each with its gateway.
pub const SUBNETS: [(&str, &str); 4] = [
    ("172.28.0.0/16", "172.28.0.1"),
    ("172.29.0.0/16", "172.29.0.1"),
    ("10.207.0.0/16", "10.207.0.1"),
    ("192.168.207.0/24", "192.168.207.1"),
];

/// The default network on a range of addresses.
#[must_use]
pub fn network(subnet: &str, gateway: &str) -> String {
    HostComputeNetwork {
        name: DEFAULT_NETWORK.to_owned(),
        network_type: network_type::NAT.to_owned(),
        ipams: ipams(subnet, Some(gateway), None),
        schema_version: Some(SchemaVersion::V2),
        ..HostComputeNetwork::default()
    }
    .to_json()
}

/// A network of a user.
#[must_use]
pub fn user_network(network: &UserNetwork) -> String {
    let kind = match network.kind {
        NetworkKind::Nat => network_type::NAT,
        NetworkKind::Internal => network_type::INTERNAL,
        NetworkKind::L2Bridge => network_type::L2_BRIDGE,
        NetworkKind::Transparent => network_type::TRANSPARENT,
    };
    let adapter = |name: &String| NetworkPolicy {
        policy_type: policy_type::NET_ADAPTER_NAME.to_owned(),
        settings: Some(
            NetAdapterNamePolicySetting {
                network_adapter_name: name.clone(),
            }
            .to_value(),
        ),
    };
    let dns = Dns {
        domain: network.dns_search.first().cloned().unwrap_or_default(),
        search: network.dns_search.clone(),
        server_list: network.dns_servers.clone(),
        ..Dns::default()
    };
    let gateway = network.gateway.map(|gateway| gateway.to_string());
    HostComputeNetwork {
        name: network.name.clone(),
        network_type: kind.to_owned(),
        policies: network.adapter.iter().map(adapter).collect(),
        dns: Some(dns).filter(|dns| *dns != Dns::default()),
        ipams: ipams(&network.subnet.to_string(), gateway.as_deref(), network.vlan),
        schema_version: Some(SchemaVersion::V2),
        ..HostComputeNetwork::default()
    }
    .to_json()
}

/// One static range; without a gateway there is no way out of it.
fn ipams(subnet: &str, gateway: Option<&str>, vlan: Option<u16>) -> Vec<Ipam> {
    let route = |gateway: &str| Route {
        next_hop: gateway.to_owned(),
        destination_prefix: EVERYWHERE.to_owned(),
        ..Route::default()
    };
    let vlan = vlan.map(|vlan| {
        SubnetPolicy {
            policy_type: "VLAN".to_owned(),
            settings: Some(
                VlanPolicySetting {
                    isolation_id: vlan.into(),
                }
                .to_value(),
            ),
        }
        .to_value()
    });
    vec![Ipam {
        ipam_type: "Static".to_owned(),
        subnets: vec![Subnet {
            ip_address_prefix: subnet.to_owned(),
            policies: vlan.into_iter().collect(),
            routes: gateway.map(route).into_iter().collect(),
            ..Subnet::default()
        }],
    }]
}

/// Whether a network is the default one.
#[must_use]
pub fn is_default(network: &HostComputeNetwork) -> bool {
    network.name.eq_ignore_ascii_case(DEFAULT_NETWORK) && is_nat(network)
}

/// Whether a network translates addresses. Texts are compared without case; without a type it does.
#[must_use]
pub fn is_nat(network: &HostComputeNetwork) -> bool {
    let kind = network.network_type.as_str();
    kind.is_empty() || kind.eq_ignore_ascii_case(network_type::NAT)
}

/// What a network says of its addresses.
#[must_use]
pub fn known(id: &str, network: &HostComputeNetwork) -> Known {
    let mut subnets = network.ipams.iter().flat_map(|ipam| &ipam.subnets);
    Known {
        id: id.to_owned(),
        subnet: subnets
            .next()
            .map(|subnet| subnet.ip_address_prefix.clone())
            .unwrap_or_default(),
        gateway: gateway(&HostComputeEndpoint::default(), network),
    }
}

/// What is allowed, and what is not: lower numbers come first.
const ALLOW: u16 = 200;
const BLOCK: u16 = 300;
/// Any protocol.
const ANY: &str = "256";

/// The rules that keep an endpoint to its own network. What is not mentioned is blocked by name, whatever the service's default.
pub(super) fn rules(network: &UserNetwork) -> Vec<EndpointPolicy> {
    let own = network.subnet.to_string();
    let rule = |direction: AclDirection, action: AclAction, remote: &str, priority: u16| EndpointPolicy {
        policy_type: policy_type::ACL.to_owned(),
        settings: Some(
            AclPolicySetting {
                protocols: ANY.to_owned(),
                action: Some(action),
                direction: Some(direction),
                remote_addresses: remote.to_owned(),
                rule_type: Some(AclRuleType::Switch),
                priority,
                ..AclPolicySetting::default()
            }
            .to_value(),
        ),
    };
    [AclDirection::In, AclDirection::Out]
        .into_iter()
        .flat_map(|direction| {
            [
                rule(direction, AclAction::Allow, &own, ALLOW),
                rule(direction, AclAction::Block, EVERYWHERE, BLOCK),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_network_made_elsewhere_is_found_in_any_case_and_without_a_type() {
        let network = |text: &str| HostComputeNetwork::from_json(text).unwrap();
        assert!(is_default(&network(r#"{"Name":"NAT","Type":"nat","New":1}"#)));
        assert!(is_default(&network(r#"{"Name":"nat"}"#)));
        assert!(!is_default(&network(r#"{"Name":"nat","Type":"Transparent"}"#)));
        assert!(!is_default(&network(r#"{"Name":"nat2","Type":"NAT"}"#)));
    }

    /// The settings of the first network that a recording makes, without what we leave to the service.
    fn recorded(scenario: &str) -> Value {
        let recording: Value = serde_json::from_str(scenario).unwrap();
        let mut settings = recording["steps"][0]["calls"][0]["args"]["settings"].clone();
        for field in ["MacPool", "Health"] {
            settings.as_object_mut().unwrap().remove(field);
        }
        settings
    }

    fn ours(network: &UserNetwork) -> Value {
        serde_json::from_str(&user_network(network)).unwrap()
    }

    fn nat() -> UserNetwork {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        UserNetwork {
            id: String::new(),
            name: "nat".to_owned(),
            kind: NetworkKind::Nat,
            isolated: false,
            subnet: "172.28.0.0/16".parse().unwrap(),
            gateway: Some([172, 28, 0, 1].into()),
            dns_servers: words(&["8.8.8.8", "8.8.4.4"]),
            dns_search: words(&["corp.example", "example"]),
            adapter: None,
            vlan: None,
        }
    }

    #[test]
    fn networks_of_users_are_written_as_recorded() {
        let recording = include_str!("../../../hcs/tests/data/golden/hcn-nat-static-ip.json");
        assert_eq!(ours(&nat()), recorded(recording));

        let bridge = UserNetwork {
            name: "l2b".to_owned(),
            kind: NetworkKind::L2Bridge,
            subnet: "10.1.0.0/24".parse().unwrap(),
            gateway: Some([10, 1, 0, 1].into()),
            dns_servers: Vec::new(),
            dns_search: Vec::new(),
            adapter: Some("Ethernet".to_owned()),
            vlan: Some(100),
            ..nat()
        };
        let mut expected = recorded(include_str!("../../../hcs/tests/data/golden/hcn-l2bridge.json"));
        expected.as_object_mut().unwrap().remove("Dns");
        assert_eq!(ours(&bridge), expected);

        // The recording has its addresses from a server, which is refused here.
        let transparent = UserNetwork {
            name: "tr".to_owned(),
            kind: NetworkKind::Transparent,
            vlan: None,
            ..bridge
        };
        let mut expected = recorded(include_str!(
            "../../../hcs/tests/data/golden/hcn-transparent-dhcp.json"
        ));
        expected.as_object_mut().unwrap().remove("Dns");
        expected["Ipams"] = ours(&transparent)["Ipams"].clone();
        assert_eq!(ours(&transparent), expected);
    }

    #[test]
    fn an_internal_network_has_no_way_out() {
        let internal = UserNetwork {
            kind: NetworkKind::Internal,
            gateway: None,
            dns_servers: Vec::new(),
            dns_search: Vec::new(),
            ..nat()
        };
        let document = ours(&internal);
        assert_eq!(
            (&document["Type"], &document["Ipams"][0]["Subnets"]),
            (&json!("Internal"), &json!([{"IpAddressPrefix": "172.28.0.0/16"}]))
        );
        let network = HostComputeNetwork::from_value(&document).unwrap();
        assert_eq!(known("n", &network).gateway, "");
    }

    #[test]
    fn what_the_service_tells_of_a_network_is_read() {
        let network = network("172.28.0.0/16", "172.28.0.1");
        let network = HostComputeNetwork::from_json(&network).unwrap();
        let expected = Known {
            id: "n".to_owned(),
            subnet: "172.28.0.0/16".to_owned(),
            gateway: "172.28.0.1".to_owned(),
        };
        assert_eq!(known("n", &network), expected);
    }
}
