//! The compute seam: compute systems and their processes, driven by HCS documents.
//!
//! `task` asks a [`ComputeService`] for virtual machines and containers; the emulator serves it on Linux. The
//! Host Compute Service of Windows is the model: the same JSON documents (crate `hcs`), the same HRESULTs.
//!
//! A [`ComputeSystem`] is *created*, *running*, *paused*, *saved* or *stopped*; [`state`] says which operation is
//! legal when, and which HRESULT the others get. A [`Process`] runs inside a system and ends on its own clock: the
//! end of the last process does not end the system.
//!
//! Contract, checked by the suite in `testsuite`: documents are strict, an event is published once, closing a handle
//! is not an exit, and an operation that was started runs to completion when its future is dropped. Errors are
//! [`ComputeError`]: operation, system id, HRESULT and the result document when the service wrote one.
//!
//! Not here: how documents are built (`task`), and the guest protocol (`gcs`).

mod console;
mod error;
#[cfg(windows)]
pub mod hcs;
mod process;
mod service;
pub mod state;
mod system;
#[cfg(feature = "testsuite")]
pub mod testsuite;

pub use console::ConsoleLog;
pub use error::{ComputeError, Result};
pub use process::{ExitStatus, Process, Stdio};
pub use service::ComputeService;
pub use system::{ComputeSystem, Duplex, GuestListener, GuestStream, SystemEvent, wait_for_exit};
