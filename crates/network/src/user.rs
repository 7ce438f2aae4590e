//! Networks that users make: what one of them is, so that it can be made again when the host has lost it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::Range;

/// How containers of a network reach others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// The host translates addresses, and its ports lead to containers.
    #[default]
    Nat,
    /// Containers reach each other and the host, and there is no way out.
    Internal,
    /// Containers are on the network of an adapter of the host, with the host's hardware address.
    L2Bridge,
    /// Containers are on the network of an adapter of the host, with hardware addresses of their own.
    Transparent,
}

impl NetworkKind {
    /// The word of `-d`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Internal => "internal",
            Self::L2Bridge => "l2bridge",
            Self::Transparent => "transparent",
        }
    }

    /// The kind that a word names.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Nat, Self::Internal, Self::L2Bridge, Self::Transparent]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// It is a network of an adapter of the host.
    #[must_use]
    pub fn is_outside(self) -> bool {
        matches!(self, Self::L2Bridge | Self::Transparent)
    }
}

/// A network that a user has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNetwork {
    /// The id that the driver knows it by; empty before it is made.
    pub id: String,
    /// The name, which no other network of the host has.
    pub name: String,
    /// How its containers reach others.
    pub kind: NetworkKind,
    /// Rules of its endpoints keep its containers from what is outside of it, and that from them.
    pub isolated: bool,
    /// The addresses of its containers.
    pub subnet: Range,
    /// Where the way out begins; none where there is no way out.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers of its containers; the host's when there are none.
    pub dns_servers: Vec<String>,
    /// Search domains of its containers, the first is the network's own.
    pub dns_search: Vec<String>,
    /// The adapter of the host.
    pub adapter: Option<String>,
    /// The VLAN of its packets.
    pub vlan: Option<u16>,
}

impl UserNetwork {
    /// Whether ports of the host can lead to its containers.
    #[must_use]
    pub fn publishes_ports(&self) -> bool {
        self.kind == NetworkKind::Nat && !self.isolated
    }
}

/// A place on a network of a user, for one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The network.
    pub network: UserNetwork,
    /// The address; any free one when there is none.
    pub ip: Option<Ipv4Addr>,
}

/// What the service tells of a network that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// Its range of addresses, as the service writes it; empty when it tells none.
    pub subnet: String,
    /// Where the way out begins; empty when it tells none.
    pub gateway: String,
}

/// Ranges for networks that are made without one: the first that nobody has.
pub fn ranges() -> impl Iterator<Item = Range> {
    (0..64).filter_map(|third| Range::new(Ipv4Addr::new(10, 208, third, 0), 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_have_dockers_words() {
        for kind in ["nat", "internal", "l2bridge", "transparent"] {
            assert_eq!(NetworkKind::of(kind).unwrap().as_str(), kind);
        }
        assert_eq!(NetworkKind::of("overlay"), None);
        assert_eq!(ranges().count(), 64);
    }
}
