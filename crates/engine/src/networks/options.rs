//! From what `network create` asks for to a network that the driver can make, and refusals.
//!
//! Pure functions; what this host does not have is refused with the alternative, nothing is ignored.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use network::{NetworkKind, Range, UserNetwork};

use crate::error::{Error, Kind, Result};

/// What a client asks for; every field but the name may be left out.
#[derive(Clone, Debug, Default)]
pub struct NetworkOptions {
    /// The name.
    pub name: String,
    /// The driver's word; empty is the usual one.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// The range of addresses; a free one when absent.
    pub subnet: Option<String>,
    /// Where the way out begins; the first address when absent.
    pub gateway: Option<String>,
    /// Nothing leaves it, and nothing from outside comes in.
    pub internal: bool,
    /// Shown, and without a meaning beyond that: containers join every network by hand.
    pub attachable: bool,
}

/// Names that mean something else in `--network`.
pub(super) const PREDEFINED: [&str; 5] = ["bridge", "default", "host", "nat", "none"];

const DNS_SERVERS: &str = "com.docker.network.windowsshim.dnsservers";
const DNS_SUFFIX: &str = "com.docker.network.windowsshim.dnssuffix";
const ADAPTER: &str = "com.docker.network.windowsshim.interface";
const VLAN: &str = "com.docker.network.windowsshim.vlanid";

/// The ranges in which a network may be made, best first, and the network in the first of them.
pub(super) struct Plan {
    pub(super) network: UserNetwork,
    pub(super) ranges: Vec<Range>,
    /// The range was asked for.
    pub(super) given: bool,
    gateway: Option<Ipv4Addr>,
}

impl Plan {
    /// The network in one of its ranges.
    pub(super) fn within(&self, range: Range) -> UserNetwork {
        let way_out = self.network.kind != NetworkKind::Internal;
        UserNetwork {
            subnet: range,
            gateway: way_out.then(|| self.gateway.unwrap_or_else(|| range.first_host())),
            ..self.network.clone()
        }
    }
}

/// Refuses names that cannot be one.
///
/// # Errors
/// The name is taken by what is built in, or has other characters than names have.
pub(super) fn check_name(name: &str) -> Result<()> {
    if PREDEFINED.contains(&name) {
        return Err(Error::new(
            Kind::PermissionDenied,
            format!("operation is not permitted on predefined {name} network"),
        )
        .about("network", name)
        .hint("choose another name"));
    }
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if first && rest && name.len() <= 255 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid network name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed"
    ))
    .about("network", name)
    .hint("a name has up to 255 letters, digits, '_', '.' or '-', and begins with a letter or digit"))
}

/// What is asked for, as a network; `taken` are ranges that others have.
///
/// # Errors
/// The first option that is wrong or unsupported, or no range is free.
pub(super) fn plan(asked: &NetworkOptions, taken: &[Range]) -> Result<Plan> {
    let kind = kind(asked)?;
    if asked.internal && kind.is_outside() {
        return Err(Error::unimplemented(
            format!("internal networks of driver {}: not supported", kind.as_str()),
            "use --internal with the driver nat, or the driver internal",
        )
        .about("network", &asked.name));
    }
    let (ranges, gateway) = addresses(asked, kind, taken)?;
    let first = *ranges.first().ok_or_else(no_range)?;
    let mut network = UserNetwork {
        id: String::new(),
        name: asked.name.clone(),
        kind,
        isolated: asked.internal && kind == NetworkKind::Nat,
        subnet: first,
        gateway: None,
        dns_servers: Vec::new(),
        dns_search: Vec::new(),
        adapter: None,
        vlan: None,
    };
    for (key, value) in &asked.options {
        option(&mut network, key, value)?;
    }
    if kind.is_outside() && network.adapter.is_none() {
        return Err(Error::invalid(format!(
            "a network of driver {} needs the adapter of the host",
            kind.as_str()
        ))
        .about("network", &asked.name)
        .hint(format!(
            "for example --opt {ADAPTER}=Ethernet; 'Get-NetAdapter' lists them"
        )));
    }
    Ok(Plan {
        network,
        ranges,
        given: asked.subnet.is_some(),
        gateway,
    })
}

/// No range of addresses is left for a network, in the words that tools look for.
pub(super) fn no_range() -> Error {
    Error::new(
        Kind::ResourceExhausted,
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
    )
    .hint("choose one with --subnet, or remove networks that nothing uses: 'ctr-like network prune'")
}

fn kind(asked: &NetworkOptions) -> Result<NetworkKind> {
    // Tools that know Linux only ask for a bridge, and mean the usual driver.
    let word = match asked.driver.as_str() {
        "" | "bridge" | "default" => "nat",
        word => word,
    };
    NetworkKind::of(word).ok_or_else(|| {
        Error::unimplemented(
            format!("network driver {word:?} is not supported"),
            "use nat, internal, l2bridge or transparent",
        )
        .about("network", &asked.name)
    })
}

fn addresses(
    asked: &NetworkOptions,
    kind: NetworkKind,
    taken: &[Range],
) -> Result<(Vec<Range>, Option<Ipv4Addr>)> {
    let Some(text) = &asked.subnet else {
        if kind.is_outside() {
            return Err(Error::unimplemented(
                format!(
                    "addresses from a server, for driver {}: not supported",
                    kind.as_str()
                ),
                "give --subnet and --gateway of the network that the adapter is on",
            )
            .about("network", &asked.name));
        }
        if asked.gateway.is_some() {
            return Err(
                Error::invalid("every ip-range or gateway must have a corresponding subnet")
                    .hint("add --subnet"),
            );
        }
        let free = |range: &Range| !taken.iter().any(|other| other.overlaps(*range));
        return Ok((network::ranges().filter(free).collect(), None));
    };
    let range: Range = text.parse().map_err(|error| match text.contains(':') {
        true => Error::unimplemented(
            format!("IPv6 subnet {text}: not supported"),
            "give a subnet of IPv4, such as 10.1.0.0/24",
        ),
        false => Error::invalid(format!("invalid subnet {text:?}"))
            .because(error)
            .hint("write the first address and the length of the prefix, from 8 to 30: 10.1.0.0/24"),
    })?;
    if taken.iter().any(|other| other.overlaps(range)) {
        return Err(overlaps(range));
    }
    let gateway = asked
        .gateway
        .as_deref()
        .map(|text| host_in(text, range, "gateway"))
        .transpose()?;
    match (kind, gateway) {
        (NetworkKind::Internal, Some(_)) => Err(Error::invalid("an internal network has no way out")
            .hint("leave --gateway out, or use the driver nat")),
        (kind, None) if kind.is_outside() => Err(Error::invalid(format!(
            "a network of driver {} needs the router's address",
            kind.as_str()
        ))
        .hint("add --gateway")),
        _ => Ok((vec![range], gateway)),
    }
}

/// The range is somebody else's.
pub(super) fn overlaps(range: Range) -> Error {
    Error::new(
        Kind::FailedPrecondition,
        format!("invalid pool request: Pool overlaps with other one on this address space: {range}"),
    )
    .hint("choose another --subnet, or leave it out")
}

fn host_in(text: &str, range: Range, what: &str) -> Result<Ipv4Addr> {
    let parsed = text.parse().ok().filter(|address| range.has_host(*address));
    parsed.ok_or_else(|| {
        Error::invalid(format!("invalid {what} {text:?}: no host of {range}"))
            .hint("give an address of the subnet, neither its first nor its last")
    })
}

fn option(network: &mut UserNetwork, key: &str, value: &str) -> Result<()> {
    let words = || {
        let words = value.split([',', ' ']).map(str::trim);
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let wrong = |hint: &str| Error::invalid(format!("invalid option {key}={value}")).hint(hint);
    match key {
        DNS_SERVERS => {
            network.dns_servers = words();
            let address = |word: &String| word.parse::<Ipv4Addr>().is_ok();
            if network.dns_servers.is_empty() || !network.dns_servers.iter().all(address) {
                return Err(wrong("give addresses of IPv4, separated by commas"));
            }
        }
        DNS_SUFFIX => network.dns_search = words(),
        ADAPTER if network.kind.is_outside() && !value.is_empty() => {
            network.adapter = Some(value.to_owned());
        }
        VLAN if network.kind.is_outside() => {
            let vlan = value.parse().ok().filter(|vlan| (1..4095).contains(vlan));
            network.vlan = Some(vlan.ok_or_else(|| wrong("a VLAN has a number from 1 to 4094"))?);
        }
        ADAPTER | VLAN => {
            return Err(wrong(
                "only networks of the drivers l2bridge and transparent have it",
            ));
        }
        _ => {
            return Err(Error::unimplemented(
                format!("network option {key}: not supported"),
                format!("these are: {DNS_SERVERS}, {DNS_SUFFIX}, {ADAPTER}, {VLAN}"),
            )
            .about("network", &network.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(change: impl FnOnce(&mut NetworkOptions)) -> NetworkOptions {
        let mut asked = NetworkOptions {
            name: "back".to_owned(),
            ..NetworkOptions::default()
        };
        change(&mut asked);
        asked
    }

    fn refused(change: impl FnOnce(&mut NetworkOptions)) -> Kind {
        let error = plan(&asked(change), &[]).map(drop).unwrap_err();
        assert!(!error.hints().is_empty(), "{error}");
        error.kind()
    }

    fn with(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        options.iter().map(owned).collect()
    }

    #[test]
    fn a_network_has_the_first_range_that_nobody_has() {
        let taken = [
            "10.208.0.0/24".parse().unwrap(),
            "10.208.1.128/25".parse().unwrap(),
        ];
        let plan = plan(&asked(|_| {}), &taken).unwrap();
        let network = plan.within(plan.ranges[0]);
        assert_eq!(network.subnet.to_string(), "10.208.2.0/24");
        assert_eq!(network.gateway, Some(Ipv4Addr::new(10, 208, 2, 1)));
        assert_eq!((network.kind, network.isolated), (NetworkKind::Nat, false));
        let all = ["10.208.0.0/16".parse().unwrap()];
        let error = super::plan(&asked(|_| {}), &all).map(drop).unwrap_err();
        assert!(
            error.to_string().contains("available, non-overlapping"),
            "{error}"
        );
    }

    #[test]
    fn what_is_asked_for_is_what_the_driver_is_told() {
        let plan = |change: fn(&mut NetworkOptions)| {
            let plan = plan(&asked(change), &[]).unwrap();
            plan.within(plan.ranges[0])
        };
        let given = plan(|asked| {
            asked.driver = "bridge".to_owned();
            asked.subnet = Some("10.9.0.0/16".to_owned());
            asked.gateway = Some("10.9.0.254".to_owned());
            asked.internal = true;
            asked.options = with(&[
                (DNS_SERVERS, "10.0.0.1, 10.0.0.2"),
                (DNS_SUFFIX, "a.example,b.example"),
            ]);
        });
        assert!(given.isolated && !given.publishes_ports());
        assert_eq!(given.gateway, Some(Ipv4Addr::new(10, 9, 0, 254)));
        assert_eq!(given.dns_servers, ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(given.dns_search, ["a.example", "b.example"]);
        let internal = plan(|asked| asked.driver = "internal".to_owned());
        assert_eq!(internal.gateway, None);
        let bridge = plan(|asked| {
            asked.driver = "l2bridge".to_owned();
            asked.subnet = Some("10.1.0.0/24".to_owned());
            asked.gateway = Some("10.1.0.1".to_owned());
            asked.options = with(&[(ADAPTER, "Ethernet"), (VLAN, "100")]);
        });
        assert_eq!(
            (bridge.adapter.as_deref(), bridge.vlan),
            (Some("Ethernet"), Some(100))
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let subnet = |asked: &mut NetworkOptions, text: &str| asked.subnet = Some(text.to_owned());
        for text in ["10.0.0.1/24", "10.0.0.0/31", "nonsense"] {
            assert_eq!(
                refused(|asked| subnet(asked, text)),
                Kind::InvalidArgument,
                "{text}"
            );
        }
        assert_eq!(refused(|asked| subnet(asked, "fd00::/64")), Kind::Unimplemented);
        for gateway in ["10.1.1.1", "10.1.0.0", "10.1.0.255", "x"] {
            let kind = refused(|asked| {
                subnet(asked, "10.1.0.0/24");
                asked.gateway = Some(gateway.to_owned());
            });
            assert_eq!(kind, Kind::InvalidArgument, "{gateway}");
        }
        assert_eq!(
            refused(|asked| asked.gateway = Some("10.1.0.1".to_owned())),
            Kind::InvalidArgument
        );
        for driver in ["overlay", "l2tunnel", "macvlan"] {
            assert_eq!(
                refused(|asked| asked.driver = driver.to_owned()),
                Kind::Unimplemented
            );
        }
        assert_eq!(
            refused(|asked| asked.driver = "transparent".to_owned()),
            Kind::Unimplemented
        );
        for (options, kind) in [
            (with(&[("colour", "red")]), Kind::Unimplemented),
            (with(&[(DNS_SERVERS, "one")]), Kind::InvalidArgument),
            (with(&[(ADAPTER, "Ethernet")]), Kind::InvalidArgument),
            (with(&[(VLAN, "100")]), Kind::InvalidArgument),
        ] {
            assert_eq!(refused(|asked| asked.options = options), kind);
        }
        let outside = |change: fn(&mut NetworkOptions)| {
            refused(|asked| {
                asked.driver = "l2bridge".to_owned();
                subnet(asked, "10.1.0.0/24");
                asked.gateway = Some("10.1.0.1".to_owned());
                change(asked);
            })
        };
        assert_eq!(outside(|_| {}), Kind::InvalidArgument, "no adapter");
        assert_eq!(outside(|asked| asked.internal = true), Kind::Unimplemented);
        assert_eq!(outside(|asked| asked.gateway = None), Kind::InvalidArgument);
        assert_eq!(
            outside(|asked| asked.options = with(&[(ADAPTER, "Ethernet"), (VLAN, "4095")])),
            Kind::InvalidArgument
        );
        let internal = refused(|asked| {
            asked.driver = "internal".to_owned();
            subnet(asked, "10.1.0.0/24");
            asked.gateway = Some("10.1.0.1".to_owned());
        });
        assert_eq!(internal, Kind::InvalidArgument);
    }

    #[test]
    fn names_are_dockers() {
        for name in ["back", "9", "a.b-c_d"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a b", "a/b", "ä", "container:x"] {
            assert_eq!(
                check_name(name).unwrap_err().kind(),
                Kind::InvalidArgument,
                "{name}"
            );
        }
        for name in PREDEFINED {
            assert_eq!(
                check_name(name).unwrap_err().kind(),
                Kind::PermissionDenied,
                "{name}"
            );
        }
    }
}
