//! Network adapters the host has told us about.
//!
//! The agent keeps the books: which adapters a namespace has, and the name servers that a container's `resolv.conf` is
//! made of. Moving an interface into a container is not done here.

use std::collections::HashMap;

use gcs::guest::AgentError;
use gcs::hresult;
use gcs::message::{Network, RequestType};

use crate::spec::files::{self, TooManyDomains};

/// Adapters by namespace, both lower case.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    namespaces: HashMap<String, Vec<Network>>,
}

impl Networks {
    /// Applies a modify request.
    pub(crate) fn modify(&mut self, request: &RequestType, network: Network) -> Result<(), AgentError> {
        let namespace = network.namespace_id.to_lowercase();
        let id = network.id.to_lowercase();
        match request {
            RequestType::Add => {
                let adapters = self.namespaces.entry(namespace).or_default();
                if adapters.iter().any(|adapter| adapter.id.to_lowercase() == id) {
                    return Err(AgentError::fail(format!("adapter {id} is already present")));
                }
                adapters.push(network);
                Ok(())
            }
            RequestType::Remove => {
                if let Some(adapters) = self.namespaces.get_mut(&namespace) {
                    adapters.retain(|adapter| adapter.id.to_lowercase() != id);
                    if adapters.is_empty() {
                        self.namespaces.remove(&namespace);
                    }
                }
                Ok(())
            }
            other => {
                let text = format!("network: request type {other:?} is not supported");
                Err(AgentError::new(hresult::NOT_SUPPORTED, text))
            }
        }
    }

    /// `/etc/resolv.conf` for a namespace; `None` when no adapter of it is known.
    pub(crate) fn resolv(&self, namespace: &str) -> Result<Option<String>, TooManyDomains> {
        let Some(adapters) = self.namespaces.get(namespace) else {
            return Ok(None);
        };
        let suffixes = adapters.iter().map(|adapter| adapter.dns_suffix.as_str());
        let servers = adapters.iter().map(|adapter| adapter.dns_server_list.as_str());
        files::resolv(suffixes, servers).map(Some)
    }

    /// Forgets a namespace with its container, so that its id can be used again.
    pub(crate) fn forget(&mut self, namespace: &str) {
        self.namespaces.remove(namespace);
    }

    /// How many adapters are known.
    pub(crate) fn len(&self) -> usize {
        self.namespaces.values().map(Vec::len).sum()
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
        networks
            .modify(&RequestType::Add, adapter("A", "10.0.0.1"))
            .unwrap();
        networks
            .modify(&RequestType::Add, adapter("B", "10.0.0.2"))
            .unwrap();
        assert_eq!(
            networks.resolv("ns").unwrap().as_deref(),
            Some("search lan\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n")
        );
        assert_eq!(networks.resolv("other").unwrap(), None);
    }

    #[test]
    fn an_adapter_is_known_once_and_can_be_forgotten_twice() {
        let mut networks = Networks::default();
        networks.modify(&RequestType::Add, adapter("A", "")).unwrap();
        assert!(networks.modify(&RequestType::Add, adapter("a", "")).is_err());
        networks.modify(&RequestType::Remove, adapter("a", "")).unwrap();
        networks.modify(&RequestType::Remove, adapter("a", "")).unwrap();
        assert_eq!(networks.len(), 0);
        assert!(networks.modify(&RequestType::Update, adapter("a", "")).is_err());
    }
}
