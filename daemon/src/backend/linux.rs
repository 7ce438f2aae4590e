//! The emulated compute service of a Linux host.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use compute::ComputeService;
use emulator::{Config, Emulator, Machine, QemuConfig, WineConfig};
use task::SandboxSpec;
use task::local::{LocalConfig, WindowsBase};

use crate::accelerator::Accelerator;

/// The compute service for sandboxes like `spec`; each has its directory below `<run dir>/sandboxes`, shared with its shim.
///
/// # Errors
/// A path is not absolute.
pub(crate) fn compute(
    spec: &SandboxSpec,
    agent: &Path,
    accelerator: Accelerator,
    wine_prefix: &Path,
) -> Result<Arc<dyn ComputeService>> {
    let machine = if spec.windows {
        Machine::Wine(WineConfig::new(wine_prefix, agent))
    } else if spec.virtual_machine {
        Machine::Qemu(QemuConfig {
            accelerator: accelerator.into(),
            ..QemuConfig::new(spec.consoles())
        })
    } else {
        Machine::Sandbox
    };
    let config = Config {
        run_dir: spec.run_dir.join("sandboxes"),
        agent: agent.to_owned(),
        host_network: spec.host_network,
        machine,
    };
    let emulator = Emulator::new(config).context("cannot set up the compute service")?;
    Ok(Arc::new(emulator))
}

/// How sandboxes behave on this system: Windows containers stand on what Wine needs. `timeout` is for boots and for answers.
pub(crate) fn local_config(agent: &Path, wine_prefix: &Path, timeout: Duration) -> LocalConfig {
    let wine = WineConfig::new(wine_prefix, agent);
    LocalConfig {
        windows_base: Some(WindowsBase::new(move || {
            emulator::prepare_prefix(&wine).map_err(std::io::Error::other)
        })),
        boot_timeout: timeout,
        call_timeout: timeout,
        check_half_close: true,
        ..LocalConfig::default()
    }
}

/// Nothing of the compute service goes on by itself here.
pub(crate) fn settle() {}
