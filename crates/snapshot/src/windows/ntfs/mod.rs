//! Windows' own layer store: layers that the system imports, scratches that it mounts.
//!
//! `layers` unpacks through [`import`], `Activation` mounts through [`store`]. A layer is made where it stays, because its
//! id follows from the name of its directory and its disks name each other by path: it is whole when its record is there.
//! Base layers are written as they are and processed by the system; others go through a temporary tree in the system's
//! transport form ([`transport`]). Both also get the side file, which knows what the layers below look like without asking
//! the file system, where untouched names are placeholders of a filter.
//!
//! What a container has written comes back the same way: the system exports its scratch ([`difference`]). Tools on files work on
//! the mounted volume ([`node`]).
//!
//! Everything blocks. Archives are hostile: objects are made below the handle of their directory, and no link is followed.
//! Privileges are held by the thread that works, and only while it does.

mod activation;
mod base;
mod difference;
mod finish;
mod import;
mod node;
mod store;
mod transport;
mod tree;
mod utility;

pub use activation::Activation;
pub(super) use activation::unmounted_disk;
pub use difference::Difference;
pub(super) use node::{Identity, NewFile, Node, rights};
pub(super) use store::HostStore;
