//! The sandbox back end on a real kernel. Needs root.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod agent;
mod contract;
mod disks;
mod host;
mod killed;
mod lifecycle;
mod network;
mod shares;
