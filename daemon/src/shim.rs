//! `ctr-like-shim`: one sandbox in a process of its own, so that containers outlive the daemon.
//!
//! The daemon starts it with the sandbox's directory; `task::shim` speaks its protocol, the compute service of this system
//! does the work. Its log is the file that the daemon gave it as standard error. It has one thread, and links nothing that
//! it does not need: one stays in memory for each sandbox.

mod accelerator;
mod backend;
mod log;
mod sockets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

/// One sandbox of ctr-like; started by ctr-liked
#[derive(Debug, Parser)]
#[command(name = "ctr-like-shim", version)]
struct Arguments {
    /// The sandbox's directory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The guest agent
    #[arg(long, value_name = "FILE")]
    guest_agent: PathBuf,
    /// How processors of virtual machines are made
    #[arg(long, value_name = "KIND", default_value = "auto")]
    accelerator: accelerator::Accelerator,
    /// How many seconds the sandbox may take to boot, and its guest to answer
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    timeout: u32,
    /// Directory of what Wine needs for Windows containers
    #[arg(long, value_name = "DIR")]
    wine_prefix: PathBuf,
    /// What to log
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the log may be what failed")]
            {
                eprintln!("ctr-like-shim: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    log::start(&arguments.log, std::io::stderr)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(1))
        .thread_stack_size(256 << 10)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async move {
        let spec = task::shim::load_spec(&arguments.dir)?;
        let (agent, prefix) = (&arguments.guest_agent, &arguments.wine_prefix);
        let compute = backend::compute(&spec, agent, arguments.accelerator, prefix)?;
        let config = backend::local_config(agent, prefix, Duration::from_secs(arguments.timeout.into()));
        let sockets = sockets::sockets();
        task::shim::serve(&arguments.dir, &sockets, compute, config, release_memory).await?;
        Ok(())
    });
    drop(runtime);
    backend::settle();
    outcome
}

#[cfg(target_os = "linux")]
use emulator::release_memory;

/// Windows takes memory back by itself.
#[cfg(windows)]
fn release_memory() {}
