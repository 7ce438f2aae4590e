//! Which implementations stand behind the seams on this system; `serve` asks for the engine. With `backend`, the only module that
//! names back ends: what both systems have is here, the rest in a file for each.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use engine::{Engine, Parts, SandboxConfig, ServiceMode, VmConfig};
use image::{Images, RegistryConfig};
use snapshot::windows::{WindowsConfig, WindowsLayers};
use snapshot::{Differ, Differs, LcowConfig, LcowLayers, Snapshotter};
use store::Store;
use task::shim::{ShimConfig, ShimRuntime};

use crate::settings::{Service, Settings};

/// How much longer a shim may take than its sandbox: it knows best why that does not come up, and is to say so.
const SHIM: Duration = Duration::from_secs(15);

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
    images.set_host(host());
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
    let mut snapshotters: Vec<Arc<dyn Snapshotter>> = vec![layers.clone()];
    let mut differs: Vec<Arc<dyn Differ>> = vec![layers];
    // Without them, images for Windows are kept as they came.
    if unpacks_windows() {
        snapshotters.push(windows.clone());
        differs.push(windows);
    }
    let parts = Parts {
        snapshotters,
        differs: Arc::new(Differs::new(differs)),
        runtime: runtime(settings)?,
        network: network(settings),
        sandbox: SandboxConfig {
            owner: "ctr-like".to_owned(),
            memory_mb: settings.memory_mb,
            processors: settings.processors,
            run_dir: settings.run_dir.clone(),
            // Windows has no namespaces to share.
            shared_in_vm: settings.uvm.shared || cfg!(windows),
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

/// A shim for each sandbox; `cleanup` is called with the directory of one that has died.
fn shims(settings: &Settings, cleanup: impl Fn(&Path) + Send + Sync + 'static) -> ShimRuntime {
    let arguments = [
        "--guest-agent".into(),
        settings.guest_agent.clone().into(),
        "--accelerator".into(),
        settings.uvm.accelerator.word().into(),
        "--timeout".into(),
        settings.uvm.timeout.as_secs().to_string().into(),
        "--wine-prefix".into(),
        settings.wine_prefix.clone().into(),
        "--log".into(),
        settings.log.clone().into(),
    ];
    ShimRuntime::new(ShimConfig {
        program: settings.shim.clone(),
        arguments: arguments.to_vec(),
        run_dir: settings.run_dir.clone(),
        start_timeout: settings.uvm.timeout + SHIM,
        sockets: crate::sockets::sockets(),
        cleanup: Arc::new(cleanup),
    })
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{WARMS_UP_SHARED, default_isolation};
#[cfg(target_os = "linux")]
use linux::{host, network, runtime, unpacks_windows};
#[cfg(windows)]
pub(crate) use windows::{WARMS_UP_SHARED, boots_linux, default_isolation, hyperv};
#[cfg(windows)]
use windows::{host, network, runtime, unpacks_windows};
