//! The Host Compute Service.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use compute::ComputeService;
use compute::hcs::HcsService;
use task::SandboxSpec;
use task::local::LocalConfig;

use crate::accelerator::Accelerator;

/// The compute service, which serves all kinds of sandboxes and needs to be told only where consoles are kept.
///
/// # Errors
/// This Windows does not have it.
pub(crate) fn compute(
    spec: &SandboxSpec,
    _: &Path,
    _: Accelerator,
    _: &Path,
) -> Result<Arc<dyn ComputeService>> {
    let service = HcsService::load().context("the Host Compute Service cannot be used")?;
    Ok(Arc::new(service.with_consoles(spec.consoles())))
}

/// How sandboxes behave on this system. `timeout` is for boots and for answers.
pub(crate) fn local_config(_: &Path, _: &Path, timeout: Duration) -> LocalConfig {
    LocalConfig {
        boot_timeout: timeout,
        call_timeout: timeout,
        console_pipes: true,
        ..LocalConfig::default()
    }
}

/// How long handles may take to be closed when the program ends.
const CLOSING: Duration = Duration::from_secs(20);

/// Waits for what the services still do on behalf of what was dropped.
pub(crate) fn settle() {
    if !win32::calls::settle(CLOSING) {
        tracing::warn!("a call of the compute or the network service is stuck; the program ends without it");
    }
}
