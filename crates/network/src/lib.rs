//! Networks of containers: addresses, namespaces and published ports.
//!
//! The engine attaches a container before it starts it and detaches it when it has ended; it sees only [`NetworkDriver`], whose
//! implementation the daemon injects.
//!
//! Model: a driver has one default network, made when it is missing, as after a reboot of the host. An [`Attachment`] is the
//! namespace of one run of a container, an endpoint in it with addresses, and the host's ports that lead there. It outlives the
//! process: who attached keeps the attachment and detaches it later, and what nobody has kept is reaped.
//!
//! Contract: every call has a deadline, and one that is stuck holds up no other. After a failure of an attach nothing is left,
//! or what is left is reaped. Errors are [`NetworkError`], with the code of the service.
//!
//! Networks that users make ([`UserNetwork`]) are the engine's to remember: it hands one over with each container that is to be on
//! it, and the driver makes it again where the host has lost it.
//!
//! Not here: names and aliases, networks of Linux hosts.

pub mod documents;
mod driver;
mod error;
#[cfg(windows)]
mod hcn;
mod ids;
mod range;
mod user;

pub use driver::{Address, Attachment, NetworkDriver, Port, Protocol};
pub use error::NetworkError;
#[cfg(windows)]
pub use hcn::HcnDriver;
pub use hcs::HResult;
pub use ids::Ids;
pub use range::{NoRange, Range};
pub use user::{Known, NetworkKind, Place, UserNetwork, ranges};
