//! The services of the wire over the engine, one file each.
//!
//! A handler converts its request, calls the engine and converts the answer; no decision is taken here. Mutations run to
//! completion in tasks of their own, so that a client that vanishes leaves nothing half done.

mod containers;
mod create;
mod doctor;
mod documents;
mod explain;
mod files;
mod filters;
mod images;
mod machines;
mod networks;
mod relay;
mod stats;
mod system;

use std::sync::Arc;

use api::Status;
use engine::Engine;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::heap::Active;
use crate::settings::Settings;
use crate::status::status;

/// What every handler needs.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) engine: Engine,
    pub(crate) settings: Arc<Settings>,
    pub(crate) tracker: TaskTracker,
    /// Cancelled when the daemon is asked to stop.
    pub(crate) stop: CancellationToken,
    /// Also end the sandboxes when stopping.
    pub(crate) stop_sandboxes: Arc<std::sync::atomic::AtomicBool>,
}

impl House {
    /// The services, ready for a server.
    pub(crate) fn services(&self) -> api::Services {
        api::Services {
            system: Arc::new(self.clone()),
            containers: Arc::new(self.clone()),
            images: Arc::new(self.clone()),
            networks: Arc::new(self.clone()),
            machines: Arc::new(self.clone()),
        }
    }

    /// Runs a mutation to its end even if the caller goes away.
    async fn complete<T: Send + 'static>(
        &self,
        work: impl Future<Output = engine::Result<T>> + Send + 'static,
    ) -> Result<T, Status> {
        let active = Active::begin();
        let work = async move {
            let outcome = work.await;
            drop(active);
            outcome
        };
        match self.tracker.spawn(work).await {
            Ok(outcome) => outcome.map_err(|error| status(&error)),
            Err(error) => Err(Status::internal("the request failed unexpectedly").caused_by(&error)),
        }
    }
}
