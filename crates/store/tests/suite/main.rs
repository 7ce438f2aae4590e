//! The suites of the room, in one program because each costs a link: blobs, records, collection, a full disk.
//!
//! What is killed in the middle of its work is in `crash.rs`, a program of its own: a child that is being started holds
//! copies of the locks of every store in its parent for a moment, and a store that is opened again then is locked.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod collection;
mod content;
#[cfg(target_os = "linux")]
mod disk_full;
mod metadata;
