//! The suites of the room, in one program because each costs a link: pulls, names, archives, hostile registries, a real one.
#![allow(clippy::unwrap_used, reason = "a test may fail here")]

mod archives;
mod committing;
#[cfg(target_os = "linux")]
mod docker_registry;
mod hostile;
mod kit;
mod names;
mod pulling;
mod windows;
