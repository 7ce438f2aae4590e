//! Disks of containers: read-only layers that are stored once, and writable scratches.
//!
//! The engine passes the bytes of a layer to [`Differs`] while they are downloaded, and asks a [`Snapshotter`] for layers and
//! scratches when it makes a container. The [`MountType`] of an image's platform decides who serves it; a differ that does
//! not serve a type says so and the next one is asked. [`LcowLayers`] serves `lcow-layer`; it works on files only, so it
//! does so on every host. [`windows`] serves `windows-layer` on Linux hosts, and has the tools to run, compare and copy.
//!
//! A layer is *absent*, *in the making* under a temporary name, or *there*: complete, flushed and never changed again.
//! A Linux scratch is a sparse copy of an empty disk. All are kept alive through the store (kinds `layer` and [`SCRATCH`], and
//! those of [`windows`]) and removed by its collection: protect first, then make.
//!
//! Errors are [`SnapshotError`], with facts in fields. Asynchronous functions are cancel-safe: what was begun either
//! completes or leaves nothing. Work on files happens on threads that may block.
//!
//! Not here: reading tars and writing file systems (see `layer`), mounting of Linux layers (done inside the guest).

mod apply;
mod differ;
mod disk;
mod error;
mod incoming;
mod layers;
mod lcow;
mod scratch;
mod snapshotter;
mod sparse;
pub mod windows;

pub use apply::Apply;
pub use differ::{ApplyRequest, Differ, Differs};
pub use disk::DiskFormat;
pub use error::{Result, SnapshotError};
pub use lcow::{LcowConfig, LcowLayers, SCRATCH};
pub use snapshotter::{LayerInfo, MountType, Scratch, Snapshotter};
