//! Windows containers under Wine, on a real kernel. Needs root, Debian's wine64 and mingw, and what scripts/build-guest makes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod bad_input;
mod console;
mod contract;
mod files;
mod host;
mod killed;
mod limits;
mod processes;
mod signals;
