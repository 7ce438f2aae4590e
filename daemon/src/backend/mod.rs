//! The compute service of this system, for the daemon (`--local`) and for shims.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub(crate) use linux::{compute, local_config, settle};
#[cfg(windows)]
pub(crate) use windows::{compute, local_config, settle};
