//! `--network`, in its short and its long form.

use api::message::NetworkAttachment;

use crate::failure::Failure;

/// The networks, in order.
pub(super) fn all(networks: &[String]) -> Result<Vec<NetworkAttachment>, Failure> {
    networks.iter().map(|text| network(text)).collect()
}

/// Gives the first network (or the default one) what the flags of their own say.
pub(super) fn add(networks: &mut Vec<NetworkAttachment>, extra: NetworkAttachment) {
    let nothing = NetworkAttachment {
        network: extra.network.clone(),
        ..NetworkAttachment::default()
    };
    if extra == nothing {
        return;
    }
    let Some(first) = networks.first_mut() else {
        networks.push(extra);
        return;
    };
    first.aliases.extend(extra.aliases);
    first.link_local.extend(extra.link_local);
    first.ipv4 = extra.ipv4.or(first.ipv4.take());
    first.ipv6 = extra.ipv6.or(first.ipv6.take());
    first.mac_address = extra.mac_address.or(first.mac_address.take());
}

fn network(text: &str) -> Result<NetworkAttachment, Failure> {
    let mut attachment = NetworkAttachment::default();
    if !text.contains('=') {
        attachment.network = text.to_owned();
        return if text.is_empty() {
            Err(Failure::usage("a network needs a name"))
        } else {
            Ok(attachment)
        };
    }
    for field in text.split(',') {
        let Some((name, value)) = field.split_once('=') else {
            return Err(Failure::usage(format!(
                "invalid network {text:?}: write name=NETWORK,alias=NAME,..."
            )));
        };
        match name.trim().to_lowercase().as_str() {
            "name" => attachment.network = value.to_owned(),
            "alias" => attachment.aliases.push(value.to_owned()),
            "ip" => attachment.ipv4 = Some(value.to_owned()),
            "ip6" => attachment.ipv6 = Some(value.to_owned()),
            "link-local-ip" => attachment.link_local.push(value.to_owned()),
            "mac-address" => attachment.mac_address = Some(value.to_owned()),
            "driver-opt" => {
                let (key, value) = value.split_once('=').unwrap_or((value, ""));
                attachment.driver_options.insert(key.to_owned(), value.to_owned());
            }
            other => {
                return Err(Failure::usage(format!(
                    "invalid network {text:?}: unknown key {other:?}"
                )));
            }
        }
    }
    if attachment.network.is_empty() {
        return Err(Failure::usage(format!(
            "invalid network {text:?}: name=NETWORK is missing"
        )));
    }
    Ok(attachment)
}
