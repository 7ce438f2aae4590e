//! What is done with the service, call by call, on a thread that may block.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use hcs::hcn::{HostComputeEndpoint, HostComputeNamespace, NetworkRequestType};
use hcs::{Document, HResult};
use serde_json::Value;
use uuid::Uuid;
use win32::hcn::{ComputeNetwork, NetworkFailure};

use super::Shared;
use super::call::At;
use super::networks::{ENUMERATE, Found};
use crate::{Attachment, NetworkError, Place, Port, documents};

pub(super) type Result<T> = std::result::Result<T, NetworkError>;

/// A thread at work.
pub(super) struct Work<'a> {
    pub(super) service: &'static ComputeNetwork,
    pub(super) shared: &'a Shared,
    pub(super) at: &'a At,
}

impl Work<'_> {
    /// Makes one call; `object` is what it is about.
    pub(super) fn call<T>(
        &self,
        function: &'static str,
        object: &str,
        call: impl FnOnce() -> std::result::Result<T, NetworkFailure>,
    ) -> Result<T> {
        self.at.send_replace(function);
        call().map_err(|failure| refused(object, &failure))
    }

    pub(super) fn read<T: Document>(function: &'static str, what: &'static str, text: &str) -> Result<T> {
        T::from_json(text).map_err(|source| NetworkError::Document {
            function,
            what,
            source: Box::new(source),
        })
    }

    /// A document as it came, with what we do not know of it.
    fn verbatim<T: Document>(function: &'static str, what: &'static str, text: &str) -> Result<Value> {
        Self::read::<T>(function, what, text)?;
        // It has just been read.
        Ok(serde_json::from_str(text).unwrap_or_default())
    }

    pub(super) fn list(function: &'static str, text: &str) -> Result<Vec<Uuid>> {
        documents::ids(text).map_err(|source| NetworkError::Document {
            function,
            what: "list of ids",
            source: Box::new(source),
        })
    }

    /// Makes endpoint and namespace; after a failure they are taken away.
    pub(super) fn attach(&self, container: &str, on: Option<&Place>, ports: &[Port]) -> Result<Attachment> {
        let network = match on {
            Some(place) => self.user_network(&place.network)?,
            None => self.default_network()?,
        };
        let (endpoint, namespace) = (self.shared.next(), self.shared.next());
        let made = self
            .make_endpoint(&network, endpoint, container, on, ports)
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
                    network: on
                        .map_or(documents::DEFAULT_NETWORK, |place| &place.network.name)
                        .to_owned(),
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

    fn make_endpoint(
        &self,
        network: &Found,
        id: Uuid,
        container: &str,
        on: Option<&Place>,
        ports: &[Port],
    ) -> Result<HostComputeEndpoint> {
        const QUERY: &str = "HcnQueryEndpointProperties";
        let settings = documents::endpoint(container, &network.id, on, ports);
        let object = format!("endpoint {id}");
        let created = self.call("HcnCreateEndpoint", &object, || {
            network.handle.create_endpoint(id.as_u128(), &settings)
        });
        let address = on.and_then(|place| place.ip);
        let endpoint = created.map_err(|error| in_use(error, address, ports))?;
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

    /// The documents of the service about the namespace and the endpoint of an attachment.
    pub(super) fn describe(&self, attachment: &Attachment) -> Result<(Value, Value)> {
        const NAMESPACE: &str = "HcnQueryNamespaceProperties";
        const ENDPOINT: &str = "HcnQueryEndpointProperties";
        let query = documents::query();
        let id = |text: &str| text.parse::<Uuid>().unwrap_or_default().as_u128();
        let object = format!("namespace {}", attachment.namespace);
        let opened = self.call("HcnOpenNamespace", &object, || {
            self.service.open_namespace(id(&attachment.namespace))
        })?;
        let text = self.call(NAMESPACE, &object, || opened.properties(&query))?;
        let namespace = Self::verbatim::<HostComputeNamespace>(NAMESPACE, "namespace", &text)?;
        let object = format!("endpoint {}", attachment.endpoint);
        let opened = self.call("HcnOpenEndpoint", &object, || {
            self.service.open_endpoint(id(&attachment.endpoint))
        })?;
        let text = self.call(ENDPOINT, &object, || opened.properties(&query))?;
        let endpoint = Self::verbatim::<HostComputeEndpoint>(ENDPOINT, "endpoint", &text)?;
        Ok((namespace, endpoint))
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
        let networks = self.call(ENUMERATE, "networks", || self.service.enumerate_networks(&query))?;
        let left = |function, text: &str| {
            let mut ids = Self::list(function, text)?;
            let made = self.shared.made();
            ids.retain(|id| self.shared.ids.has(*id) && !keep.contains(id) && !made.contains(id));
            Ok::<_, NetworkError>(ids)
        };
        let networks = left(ENUMERATE, &networks)?;
        let namespaces = left("HcnEnumerateNamespaces", &namespaces)?;
        let endpoints = left("HcnEnumerateEndpoints", &endpoints)?;
        let count = namespaces.len() + endpoints.len() + networks.len();
        let mut emptied = Ok(());
        for id in namespaces {
            let gone = self.empty(id).and_then(|()| self.delete_namespace(id));
            emptied = emptied.and(gone);
        }
        emptied?;
        endpoints
            .into_iter()
            .map(|id| self.take_away_endpoint(id))
            .fold(Ok(()), Result::and)?;
        let deleted = networks
            .into_iter()
            .map(|id| self.delete_network(id))
            .fold(Ok(()), Result::and);
        deleted.map(|()| count)
    }
}

/// What is not there need not be taken away.
pub(super) fn gone(result: Result<()>) -> Result<()> {
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

/// Says which port or address is in use, as far as that is known.
fn in_use(error: NetworkError, address: Option<Ipv4Addr>, ports: &[Port]) -> NetworkError {
    match (error, address) {
        (NetworkError::Call { function, code, .. }, _) if code == HResult::HCN_PORT_ALREADY_EXISTS => {
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
        (NetworkError::Call { function, code, .. }, Some(address))
            if code == HResult::HCN_ADDR_INVALID_OR_RESERVED =>
        {
            NetworkError::AddressInUse {
                address,
                function,
                code,
            }
        }
        (other, _) => other,
    }
}
