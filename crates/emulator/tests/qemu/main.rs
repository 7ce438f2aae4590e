//! The QEMU back end with the kernel that is shipped. Needs root, QEMU, `cc` and what scripts/build-uvm makes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod accelerator;
mod bad_input;
mod contract;
mod ends;
mod guest;
mod host;
mod killed;
mod machine;
mod network;
mod shares;
mod sockets;
