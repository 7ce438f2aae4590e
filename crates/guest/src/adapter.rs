//! A network adapter of a container: found in the machine, moved into the container's network namespace, configured there.
//!
//! The host adds the device to the machine and then names it to the agent ([`find`]). On VMBus a device is found by its GUID, on PCI,
//! where there is none, by its address, as in a sandbox, whose adapters are interfaces that the host has moved there. A container that has just been made gets its adapters before its program starts
//! ([`connect`]). When the container's namespace ends, the kernel brings a device back into the machine.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gcs::message::Network;
use nix::sched::{CloneFlags, setns};

use crate::devices::{APPEARS, appear};
use crate::modules::ModuleError;
use crate::netlink::{self, Netlink};
use crate::platform;

const INTERFACES: &str = "/sys/class/net";
const VMBUS: &str = "/sys/bus/vmbus/devices";

/// Why a container does not get an adapter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdapterError {
    /// It did not appear in time.
    #[error("no network adapter {id} with address {address} appeared within {after:?}")]
    Absent {
        /// The adapter.
        id: String,
        /// Its address.
        address: String,
        /// How long we waited.
        after: Duration,
    },
    /// The driver is missing.
    #[error("driver of the network adapter is not there")]
    Driver(#[from] ModuleError),
    /// The host's settings make no sense.
    #[error("{what} {value:?} of network adapter {id} cannot be read")]
    Settings {
        /// The adapter.
        id: String,
        /// What.
        what: &'static str,
        /// As the host says it.
        value: String,
    },
    /// The kernel refused a step.
    #[error("{step} of network adapter {id}")]
    Step {
        /// The adapter.
        id: String,
        /// What was done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// What is configured in the container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    id: String,
    addresses: Vec<(IpAddr, u8)>,
    routes: Vec<Route>,
    overhead: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    destination: (IpAddr, u8),
    gateway: Option<IpAddr>,
    metric: u32,
}

/// Waits until the adapter is there; the name of its interface. Cancel-safe.
pub(crate) async fn find(network: &Network) -> Result<String, AdapterError> {
    let loaded = tokio::task::spawn_blocking(platform::network).await;
    loaded.map_err(|error| step(&network.id, "driver", io::Error::other(error)))??;
    let found = appear(|| look(Path::new(INTERFACES), Path::new(VMBUS), network)).await;
    let found = found.map_err(|source| step(&network.id, "look for the interface", source))?;
    found.ok_or_else(|| AdapterError::Absent {
        id: network.id.clone(),
        address: network.mac_address.clone(),
        after: APPEARS,
    })
}

fn step(id: &str, step: &'static str, source: io::Error) -> AdapterError {
    AdapterError::Step {
        id: id.to_owned(),
        step,
        source,
    }
}

fn look(interfaces: &Path, vmbus: &Path, network: &Network) -> io::Result<Option<String>> {
    let of_device = vmbus.join(network.id.to_lowercase()).join("net");
    if let Some(name) = names(&of_device)?.into_iter().next() {
        return Ok(Some(name));
    }
    let address = network.mac_address.replace('-', ":");
    let has_it = |name: &String| {
        let known: PathBuf = interfaces.join(name).join("address");
        fs::read_to_string(known).is_ok_and(|known| known.trim_end().eq_ignore_ascii_case(&address))
    };
    match address.is_empty() {
        true => Ok(None),
        false => Ok(names(interfaces)?.into_iter().find(has_it)),
    }
}

/// The entries of a directory, none where it does not exist.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Moves an interface to the network namespace of a process, as `eth` and a number, and configures it there. Blocks.
pub(crate) fn connect(
    network: &Network,
    interface: &str,
    number: usize,
    pid: i32,
) -> Result<(), AdapterError> {
    let settings = Settings::read(network)?;
    let failed = |what| move |source| step(&network.id, what, source);
    let name = format!("eth{number}");
    let process =
        u32::try_from(pid).map_err(|error| step(&network.id, "process", io::Error::other(error)))?;
    let namespace = fs::File::open(format!("/proc/{pid}/ns/net")).map_err(failed("network namespace"))?;
    let index = netlink::index(interface).map_err(failed("index"))?;
    Netlink::open()
        .and_then(|netlink| netlink.give(index, process, &name))
        .map_err(failed("move into the container"))?;
    // A thread belongs to one namespace, and this one to the machine's.
    let inside = std::thread::Builder::new()
        .name("adapter".to_owned())
        .stack_size(128 << 10)
        .spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .map_err(|error| step(&settings.id, "enter the container", error.into()))?;
            settings.apply(&name)
        })
        .map_err(failed("thread"))?;
    inside
        .join()
        .unwrap_or_else(|_| Err(step(&network.id, "thread", io::Error::other("it panicked"))))
}

impl Settings {
    fn read(network: &Network) -> Result<Self, AdapterError> {
        let wrong = |what, value: &str| AdapterError::Settings {
            id: network.id.clone(),
            what,
            value: value.to_owned(),
        };
        let mut addresses = Vec::new();
        for config in &network.ip_configs {
            let address: IpAddr = config
                .ip_address
                .parse()
                .map_err(|_| wrong("address", &config.ip_address))?;
            if config.prefix_length > width(address) {
                return Err(wrong("prefix length", &config.prefix_length.to_string()));
            }
            addresses.push((address, config.prefix_length));
        }
        let mut routes = Vec::new();
        for route in &network.routes {
            let destination = prefix(&route.destination_prefix)
                .ok_or_else(|| wrong("destination", &route.destination_prefix))?;
            let gateway = match route.next_hop.as_str() {
                "" => None,
                text => Some(text.parse::<IpAddr>().map_err(|_| wrong("next hop", text))?),
            };
            let gateway = gateway.filter(|gateway| !gateway.is_unspecified());
            // A default route to nobody is none.
            if destination.1 == 0 && gateway.is_none() {
                continue;
            }
            if gateway.is_some_and(|gateway| gateway.is_ipv6() != destination.0.is_ipv6()) {
                return Err(wrong("next hop", &route.next_hop));
            }
            routes.push(Route {
                destination,
                gateway,
                metric: u32::from(route.metric),
            });
        }
        Ok(Self {
            id: network.id.clone(),
            addresses,
            routes,
            overhead: network.encap_overhead,
        })
    }

    /// Configures the interface in the namespace of the calling thread.
    fn apply(&self, name: &str) -> Result<(), AdapterError> {
        let failed = |what| move |source| step(&self.id, what, source);
        let netlink = Netlink::open().map_err(failed("netlink"))?;
        let index = netlink::index(name).map_err(failed("index in the container"))?;
        netlink
            .up(index, self.mtu().map_err(failed("largest packet size"))?)
            .map_err(failed("bring up"))?;
        for (address, prefix) in &self.addresses {
            netlink
                .add_address(index, *address, *prefix)
                .map_err(failed("address"))?;
        }
        for route in &self.routes {
            if let Some(gateway) = route.gateway
                && !self.reaches(gateway)
            {
                netlink
                    .add_route(index, (gateway, width(gateway)), None, 0)
                    .map_err(failed("route to the gateway"))?;
            }
            netlink
                .add_route(index, route.destination, route.gateway, route.metric)
                .map_err(failed("route"))?;
        }
        Ok(())
    }

    /// The usual size less what encapsulation needs.
    fn mtu(&self) -> io::Result<Option<u32>> {
        const ETHERNET: u32 = 1500;
        match self.overhead {
            0 => Ok(None),
            overhead => ETHERNET
                .checked_sub(u32::from(overhead))
                .map(Some)
                .ok_or_else(|| io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Whether an address is on the link.
    fn reaches(&self, other: IpAddr) -> bool {
        self.addresses.iter().any(|(own, prefix)| match (own, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        })
    }
}

/// Bits of an address.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

/// `10.0.0.0/8`.
fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    (length <= width(address)).then_some((address, length))
}

#[cfg(test)]
mod tests {
    use gcs::message;

    use super::*;

    fn network() -> Network {
        Network {
            id: "A".to_owned(),
            mac_address: "00-15-5D-52-C0-00".to_owned(),
            ip_configs: vec![message::IpConfig {
                ip_address: "10.0.2.15".to_owned(),
                prefix_length: 24,
            }],
            ..Network::default()
        }
    }

    fn route(destination: &str, next_hop: &str) -> message::Route {
        message::Route {
            destination_prefix: destination.to_owned(),
            next_hop: next_hop.to_owned(),
            metric: 0,
        }
    }

    #[test]
    fn routes_are_read_as_the_reference_agent_reads_them() {
        let mut network = network();
        network.routes = vec![
            route("0.0.0.0/0", "10.0.2.2"),
            route("0.0.0.0/0", "0.0.0.0"),
            route("::/0", ""),
            route("192.168.0.0/16", ""),
        ];
        let settings = Settings::read(&network).unwrap();
        let read: Vec<_> = settings
            .routes
            .iter()
            .map(|route| (route.destination.1, route.gateway.is_some()))
            .collect();
        assert_eq!(read, [(0, true), (16, false)]);
        assert!(settings.reaches("10.0.2.2".parse().unwrap()));
        assert!(!settings.reaches("10.0.3.2".parse().unwrap()));
        assert!(!settings.reaches("fe80::1".parse().unwrap()));
    }

    #[test]
    fn nonsense_is_refused_with_what_it_was() {
        for (destination, next_hop, what) in [
            ("0.0.0.0", "10.0.2.2", "destination"),
            ("10.0.0.0/33", "", "destination"),
            ("x/8", "", "destination"),
            ("0.0.0.0/0", "gateway", "next hop"),
            ("0.0.0.0/0", "fe80::1", "next hop"),
        ] {
            let mut network = network();
            network.routes = vec![route(destination, next_hop)];
            let error = Settings::read(&network).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        let mut long = network();
        long.ip_configs[0].prefix_length = 33;
        assert!(Settings::read(&long).is_err());
        long.ip_configs[0].ip_address = "10.0.2".to_owned();
        assert!(Settings::read(&long).is_err());
    }

    #[test]
    fn an_interface_is_found_by_guid_on_vmbus_and_by_address_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let (interfaces, vmbus) = (directory.path().join("net"), directory.path().join("vmbus"));
        let find = |network: &Network| look(&interfaces, &vmbus, network).unwrap();
        assert_eq!(find(&network()), None);
        for (name, address) in [("lo", "00:00:00:00:00:00"), ("ens1", "00:15:5d:52:c0:00")] {
            fs::create_dir_all(interfaces.join(name)).unwrap();
            fs::write(interfaces.join(name).join("address"), format!("{address}\n")).unwrap();
        }
        assert_eq!(find(&network()).as_deref(), Some("ens1"));
        assert_eq!(find(&Network::default()), None);
        fs::create_dir_all(vmbus.join("a/net/eth5")).unwrap();
        assert_eq!(find(&network()).as_deref(), Some("eth5"));
    }
}
