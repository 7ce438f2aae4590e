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
    /// What answers virtual machine documents.
    pub machine: Machine,
}

/// What answers virtual machine documents.
#[derive(Debug, Clone)]
pub enum Machine {
    /// Namespaces and the agent, without a kernel of its own.
    Sandbox,
    /// A virtual machine in QEMU.
    Qemu(QemuConfig),
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
