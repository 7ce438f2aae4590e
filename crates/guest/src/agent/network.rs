//! Network adapters the host has told us about.
//!
//! The agent keeps the books: which adapters a namespace of the host has, what a container's `resolv.conf` is made of, and which
//! container has the namespace. Its adapters are moved into the container before its program starts; one that comes later,
//! at once. [`crate::adapter`] does the moving.

use std::collections::HashMap;

use gcs::guest::AgentError;
use gcs::hresult;
use gcs::message::{Network, RequestType};

use super::{Inner, lock};
use crate::adapter;
use crate::spec::files::{self, TooManyDomains};

/// Adapters by namespace, lower case.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    namespaces: HashMap<String, Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    adapters: Vec<Adapter>,
    /// The init of the container that has it.
    owner: Option<i32>,
    /// How many interfaces the container was given.
    given: usize,
}

#[derive(Debug, Clone)]
struct Adapter {
    network: Network,
    /// Its interface in the machine, until a container has it.
    interface: Option<String>,
}

/// An interface that a container is to be given.
#[derive(Debug)]
struct Gift {
    network: Network,
    interface: String,
    number: usize,
    pid: i32,
}

impl Inner {
    /// Applies a modify request. An adapter that is added is waited for.
    pub(super) async fn network(&self, request: &RequestType, network: Network) -> Result<(), AgentError> {
        match request {
            RequestType::Add => {
                lock(&self.networks).refuse_known(&network)?;
                let interface = adapter::find(&network)
                    .await
                    .map_err(|error| AgentError::fail(crate::chain(&error)))?;
                let gifts = {
                    let mut networks = lock(&self.networks);
                    networks.refuse_known(&network)?;
                    networks.add(network.clone(), interface)
                };
                let given = give(gifts).await;
                if given.is_err() {
                    lock(&self.networks).remove(&network);
                }
                given
            }
            RequestType::Remove => {
                lock(&self.networks).remove(&network);
                Ok(())
            }
            other => {
                let text = format!("network: request type {other:?} is not supported");
                Err(AgentError::new(hresult::NOT_SUPPORTED, text))
            }
        }
    }

    /// Gives a container that was just made the adapters of its namespace.
    pub(super) async fn connect(&self, namespace: &str, pid: i32) -> Result<(), AgentError> {
        let gifts = lock(&self.networks).claim(namespace, pid);
        give(gifts).await
    }
}

async fn give(gifts: Vec<Gift>) -> Result<(), AgentError> {
    if gifts.is_empty() {
        return Ok(());
    }
    let moved = tokio::task::spawn_blocking(move || {
        gifts
            .iter()
            .try_for_each(|gift| adapter::connect(&gift.network, &gift.interface, gift.number, gift.pid))
    });
    moved
        .await
        .map_err(|error| AgentError::fail(error.to_string()))?
        .map_err(|error| AgentError::fail(crate::chain(&error)))
}

impl Networks {
    fn refuse_known(&self, network: &Network) -> Result<(), AgentError> {
        let known = self
            .namespaces
            .get(&network.namespace_id.to_lowercase())
            .is_some_and(|namespace| {
                namespace
                    .adapters
                    .iter()
                    .any(|adapter| adapter.network.id.eq_ignore_ascii_case(&network.id))
            });
        match known {
            true => Err(AgentError::fail(format!(
                "adapter {} is already present",
                network.id
            ))),
            false => Ok(()),
        }
    }

    /// Notes an adapter; what its container is to be given, if there is one.
    fn add(&mut self, network: Network, interface: String) -> Vec<Gift> {
        let namespace = self
            .namespaces
            .entry(network.namespace_id.to_lowercase())
            .or_default();
        namespace.adapters.push(Adapter {
            network,
            interface: Some(interface),
        });
        namespace.gifts()
    }

    fn remove(&mut self, network: &Network) {
        let name = network.namespace_id.to_lowercase();
        if let Some(namespace) = self.namespaces.get_mut(&name) {
            namespace
                .adapters
                .retain(|adapter| !adapter.network.id.eq_ignore_ascii_case(&network.id));
            if namespace.adapters.is_empty() && namespace.owner.is_none() {
                self.namespaces.remove(&name);
            }
        }
    }

    /// A container takes a namespace; what it is to be given.
    fn claim(&mut self, namespace: &str, pid: i32) -> Vec<Gift> {
        if namespace.is_empty() {
            return Vec::new();
        }
        let namespace = self.namespaces.entry(namespace.to_owned()).or_default();
        namespace.owner = Some(pid);
        namespace.gifts()
    }

    /// `/etc/resolv.conf` for a namespace; `None` when no adapter of it is known.
    pub(crate) fn resolv(&self, namespace: &str) -> Result<Option<String>, TooManyDomains> {
        let Some(namespace) = self.namespaces.get(namespace) else {
            return Ok(None);
        };
        let adapters = || namespace.adapters.iter().map(|adapter| &adapter.network);
        let suffixes = adapters().map(|adapter| adapter.dns_suffix.as_str());
        let servers = adapters().map(|adapter| adapter.dns_server_list.as_str());
        files::resolv(suffixes, servers).map(Some)
    }

    /// Forgets a namespace with its container, so that its id can be used again.
    pub(crate) fn forget(&mut self, namespace: &str) {
        self.namespaces.remove(namespace);
    }

    /// How many adapters are known.
    pub(crate) fn len(&self) -> usize {
        self.namespaces
            .values()
            .map(|namespace| namespace.adapters.len())
            .sum()
    }
}

impl Namespace {
    /// The interfaces that nobody has yet, for the container if there is one.
    fn gifts(&mut self) -> Vec<Gift> {
        let Some(pid) = self.owner else {
            return Vec::new();
        };
        let mut gifts = Vec::new();
        for adapter in &mut self.adapters {
            if let Some(interface) = adapter.interface.take() {
                gifts.push(Gift {
                    network: adapter.network.clone(),
                    interface,
                    number: self.given,
                    pid,
                });
                self.given += 1;
            }
        }
        gifts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(id: &str, servers: &str) -> Network {
        Network {
            namespace_id: "NS".into(),
            id: id.into(),
            dns_server_list: servers.into(),
            dns_suffix: "lan".into(),
            ..Default::default()
        }
    }

    #[test]
    fn name_servers_of_all_adapters_of_a_namespace_count() {
        let mut networks = Networks::default();
        networks.add(adapter("A", "10.0.0.1"), "ens1".into());
        networks.add(adapter("B", "10.0.0.2"), "ens2".into());
        assert_eq!(
            networks.resolv("ns").unwrap().as_deref(),
            Some("search lan\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n")
        );
        assert_eq!(networks.resolv("other").unwrap(), None);
    }

    #[test]
    fn an_adapter_is_known_once_and_can_be_forgotten_twice() {
        let mut networks = Networks::default();
        networks.refuse_known(&adapter("A", "")).unwrap();
        networks.add(adapter("A", ""), "ens1".into());
        assert!(networks.refuse_known(&adapter("a", "")).is_err());
        networks.remove(&adapter("a", ""));
        networks.remove(&adapter("a", ""));
        assert_eq!(networks.len(), 0);
    }

    #[test]
    fn a_container_gets_what_came_before_it_and_then_what_comes_later() {
        let mut networks = Networks::default();
        let given = |gifts: Vec<Gift>| -> Vec<(String, usize, i32)> {
            gifts
                .into_iter()
                .map(|gift| (gift.interface, gift.number, gift.pid))
                .collect()
        };
        assert!(networks.add(adapter("A", ""), "ens1".into()).is_empty());
        assert!(networks.claim("", 6).is_empty());
        assert_eq!(given(networks.claim("ns", 7)), [("ens1".to_owned(), 0, 7)]);
        assert_eq!(
            given(networks.add(adapter("B", ""), "ens2".into())),
            [("ens2".to_owned(), 1, 7)]
        );
        networks.forget("ns");
        assert!(networks.add(adapter("A", ""), "ens1".into()).is_empty());
    }
}
