//! Sandboxes of a Linux host: each in a shim, or in the daemon.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use task::local::LocalRuntime;
use task::{Runtime, Sandbox, SandboxSpec};

use crate::settings::Settings;

/// A sandbox for Linux containers can be started before it is asked for.
pub(crate) const WARMS_UP_SHARED: bool = true;

/// How containers are kept apart when nothing is asked for.
pub(crate) fn default_isolation() -> String {
    "sandbox".to_owned()
}

/// What runs here.
pub(super) fn host() -> image::Host {
    image::Host::linux_with_wine()
}

/// Layers of Windows images are directories here.
pub(super) fn unpacks_windows() -> bool {
    true
}

/// Containers have the host's network or none.
pub(super) fn network(_: &Settings) -> Option<Arc<dyn network::NetworkDriver>> {
    None
}

pub(super) fn runtime(settings: &Settings) -> Result<Arc<dyn Runtime>> {
    if settings.local {
        let (agent, prefix) = (&settings.guest_agent, &settings.wine_prefix);
        let local = |like: SandboxSpec| -> Result<LocalRuntime> {
            let like = SandboxSpec {
                run_dir: settings.run_dir.clone(),
                ..like
            };
            let compute = crate::backend::compute(&like, agent, settings.uvm.accelerator, prefix)?;
            let config = crate::backend::local_config(agent, prefix, settings.uvm.timeout);
            Ok(LocalRuntime::new(compute, config))
        };
        let own = SandboxSpec::default();
        return Ok(Arc::new(Local {
            host: local(SandboxSpec {
                host_network: true,
                ..own.clone()
            })?,
            machines: local(SandboxSpec {
                virtual_machine: true,
                ..own.clone()
            })?,
            windows: local(SandboxSpec {
                windows: true,
                ..own.clone()
            })?,
            own: local(own)?,
        }));
    }
    Ok(Arc::new(super::shims(settings, |dir| {
        // The emulator looks at all sandboxes and touches only those whose owner is dead.
        let sandboxes = dir.parent().unwrap_or(dir);
        if let Err(error) = emulator::reap(sandboxes) {
            tracing::warn!(dir = %dir.display(), %error, "rests of a dead sandbox could not be removed");
        }
    })))
}

/// Sandboxes inside the daemon. A compute service has one network and one kind of machine, so there are several.
struct Local {
    own: LocalRuntime,
    host: LocalRuntime,
    machines: LocalRuntime,
    windows: LocalRuntime,
}

#[async_trait]
impl Runtime for Local {
    async fn create_sandbox(&self, spec: SandboxSpec) -> task::Result<Arc<dyn Sandbox>> {
        let runtime = if spec.windows {
            &self.windows
        } else if spec.virtual_machine {
            &self.machines
        } else if spec.host_network {
            &self.host
        } else {
            &self.own
        };
        runtime.create_sandbox(spec).await
    }

    async fn recover(&self) -> task::Result<Vec<Arc<dyn Sandbox>>> {
        let mut found = self.own.recover().await?;
        found.extend(self.host.recover().await?);
        found.extend(self.machines.recover().await?);
        found.extend(self.windows.recover().await?);
        Ok(found)
    }
}
