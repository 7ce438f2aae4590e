//! Sandboxes in processes of their own, which outlive the daemon.
//!
//! [`ShimRuntime`] starts the configured program once per sandbox; the program calls [`serve`], which boots a
//! [`crate::local::LocalSandbox`] and offers it on a socket in the sandbox's directory. [`client`] is the daemon's
//! end. When the daemon dies, the shim goes on: processes run, output is logged. The next daemon finds the socket.
//!
//! A sandbox's directory holds `shim.json` (its spec), the socket, `tasks/` (a record per task), `shim.log`, on
//! Windows `shim.pid`, and what the compute service puts there. Who notices that a shim is dead removes the directory, after the configured
//! clean-up of what the sandbox left on the host. [`life`] tells who is dead and who only boots.
//!
//! The protocol ([`protocol`]) is private to one build and its predecessor. Sockets are in [`transport`]; on Windows
//! the program that makes the [`Sockets`] brings the ends of the pipes.

mod calm;
mod client;
mod connection;
mod directory;
mod life;
mod protocol;
mod runtime;
mod server;
mod transport;

pub use runtime::{Cleanup, ShimConfig, ShimRuntime};
pub use server::{load_spec, serve};
pub use transport::Sockets;
#[cfg(windows)]
pub use transport::{Pipes, ShimProcess};
