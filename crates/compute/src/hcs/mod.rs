//! The Host Compute Service of Windows as a [`ComputeService`].
//!
//! `daemon` and the shims use it on Windows through [`HcsService::load`], which says what a host without the service lacks.
//!
//! Calls into the service block and cannot be given up, so each runs on a thread of its own (see `call`): a call that is stuck
//! holds up nobody else, and one whose caller has gone runs to its end. A caller waits no longer than [`Deadlines`] and then
//! gets `HCS_E_OPERATION_TIMEOUT`, which does not mean that nothing happened. What a call made for a caller that has gone is
//! ended again.
//!
//! The service tells each handle of an exit by itself; the handles of one [`HcsService`] hear of it at the same moment, so that
//! [`ComputeSystem::terminate`] has told all of them when it returns.
//!
//! Guests of virtual machines connect to the host over Hyper-V sockets (`guest`). What a virtual machine is to open, its document or
//! a change of it names; access is granted before the service is asked (`access`). What a machine writes to its serial port is kept in
//! files, where the document leads the port to a pipe (`console`).
//!
//! Not here: documents (`task`), and the raw interfaces (`win32::hcs`, `win32::hvsock`).

mod access;
mod call;
mod console;
mod guest;
mod hub;
mod process;
mod stdio;
mod system;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hcs::{HResult, Properties};
use win32::FeatureMissing;
use win32::hcs::{ComputeCore, Failure};

use crate::{ComputeError, ComputeService, ComputeSystem, Result};

use access::Access;
use call::{Caller, Orphan};
use console::Console;
use hub::{Hub, Hubs};
use system::{HcsSystem, Raw};

/// How long callers wait. The service itself has no limits.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For any call.
    pub call: Duration,
    /// For the exit of a system after its termination was accepted.
    pub exit: Duration,
    /// For the exit of a process after the exit of its system.
    pub grace: Duration,
    /// For the answer to a signal. One that takes longer was delivered: the service waits for what comes of it.
    pub signal: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(240),
            exit: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            signal: Duration::from_secs(1),
        }
    }
}

/// What all handles of one service share.
#[derive(Clone)]
struct Shared {
    core: &'static ComputeCore,
    hubs: Arc<Hubs>,
    deadlines: Deadlines,
    /// Where consoles are kept, if they are.
    consoles: Option<PathBuf>,
}

/// The Host Compute Service.
#[derive(Clone)]
pub struct HcsService(Shared);

impl std::fmt::Debug for HcsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HcsService").field(&self.0.deadlines).finish()
    }
}

impl HcsService {
    /// The service of this host. Loads computecore.dll the first time.
    pub fn load() -> std::result::Result<Self, FeatureMissing> {
        Ok(Self(Shared {
            core: ComputeCore::load()?,
            hubs: Arc::default(),
            deadlines: Deadlines::default(),
            consoles: None,
        }))
    }

    /// The same service, which serves the pipes that documents name for consoles and keeps what comes in a directory.
    #[must_use]
    pub fn with_consoles(mut self, directory: PathBuf) -> Self {
        self.0.consoles = Some(directory);
        self
    }

    /// The same service with other deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.0.deadlines = deadlines;
        self
    }

    /// Answers a `PropertyQuery` about the service itself (empty text: the basics) with a `ServiceProperties` document.
    pub async fn properties(&self, query: &str) -> Result<String> {
        let (core, query) = (self.0.core, query.to_owned());
        let answered = self
            .caller("service properties", "the service")
            .run(move || core.service_properties(document(&query)))
            .await?;
        Ok(answered.unwrap_or_default())
    }

    /// Changes a setting of the service itself; takes a `ServiceModificationRequest` document.
    pub async fn modify(&self, request: &str) -> Result<()> {
        let (core, request) = (self.0.core, request.to_owned());
        self.caller("service settings", "the service")
            .run(move || core.modify_service(&request))
            .await
            .map(drop)
    }

    fn caller(&self, operation: &'static str, id: &str) -> Caller {
        Caller::new(operation, id, self.0.deadlines.call)
    }

    /// Makes a handle of a system: callback first, then the properties, so that no exit is missed between.
    fn handle(
        &self,
        id: &str,
        access: Access,
        mut opened: Orphan<win32::hcs::System>,
    ) -> std::result::Result<Opened, Failure> {
        let hub = Hub::new(id);
        let (weak, hubs) = (Arc::downgrade(&hub), Arc::clone(&self.0.hubs));
        opened.get_mut().on_event(move |event| {
            if let Some(hub) = weak.upgrade() {
                hubs.event(&hub, event);
            }
        })?;
        let text = opened.get_mut().properties(None)?.unwrap_or_default();
        let properties: Properties = serde_json::from_str(&text).map_err(|error| {
            tracing::warn!(id, %error, "the properties of a compute system cannot be read");
            Failure {
                code: HResult::INVALID_DATA.bits(),
                document: None,
            }
        })?;
        self.0.hubs.join(&hub, &properties);
        Ok(Opened {
            system: opened,
            access,
            hub,
            properties,
        })
    }
}

/// A system with its callback set.
struct Opened {
    system: Orphan<win32::hcs::System>,
    access: Access,
    hub: Arc<Hub>,
    properties: Properties,
}

impl Opened {
    fn finish(self, id: &str, shared: &Shared, console: Option<Console>) -> Arc<dyn ComputeSystem> {
        let system = Raw {
            system: self.system.adopt(),
            access: self.access,
        };
        Arc::new(HcsSystem::new(
            id,
            self.properties,
            system,
            self.hub,
            shared.clone(),
            console,
        ))
    }
}

/// Empty text stands for an absent document.
fn document(text: &str) -> Option<&str> {
    (!text.trim().is_empty()).then_some(text)
}

/// A failure of the service as the seam reports it.
fn error(operation: &'static str, id: &str, failure: Failure) -> ComputeError {
    ComputeError {
        document: failure.document,
        ..ComputeError::new(operation, id, HResult::from_bits(failure.code))
    }
}

#[async_trait]
impl ComputeService for HcsService {
    async fn create(&self, id: &str, document: &str) -> Result<Arc<dyn ComputeSystem>> {
        let (service, name, text) = (self.clone(), id.to_owned(), document.to_owned());
        let folder = self.0.consoles.clone();
        let console = folder.and_then(|folder| Console::of_document(id, document, folder));
        let opened = self
            .caller("create", id)
            .run(move || {
                let access = Access::of_document(service.0.core, &name, &text)?;
                let system = service.0.core.create_system(&name, &text)?;
                service.handle(&name, access, Orphan::created(system))
            })
            .await?;
        Ok(opened.finish(id, &self.0, console))
    }

    async fn open(&self, id: &str) -> Result<Arc<dyn ComputeSystem>> {
        let (service, name) = (self.clone(), id.to_owned());
        let opened = self
            .caller("open", id)
            .run(move || {
                let access = Access::none(service.0.core, &name);
                let system = service.0.core.open_system(&name)?;
                service.handle(&name, access, Orphan::opened(system))
            })
            .await?;
        let id = opened.properties.id.clone();
        Ok(opened.finish(&id, &self.0, None))
    }

    async fn enumerate(&self, query: &str) -> Result<String> {
        let (core, text) = (self.0.core, query.to_owned());
        let list = self
            .caller("enumerate", query)
            .run(move || core.enumerate(document(&text)))
            .await?;
        Ok(list.unwrap_or_else(|| "[]".to_owned()))
    }
}
