//! Networks.

use std::net::{IpAddr, Ipv4Addr};

use hcs::HResult;
use hcs::hcn::{
    HostComputeNetwork, NetAdapterNamePolicySetting, Subnet, SubnetPolicy, VlanPolicySetting, network_type,
    policy_type,
};
use layerstore::Answer;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::documents::{code, matches, read, version, wrong};
use crate::range::Range;
use crate::state::{Network, State};

/// `HcnEnumerateNetworks`.
pub(crate) fn enumerate(state: &State, filter: &Value) -> Vec<Uuid> {
    let name = |network: &Network| network.document["Name"].as_str().unwrap().to_owned();
    state
        .networks
        .iter()
        .filter(|(id, network)| matches(filter, **id, &name(network), ""))
        .map(|(id, _)| *id)
        .collect()
}

/// `HcnCreateNetwork`.
pub(crate) fn create(function: &str, state: &mut State, id: Uuid, settings: &Value) -> Answer {
    const RANGE: HResult = HResult::HCN_INVALID_SUBNET;
    let network: HostComputeNetwork = read(function, "settings of a network", settings)?;
    version(function, "the network", network.schema_version.clone())?;
    if network.name.is_empty() {
        return wrong(function, "a network without a name", HResult::HCN_INVALID_NETWORK);
    }
    let kind = network.network_type.as_str();
    let outside = [network_type::L2_BRIDGE, network_type::TRANSPARENT].contains(&kind);
    if !outside && ![network_type::NAT, network_type::INTERNAL].contains(&kind) {
        let what = format_args!("there are no networks of type {kind:?} here");
        return wrong(function, what, HResult::HCN_INVALID_NETWORK_TYPE);
    }
    adapter(function, &network, outside)?;
    name_servers(function, &network)?;
    let subnet = match network.ipams.as_slice() {
        [ipam] if ipam.ipam_type == "Static" && ipam.subnets.len() == 1 => &ipam.subnets[0],
        _ => return wrong(function, "a network has to have one static subnet", RANGE),
    };
    let Some(range) = Range::parse(&subnet.ip_address_prefix) else {
        let what = format_args!("{:?} is no subnet", subnet.ip_address_prefix);
        return wrong(function, what, HResult::HCN_INVALID_PREFIX);
    };
    vlan(function, subnet, outside)?;
    let routes: Vec<_> = subnet.routes.iter().collect();
    let gateway = match (kind, routes.as_slice()) {
        (network_type::INTERNAL, []) => None,
        (network_type::INTERNAL, _) => {
            return wrong(function, "an internal network with a way out", RANGE);
        }
        (_, routes) => {
            let gateway = routes
                .iter()
                .filter(|route| route.destination_prefix == "0.0.0.0/0")
                .find_map(|route| route.next_hop.parse::<Ipv4Addr>().ok())
                .map(u32::from)
                .filter(|gateway| range.has(*gateway));
            if gateway.is_none() {
                return wrong(function, "a subnet without a way out", RANGE);
            }
            gateway
        }
    };
    let taken = |(other, known): (&Uuid, &Network)| {
        let same = known.document["Name"]
            .as_str()
            .is_some_and(|name| name.eq_ignore_ascii_case(&network.name));
        *other == id || same
    };
    if state.networks.iter().any(taken) {
        return Err(code(HResult::HCN_NETWORK_ALREADY_EXISTS));
    }
    if state.networks.values().any(|known| known.range.overlaps(range)) {
        return Err(code(RANGE));
    }
    let network = Network {
        document: settings.clone(),
        range,
        gateway,
        translates: kind == network_type::NAT,
    };
    state.networks.insert(id, network);
    Ok(())
}

/// A network of an adapter of the host names it, and no other network has policies.
fn adapter(function: &str, network: &HostComputeNetwork, outside: bool) -> Answer {
    let mut named = false;
    for policy in &network.policies {
        if policy.policy_type != policy_type::NET_ADAPTER_NAME || !outside {
            let what = format_args!("a network has a policy {:?}", policy.policy_type);
            return wrong(function, what, HResult::HCN_INVALID_POLICY_TYPE);
        }
        let settings = policy.settings.clone().unwrap_or_default();
        let settings: NetAdapterNamePolicySetting = read(function, "settings of an adapter", &settings)?;
        named |= !settings.network_adapter_name.is_empty();
    }
    if outside && !named {
        let what = "a network of an adapter of the host does not name it";
        return wrong(function, what, HResult::HCN_INVALID_POLICY);
    }
    Ok(())
}

fn name_servers(function: &str, network: &HostComputeNetwork) -> Answer {
    let servers = network.dns.iter().flat_map(|dns| &dns.server_list);
    match servers.into_iter().find(|text| text.parse::<IpAddr>().is_err()) {
        Some(text) => wrong(
            function,
            format_args!("the name server {text:?} is no address"),
            HResult::HCN_INVALID_IP,
        ),
        None => Ok(()),
    }
}

/// The only policy of a subnet is the VLAN of one outside.
fn vlan(function: &str, subnet: &Subnet, outside: bool) -> Answer {
    for policy in &subnet.policies {
        let policy: SubnetPolicy = read(function, "policies of a subnet", policy)?;
        let settings = policy.settings.clone().unwrap_or_default();
        let vlan: VlanPolicySetting = read(function, "settings of a VLAN", &settings)?;
        if !outside {
            let what = "the VLAN of a network that is not outside";
            return wrong(function, what, HResult::HCN_INVALID_POLICY);
        }
        if policy.policy_type != "VLAN" || !(1..4095).contains(&vlan.isolation_id) {
            let what = format_args!("a subnet has a policy {policy:?}");
            return wrong(function, what, HResult::HCN_INVALID_POLICY);
        }
    }
    Ok(())
}

/// `HcnDeleteNetwork`. That it is gone already, or has endpoints, is an answer.
pub(crate) fn delete(_: &str, state: &mut State, id: Uuid) -> Answer {
    if state.endpoints.values().any(|endpoint| endpoint.network == id) {
        return Err(code(HResult::HCN_ENTITY_HAS_REFERENCES));
    }
    match state.networks.remove(&id) {
        Some(_) => Ok(()),
        None => Err(code(HResult::HCN_NETWORK_NOT_FOUND)),
    }
}

/// `HcnQueryNetworkProperties`.
pub(crate) fn properties(state: &State, id: Uuid) -> Answer<Value> {
    let network = state
        .networks
        .get(&id)
        .ok_or(code(HResult::HCN_NETWORK_NOT_FOUND))?;
    let mut document = network.document.clone();
    // As the service spells ids, with a field that is newer than anybody.
    document["ID"] = json!(id.to_string().to_uppercase());
    document["SwitchGuid"] = json!(id.to_string());
    Ok(document)
}
