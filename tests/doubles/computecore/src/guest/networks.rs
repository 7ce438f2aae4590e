//! Namespaces and adapters of the guest: announced, plugged in by the host, said to be there, and the reverse.

use gcs::hresult;
use hcs::{RequestType, WindowsNetworkRequest};
use serde_json::Value;
use uuid::Uuid;

use super::containers::Container;
use super::machine::{MODIFY, State};
use super::{Refusal, wrong};
use crate::systems::System;

/// An adapter that was announced.
pub(super) struct Adapter {
    endpoint: String,
    namespace: Option<String>,
    /// The host has said that it is there.
    added: bool,
}

impl State {
    /// Makes a namespace known, or forgets it.
    pub(super) fn namespace(&mut self, kind: RequestType, settings: &Value) -> Result<(), Refusal> {
        let id = ["ID", "Id"].into_iter().find_map(|name| settings[name].as_str());
        let Some(id) = id.and_then(|id| Uuid::try_parse(id).ok()) else {
            return wrong(MODIFY, hresult::INVALID_ARGUMENT, "a namespace without its id");
        };
        let id = id.to_string();
        match (kind, self.namespaces.iter().position(|known| *known == id)) {
            (RequestType::Add, None) => self.namespaces.push(id),
            (RequestType::Remove, Some(at)) => {
                let inside = |adapter: &Adapter| adapter.namespace.as_ref() == Some(&id);
                let lives = |container: &Container| container.namespace == id && !container.has_ended();
                if self.adapters.values().any(inside)
                    || self.containers.values().any(|container| lives(container))
                {
                    let text = format!("there is something in namespace {id}");
                    return wrong(MODIFY, hresult::INVALID_STATE, text);
                }
                self.namespaces.remove(at);
            }
            (_, known) => {
                let known = if known.is_some() { "known" } else { "unknown" };
                let text = format!("namespace {id} is {known}, not to {kind:?}");
                return wrong(MODIFY, hresult::INVALID_STATE, text);
            }
        }
        Ok(())
    }

    /// Announces an adapter, says that it is there, or that it goes.
    pub(super) fn adapter(
        &mut self,
        system: &System,
        kind: RequestType,
        request: &WindowsNetworkRequest,
    ) -> Result<(), Refusal> {
        let id = request.adapter_id.to_lowercase();
        let refused = |text: String| wrong(MODIFY, hresult::INVALID_STATE, text);
        if Uuid::try_parse(&id).is_err() {
            return refused(format!("the adapter {id:?} is no GUID"));
        }
        let plugged = system.endpoint_of(&id);
        match (kind, request.request_type) {
            (RequestType::Add, Some(RequestType::PreAdd)) => {
                let endpoint = request.settings.clone().unwrap_or_default();
                let own = ["ID", "Id"].into_iter().find_map(|name| endpoint[name].as_str());
                let Some(own) = own.map(str::to_lowercase) else {
                    return refused(format!("adapter {id} is announced without its endpoint"));
                };
                if self.adapters.contains_key(&id) || plugged.is_some() {
                    return refused(format!("adapter {id} is announced when it is there"));
                }
                let namespace = endpoint["HostComputeNamespace"].as_str().map(str::to_lowercase);
                if namespace.as_ref().is_some_and(|id| !self.namespaces.contains(id)) {
                    return refused(format!(
                        "adapter {id} is in namespace {namespace:?}, which nobody knows"
                    ));
                }
                let adapter = Adapter {
                    endpoint: own,
                    namespace,
                    added: false,
                };
                self.adapters.insert(id, adapter);
                Ok(())
            }
            (RequestType::Add, Some(RequestType::Add)) if request.settings.is_none() => {
                match self.adapters.get_mut(&id) {
                    Some(adapter) if !adapter.added => {
                        if plugged.map(|endpoint| endpoint.to_lowercase()).as_ref() != Some(&adapter.endpoint)
                        {
                            return refused(format!(
                                "the host has not plugged in adapter {id} of its endpoint"
                            ));
                        }
                        adapter.added = true;
                        Ok(())
                    }
                    _ => refused(format!("adapter {id} was not announced, or is there")),
                }
            }
            (RequestType::Remove, Some(RequestType::Remove)) => match self.adapters.remove(&id) {
                Some(adapter) if plugged.is_some() || !adapter.added => Ok(()),
                Some(_) => refused(format!("the host has taken out adapter {id} before")),
                None => refused(format!("nobody knows adapter {id}")),
            },
            (kind, inner) => refused(format!("{kind:?} of an adapter with {inner:?} inside")),
        }
    }
}
