//! The real program against a scripted daemon on a real socket.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(unreachable_pub, reason = "a test is a crate of its own")]

mod support;
#[cfg(target_os = "linux")]
mod terminal;
mod verbs;
