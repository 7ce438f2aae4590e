//! Merged roots of Windows containers, what containers change in them, and the layers that come of it. Needs root.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod differences;
mod merged;
mod refused;
mod setup;
#[path = "../windows_kit/mod.rs"]
mod windows_kit;
