//! Networks themselves, the default one and those of users: found, made, and taken away.

use hcs::HResult;
use hcs::hcn::HostComputeNetwork;
use uuid::Uuid;
use win32::hcn::Network;

use super::work::{Result, Work, gone};
use crate::{Known, NetworkError, NetworkKind, UserNetwork, documents};

pub(super) const ENUMERATE: &str = "HcnEnumerateNetworks";

/// What a network is.
pub(super) struct Found {
    pub(super) handle: Network,
    pub(super) id: String,
    pub(super) document: HostComputeNetwork,
}

impl Work<'_> {
    /// The default network; it is made when it is not there.
    pub(super) fn default_network(&self) -> Result<Found> {
        if let Some(found) = self.find()? {
            return Ok(found);
        }
        let mut refusal = None;
        for (subnet, gateway) in documents::SUBNETS {
            let settings = documents::network(subnet, gateway);
            let id = documents::DEFAULT_NETWORK_ID;
            match self.make(documents::DEFAULT_NETWORK, id, &settings) {
                Ok(handle) => {
                    tracing::info!(subnet, "network nat made");
                    return self.look(handle, id);
                }
                // Somebody else was faster.
                Err(error) if error.is_taken() => return self.find()?.ok_or(error),
                Err(error) if error.is_about_the_range() => {
                    tracing::debug!(subnet, %error, "addresses are taken");
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal.expect("there are ranges, and each was refused"))
    }

    /// What the default network is, if it is there.
    pub(super) fn known(&self) -> Result<Option<Known>> {
        let found = self.find()?;
        Ok(found.map(|found| documents::known(&found.id, &found.document)))
    }

    /// The network of a user; it is made again when it is not there.
    pub(super) fn user_network(&self, network: &UserNetwork) -> Result<Found> {
        // Another text is no id of ours, and names nothing.
        let id: Uuid = network.id.parse().unwrap_or_default();
        if let Some(found) = self.open(id)? {
            return Ok(found);
        }
        match self.make_user_network(network, id) {
            Ok(handle) => {
                tracing::info!(network = network.name, "a network of a user made again");
                self.look(handle, id)
            }
            // Somebody else was faster, or has another network of that name.
            Err(error) if error.is_taken() => self.open(id)?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Makes a network for a user and says its id.
    pub(super) fn create_network(&self, network: &UserNetwork) -> Result<String> {
        let id = self.shared.next();
        if let Err(error) = self.make_user_network(network, id) {
            // It may have failed after it was made.
            if let Err(left) = self.delete_network(id) {
                tracing::warn!(network = network.name, error = %left, "a network that was not made may be there");
            }
            return Err(error);
        }
        Ok(id.to_string())
    }

    /// Takes a network of a user away.
    pub(super) fn remove_network(&self, id: &str) -> Result<()> {
        // Another text is no id of ours, and names nothing.
        self.delete_network(id.parse().unwrap_or_default())
    }

    pub(super) fn delete_network(&self, id: Uuid) -> Result<()> {
        gone(self.call("HcnDeleteNetwork", &format!("network {id}"), || {
            self.service.delete_network(id.as_u128())
        }))?;
        self.shared.made().remove(&id);
        Ok(())
    }

    fn make(&self, name: &str, id: Uuid, settings: &str) -> Result<Network> {
        self.call("HcnCreateNetwork", &format!("network {name}"), || {
            self.service.create_network(id.as_u128(), settings)
        })
    }

    /// Makes the network. Where a second NAT network is refused, and not for its name or addresses, that is told as such: no code
    /// is known to say it.
    fn make_user_network(&self, network: &UserNetwork, id: Uuid) -> Result<Network> {
        let error = match self.make(&network.name, id, &documents::user_network(network)) {
            Ok(handle) => return Ok(handle),
            Err(error) => error,
        };
        let other_reason = error.is_taken()
            || error.is_about_the_range()
            || error.code() == Some(HResult::ACCESS_DENIED_BY_WINDOWS)
            || network.kind != NetworkKind::Nat;
        match error {
            NetworkError::Call {
                function,
                code,
                detail,
                ..
            } if !other_reason && let Some(other) = self.other_nat(id) => Err(NetworkError::SecondNat {
                other,
                function,
                code,
                detail,
            }),
            error => Err(error),
        }
    }

    /// The name of a NAT network, other than this.
    fn other_nat(&self, than: Uuid) -> Option<String> {
        let query = documents::query();
        let text = self.call(ENUMERATE, "networks", || self.service.enumerate_networks(&query));
        let ids = text.and_then(|text| Self::list(ENUMERATE, &text));
        let ids = ids.unwrap_or_default().into_iter().filter(|id| *id != than);
        // That the look fails is not what the user has to hear.
        ids.filter_map(|id| self.open(id).ok().flatten())
            .find(|found| documents::is_nat(&found.document))
            .map(|found| found.document.name)
    }

    fn find(&self) -> Result<Option<Found>> {
        let query = documents::by_name(documents::DEFAULT_NETWORK);
        let text = self.call(ENUMERATE, "networks", || self.service.enumerate_networks(&query))?;
        for id in Self::list(ENUMERATE, &text)? {
            // One that is not there any more went in between.
            if let Some(found) = self.open(id)?
                && documents::is_default(&found.document)
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A network, if it is there.
    fn open(&self, id: Uuid) -> Result<Option<Found>> {
        let opened = self.call("HcnOpenNetwork", &format!("network {id}"), || {
            self.service.open_network(id.as_u128())
        });
        match opened.and_then(|handle| self.look(handle, id)) {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(Some),
        }
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
}
