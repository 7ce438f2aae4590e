//! Networks of containers: which one a container gets, and when it is attached and detached.
//!
//! They have the driver's default one, or one that a user has made (see [`book`]), where there is a driver, and else none; Linux
//! containers can have the host's instead. A container is attached before it starts and detached when its processes have ended, so
//! that its addresses and ports are its own for as long as it runs. A Windows container joins by its document; into the machine of a
//! Linux container its sandbox plugs the endpoint. What an earlier daemon left is reaped in the background: a network service that
//! does not answer keeps nobody from being served.

mod book;
mod options;

use std::collections::BTreeMap;

use network::{Attachment, NetworkError, Place};
use task::{NetworkDescription, NetworkSpec};

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::record::{ContainerRecord, CreateOptions, Status};

pub(crate) use book::Networks;
pub use book::{NetworkInspection, NetworkRecord};
pub use options::NetworkOptions;

const NONE: &str = "none";
/// What to do when the network fails without a reason of ours.
pub(crate) const LOOK_AFTER: &str =
    "look after the Host Network Service: 'sc query hns'; --network none does without";

/// The network that a user asked for by its name; none for whichever is usual.
fn asked(options: &CreateOptions) -> Option<&str> {
    options
        .network
        .as_deref()
        .filter(|name| !matches!(*name, "" | "default"))
}

impl Engine {
    /// Refuses networks and ports that no container can have here.
    ///
    /// # Errors
    /// There is no such network, or ports cannot be published.
    pub(crate) fn check_network(&self, options: &CreateOptions) -> Result<()> {
        let driver = self.0.network.as_deref();
        if driver.is_none() && !options.ports.is_empty() {
            return Err(no_ports());
        }
        let address = options.ip.is_some();
        if address && driver.is_none() {
            return Err(Error::unimplemented(
                "an address of a container's own: not supported by this daemon",
                "leave --ip out",
            ));
        }
        let Some(name) = asked(options).filter(|name| !matches!(*name, NONE | "host")) else {
            return match address {
                true => Err(only_on_networks_of_users()),
                false => Ok(()),
            };
        };
        if let Some(other) = name.strip_prefix("container:") {
            return Err(Error::unimplemented(
                format!("the network of container {other}: not supported"),
                "join both containers to one network: --network NAME",
            )
            .about("network", name));
        }
        if driver.is_none() {
            return Err(Error::unimplemented(
                format!("network {name} not found: only \"none\" and \"host\" exist"),
                "use --network host, or --network none",
            )
            .about("network", name));
        }
        let network = self.find_network(name)?;
        match (&network.plan, options.ip) {
            (None, Some(_)) => Err(only_on_networks_of_users()),
            (Some(plan), Some(ip)) if !plan.subnet.has_host(ip) || plan.gateway == Some(ip) => {
                Err(Error::invalid(format!(
                    "no configured subnet or ip-range contain the IP address {ip}"
                ))
                .about("network", name)
                .hint(format!("give a free address of {}", plan.subnet)))
            }
            (Some(plan), _) if !options.ports.is_empty() && !plan.publishes_ports() => {
                let way = match plan.isolated {
                    true => "is internal".to_owned(),
                    false => format!("has the driver {}", plan.kind.as_str()),
                };
                Err(Error::invalid(format!(
                    "conflicting options: ports cannot be published on network {name}, which {way}"
                ))
                .about("network", name)
                .hint("leave -p out, or use a network of the driver nat"))
            }
            _ => Ok(()),
        }
    }

    /// Settles which network a container has.
    ///
    /// # Errors
    /// It asks for what this host does not have, or for what excludes each other.
    pub(crate) fn settle_network(&self, options: &mut CreateOptions) -> Result<()> {
        let Some(driver) = self.0.network.as_deref() else {
            return Ok(());
        };
        if let Some(other) = asked(options).filter(|name| matches!(*name, NONE | "host")) {
            if options.ports.is_empty() {
                return Ok(());
            }
            return Err(Error::invalid(
                "conflicting options: port publishing and the container type network mode",
            )
            .about("network", other)
            .hint(format!("leave --network {other} or -p out")));
        }
        let name = match asked(options) {
            // The record has its name, whatever it was asked for by.
            Some(name) => self.find_network(name)?.name,
            None => driver.default_network().to_owned(),
        };
        let wanted = asked(options).is_some() || !options.ports.is_empty();
        match driver.ready() {
            Ok(()) => options.network = Some(name),
            Err(error) if wanted => return Err(failed(error).about("network", name)),
            Err(error) => {
                tracing::info!(%error, "a container without a network is made");
                options.network = Some(NONE.to_owned());
            }
        }
        Ok(())
    }

    /// Why containers have no network although nobody asked for that; to warn those who make them.
    #[must_use]
    pub fn network_warning(&self) -> Option<String> {
        let driver = self.0.network.as_deref()?;
        let error = driver.ready().err()?;
        let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
        Some(format!(
            "the container has no network: {error}{}",
            cause.unwrap_or_default()
        ))
    }

    /// Attaches a container that is about to start; none when it has no network of its own.
    pub(crate) async fn attach_network(&self, record: &ContainerRecord) -> Result<Option<Attachment>> {
        let Some(driver) = &self.0.network else {
            return Ok(None);
        };
        let own_name = |name: &&str| !matches!(*name, NONE | "host");
        let Some(name) = record.options.network.as_deref().filter(own_name) else {
            return Ok(None);
        };
        let network = self.0.networks.join(&record.id, name)?;
        let place = network.plan.clone().map(|network| Place {
            network,
            ip: record.options.ip,
        });
        let attached = driver
            .attach(&record.id, place.as_ref(), &record.options.ports)
            .await;
        match attached {
            Ok(attached) => {
                // Whoever looks at a container knows networks by our ids.
                let attached = Attachment {
                    network_id: network.id,
                    ..attached
                };
                self.tell_of_attachment(record, &attached, "connect");
                Ok(Some(attached))
            }
            Err(error) => {
                self.0.networks.leave(&record.id);
                Err(start(error, record).about("network", name))
            }
        }
    }

    /// What the machine of a Windows container is told of its network.
    pub(crate) async fn described_network(
        &self,
        record: &ContainerRecord,
        network: &Attachment,
    ) -> Result<NetworkSpec> {
        let Some(driver) = &self.0.network else {
            return Ok(spec(network));
        };
        let described = driver.describe(network).await;
        let (namespace, endpoint) =
            described.map_err(|error| start(error, record).about("network", &network.network))?;
        Ok(NetworkSpec {
            described: Some(NetworkDescription { namespace, endpoint }),
            ..spec(network)
        })
    }

    /// Detaches a container that has ended; failures are logged, and the next start of the daemon tries again.
    pub(crate) async fn detach_network(&self, record: &ContainerRecord, network: Option<&Attachment>) {
        let (Some(driver), Some(network)) = (&self.0.network, network) else {
            return;
        };
        if let Err(error) = driver.detach(network).await {
            tracing::warn!(container = record.id, %error, "network of an ended container not taken away");
        }
        self.0.networks.leave(&record.id);
        self.tell_of_attachment(record, network, "disconnect");
    }

    fn tell_of_attachment(&self, record: &ContainerRecord, network: &Attachment, action: &str) {
        let driver = self
            .find_network(&network.network_id)
            .map(|network| network.driver);
        let attributes = BTreeMap::from([
            ("container".to_owned(), record.id.clone()),
            ("name".to_owned(), network.network.clone()),
            ("type".to_owned(), driver.unwrap_or_default()),
        ]);
        self.0
            .events
            .publish("network", action, &network.network_id, attributes);
    }

    /// Takes away what an earlier daemon left, in the background.
    pub(crate) fn reap_networks(&self) {
        let Some(driver) = self.0.network.clone().filter(|driver| driver.ready().is_ok()) else {
            return;
        };
        let runs = |record: &ContainerRecord| matches!(record.state.status, Status::Running | Status::Paused);
        let keep: Vec<Attachment> = self
            .list()
            .into_iter()
            .filter(runs)
            .filter_map(|record| record.state.network)
            .collect();
        let networks = self.0.networks.made();
        // Not tracked: who closes the engine does not wait for it.
        tokio::spawn(async move {
            match driver.reap(&keep, &networks).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "leftovers of networks removed"),
                Err(error) => tracing::warn!(%error, "leftovers of networks not removed"),
            }
        });
    }
}

/// What the sandbox of a container in a machine is told of its network.
pub(crate) fn spec(network: &Attachment) -> NetworkSpec {
    NetworkSpec {
        namespace: network.namespace.clone(),
        endpoint: network.endpoint.clone(),
        mac_address: network.mac_address.replace(':', "-").to_uppercase(),
        addresses: network
            .addresses
            .iter()
            .map(|address| (address.ip, address.prefix))
            .collect(),
        gateway: network.gateway.parse().ok(),
        dns_servers: network.dns_servers.clone(),
        dns_search: network.dns_search.clone(),
        described: None,
    }
}

fn only_on_networks_of_users() -> Error {
    Error::invalid("user specified IP address is supported on user defined networks only")
        .hint("make a network with 'ctr-like network create', and use --network with --ip")
}

fn no_ports() -> Error {
    Error::unimplemented(
        "published ports: not supported by this daemon",
        "use --network host",
    )
}

/// An error of `network`.
fn failed(error: NetworkError) -> Error {
    let (kind, hint) = match &error {
        NetworkError::Missing { .. } => (
            Kind::FailedPrecondition,
            "turn the Windows feature Containers on and start the computer again, or use --network none",
        ),
        NetworkError::PortInUse { .. } => (
            Kind::FailedPrecondition,
            "choose another port of the host with -p, or stop what has this one",
        ),
        NetworkError::AddressInUse { .. } => (
            Kind::FailedPrecondition,
            "choose another --ip, leave it out, or stop what has this one",
        ),
        NetworkError::SecondNat { .. } => (
            Kind::FailedPrecondition,
            "older builds of Windows have room for one NAT network only: use --network nat, or a network of another driver, such as \
             'ctr-like network create -d internal'",
        ),
        NetworkError::Stuck { .. } => (Kind::DeadlineExceeded, LOOK_AFTER),
        NetworkError::Thread { .. } => (Kind::ResourceExhausted, "end what has so many threads"),
        _ => (Kind::Internal, LOOK_AFTER),
    };
    Error::new(kind, error.to_string()).hint(hint).because(error)
}

/// An error of `network` while a container starts, in docker's words where tools look for them.
fn start(error: NetworkError, record: &ContainerRecord) -> Error {
    let NetworkError::PortInUse { port, .. } = &error else {
        // A network that is made again may have lost its addresses to somebody.
        let hint = error
            .is_about_the_range()
            .then_some("remove the network and make it again with another --subnet");
        let failed = failed(error);
        return match hint {
            Some(hint) if failed.kind() == Kind::Internal => failed.hint(hint),
            _ => failed,
        };
    };
    let taken = match port {
        0 => "one of its ports".to_owned(),
        port => format!("0.0.0.0:{port}"),
    };
    let message = format!(
        "driver failed programming external connectivity on endpoint {}: Bind for {taken} failed: port is already allocated",
        record.name
    );
    Error::new(Kind::FailedPrecondition, message)
        .hint("choose another port of the host with -p, or stop what has this one")
        .because(error)
}
