//! How an emulator is set up.

use std::path::PathBuf;

/// Settings of an emulator; all paths absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds one directory per compute system, named by its id. Made when missing.
    pub run_dir: PathBuf,
    /// The guest agent, a static binary that knows the `sandbox` command.
    pub agent: PathBuf,
    /// Whether sandboxes keep the network of the host instead of getting one of their own.
    pub host_network: bool,
}
