//! Endpoints: addresses from the subnet, ports of the host.

use std::net::Ipv4Addr;

use hcs::HResult;
use hcs::hcn::{HostComputeEndpoint, OutboundNatPolicySetting, PortMappingPolicySetting, policy_type};
use layerstore::{Answer, Code};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::documents::{code, id as read_id, matches, read, version, wrong};
use crate::rules;
use crate::state::{Endpoint, State};

/// Where ports that the service chooses begin.
const CHOSEN: u16 = 49_700;

/// `HcnEnumerateEndpoints`.
pub(crate) fn enumerate(state: &State, filter: &Value) -> Vec<Uuid> {
    let name = |endpoint: &Endpoint| endpoint.document["Name"].as_str().unwrap().to_owned();
    let wanted =
        |id: &Uuid, endpoint: &Endpoint| matches(filter, *id, &name(endpoint), &endpoint.network.to_string());
    let endpoints = state.endpoints.iter();
    endpoints
        .filter(|(id, endpoint)| wanted(id, endpoint))
        .map(|(id, _)| *id)
        .collect()
}

/// `HcnCreateEndpoint`.
pub(crate) fn create(
    function: &str,
    state: &mut State,
    network_id: Uuid,
    id: Uuid,
    settings: &Value,
) -> Answer {
    let endpoint: HostComputeEndpoint = read(function, "settings of an endpoint", settings)?;
    version(function, "the endpoint", endpoint.schema_version)?;
    let network = state
        .networks
        .get(&network_id)
        .ok_or(code(HResult::HCN_NETWORK_NOT_FOUND))?;
    let invalid = |what: &str| wrong(function, what, HResult::HCN_INVALID_ENDPOINT);
    if endpoint.name.is_empty() {
        return invalid("an endpoint without a name");
    }
    if !endpoint.host_compute_namespace.is_empty() {
        return invalid("an endpoint is made outside namespaces");
    }
    if read_id(
        function,
        "the network of the endpoint",
        &endpoint.host_compute_network,
    )? != network_id
    {
        return invalid("the endpoint names another network");
    }
    if state.endpoints.contains_key(&id) {
        return wrong(
            function,
            format_args!("{id} exists already"),
            HResult::from_win32(183),
        );
    }
    let has = |address: u32| Some(address) == network.gateway || taken(state, network_id, address);
    let address = match endpoint.ip_configurations.as_slice() {
        [] => network.range.hosts().find(|address| !has(*address)),
        [one] if one.prefix_length != network.range.bits => {
            return invalid("the length of the prefix is not that of the subnet");
        }
        [one] => one.ip_address.parse::<Ipv4Addr>().ok().map(u32::from),
        _ => return invalid("an endpoint has one address"),
    };
    let address = address
        .filter(|address| network.range.has(*address) && !has(*address))
        .ok_or(code(HResult::HCN_ADDR_INVALID_OR_RESERVED))?;
    let bits = network.range.bits;

    let mut document = settings.clone();
    let (mut ports, mut acls) = (Vec::new(), Vec::new());
    for (index, policy) in endpoint.policies.iter().enumerate() {
        let settings = policy.settings.clone().unwrap_or_default();
        match policy.policy_type.as_str() {
            policy_type::PORT_MAPPING if !network.translates => {
                let what = "ports lead into networks that translate only";
                return wrong(function, what, HResult::HCN_MAPPING_NOT_SUPPORTED);
            }
            policy_type::PORT_MAPPING => {
                let wanted = mapping(function, &settings)?;
                let port = free_port(state, &ports, wanted)?;
                ports.push((wanted.0, port));
                document["Policies"][index]["Settings"]["ExternalPort"] = json!(port);
            }
            policy_type::ACL => acls.push(rules::rule(function, &settings)?),
            policy_type::OUT_BOUND_NAT => {
                drop(read::<OutboundNatPolicySetting>(
                    function,
                    "translations",
                    &settings,
                )?);
            }
            other => {
                let what = format_args!("there are no policies {other:?}");
                return wrong(function, what, HResult::HCN_INVALID_POLICY_TYPE);
            }
        }
    }
    rules::together(function, &acls)?;
    document["IpConfigurations"] =
        json!([{ "IpAddress": Ipv4Addr::from(address).to_string(), "PrefixLength": bits }]);
    if let Some(gateway) = network.gateway {
        document["Routes"] = json!([{
            "NextHop": Ipv4Addr::from(gateway).to_string(), "DestinationPrefix": "0.0.0.0/0",
        }]);
    }
    let [_, a, b, c] = address.to_be_bytes();
    document["MacAddress"] = json!(format!("00-15-5D-{a:02X}-{b:02X}-{c:02X}"));
    let endpoint = Endpoint {
        document,
        network: network_id,
        address,
        namespace: None,
        ports,
    };
    state.endpoints.insert(id, endpoint);
    Ok(())
}

fn taken(state: &State, network: Uuid, address: u32) -> bool {
    let mut endpoints = state.endpoints.values();
    endpoints.any(|endpoint| endpoint.network == network && endpoint.address == address)
}

/// Protocol and wanted port of the host.
fn mapping(function: &str, settings: &Value) -> Answer<(u32, u16)> {
    let setting: PortMappingPolicySetting = read(function, "port mappings", settings)?;
    if ![6, 17].contains(&setting.protocol) {
        let what = format_args!("the protocol of a port mapping is {}", setting.protocol);
        return wrong(function, what, HResult::HCN_INVALID_POLICY);
    }
    if setting.internal_port == 0 {
        let what = "a port mapping without a port of the container";
        return wrong(function, what, HResult::HCN_INVALID_INTERNAL_PORT);
    }
    Ok((setting.protocol, setting.external_port))
}

fn free_port(state: &State, own: &[(u32, u16)], (protocol, wanted): (u32, u16)) -> Result<u16, Code> {
    let has = |port: u16| {
        let mut all = state.endpoints.values().flat_map(|endpoint| &endpoint.ports);
        all.any(|had| *had == (protocol, port)) || own.contains(&(protocol, port))
    };
    let found = match wanted {
        0 => (CHOSEN..=u16::MAX).find(|port| !has(*port)),
        port => Some(port).filter(|port| !has(*port)),
    };
    found.ok_or(code(HResult::HCN_PORT_ALREADY_EXISTS))
}

/// `HcnQueryEndpointProperties`.
pub(crate) fn properties(state: &State, id: Uuid) -> Answer<Value> {
    let endpoint = state
        .endpoints
        .get(&id)
        .ok_or(code(HResult::HCN_ENDPOINT_NOT_FOUND))?;
    let mut document = endpoint.document.clone();
    document["ID"] = json!(id.to_string().to_uppercase());
    if let Some(namespace) = endpoint.namespace {
        document["HostComputeNamespace"] = json!(namespace);
    }
    Ok(document)
}

/// `HcnDeleteEndpoint`. That it is gone already is an answer.
pub(crate) fn delete(function: &str, state: &mut State, id: Uuid) -> Answer {
    let endpoint = state
        .endpoints
        .get(&id)
        .ok_or(code(HResult::HCN_ENDPOINT_NOT_FOUND))?;
    if endpoint.namespace.is_some() {
        return wrong(
            function,
            "the endpoint is in a namespace",
            HResult::HCN_ENTITY_HAS_REFERENCES,
        );
    }
    state.endpoints.remove(&id);
    Ok(())
}
