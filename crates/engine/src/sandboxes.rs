//! The sandboxes that containers share.
//!
//! One sandbox serves many containers: it is started on first use and kept warm. Containers on the host's network live in
//! a sandbox of their own, because a sandbox has one network. A sandbox that died is replaced on the next start; the
//! containers in it have exited with its reason by then.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use task::{Runtime, Sandbox, SandboxSpec};
use tokio::sync::Mutex;

use crate::error::{Error, Kind, Result};
use crate::names;

/// What a sandbox looks like on this host.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Name under which compute systems are registered.
    pub owner: String,
    /// Memory of a sandbox in MiB.
    pub memory_mb: u64,
    /// Processors of a sandbox.
    pub processors: u32,
    /// Kernel of the utility VM.
    pub kernel: PathBuf,
    /// Initial file system of the utility VM.
    pub initrd: PathBuf,
    /// Directory of sockets and devices, gone after a reboot.
    pub run_dir: PathBuf,
}

/// Which containers share a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Containers with networks of their own.
    Shared,
    /// Containers on the host's network.
    HostNetwork,
}

type Slot = Arc<Mutex<Option<Arc<dyn Sandbox>>>>;

pub(crate) struct Sandboxes {
    runtime: Arc<dyn Runtime>,
    config: SandboxConfig,
    slots: std::sync::Mutex<HashMap<Scope, Slot>>,
}

impl Sandboxes {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, config: SandboxConfig) -> Self {
        Self {
            runtime,
            config,
            slots: std::sync::Mutex::default(),
        }
    }

    /// Whether this host can run containers at all.
    pub(crate) fn ready(&self) -> Result<()> {
        self.runtime.ready().map_err(|error| {
            Error::new(Kind::Unimplemented, error.message.clone())
                .hint("images can be pulled, listed, saved and pushed here; run containers on a Linux host")
                .because(error)
        })
    }

    /// The living sandbox for `scope`, started when there is none. Concurrent callers wait for one start.
    pub(crate) async fn get(&self, scope: Scope) -> Result<Arc<dyn Sandbox>> {
        let slot = self.slot(scope);
        let mut slot = slot.lock().await;
        if let Some(sandbox) = slot.as_ref().filter(|sandbox| sandbox.closed().is_none()) {
            return Ok(sandbox.clone());
        }
        let sandbox = self
            .runtime
            .create_sandbox(self.spec(scope))
            .await
            .map_err(|error| {
                Error::new(Kind::Unavailable, "cannot start the sandbox for Linux containers")
                    .hint("run 'ctr-like info' and look into the daemon's log")
                    .because(error)
            })?;
        tracing::info!(sandbox = sandbox.id(), ?scope, "sandbox started");
        *slot = Some(sandbox.clone());
        Ok(sandbox)
    }

    /// Sandboxes that outlived an earlier daemon; each becomes the one of its scope if that has none.
    pub(crate) async fn recover(&self) -> Result<Vec<Arc<dyn Sandbox>>> {
        let found = self.runtime.recover().await.map_err(|error| {
            Error::new(Kind::Internal, "cannot look for sandboxes of an earlier daemon").because(error)
        })?;
        for sandbox in &found {
            let scope = if sandbox.spec().host_network {
                Scope::HostNetwork
            } else {
                Scope::Shared
            };
            let slot = self.slot(scope);
            slot.lock().await.get_or_insert_with(|| sandbox.clone());
        }
        Ok(found)
    }

    /// The living sandboxes.
    pub(crate) async fn all(&self) -> Vec<Arc<dyn Sandbox>> {
        let slots: Vec<Slot> = self
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        let mut found = Vec::new();
        for slot in slots {
            found.extend(
                slot.lock()
                    .await
                    .iter()
                    .filter(|sandbox| sandbox.closed().is_none())
                    .cloned(),
            );
        }
        found
    }

    fn slot(&self, scope: Scope) -> Slot {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(scope)
            .or_default()
            .clone()
    }

    fn spec(&self, scope: Scope) -> SandboxSpec {
        SandboxSpec {
            id: names::new_id()[..32].to_owned(),
            owner: self.config.owner.clone(),
            memory_mb: self.config.memory_mb,
            processors: self.config.processors,
            host_network: scope == Scope::HostNetwork,
            kernel: self.config.kernel.clone(),
            initrd: self.config.initrd.clone(),
            run_dir: self.config.run_dir.clone(),
            ..SandboxSpec::default()
        }
    }
}
