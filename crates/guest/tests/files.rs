//! The file tools, started as the host starts them, on real overlays and with archives nobody should trust. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "files/kit.rs"]
mod kit;
mod support;

#[path = "files/copying.rs"]
mod copying;
#[path = "files/hostile.rs"]
mod hostile;
#[path = "files/layers.rs"]
mod layers;
#[path = "files/machine.rs"]
mod machine;
#[path = "files/processes.rs"]
mod processes;
