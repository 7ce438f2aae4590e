//! The back end for the Host Compute Service, on a double of computecore.dll. Runs on Windows or under Wine, by scripts/test.
//!
//! Each test ends with a look at the double: nothing may be open, and nothing have been done wrong.
#![cfg(windows)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod contract;
mod faults;
mod golden;
mod guests;
mod host;
mod lifetimes;
mod processes;
