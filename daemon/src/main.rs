//! `ctr-liked`: the daemon.
//!
//! `main` reads the settings, sets up logging and a runtime with two worker threads, and hands over to [`serve`]. The shims that
//! it starts, one for each sandbox, are a program of their own (`shim.rs`), because an idle one must be small.

mod accelerator;
mod access;
mod backend;
mod heap;
mod host;
mod log;
#[cfg(any(windows, test))]
mod rotate;
mod serve;
#[cfg(windows)]
mod service;
mod services;
mod settings;
mod sockets;
mod status;
mod wiring;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio_util::sync::CancellationToken;

use crate::serve::Stage;
use crate::settings::{Flags, Settings};

/// The ctr-like daemon: runs containers for ctr-like
#[derive(Debug, Parser)]
#[command(name = "ctr-liked", version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Be the Windows service; only for the service manager
    #[cfg(windows)]
    #[arg(long, hide = true, conflicts_with = "console")]
    service: bool,
    /// Run by hand, with the log on standard error; as without it
    #[cfg(windows)]
    #[arg(long)]
    console: bool,
}

#[cfg(windows)]
fn main() -> ExitCode {
    // What is wrong with the arguments of a service is told to the service manager: there is nobody at its standard error.
    let arguments = match std::env::args_os().any(|word| word == "--service") {
        true => match Arguments::try_parse() {
            Ok(arguments) if arguments.service => return service::run(Ok(arguments.flags)),
            Ok(arguments) => arguments,
            Err(error) => return service::run(Err(error.into())),
        },
        false => Arguments::parse(),
    };
    by_hand(arguments.flags)
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    by_hand(Arguments::parse().flags)
}

/// As a program that a person or another program started.
fn by_hand(flags: Flags) -> ExitCode {
    let outcome = Settings::resolve(flags).and_then(|settings| {
        log::start(&settings.log, std::io::stderr)?;
        run(&settings, &CancellationToken::new(), &|_| {})
    });
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

/// Serves until `stop`, a signal or a request; `progress` is told how far it is.
fn run(settings: &Settings, stop: &CancellationToken, progress: &dyn Fn(Stage)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(serve::run(settings, stop, progress));
    drop(runtime);
    backend::settle();
    outcome
}
