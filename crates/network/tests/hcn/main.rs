//! The driver for Windows, on a double of computenetwork.dll. Runs on Wine, by scripts/test.
//!
//! The runner fails when the double was misused, or when a function that is imported is not called here.
#![cfg(windows)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod faults;
mod golden;
mod host;
mod lives;
mod users;
