//! The suites of the room, in one program because each costs a link: bridge and server, peers that misbehave, recordings.
#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is the failure of its test"
)]

mod bridge;
mod flooding_guest;
mod golden;
mod hostile_guest;
mod hostile_host;
mod kit;
