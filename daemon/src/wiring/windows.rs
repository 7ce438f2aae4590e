//! Sandboxes of a Windows host: each in a shim, or in the daemon; the Host Compute Service does the work.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use image::{Edition, Host};
use network::{HcnDriver, NetworkDriver};
use task::local::LocalRuntime;
use task::{ErrorKind, Runtime, Sandbox, SandboxSpec, TaskError};
use win32::FeatureMissing;
use win32::service::ServiceState;

use crate::settings::Settings;

/// The first build whose virtual machines boot a kernel directly.
const DIRECT_BOOT: u32 = 18286;

/// No machine for Linux containers is started before it is asked for, but those of the pool.
pub(crate) const WARMS_UP_SHARED: bool = false;

/// Whether this Windows boots the kernels of Linux containers, if it can have virtual machines at all.
pub(crate) fn boots_linux() -> bool {
    cfg!(target_arch = "x86_64") && win32::windows_version().build >= DIRECT_BOOT
}

/// What runs here: images of this build of Windows with process isolation, and where there is Hyper-V also older ones.
pub(super) fn host() -> Host {
    let version = win32::windows_version();
    let edition = match version.server {
        true => Edition::Server,
        false => Edition::Client,
    };
    let hyperv = hyperv().unwrap_or_else(|error| {
        tracing::warn!(%error, "it is not known whether there is Hyper-V; it is taken for missing");
        None
    });
    Host::windows(version.build, version.revision, edition, hyperv.is_some())
}

/// The state of the service that manages Hyper-V's machines; none where Hyper-V is not installed.
///
/// # Errors
/// The service manager does not answer.
pub(crate) fn hyperv() -> std::io::Result<Option<ServiceState>> {
    win32::service::state("vmms")
}

/// How a Windows container of this host's build is kept apart when nothing is asked for.
pub(crate) fn default_isolation() -> String {
    let version = format!("10.0.{}", win32::windows_version().build).parse().ok();
    let found = host().isolation(version, None);
    found.map_or_else(|_| String::new(), |isolation| isolation.to_string())
}

/// Windows keeps layers of Windows images, if the feature Containers is on.
pub(super) fn unpacks_windows() -> bool {
    let found = win32::layers::LayerStore::load();
    if let Err(missing) = &found {
        tracing::info!(%missing, "images for Windows are stored and not unpacked");
    }
    found.is_ok()
}

/// The networks of the host. What is made belongs to the daemon's root, so that another daemon does not take it for leftovers.
pub(super) fn network(settings: &Settings) -> Option<Arc<dyn NetworkDriver>> {
    let driver = HcnDriver::new(&format!("ctr-like {}", settings.root.display()));
    if let Err(error) = driver.ready() {
        tracing::info!(%error, "containers have no networks");
    }
    Some(Arc::new(driver))
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
                crate::backend::local_config(agent, prefix, settings.uvm.timeout),
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
    /// The compute service is enough for Linux containers. What layers of Windows need, [`Self::create_sandbox`] asks for.
    fn ready(&self) -> task::Result<()> {
        match win32::hcs::ComputeCore::load() {
            Ok(_) => Ok(()),
            Err(missing) => {
                let layers = win32::layers::LayerStore::load().err();
                Err(unusable([Some(missing), layers].into_iter().flatten()))
            }
        }
    }

    async fn create_sandbox(&self, spec: SandboxSpec) -> task::Result<Arc<dyn Sandbox>> {
        self.ready()?;
        if spec.windows {
            win32::layers::LayerStore::load().map_err(|missing| unusable([missing]))?;
        } else {
            check_machine(&spec)?;
        }
        self.0.create_sandbox(spec).await
    }

    async fn recover(&self) -> task::Result<Vec<Arc<dyn Sandbox>>> {
        self.0.recover().await
    }
}

fn unusable(missing: impl IntoIterator<Item = FeatureMissing>) -> TaskError {
    let missing: Vec<String> = missing.into_iter().map(|missing| missing.to_string()).collect();
    let message = format!("the Host Compute Service cannot be used: {}", missing.join("; "));
    TaskError::new(ErrorKind::Unsupported, message)
}

/// Looks at what the service would say little of: of a kernel that is not there, no more than that some file is not.
fn check_machine(spec: &SandboxSpec) -> task::Result<()> {
    if spec.host_network {
        let text = "Linux containers on Windows have a machine of their own and cannot use the host's network: leave --network host out";
        return Err(TaskError::new(ErrorKind::Unsupported, text));
    }
    let version = win32::windows_version();
    if version.build < DIRECT_BOOT {
        let text = format!("Linux containers need Windows build {DIRECT_BOOT} or newer; this is {version}");
        return Err(TaskError::new(ErrorKind::Unsupported, text));
    }
    for (what, path) in [("kernel", &spec.kernel), ("initrd", &spec.initrd)] {
        std::fs::metadata(path).map_err(|error| {
            let text = format!(
                "cannot read {what} {}: make kernel and initrd with scripts/build-uvm, or reinstall them",
                path.display()
            );
            TaskError::new(ErrorKind::Io, text).because(error)
        })?;
    }
    Ok(())
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
