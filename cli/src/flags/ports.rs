//! `-p` and `--expose`.

use std::net::IpAddr;

use api::message::PortMapping;

use crate::failure::Failure;

/// `[[IP:][HOST]:]PORT[/PROTOCOL]`, with ranges; a range is one mapping per port.
pub(super) fn published(ports: &[String]) -> Result<Vec<PortMapping>, Failure> {
    let mut mappings = Vec::new();
    for text in ports {
        mappings.extend(publish(text).ok_or_else(|| {
            Failure::usage(format!(
                "invalid port {text:?}: write [[IP:]HOST:]PORT[/tcp|udp|sctp], a range as 8000-8010"
            ))
        })?);
    }
    Ok(mappings)
}

/// `PORT[-PORT][/PROTOCOL]`, in the same spelling.
pub(super) fn exposed(ports: &[String]) -> Result<Vec<String>, Failure> {
    let mut exposed = Vec::new();
    for text in ports {
        let parse = || {
            let (port, protocol) = protocol(text)?;
            let (first, last) = range(port).filter(|(first, _)| *first > 0)?;
            Some((first..=last).map(move |port| format!("{port}/{protocol}")))
        };
        exposed.extend(
            parse().ok_or_else(|| Failure::usage(format!("invalid port {text:?}: write PORT[/PROTOCOL]")))?,
        );
    }
    Ok(exposed)
}

fn publish(text: &str) -> Option<Vec<PortMapping>> {
    let (text, protocol) = protocol(text)?;
    let (rest, container) = text
        .rsplit_once(':')
        .map_or((None, text), |(rest, container)| (Some(rest), container));
    let (first, last) = range(container).filter(|(first, _)| *first > 0)?;
    let (ip, host) = match rest {
        None => (None, None),
        Some(rest) => match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (ip, host) = bracketed.split_once("]:")?;
                (Some(ip), Some(host))
            }
            None => rest
                .rsplit_once(':')
                .map_or((None, Some(rest)), |(ip, host)| (Some(ip), Some(host))),
        },
    };
    let host_ip = match ip.filter(|ip| !ip.is_empty()) {
        Some(ip) => Some(ip.parse::<IpAddr>().ok()?.to_string()),
        None => None,
    };
    let host = match host.filter(|host| !host.is_empty()) {
        Some(host) => Some(range(host)?),
        None => None,
    };
    if host.is_some_and(|(low, high)| high - low != last - first) {
        return None;
    }
    let mapping = |port: u16| PortMapping {
        host_ip: host_ip.clone(),
        // Zero is docker's other word for "any free one".
        host_port: host
            .map(|(low, _)| low + (port - first))
            .filter(|port| *port != 0),
        container_port: port,
        protocol: protocol.clone(),
    };
    Some((first..=last).map(mapping).collect())
}

/// The protocol in lower case, and the text before it.
fn protocol(text: &str) -> Option<(&str, String)> {
    let (port, protocol) = text
        .split_once('/')
        .map_or((text, "tcp".to_owned()), |(port, protocol)| {
            (port, protocol.to_lowercase())
        });
    ["tcp", "udp", "sctp"]
        .contains(&protocol.as_str())
        .then_some((port, protocol))
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}
