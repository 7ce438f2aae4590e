//! The documents of Windows containers: pure functions from the OCI specification and what the host knows.
//!
//! Two ways to keep a container apart. With *process isolation* it is a compute system of its own
//! ([`process_isolated`]): the caller has mounted layers and scratch and hands over the volume. With *Hyper-V isolation*
//! there are two systems: the utility VM ([`machine`]), which boots the files that a base layer brings for it, and
//! the container in it ([`hosted`]), whose layers, scratch, directories and pipes are first brought into the machine
//! ([`change`]). Processes ([`process()`]), signals, limits and consoles are the same for both.
//!
//! Ids of layers come from the caller, because they are answers of Windows (`NameToGuid`).
//!
//! A test compares every document with what Microsoft's runtime was recorded to send for the same input, and lists what
//! is different or left out with its reason. Not here: mounting, networks (`hcs::hcn`), and who sends what when.

pub mod change;
mod container;
mod limits;
pub mod machine;
mod process;
mod registry;
mod spec;
mod status;

pub use container::{Host, hosted, pipes, process_isolated};
pub use hcs::command_line;
pub use limits::update;
pub use process::{Order, process, signal, signal_named};
pub use status::describe;
