//! How an emulator is set up.

use std::path::{Path, PathBuf};

/// Settings of an emulator; all paths absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds one directory per compute system, named by its id. Made when missing.
    pub run_dir: PathBuf,
    /// The guest agent, a static binary that knows the commands `sandbox` and `windows`.
    pub agent: PathBuf,
    /// Whether sandboxes and containers keep the network of the host instead of getting one of their own.
    pub host_network: bool,
    /// What answers documents.
    pub machine: Machine,
}

/// What answers documents: of virtual machines, or of Windows containers.
#[derive(Debug, Clone)]
pub enum Machine {
    /// Namespaces and the agent, without a kernel of its own.
    Sandbox,
    /// A virtual machine in QEMU.
    Qemu(QemuConfig),
    /// Windows containers under Wine.
    Wine(WineConfig),
}

/// Settings of Windows containers.
#[derive(Debug, Clone)]
pub struct WineConfig {
    /// Wine's loader for 64-bit programs: an absolute path, or a name to look for where distributions put it.
    pub program: PathBuf,
    /// Holds one prepared prefix per version of Wine, see [`crate::prepare_prefix`]. Made when missing.
    pub prefix_dir: PathBuf,
    /// `ctr-like-init.exe`; its sibling `bcryptprimitives.dll` is for versions of Wine that lack one.
    pub helper: PathBuf,
}

impl WineConfig {
    /// The installed Wine, with the helper that lies beside the agent.
    pub fn new(prefix_dir: impl Into<PathBuf>, agent: &Path) -> Self {
        Self {
            program: "wine64".into(),
            prefix_dir: prefix_dir.into(),
            helper: agent.with_file_name("ctr-like-init.exe"),
        }
    }
}

/// Settings of virtual machines.
#[derive(Debug, Clone)]
pub struct QemuConfig {
    /// QEMU: an absolute path, or a name to look for in `PATH`.
    pub program: PathBuf,
    /// How processors are made.
    pub accelerator: Accelerator,
    /// What outlives machines: consoles of the last ones as `<id>.log`, and whether KVM works. Made when missing.
    pub state_dir: PathBuf,
}

impl QemuConfig {
    /// QEMU for this processor from `PATH`, with KVM if it works.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            program: "qemu-system-x86_64".into(),
            accelerator: Accelerator::Auto,
            state_dir: state_dir.into(),
        }
    }
}

/// How the processors of a virtual machine are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM, unless it is absent or a machine does not come up with it; then emulation, with one warning.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Emulation.
    Tcg,
}
