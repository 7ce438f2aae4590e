//! The compute service for Linux.
//!
//! [`Emulator`] obeys the documents of the Host Compute Service and answers with its codes, so that everything above the
//! compute seam is the same on both systems. `daemon` makes one for each shim process; `task` uses it through
//! [`compute::ComputeService`].
//!
//! A document is checked completely ([`machine`]), becomes a [`system`] under the state rules of [`compute::state`], and is
//! carried out by a [`backend`]: the namespace [`sandbox`], which runs the guest agent without booting a kernel, [`qemu`], or for
//! documents of Windows containers [`wine`].
//!
//! Errors are [`compute::ComputeError`] with HRESULT and result document. Operations run to completion on blocking threads.
//! Nothing leaks: what a failed operation began is undone, what an ended system had is given back before its exit is published, and
//! what a killed process left is removed by [`reap`].
//!
//! Not here: the guest protocol (`gcs`), layers and their images, and what to attach when.

mod backend;
mod boot;
mod cgroup;
mod changes;
mod config;
mod failure;
mod handle;
mod image;
mod interface;
mod kernel;
mod launcher;
mod machine;
mod patience;
mod properties;
mod qemu;
mod registry;
mod sandbox;
mod service;
mod sockets;
mod system;
mod vhd;
mod wine;
mod workspace;

pub use config::{Accelerator, Config, Machine, QemuConfig, WineConfig};
pub use service::Emulator;
pub use wine::{PrefixError, find_wine, prepare_prefix};
pub use workspace::reap;

/// Gives what this process does not need now back to the kernel: free memory, where the C library can, and code that it has
/// run. Blocks for some milliseconds.
///
/// Not about compute systems: it is here because this is the one room for Linux that may call what has no safe wrapper.
pub fn release_memory() {
    kernel::trim_heap();
    if let Err(error) = kernel::forget_clean_pages() {
        tracing::debug!(%error, "code stays in memory");
    }
}
