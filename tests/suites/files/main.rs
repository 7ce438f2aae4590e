//! Files of containers: `cp` in every state and direction, `diff`, `export`, and `commit` all the way through a registry.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod copying;
mod images;
mod support;
