//! The documents of the network service: the one place where they are written and read.
//!
//! They are compared with what Microsoft's runtime sends; `tests/hcn` lists the differences.

use hcs::hcn::{
    EndpointPolicy, HostComputeEndpoint, HostComputeNamespace, HostComputeNetwork, HostComputeQuery,
    IpConfig, ModifyNamespaceRequest, NamespaceEndpoint, NamespaceResourceId, NamespaceResourceType,
    NetworkRequestType, PortMappingPolicySetting, SchemaVersion, policy_type,
};
use hcs::{Document as _, HResult, InvalidDocument};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{Address, Place, Port, Protocol};

mod networks;

use networks::rules;
pub use networks::{
    DEFAULT_NETWORK, DEFAULT_NETWORK_ID, SUBNETS, is_default, is_nat, known, network, user_network,
};

const EVERYWHERE: &str = "0.0.0.0/0";

/// The query for everything.
#[must_use]
pub fn query() -> String {
    HostComputeQuery {
        schema_version: SchemaVersion::V2,
        ..HostComputeQuery::default()
    }
    .to_json()
}

/// The query for networks of a name.
#[must_use]
pub fn by_name(name: &str) -> String {
    HostComputeQuery {
        schema_version: SchemaVersion::V2,
        filter: json!({ "Name": name }).to_string(),
        ..HostComputeQuery::default()
    }
    .to_json()
}

/// The endpoint of a container on a network with this id, which is a user's or the default one.
#[must_use]
pub fn endpoint(container: &str, network: &str, on: Option<&Place>, ports: &[Port]) -> String {
    let mapping = |port: &Port| EndpointPolicy {
        policy_type: policy_type::PORT_MAPPING.to_owned(),
        settings: Some(
            PortMappingPolicySetting {
                protocol: number(port.protocol),
                internal_port: port.container,
                external_port: port.host,
                ..PortMappingPolicySetting::default()
            }
            .to_value(),
        ),
    };
    let isolated = on.filter(|place| place.network.isolated);
    let address = on.and_then(|place| {
        Some(IpConfig {
            ip_address: place.ip?.to_string(),
            prefix_length: place.network.subnet.bits(),
        })
    });
    HostComputeEndpoint {
        name: format!("{container}-eth0"),
        host_compute_network: network.to_owned(),
        policies: ports
            .iter()
            .map(mapping)
            .chain(isolated.into_iter().flat_map(|place| rules(&place.network)))
            .collect(),
        ip_configurations: address.into_iter().collect(),
        schema_version: Some(SchemaVersion::V2),
        ..HostComputeEndpoint::default()
    }
    .to_json()
}

/// The namespace of a container.
#[must_use]
pub fn namespace() -> String {
    HostComputeNamespace {
        schema_version: Some(SchemaVersion::V2),
        ..HostComputeNamespace::default()
    }
    .to_json()
}

/// Puts an endpoint into a namespace, or takes it out.
#[must_use]
pub fn change(request: NetworkRequestType, endpoint: &str) -> String {
    let settings = NamespaceEndpoint {
        endpoint_id: endpoint.to_owned(),
    };
    ModifyNamespaceRequest {
        resource_type: Some(NamespaceResourceType::Endpoint),
        request_type: Some(request),
        settings: Some(settings.to_value()),
    }
    .to_json()
}

/// The endpoints that a namespace has, in our spelling of ids.
#[must_use]
pub fn endpoints_of(namespace: &HostComputeNamespace) -> Vec<String> {
    namespace
        .resources
        .iter()
        .filter(|resource| resource.resource_type.eq_ignore_ascii_case("Endpoint"))
        .filter_map(|resource| NamespaceResourceId::from_value(resource.data.as_ref()?).ok())
        .map(|data| data.id.to_lowercase())
        .collect()
}

/// The ids of an enumeration; what is no id is left out.
///
/// # Errors
/// The text is no list.
pub fn ids(text: &str) -> Result<Vec<Uuid>, InvalidDocument> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = serde_json::from_str(text).map_err(|source| InvalidDocument {
        document: "list of ids",
        path: ".".to_owned(),
        source,
    })?;
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

/// The addresses of an endpoint.
#[must_use]
pub fn addresses(endpoint: &HostComputeEndpoint) -> Vec<Address> {
    let address = |config: &IpConfig| {
        Some(Address {
            ip: config.ip_address.parse().ok()?,
            prefix: config.prefix_length,
        })
    };
    endpoint.ip_configurations.iter().filter_map(address).collect()
}

/// Where the way out of an endpoint begins: its own default route, or that of its network.
#[must_use]
pub fn gateway(endpoint: &HostComputeEndpoint, network: &HostComputeNetwork) -> String {
    let subnets = network.ipams.iter().flat_map(|ipam| &ipam.subnets);
    endpoint
        .routes
        .iter()
        .chain(subnets.flat_map(|subnet| &subnet.routes))
        .find(|route| route.destination_prefix == EVERYWHERE && !route.next_hop.is_empty())
        .map(|route| route.next_hop.clone())
        .unwrap_or_default()
}

/// Name servers of an endpoint, else those of its network; and search domains in the same way.
#[must_use]
pub fn dns(endpoint: &HostComputeEndpoint, network: &HostComputeNetwork) -> (Vec<String>, Vec<String>) {
    let (mut servers, mut search) = (Vec::new(), Vec::new());
    for dns in [&endpoint.dns, &network.dns].into_iter().flatten() {
        if servers.is_empty() {
            servers.clone_from(&dns.server_list);
        }
        if search.is_empty() {
            for domain in std::iter::once(&dns.domain).chain(&dns.search) {
                if !domain.is_empty() && !search.contains(domain) {
                    search.push(domain.clone());
                }
            }
        }
    }
    (servers, search)
}

/// The ports of the host that lead to an endpoint.
#[must_use]
pub fn ports(endpoint: &HostComputeEndpoint) -> Vec<Port> {
    let port = |policy: &EndpointPolicy| {
        if !policy.policy_type.eq_ignore_ascii_case(policy_type::PORT_MAPPING) {
            return None;
        }
        let setting = PortMappingPolicySetting::from_value(policy.settings.as_ref()?).ok()?;
        Some(Port {
            host: setting.external_port,
            container: setting.internal_port,
            protocol: [Protocol::Tcp, Protocol::Udp]
                .into_iter()
                .find(|protocol| number(*protocol) == setting.protocol)?,
        })
    };
    endpoint.policies.iter().filter_map(port).collect()
}

/// The number of a protocol in IP.
fn number(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// What the service wrote about a failure: its code, if it has one, and its words.
#[must_use]
pub fn error_record(text: &str) -> (Option<HResult>, String) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Record {
        #[serde(rename = "ErrorCode")]
        code: i64,
        #[serde(rename = "Error")]
        error: String,
    }
    let Ok(record) = serde_json::from_str::<Record>(text) else {
        return (None, text.to_owned());
    };
    // Written with and without a sign.
    let code = u32::try_from(record.code & 0xFFFF_FFFF)
        .ok()
        .filter(|code| *code != 0);
    let words = match record.error.is_empty() {
        true => text.to_owned(),
        false => record.error,
    };
    (code.map(HResult::from_bits), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_tells_of_an_endpoint_is_read() {
        let endpoint = HostComputeEndpoint::from_json(
            r#"{"IpConfigurations":[{"IpAddress":"172.28.0.10","PrefixLength":16},{"IpAddress":"no"}],
                "Policies":[{"Type":"PORTMAPPING","Settings":{"Protocol":17,"InternalPort":53,"ExternalPort":5353}},
                            {"Type":"PortMapping","Settings":{"Protocol":1,"InternalPort":1}},
                            {"Type":"L4Proxy","Settings":{"Port":1}}]}"#,
        )
        .unwrap();
        let address = Address {
            ip: "172.28.0.10".parse().unwrap(),
            prefix: 16,
        };
        assert_eq!(addresses(&endpoint), [address]);
        let port = Port {
            host: 5353,
            container: 53,
            protocol: Protocol::Udp,
        };
        assert_eq!(ports(&endpoint), [port]);
        let network = network("172.28.0.0/16", "172.28.0.1");
        let network = HostComputeNetwork::from_json(&network).unwrap();
        assert_eq!(gateway(&endpoint, &network), "172.28.0.1");
    }

    #[test]
    fn name_servers_are_those_of_the_endpoint_before_those_of_the_network() {
        let endpoint = |text: &str| HostComputeEndpoint::from_json(text).unwrap();
        let network = r#"{"Dns":{"ServerList":["10.0.0.1"]}}"#;
        let network = HostComputeNetwork::from_json(network).unwrap();
        let own =
            r#"{"Dns":{"Domain":"a.example","Search":["a.example","b.example"],"ServerList":["10.0.0.2"]}}"#;
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            dns(&endpoint(own), &network),
            (words(&["10.0.0.2"]), words(&["a.example", "b.example"]))
        );
        assert_eq!(
            dns(&endpoint(r#"{"Dns":{}}"#), &network),
            (words(&["10.0.0.1"]), words(&[]))
        );
        let none = HostComputeNetwork::default();
        assert_eq!(dns(&endpoint("{}"), &none), (words(&[]), words(&[])));
        // Each is looked for by itself.
        let network = r#"{"Dns":{"Domain":"a.example"}}"#;
        let network = HostComputeNetwork::from_json(network).unwrap();
        assert_eq!(
            dns(&endpoint(r#"{"Dns":{"ServerList":["10.0.0.2"]}}"#), &network),
            (words(&["10.0.0.2"]), words(&["a.example"]))
        );
    }

    #[test]
    fn lists_of_ids_are_read_in_any_case() {
        let id = Uuid::from_u128(0xabc);
        let text = format!(r#"["{}","no id"]"#, id.to_string().to_uppercase());
        assert_eq!(ids(&text).unwrap(), [id]);
        assert!(ids("").unwrap().is_empty());
        assert!(ids("{}").is_err());
    }

    #[test]
    fn error_records_tell_code_and_words() {
        let told = |text| error_record(text);
        let code = Some(HResult::HCN_PORT_ALREADY_EXISTS);
        assert_eq!(
            told(r#"{"Success":false,"Error":"in use","ErrorCode":2151350291}"#),
            (code, "in use".to_owned())
        );
        assert_eq!(told(r#"{"ErrorCode":-2143617005}"#).0, code);
        assert_eq!(told("broken"), (None, "broken".to_owned()));
    }
}
