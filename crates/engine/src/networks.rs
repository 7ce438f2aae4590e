//! Networks of containers: which one a container gets, and when it is attached and detached.
//!
//! They have the driver's where there is a driver, and else none; Linux containers can have the host's instead. A container is attached
//! before it starts and detached when its processes have ended, so that its addresses and ports are its own for as long as it runs.
//! A Windows container joins by its document; into the machine of a Linux container its sandbox plugs the endpoint. What an earlier
//! daemon left is reaped in the background: a network service that does not answer keeps nobody from being served.

use network::{Attachment, NetworkDriver, NetworkError};
use task::NetworkSpec;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::record::{ContainerRecord, CreateOptions, Status};

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
        let own = driver.map(NetworkDriver::default_network);
        let known = |name: &str| matches!(name, NONE | "host") || own == Some(name);
        let Some(other) = asked(options).filter(|name| !known(name)) else {
            return Ok(());
        };
        let error = match own {
            Some(own) => Error::unimplemented(
                format!("network {other} not found: only \"none\", \"host\" and \"{own}\" exist"),
                format!("leave --network out, or use --network {own} or --network none"),
            ),
            None => Error::unimplemented(
                format!("network {other} not found: only \"none\" and \"host\" exist"),
                "use --network host, or --network none",
            ),
        };
        Err(error.about("network", other))
    }

    /// Settles which network a container has.
    ///
    /// # Errors
    /// It asks for what this host does not have, or for what excludes each other.
    pub(crate) fn settle_network(&self, options: &mut CreateOptions) -> Result<()> {
        let Some(driver) = self.0.network.as_deref() else {
            return Ok(());
        };
        let own = driver.default_network();
        if let Some(other) = asked(options).filter(|name| *name != own) {
            if options.ports.is_empty() {
                return Ok(());
            }
            return Err(Error::invalid(
                "conflicting options: port publishing and the container type network mode",
            )
            .about("network", other)
            .hint(format!("leave --network {other} or -p out")));
        }
        let wanted = asked(options).is_some() || !options.ports.is_empty();
        match driver.ready() {
            Ok(()) => options.network = Some(own.to_owned()),
            Err(error) if wanted => return Err(failed(error).about("network", own)),
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
        let own = driver.default_network();
        if record.options.network.as_deref() != Some(own) {
            return Ok(None);
        }
        let attached = driver.attach(&record.id, &record.options.ports).await;
        let attached = attached.map_err(|error| start(error, record).about("network", own))?;
        Ok(Some(attached))
    }

    /// Detaches a container that has ended; failures are logged, and the next start of the daemon tries again.
    pub(crate) async fn detach_network(&self, record: &ContainerRecord, network: Option<&Attachment>) {
        let (Some(driver), Some(network)) = (&self.0.network, network) else {
            return;
        };
        if let Err(error) = driver.detach(network).await {
            tracing::warn!(container = record.id, %error, "network of an ended container not taken away");
        }
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
        // Not tracked: who closes the engine does not wait for it.
        tokio::spawn(async move {
            match driver.reap(&keep).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "leftovers of networks removed"),
                Err(error) => tracing::warn!(%error, "leftovers of networks not removed"),
            }
        });
    }
}

/// What the sandbox of a Linux container is told of its network.
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
    }
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
        NetworkError::Stuck { .. } => (Kind::DeadlineExceeded, LOOK_AFTER),
        NetworkError::Thread { .. } => (Kind::ResourceExhausted, "end what has so many threads"),
        _ => (Kind::Internal, LOOK_AFTER),
    };
    Error::new(kind, error.to_string()).hint(hint).because(error)
}

/// An error of `network` while a container starts, in docker's words where tools look for them.
fn start(error: NetworkError, record: &ContainerRecord) -> Error {
    let NetworkError::PortInUse { port, .. } = &error else {
        return failed(error);
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
