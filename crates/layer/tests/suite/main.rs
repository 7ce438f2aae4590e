//! The suites of the room, in one program because each costs a link: archives, acceptance rules, images, Windows
//! layers, hostile input.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod archives;
mod hostile;
#[cfg(target_os = "linux")]
mod images;
mod kit;
#[cfg(target_os = "linux")]
mod model;
#[cfg(target_os = "linux")]
mod rules;
mod windows;
