//! `ctr-liked`: the daemon.
//!
//! `main` reads the settings, sets up logging and a runtime with two worker threads, and hands over to [`serve`]. The shims that
//! it starts, one for each sandbox, are a program of their own (`shim.rs`), because an idle one must be small.

mod accelerator;
mod backend;
mod heap;
mod host;
mod log;
mod serve;
mod services;
mod settings;
mod status;
mod wiring;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::settings::{Flags, Settings};

/// The ctr-like daemon: runs containers for ctr-like
#[derive(Debug, Parser)]
#[command(name = "ctr-liked", version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    match run(Arguments::parse().flags) {
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
    log::start(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build()?;
    runtime.block_on(serve::run(settings))
}
