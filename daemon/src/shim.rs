//! `ctr-liked shim`: one sandbox in a process of its own, so that containers outlive the daemon.
//!
//! The daemon starts it with the sandbox's directory; `task::shim` speaks its protocol, the compute service of this system
//! does the work. Its log is the file that the daemon gave it as standard error.

use std::path::PathBuf;

use anyhow::Result;

/// What the daemon tells a shim.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The sandbox's directory
    #[arg(long)]
    dir: PathBuf,
    /// The guest agent
    #[arg(long)]
    guest_agent: PathBuf,
    /// What to log
    #[arg(long, default_value = "info")]
    log: String,
}

#[cfg(target_os = "linux")]
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    crate::log(&arguments.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(8)
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .thread_stack_size(256 << 10)
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let spec = task::shim::load_spec(&arguments.dir)?;
        let compute = crate::wiring::compute(&spec.run_dir, &arguments.guest_agent, spec.host_network)?;
        task::shim::serve(&arguments.dir, compute).await?;
        Ok(())
    })
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    anyhow::bail!(
        "this build has no compute service for the sandbox in {}",
        arguments.dir.display()
    )
}
