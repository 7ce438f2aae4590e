//! The seam: what the engine asks of networks.

use std::net::IpAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Known, NetworkError, Place, UserNetwork};

/// What is mapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The word of `-p` and `ps`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the host that leads into a container, on all addresses of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The port of the host; 0 in a wish: any free one.
    pub host: u16,
    /// The port in the container.
    pub container: u16,
    /// Of both.
    pub protocol: Protocol,
}

/// An address of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of it that are the network's.
    pub prefix: u8,
}

/// What one run of a container has of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The name of the network.
    pub network: String,
    /// Its id.
    pub network_id: String,
    /// The namespace that the container's document names.
    pub namespace: String,
    /// The endpoint in it.
    pub endpoint: String,
    /// Addresses of the endpoint.
    pub addresses: Vec<Address>,
    /// Where the way out begins; empty when there is none.
    pub gateway: String,
    /// The hardware address with colons; empty when the service told none.
    pub mac_address: String,
    /// Ports of the host, none of them 0.
    pub ports: Vec<Port>,
    /// Name servers, for guests that nobody else tells: those of the endpoint or its network, else the host's.
    #[serde(default)]
    pub dns_servers: Vec<String>,
    /// Search domains of the endpoint or its network.
    #[serde(default)]
    pub dns_search: Vec<String>,
}

/// Who makes networks on this host.
#[async_trait]
pub trait NetworkDriver: Send + Sync {
    /// Says why there can be no networks here.
    ///
    /// # Errors
    /// What the host lacks.
    fn ready(&self) -> Result<(), NetworkError>;

    /// The name of the network that containers get.
    fn default_network(&self) -> &'static str;

    /// Makes a namespace with an endpoint on a network: `on` a user's, or the default one. A network that is missing, as after a
    /// reboot, is made. A future that is dropped may leave an attachment, which [`NetworkDriver::reap`] of another driver takes away.
    ///
    /// # Errors
    /// [`NetworkError::PortInUse`], [`NetworkError::AddressInUse`], or what failed; nothing but the network is left, unless that
    /// failed too and was logged.
    async fn attach(
        &self,
        container: &str,
        on: Option<&Place>,
        ports: &[Port],
    ) -> Result<Attachment, NetworkError>;

    /// How the service describes the namespace and the endpoint of an attachment, for guests that know its documents.
    ///
    /// # Errors
    /// What failed.
    async fn describe(&self, attachment: &Attachment) -> Result<(Value, Value), NetworkError>;

    /// Takes an attachment away. What is gone already is no failure.
    ///
    /// # Errors
    /// What failed; what is left of it is reaped by the next driver.
    async fn detach(&self, attachment: &Attachment) -> Result<(), NetworkError>;

    /// Makes a network for a user and says its id; that in `network` does not matter. A future that is dropped may leave the
    /// network, which [`NetworkDriver::reap`] of another driver takes away.
    ///
    /// # Errors
    /// What failed; see [`NetworkError::is_about_the_range`] and [`NetworkError::is_taken`].
    async fn create_network(&self, network: &UserNetwork) -> Result<String, NetworkError>;

    /// Takes a user's network away. One that is gone already is no failure.
    ///
    /// # Errors
    /// [`NetworkError::is_in_use`], or what failed.
    async fn remove_network(&self, id: &str) -> Result<(), NetworkError>;

    /// The default network, if it is there.
    ///
    /// # Errors
    /// What failed.
    async fn look(&self) -> Result<Option<Known>, NetworkError>;

    /// Takes away what other drivers of the same owner have left, but `keep` and the networks with these ids. Says how much that
    /// was.
    ///
    /// # Errors
    /// What failed first. Endpoints stay where a namespace could not be emptied; the next driver tries again.
    async fn reap(&self, keep: &[Attachment], networks: &[String]) -> Result<usize, NetworkError>;
}
