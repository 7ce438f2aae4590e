//! What is done with the service, call by call, on a thread that may block.

use std::collections::HashSet;

use hcs::hcn::{HostComputeEndpoint, HostComputeNamespace, HostComputeNetwork, NetworkRequestType};
use hcs::{Document, HResult};
use uuid::Uuid;
use win32::hcn::{ComputeNetwork, Network, NetworkFailure};

use super::Shared;
use super::call::At;
use crate::{Attachment, NetworkError, Port, documents};

type Result<T> = std::result::Result<T, NetworkError>;

/// A thread at work.
pub(super) struct Work<'a> {
    pub(super) service: &'static ComputeNetwork,
    pub(super) shared: &'a Shared,
    pub(super) at: &'a At,
}

/// What the default network is.
struct Found {
    handle: Network,
    id: String,
    document: HostComputeNetwork,
}

impl Work<'_> {
    /// Makes one call; `object` is what it is about.
    fn call<T>(
        &self,
        function: &'static str,
        object: &str,
        call: impl FnOnce() -> std::result::Result<T, NetworkFailure>,
    ) -> Result<T> {
        self.at.send_replace(function);
        call().map_err(|failure| refused(object, &failure))
    }

    fn read<T: Document>(function: &'static str, what: &'static str, text: &str) -> Result<T> {
        T::from_json(text).map_err(|source| NetworkError::Document {
            function,
            what,
            source: Box::new(source),
        })
    }

    fn list(function: &'static str, text: &str) -> Result<Vec<Uuid>> {
        documents::ids(text).map_err(|source| NetworkError::Document {
            function,
            what: "list of ids",
            source: Box::new(source),
        })
    }

    /// Makes endpoint and namespace; after a failure they are taken away.
    pub(super) fn attach(&self, container: &str, ports: &[Port]) -> Result<Attachment> {
        let network = self.network()?;
        let (endpoint, namespace) = (self.shared.next(), self.shared.next());
        let made = self
            .make_endpoint(&network, endpoint, container, ports)
            .and_then(|document| {
                self.make_namespace(namespace, endpoint)?;
                let addresses = documents::addresses(&document);
                if addresses.is_empty() {
                    return Err(NetworkError::NoAddress {
                        endpoint: endpoint.to_string(),
                    });
                }
                let (mut dns_servers, dns_search) = documents::dns(&document, &network.document);
                if dns_servers.is_empty() {
                    dns_servers = win32::name_servers();
                }
                Ok(Attachment {
                    network: documents::DEFAULT_NETWORK.to_owned(),
                    network_id: network.id.clone(),
                    namespace: namespace.to_string(),
                    endpoint: endpoint.to_string(),
                    addresses,
                    gateway: documents::gateway(&document, &network.document),
                    mac_address: document.mac_address.replace('-', ":").to_lowercase(),
                    ports: documents::ports(&document),
                    dns_servers,
                    dns_search,
                })
            });
        if made.is_err()
            && let Err(error) = self.take_away(namespace, endpoint)
        {
            tracing::warn!(container, %error, "what was made before a failure is left");
        }
        made
    }

    /// The default network; it is made when it is not there.
    fn network(&self) -> Result<Found> {
        if let Some(found) = self.find()? {
            return Ok(found);
        }
        let mut refusal = None;
        for (subnet, gateway) in documents::SUBNETS {
            let settings = documents::network(subnet, gateway);
            let id = documents::DEFAULT_NETWORK_ID;
            let created = self.call("HcnCreateNetwork", "network nat", || {
                self.service.create_network(id.as_u128(), &settings)
            });
            match created {
                Ok(handle) => {
                    tracing::info!(subnet, "network nat made");
                    return self.look(handle, id);
                }
                // Somebody else was faster.
                Err(error) if error.code() == Some(HResult::HCN_NETWORK_ALREADY_EXISTS) => {
                    return self.find()?.ok_or(error);
                }
                Err(error) if error.code().is_some_and(documents::is_about_the_range) => {
                    tracing::debug!(subnet, %error, "addresses are taken");
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal.expect("there are ranges, and each was refused"))
    }

    fn find(&self) -> Result<Option<Found>> {
        let query = documents::by_name(documents::DEFAULT_NETWORK);
        let text = self.call("HcnEnumerateNetworks", "networks", || {
            self.service.enumerate_networks(&query)
        })?;
        for id in Self::list("HcnEnumerateNetworks", &text)? {
            let opened = self.call("HcnOpenNetwork", &format!("network {id}"), || {
                self.service.open_network(id.as_u128())
            });
            let found = match opened.and_then(|handle| self.look(handle, id)) {
                // It went in between.
                Err(error) if error.is_not_found() => continue,
                other => other?,
            };
            if documents::is_default(&found.document) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn look(&self, handle: Network, id: Uuid) -> Result<Found> {
        const QUERY: &str = "HcnQueryNetworkProperties";
        let text = self.call(QUERY, &format!("network {id}"), || {
            handle.properties(&documents::query())
        })?;
        Ok(Found {
            handle,
            id: id.to_string(),
            document: Self::read(QUERY, "network", &text)?,
        })
    }

    fn make_endpoint(
        &self,
        network: &Found,
        id: Uuid,
        container: &str,
        ports: &[Port],
    ) -> Result<HostComputeEndpoint> {
        const QUERY: &str = "HcnQueryEndpointProperties";
        let settings = documents::endpoint(container, &network.id, ports);
        let object = format!("endpoint {id}");
        let created = self.call("HcnCreateEndpoint", &object, || {
            network.handle.create_endpoint(id.as_u128(), &settings)
        });
        let endpoint = created.map_err(|error| in_use(error, ports))?;
        let text = self.call(QUERY, &object, || endpoint.properties(&documents::query()))?;
        Self::read(QUERY, "endpoint", &text)
    }

    fn make_namespace(&self, id: Uuid, endpoint: Uuid) -> Result<()> {
        let object = format!("namespace {id}");
        let namespace = self.call("HcnCreateNamespace", &object, || {
            self.service
                .create_namespace(id.as_u128(), &documents::namespace())
        })?;
        let change = documents::change(NetworkRequestType::Add, &endpoint.to_string());
        self.call("HcnModifyNamespace", &object, || namespace.modify(&change))
    }

    /// Takes an attachment away.
    pub(super) fn detach(&self, attachment: &Attachment) -> Result<()> {
        // An attachment that says something else was not ours.
        let id = |text: &str| text.parse().unwrap_or_default();
        self.take_away(id(&attachment.namespace), id(&attachment.endpoint))
    }

    /// Takes away a namespace and then the endpoint, as far as they are there. An endpoint that cannot be taken out of its
    /// namespace stays.
    fn take_away(&self, namespace: Uuid, endpoint: Uuid) -> Result<()> {
        self.empty(namespace)?;
        let deleted = self.delete_namespace(namespace);
        deleted.and(self.take_away_endpoint(endpoint))
    }

    /// Takes the endpoints out of a namespace.
    fn empty(&self, id: Uuid) -> Result<()> {
        const QUERY: &str = "HcnQueryNamespaceProperties";
        let object = format!("namespace {id}");
        let opened = self.call("HcnOpenNamespace", &object, || {
            self.service.open_namespace(id.as_u128())
        });
        let namespace = match opened {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        let text = self.call(QUERY, &object, || namespace.properties(&documents::query()))?;
        let document: HostComputeNamespace = Self::read(QUERY, "namespace", &text)?;
        documents::endpoints_of(&document)
            .iter()
            .try_for_each(|endpoint| {
                let change = documents::change(NetworkRequestType::Remove, endpoint);
                gone(self.call("HcnModifyNamespace", &object, || namespace.modify(&change)))
            })
    }

    fn delete_namespace(&self, id: Uuid) -> Result<()> {
        gone(self.call("HcnDeleteNamespace", &format!("namespace {id}"), || {
            self.service.delete_namespace(id.as_u128())
        }))?;
        self.shared.made().remove(&id);
        Ok(())
    }

    fn take_away_endpoint(&self, id: Uuid) -> Result<()> {
        gone(self.call("HcnDeleteEndpoint", &format!("endpoint {id}"), || {
            self.service.delete_endpoint(id.as_u128())
        }))?;
        self.shared.made().remove(&id);
        Ok(())
    }

    /// Takes away what is the owner's, but what is kept and what this driver has made.
    pub(super) fn reap(&self, keep: &HashSet<Uuid>) -> Result<usize> {
        let query = documents::query();
        // First what is there and then what is made, so that nothing new is taken for old.
        let namespaces = self.call("HcnEnumerateNamespaces", "namespaces", || {
            self.service.enumerate_namespaces(&query)
        })?;
        let endpoints = self.call("HcnEnumerateEndpoints", "endpoints", || {
            self.service.enumerate_endpoints(&query)
        })?;
        let left = |function, text: &str| {
            let mut ids = Self::list(function, text)?;
            let made = self.shared.made();
            ids.retain(|id| self.shared.ids.has(*id) && !keep.contains(id) && !made.contains(id));
            Ok::<_, NetworkError>(ids)
        };
        let namespaces = left("HcnEnumerateNamespaces", &namespaces)?;
        let endpoints = left("HcnEnumerateEndpoints", &endpoints)?;
        let count = namespaces.len() + endpoints.len();
        let mut emptied = Ok(());
        for id in namespaces {
            let gone = self.empty(id).and_then(|()| self.delete_namespace(id));
            emptied = emptied.and(gone);
        }
        emptied?;
        let deleted = endpoints
            .into_iter()
            .map(|id| self.take_away_endpoint(id))
            .fold(Ok(()), Result::and);
        deleted.map(|()| count)
    }
}

/// What is not there need not be taken away.
fn gone(result: Result<()>) -> Result<()> {
    result.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
}

/// A refusal with the words of the service.
fn refused(object: &str, failure: &NetworkFailure) -> NetworkError {
    let (code, detail) = failure
        .record
        .as_deref()
        .map(documents::error_record)
        .unwrap_or_default();
    NetworkError::Call {
        function: failure.function,
        object: object.to_owned(),
        code: match failure.code {
            0 => code.unwrap_or(HResult::E_UNEXPECTED),
            own => HResult::from_bits(own),
        },
        detail,
    }
}

/// Says which port is in use, as far as that is known.
fn in_use(error: NetworkError, ports: &[Port]) -> NetworkError {
    match error {
        NetworkError::Call { function, code, .. } if code == HResult::HCN_PORT_ALREADY_EXISTS => {
            let only = match ports {
                [one] => Some(one),
                _ => None,
            };
            NetworkError::PortInUse {
                port: only.map_or(0, |port| port.host),
                protocol: only.map_or("tcp", |port| port.protocol.as_str()),
                function,
                code,
            }
        }
        other => other,
    }
}
