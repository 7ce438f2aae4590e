//! The Host Compute Network service of Windows as a [`NetworkDriver`].
//!
//! Calls of the service block and cannot be given up, so each operation is done on a thread of its own (see `call`), which tells
//! in which call it is; whoever waits does so no longer than the deadline of one call. What a thread has made for somebody who has
//! gone it takes away again.
//!
//! An endpoint is made before its namespace and deleted after it, and ids tell their owner (see [`Ids`]), so whatever a killed
//! daemon leaves is found by enumerating. What this driver has made itself is never reaped by it.

mod call;
mod networks;
mod work;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;
use win32::hcn::ComputeNetwork;

use crate::{Attachment, Ids, Known, NetworkDriver, NetworkError, Place, Port, UserNetwork, documents};
use work::Work;

/// How long one call may take. The service needs seconds when it makes its first network.
const CALL: Duration = Duration::from_secs(60);

/// The networks of this host.
#[derive(Debug)]
pub struct HcnDriver {
    shared: Arc<Shared>,
    deadline: Duration,
}

/// What threads need after the driver is gone.
#[derive(Debug)]
struct Shared {
    ids: Ids,
    /// Networks, endpoints and namespaces that this driver has made or is about to make.
    made: Mutex<HashSet<Uuid>>,
}

impl Shared {
    fn made(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new id, which is not reaped.
    fn next(&self) -> Uuid {
        let id = self.ids.next();
        self.made().insert(id);
        id
    }
}

fn service() -> Result<&'static ComputeNetwork, NetworkError> {
    ComputeNetwork::load().map_err(|missing| NetworkError::Missing {
        source: missing.into(),
    })
}

impl HcnDriver {
    /// A driver for an owner: what it makes and has not kept is reaped by the next one with the same text.
    #[must_use]
    pub fn new(owner: &str) -> Self {
        Self {
            shared: Arc::new(Shared {
                ids: Ids::of(owner),
                made: Mutex::default(),
            }),
            deadline: CALL,
        }
    }

    /// The same with another deadline for each call.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Work) -> Result<T, NetworkError> + Send + 'static,
        undo: impl FnOnce(&Work, T) + Send + 'static,
    ) -> Result<T, NetworkError> {
        let (service, shared) = (service()?, Arc::clone(&self.shared));
        call::run(self.deadline, move |at, reply| {
            let on = Work {
                service,
                shared: &shared,
                at,
            };
            if let Err(Ok(unclaimed)) = reply.send(work(&on)) {
                undo(&on, unclaimed);
            }
        })
        .await
    }
}

#[async_trait]
impl NetworkDriver for HcnDriver {
    fn ready(&self) -> Result<(), NetworkError> {
        service().map(drop)
    }

    fn default_network(&self) -> &'static str {
        documents::DEFAULT_NETWORK
    }

    async fn attach(
        &self,
        container: &str,
        on: Option<&Place>,
        ports: &[Port],
    ) -> Result<Attachment, NetworkError> {
        let (container, on, ports) = (container.to_owned(), on.cloned(), ports.to_vec());
        self.run(
            move |work| work.attach(&container, on.as_ref(), &ports),
            |work, attachment| {
                tracing::warn!(endpoint = attachment.endpoint, "an attachment came too late");
                if let Err(error) = work.detach(&attachment) {
                    tracing::warn!(endpoint = attachment.endpoint, %error, "it was not taken away");
                }
            },
        )
        .await
    }

    async fn describe(&self, attachment: &Attachment) -> Result<(Value, Value), NetworkError> {
        let attachment = attachment.clone();
        self.run(move |work| work.describe(&attachment), |_, _| {}).await
    }

    async fn detach(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        let attachment = attachment.clone();
        self.run(move |work| work.detach(&attachment), |_, ()| {}).await
    }

    async fn create_network(&self, network: &UserNetwork) -> Result<String, NetworkError> {
        let network = network.clone();
        self.run(
            move |work| work.create_network(&network),
            |work, id| {
                tracing::warn!(network = id, "a network came too late");
                if let Err(error) = work.remove_network(&id) {
                    tracing::warn!(network = id, %error, "it was not taken away");
                }
            },
        )
        .await
    }

    async fn remove_network(&self, id: &str) -> Result<(), NetworkError> {
        let id = id.to_owned();
        self.run(move |work| work.remove_network(&id), |_, ()| {}).await
    }

    async fn look(&self) -> Result<Option<Known>, NetworkError> {
        self.run(|work| work.known(), |_, _| {}).await
    }

    async fn reap(&self, keep: &[Attachment], networks: &[String]) -> Result<usize, NetworkError> {
        let kept = |attachment: &Attachment| [attachment.namespace.clone(), attachment.endpoint.clone()];
        let keep: HashSet<Uuid> = keep
            .iter()
            .flat_map(kept)
            .chain(networks.iter().cloned())
            .filter_map(|id| id.parse().ok())
            .collect();
        self.run(move |work| work.reap(&keep), |_, _| {}).await
    }
}
