//! Which implementations stand behind the seams on this system. The only file that names back ends.

use std::sync::Arc;

use anyhow::{Context, Result};
use engine::{Engine, Parts, SandboxConfig, ServiceMode, VmConfig};
use image::{Images, RegistryConfig};
use snapshot::windows::{WindowsConfig, WindowsLayers};
use snapshot::{Differs, LcowConfig, LcowLayers};
use store::Store;

use crate::settings::{Service, Settings};

/// Opens the store and the rooms over it.
///
/// # Errors
/// Another daemon uses the store, or it is damaged.
pub(crate) async fn engine(settings: &Settings) -> Result<Engine> {
    let store = Store::open(&settings.root)
        .await
        .with_context(|| format!("cannot open the store in {}", settings.root.display()))?;
    let registries = RegistryConfig {
        insecure: settings.insecure_registries.clone(),
        ..RegistryConfig::default()
    };
    let images = Images::new(store.clone(), registries).context("cannot set up the registry client")?;
    #[cfg(not(windows))]
    images.set_host(image::Host::linux_with_wine());
    let lcow = LcowConfig {
        scratch_size_bytes: settings.scratch_size_gb << 30,
        ..LcowConfig::default()
    };
    let layers = LcowLayers::open(&store, lcow)
        .await
        .context("cannot open the layers")?;
    let windows = WindowsLayers::open(&store, WindowsConfig::default())
        .await
        .context("cannot open the layers of Windows images")?;
    let parts = Parts {
        snapshotters: vec![layers.clone(), windows.clone()],
        differs: Arc::new(Differs::new(vec![layers, windows])),
        runtime: runtime(settings)?,
        sandbox: SandboxConfig {
            owner: "ctr-like".to_owned(),
            memory_mb: settings.memory_mb,
            processors: settings.processors,
            run_dir: settings.run_dir.clone(),
            shared_in_vm: settings.uvm.shared,
            wine: cfg!(not(windows)),
            host_processors: std::thread::available_parallelism()
                .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
            service: match settings.uvm.service {
                Service::Global => ServiceMode::Global,
                Service::PerInstance => ServiceMode::PerInstance,
            },
            vm: VmConfig {
                kernel: settings.uvm.dir.join("vmlinux"),
                initrd: settings.uvm.initrd.clone(),
                memory_mb: settings.uvm.memory_mb,
                processors: settings.uvm.processors,
                pool: settings.uvm.pool,
                idle: settings.uvm.idle,
            },
        },
        store,
        images,
    };
    Engine::open(parts).await.context("cannot read the containers")
}

#[cfg(target_os = "linux")]
pub(crate) use linux::CAN_RUN;
#[cfg(target_os = "linux")]
use linux::runtime;

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::Arc;
    use std::time::Duration;

    use anyhow::Result;
    use async_trait::async_trait;
    use task::local::LocalRuntime;
    use task::shim::{ShimConfig, ShimRuntime};
    use task::{Runtime, Sandbox, SandboxSpec};

    use super::Settings;

    /// Containers can run here.
    pub(crate) const CAN_RUN: bool = true;

    /// How long a shim may take until its sandbox answers; a machine under load starts processes slowly.
    const START_TIMEOUT: Duration = Duration::from_secs(60);

    pub(super) fn runtime(settings: &Settings) -> Result<Arc<dyn Runtime>> {
        if settings.local {
            let (agent, prefix) = (&settings.guest_agent, &settings.wine_prefix);
            let local = |like: SandboxSpec| -> Result<LocalRuntime> {
                let like = SandboxSpec {
                    run_dir: settings.run_dir.clone(),
                    ..like
                };
                let compute = crate::backend::compute(&like, agent, settings.uvm.accelerator, prefix)?;
                let config = crate::backend::local_config(agent, prefix);
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
        let run_dir = settings.run_dir.clone();
        let arguments = [
            "--guest-agent".into(),
            settings.guest_agent.clone().into(),
            "--accelerator".into(),
            settings.uvm.accelerator.word().into(),
            "--wine-prefix".into(),
            settings.wine_prefix.clone().into(),
            "--log".into(),
            settings.log.clone().into(),
        ];
        Ok(Arc::new(ShimRuntime::new(ShimConfig {
            program: settings.shim.clone(),
            arguments: arguments.to_vec(),
            run_dir: run_dir.clone(),
            start_timeout: START_TIMEOUT,
            cleanup: Arc::new(|dir| {
                // The emulator looks at all sandboxes and touches only those whose owner is dead.
                let sandboxes = dir.parent().unwrap_or(dir);
                if let Err(error) = emulator::reap(sandboxes) {
                    tracing::warn!(dir = %dir.display(), %error, "rests of a dead sandbox could not be removed");
                }
            }),
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
}

#[cfg(windows)]
pub(crate) use windows::CAN_RUN;
#[cfg(windows)]
use windows::runtime;

#[cfg(windows)]
mod windows {
    use std::sync::Arc;

    use anyhow::Result;
    use async_trait::async_trait;
    use task::{ErrorKind, Runtime, Sandbox, SandboxSpec, TaskError};

    use super::Settings;

    /// Containers can run here.
    pub(crate) const CAN_RUN: bool = false;

    pub(super) fn runtime(settings: &Settings) -> Result<Arc<dyn Runtime>> {
        tracing::debug!(guest_agent = %settings.guest_agent.display(), shim = %settings.shim.display(), accelerator = settings.uvm.accelerator.word(), wine_prefix = %settings.wine_prefix.display(), "no compute service is driven on this host");
        Ok(Arc::new(Absent))
    }

    /// This build drives no compute service on Windows.
    struct Absent;

    #[async_trait]
    impl Runtime for Absent {
        fn ready(&self) -> task::Result<()> {
            let parts = win32::hcs_presence();
            let missing: Vec<String> = parts
                .iter()
                .filter_map(|part| part.missing.as_ref())
                .map(ToString::to_string)
                .collect();
            let why = if missing.is_empty() {
                "this build does not drive it".to_owned()
            } else {
                missing.join("; ")
            };
            let message = format!("the Host Compute Service cannot be used: {why}");
            Err(TaskError::new(ErrorKind::Unsupported, message))
        }

        async fn create_sandbox(&self, _: SandboxSpec) -> task::Result<Arc<dyn Sandbox>> {
            self.ready()?;
            Err(TaskError::new(
                ErrorKind::Unsupported,
                "no sandbox can be made on this host",
            ))
        }

        async fn recover(&self) -> task::Result<Vec<Arc<dyn Sandbox>>> {
            Ok(Vec::new())
        }
    }
}
