//! `ctr-liked`: the daemon, and the shim that it starts for each sandbox.
//!
//! `main` decides which of the two this process is, sets up logging and a runtime that fits, and hands over. The daemon has
//! two worker threads; a shim has one, because an idle one must be small.

mod host;
mod serve;
mod services;
mod settings;
mod shim;
mod status;
mod wiring;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::settings::{Flags, Settings};

/// The ctr-like daemon: runs containers for ctr-like
#[derive(Debug, Parser)]
#[command(name = "ctr-liked", version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Serve one sandbox; started by the daemon
    #[command(hide = true)]
    Shim(shim::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.role {
        Some(Role::Shim(shim)) => shim::run(shim),
        None => run(arguments.flags),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "the log may be what failed, and a person started this"
            )]
            {
                eprintln!("ctr-liked: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> Result<()> {
    let settings = Settings::resolve(flags)?;
    log(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build()?;
    runtime.block_on(serve::run(settings))
}

/// Logs to standard error as lines of text.
pub(crate) fn log(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    Ok(())
}
