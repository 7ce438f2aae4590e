//! The suites of the room that need no process of their own, in one program because each costs a link. Shims have theirs.
#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is the failure of its test"
)]

mod golden;
mod hosted;
mod sandbox;
#[path = "../support/mod.rs"]
mod support;
mod windows;
