//! Networks.

use std::net::Ipv4Addr;

use hcs::HResult;
use hcs::hcn::HostComputeNetwork;
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
    version(function, "the network", network.schema_version)?;
    if network.name.is_empty() {
        return wrong(function, "a network without a name", HResult::HCN_INVALID_NETWORK);
    }
    if !network.network_type.eq_ignore_ascii_case("NAT") {
        let what = format_args!("there are no networks of type {:?} here", network.network_type);
        return wrong(function, what, HResult::HCN_INVALID_NETWORK_TYPE);
    }
    let subnet = match network.ipams.as_slice() {
        [ipam] if ipam.ipam_type == "Static" && ipam.subnets.len() == 1 => &ipam.subnets[0],
        _ => return wrong(function, "a network has to have one static subnet", RANGE),
    };
    let Some(range) = Range::parse(&subnet.ip_address_prefix) else {
        let what = format_args!("{:?} is no subnet", subnet.ip_address_prefix);
        return wrong(function, what, HResult::HCN_INVALID_PREFIX);
    };
    let gateway = subnet
        .routes
        .iter()
        .filter(|route| route.destination_prefix == "0.0.0.0/0")
        .find_map(|route| route.next_hop.parse::<Ipv4Addr>().ok())
        .map(u32::from)
        .filter(|gateway| range.has(*gateway));
    let Some(gateway) = gateway else {
        return wrong(function, "a subnet without a way out", RANGE);
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
    };
    state.networks.insert(id, network);
    Ok(())
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
