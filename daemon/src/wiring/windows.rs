//! Sandboxes of a Windows host: each in a shim, or in the daemon; the Host Compute Service does the work.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use image::{Edition, Host};
use task::local::LocalRuntime;
use task::{ErrorKind, Runtime, Sandbox, SandboxSpec, TaskError};

use crate::settings::Settings;

/// No sandbox for Linux containers is started before it is asked for.
pub(crate) const CAN_WARM_UP: bool = false;

/// What runs here: process isolation, so images of this build of Windows.
pub(super) fn host() -> Host {
    let version = win32::windows_version();
    let edition = match version.server {
        true => Edition::Server,
        false => Edition::Client,
    };
    Host::windows(version.build, version.revision, edition, false).process_isolation_only()
}

/// Windows keeps layers of Windows images, if the feature Containers is on.
pub(super) fn unpacks_windows() -> bool {
    let found = win32::layers::LayerStore::load();
    if let Err(missing) = &found {
        tracing::info!(%missing, "images for Windows are stored and not unpacked");
    }
    found.is_ok()
}

pub(super) fn runtime(settings: &Settings) -> Result<Arc<dyn Runtime>> {
    let inner: Arc<dyn Runtime> = if settings.local {
        let own = SandboxSpec {
            run_dir: settings.run_dir.clone(),
            ..SandboxSpec::default()
        };
        let (agent, prefix) = (&settings.guest_agent, &settings.wine_prefix);
        match crate::backend::compute(&own, agent, settings.uvm.accelerator, prefix) {
            Ok(compute) => Arc::new(LocalRuntime::new(
                compute,
                crate::backend::local_config(agent, prefix),
            )),
            Err(error) => {
                tracing::warn!(%error, "no container can run");
                Arc::new(Nothing)
            }
        }
    } else {
        // Compute systems end with the last handle, which was the shim's; a scratch that it left mounted is unmounted when it
        // is used again or removed.
        Arc::new(super::shims(settings, |_| {}))
    };
    Ok(Arc::new(Windows(inner)))
}

/// Says what is missing before anything is tried.
struct Windows(Arc<dyn Runtime>);

#[async_trait]
impl Runtime for Windows {
    fn ready(&self) -> task::Result<()> {
        let missing: Vec<String> = [
            win32::hcs::ComputeCore::load().err(),
            win32::layers::LayerStore::load().err(),
        ]
        .into_iter()
        .flatten()
        .map(|missing| missing.to_string())
        .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!("the Host Compute Service cannot be used: {}", missing.join("; "));
        Err(TaskError::new(ErrorKind::Unsupported, message))
    }

    async fn create_sandbox(&self, spec: SandboxSpec) -> task::Result<Arc<dyn Sandbox>> {
        self.ready()?;
        if !spec.windows {
            return Err(TaskError::new(
                ErrorKind::Unsupported,
                "Linux containers do not run on Windows yet: only images for Windows do",
            ));
        }
        self.0.create_sandbox(spec).await
    }

    async fn recover(&self) -> task::Result<Vec<Arc<dyn Sandbox>>> {
        self.0.recover().await
    }
}

/// Nothing can be started, and nothing was.
struct Nothing;

#[async_trait]
impl Runtime for Nothing {
    async fn create_sandbox(&self, _: SandboxSpec) -> task::Result<Arc<dyn Sandbox>> {
        Err(TaskError::new(
            ErrorKind::Unsupported,
            "this Windows has no compute service",
        ))
    }

    async fn recover(&self) -> task::Result<Vec<Arc<dyn Sandbox>>> {
        Ok(Vec::new())
    }
}
