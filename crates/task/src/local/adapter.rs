//! The network adapter of one task: in the machine before the container is made, out of it when the container has ended.
//!
//! The machine is plugged into an endpoint that exists already; the agent moves what appears into the container's network
//! namespace, which it knows by the id that the container's document has, too. Whoever made the endpoint takes it away.

use std::sync::Arc;

use super::machine::Machine;
use crate::NetworkSpec;
use crate::document::{guest, machine};
use crate::error::{Result, TaskError};

/// An adapter in the machine.
pub(crate) struct Adapter {
    id: String,
    network: NetworkSpec,
    machine: Arc<Machine>,
}

impl Adapter {
    /// Adds an adapter, and tells the agent. Nothing is left after a failure.
    pub(crate) async fn add(machine: &Arc<Machine>, network: &NetworkSpec) -> Result<Self> {
        let adapter = Self {
            id: uuid::Uuid::new_v4().to_string(),
            network: network.clone(),
            machine: Arc::clone(machine),
        };
        let Self { id, network, .. } = &adapter;
        let plugged = machine.host(&machine::add_adapter(id, network)).await;
        plugged.map_err(TaskError::of_network)?;
        if let Err(error) = machine.guest(&guest::add_network(id, network)).await {
            adapter.unplug().await;
            return Err(error.of_network());
        }
        Ok(adapter)
    }

    /// What the container's document calls its network.
    pub(crate) fn namespace(&self) -> &str {
        &self.network.namespace
    }

    /// Takes the adapter out. Failures are logged: the endpoint can be taken away all the same, and what is left ends with the
    /// machine.
    pub(crate) async fn remove(self) {
        let forgotten = guest::remove_network(&self.id, &self.network);
        if let Err(error) = self.machine.guest(&forgotten).await {
            tracing::warn!(adapter = self.id, %error, "network adapter not forgotten by the guest");
        }
        self.unplug().await;
    }

    async fn unplug(&self) {
        let unplugged = machine::remove_adapter(&self.id, &self.network);
        if let Err(error) = self.machine.host(&unplugged).await {
            tracing::warn!(adapter = self.id, %error, "network adapter not removed");
        }
    }
}
