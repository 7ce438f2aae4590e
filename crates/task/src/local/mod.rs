//! Sandboxes in this process.
//!
//! [`LocalRuntime`] boots them; a shim ([`crate::shim`]) runs exactly one. [`LocalSandbox`] holds the tasks; below it
//! are the machine and its numbers ([`machine`]), boot ([`boot`]), layers ([`layers`]), root file systems
//! ([`mounts`]), processes ([`process`]) and their streams ([`output`], [`stdin`]).

mod boot;
mod layers;
mod machine;
mod mounts;
mod output;
mod persist;
mod process;
mod sandbox;
mod stdin;
mod task;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compute::ComputeService;

use crate::{Result, Runtime, Sandbox, SandboxSpec};

pub(crate) use persist::{clear as remove_records, read as records};
pub use sandbox::LocalSandbox;

/// How a local sandbox behaves.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// How long the guest may take to connect, from the start of the VM.
    pub boot_timeout: Duration,
    /// The deadline of a call to the agent.
    pub call_timeout: Duration,
    /// How long a layer stays mounted when no task uses it any more.
    pub layer_linger: Duration,
    /// How long processes may take to end when the sandbox is shut down.
    pub shutdown_grace: Duration,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            boot_timeout: Duration::from_secs(60),
            call_timeout: Duration::from_secs(60),
            layer_linger: Duration::from_secs(20),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Makes sandboxes in this process. They end with it.
pub struct LocalRuntime {
    compute: Arc<dyn ComputeService>,
    config: LocalConfig,
}

impl LocalRuntime {
    /// A runtime that makes its VMs with the service.
    pub fn new(compute: Arc<dyn ComputeService>, config: LocalConfig) -> Self {
        Self { compute, config }
    }
}

#[async_trait]
impl Runtime for LocalRuntime {
    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>> {
        let sandbox = LocalSandbox::boot(Arc::clone(&self.compute), spec, self.config.clone()).await?;
        Ok(Arc::new(sandbox))
    }

    /// Nothing outlives the process.
    async fn recover(&self) -> Result<Vec<Arc<dyn Sandbox>>> {
        Ok(Vec::new())
    }
}
