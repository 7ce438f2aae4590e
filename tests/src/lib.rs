//! Test kit: a daemon of its own for each test, a real registry, real images.
//!
//! The suites under `suites/` drive the programs as a user does; nothing here links our crates. `scripts/test` builds the
//! programs and the images first and says where they are; a thing that is missing fails the test with the command that
//! makes it. Nothing is skipped silently.

#![cfg(unix)]

pub mod console;
pub mod daemon;
pub mod idle;
pub mod images;
pub mod layers;
pub mod leaks;
pub mod machine_host;
pub mod prefix;
pub mod programs;
pub mod registry;
pub mod terminal;
pub mod wait;
pub mod windows;
pub mod wine;
pub mod wire;

pub use daemon::{Output, TestDaemon};
pub use images::{BUSYBOX, DEBIAN_PYTHON, WINDOWS_TOOLS};
pub use machine_host::MachineHost;
pub use registry::Registry;
