//! The one home of unsafe code for Windows.
//!
//! `api` takes its named pipe from here, `compute` the Host Compute Service and the sockets of its guests, `network` the Host
//! Compute Network service, `snapshot` Windows' layers, `daemon` the presence of those services, virtual disks and being a service
//! itself, `cli` the console and the service manager, `wineinit` processes, jobs and the registry. Nothing here knows containers.
//!
//! One file per facility. Each wraps raw handles and strings in types that release them, and offers safe functions only; an
//! `unsafe` block never leaves its file and carries the reason why it is sound. Constants come from `windows-sys`.
//!
//! DLLs that belong to optional Windows features are never linked: they are resolved at run time by [`dynamic`], so that both
//! programs start on a host without them and can say what is missing. Errors are [`std::io::Error`] with the Win32 code, or
//! [`FeatureMissing`].
//!
//! On other systems only the plain data types remain. Not here: policy, retries, wire formats, Ctrl-C handling (tokio has it).
#![cfg_attr(
    windows,
    expect(unsafe_code, reason = "calls the Win32 API; this crate is its only home")
)]

mod presence;

#[cfg(windows)]
pub mod calls;
#[cfg(windows)]
pub mod child;
#[cfg(windows)]
pub mod console;
#[cfg(windows)]
pub mod control_event;
#[cfg(windows)]
mod disk;
#[cfg(windows)]
pub mod dynamic;
#[cfg(windows)]
pub mod event_log;
#[cfg(windows)]
pub mod file;
#[cfg(windows)]
pub mod folder;
#[cfg(windows)]
mod handle;
#[cfg(windows)]
pub mod hcn;
#[cfg(windows)]
pub mod hcs;
#[cfg(windows)]
pub mod hvsock;
#[cfg(windows)]
pub mod job;
#[cfg(windows)]
pub mod layers;
#[cfg(windows)]
pub mod memory;
#[cfg(windows)]
mod name_servers;
#[cfg(windows)]
pub mod pipe;
#[cfg(windows)]
pub mod privilege;
#[cfg(windows)]
pub mod process;
#[cfg(windows)]
pub mod processes;
#[cfg(windows)]
pub mod registry;
#[cfg(windows)]
pub mod security;
#[cfg(windows)]
pub mod service;
#[cfg(windows)]
pub mod system_event;
#[cfg(windows)]
mod table;
#[cfg(windows)]
pub mod version;
#[cfg(windows)]
pub mod virtdisk;

#[cfg(windows)]
pub use disk::free_bytes;
#[cfg(windows)]
pub use dynamic::hcs_presence;
#[cfg(windows)]
pub use memory::total_memory;
#[cfg(windows)]
pub use name_servers::name_servers;
#[cfg(windows)]
pub use pipe::{PipePeer, PipeSecurity, pipe_client, pipe_peer, pipe_server, pipe_server_process};
pub use presence::{FeatureMissing, Presence};
#[cfg(windows)]
pub use version::{WindowsVersion, windows_version};
