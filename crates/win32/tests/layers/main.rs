//! Windows' layer store, on doubles of computestorage.dll and vmcompute.dll. Runs on Wine, by scripts/test.
//!
//! The runner fails when a double was misused, or when a function that is imported is not called here.
#![cfg(windows)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod failures;
mod golden;
mod host;
mod lives;
