//! Sandboxes in this process.
//!
//! [`LocalRuntime`] opens them; a shim ([`crate::shim`]) runs exactly one. [`LocalSandbox`] is a machine with the tasks of
//! Linux containers; below it are the machine and its numbers ([`machine`]), boot ([`boot`]), layers ([`layers`]), root file
//! systems ([`mounts`]) and network adapters ([`adapter`]). [`WindowsSandbox`] is one Windows container. Both have processes
//! ([`process`]) and their streams ([`stdio`], [`output`], [`stdin`]).

mod adapter;
mod boot;
mod execs;
mod layers;
mod machine;
mod mounts;
mod output;
mod persist;
mod process;
mod sandbox;
mod stdin;
mod stdio;
mod task;
mod windows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compute::ComputeService;

use crate::{Result, Runtime, Sandbox, SandboxSpec};

pub(crate) use persist::{clear as remove_records, read as records};
pub use sandbox::LocalSandbox;
pub use windows::WindowsSandbox;

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
    /// Whether the boot tries that the host can end its direction of a connection and still hear the guest, on which all standard
    /// streams depend. For compute services that carry sockets themselves; those of Hyper-V are known to.
    pub check_half_close: bool,
    /// Whether the first serial port of a machine is led to a pipe ([`document::machine::console_pipe`]). For compute services that serve
    /// the pipe; others keep consoles by themselves.
    pub console_pipes: bool,
    /// What lies below the layers of Windows containers, where the compute service needs that.
    pub windows_base: Option<WindowsBase>,
}

/// Makes ready what lies below the layers of Windows containers, and says where it is. Called for each container, on a
/// thread that may block.
#[derive(Clone)]
pub struct WindowsBase(Arc<dyn Fn() -> std::io::Result<PathBuf> + Send + Sync>);

impl WindowsBase {
    /// Made ready by this function. Its error is told to the user as it is.
    pub fn new(prepare: impl Fn() -> std::io::Result<PathBuf> + Send + Sync + 'static) -> Self {
        Self(Arc::new(prepare))
    }

    fn prepare(&self) -> std::io::Result<PathBuf> {
        (self.0)()
    }
}

impl std::fmt::Debug for WindowsBase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("WindowsBase")
    }
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            boot_timeout: Duration::from_secs(60),
            call_timeout: Duration::from_secs(60),
            layer_linger: Duration::from_secs(20),
            shutdown_grace: Duration::from_secs(5),
            check_half_close: false,
            console_pipes: false,
            windows_base: None,
        }
    }
}

/// A sandbox of the kind that the spec asks for.
pub(crate) async fn open(
    compute: Arc<dyn ComputeService>,
    spec: SandboxSpec,
    config: LocalConfig,
) -> Result<Arc<dyn Sandbox>> {
    if spec.windows {
        return Ok(Arc::new(WindowsSandbox::new(compute, spec, config)?));
    }
    Ok(Arc::new(LocalSandbox::boot(compute, spec, config).await?))
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
        open(Arc::clone(&self.compute), spec, self.config.clone()).await
    }

    /// Nothing outlives the process.
    async fn recover(&self) -> Result<Vec<Arc<dyn Sandbox>>> {
        Ok(Vec::new())
    }
}
