//! The daemon as a service of the system, for `ctr-like daemon`.
//!
//! On Windows that is a service of the service manager, looked after here; elsewhere the system's own tools do it, and the verbs
//! say how. Every function that answers `None` means: there is no service that this is about, so it is about a daemon that
//! somebody started.

#[cfg(not(windows))]
mod elsewhere;
#[cfg(windows)]
mod install;
#[cfg(windows)]
mod life;
#[cfg(windows)]
mod manager;

#[cfg(not(windows))]
pub(crate) use elsewhere::{Listener, install, keeps_the_place, start, status, stop, uninstall};
#[cfg(windows)]
pub(crate) use install::{install, uninstall};
#[cfg(windows)]
pub(crate) use life::{Listener, keeps_the_place, start, status, stop};

use std::path::PathBuf;

use clap::Args;

/// What the service runs with; all of it is kept in its definition.
#[derive(Debug, Default, Args)]
pub(crate) struct Installation {
    /// A group whose members may use the daemon without being administrators
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Directory of everything that lasts
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Directory of sandboxes; default: run in the root directory
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The settings file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// More arguments for the daemon, after --
    #[arg(last = true, value_name = "ARG")]
    arguments: Vec<String>,
}
