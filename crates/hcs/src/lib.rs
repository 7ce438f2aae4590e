//! The compute documents: what the Host Compute Service, its network service and its guests are told and answer.
//!
//! Everything above the operating system speaks these types: `task` builds them, `compute` and `emulator` carry and
//! check them, `gcs` puts some of them on the wire. Portable, no input or output.
//!
//! Documents are declared once, in [`document`], and are *strict* (what we hand out: an unknown field is an error) or
//! *open* (what a service answers). [`HResult`] is the code of every failure. Windows command lines are quoted in
//! [`command_line`], socket services are numbered in [`hvsocket`], SCSI controllers named in [`scsi`].
//!
//! The names and types of all fields are compared by a test with the tables recorded from the reference runtime.
//!
//! Not here: which document means what to whom (`compute`, `task`), and layer storage (`snapshot`).

pub mod command_line;
mod compute_system;
mod container;
mod container_devices;
mod devices;
mod disks;
pub mod document;
mod events;
mod guest_request;
pub mod hcn;
mod hresult;
pub mod hvsocket;
mod modify;
mod process;
mod properties;
mod registry;
mod resource;
mod service;
mod statistics;
pub mod v1;
mod virtual_machine;

pub use compute_system::*;
pub use container::*;
pub use container_devices::*;
pub use devices::*;
pub use disks::*;
pub use document::{Document, InvalidDocument};
pub use events::*;
pub use guest_request::*;
pub use hresult::{Explanation, HResult, ParseHResultError, all as all_hresults};
pub use hvsocket::{HvSocket, HvSocketAddress, HvSocketDevice, HvSocketServiceConfig, HvSocketSystemConfig};
pub use modify::*;
pub use process::*;
pub use properties::*;
pub use registry::*;
pub use resource::{Resource, UnknownResource};
pub use service::*;
pub use statistics::*;
pub use virtual_machine::*;
