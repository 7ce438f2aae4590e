//! The guest protocol (GCS, version 4) between a host and the agent in a utility VM.
//!
//! `task` drives an agent through [`host::Bridge`]; `guest` is an agent and answers through [`guest::serve`].
//! [`guest`] is the end in a Linux machine; of a Windows machine there is only the host's. Both ends work over any byte stream: hvsock, vsock, a unix socket or memory.
//!
//! A connection carries frames ([`frame`]): a 16 byte header and a JSON document. The host sends requests, the
//! agent answers each exactly once, in any order, and sends one kind of notification. The documents are in
//! [`message`]; they are read with the tolerance of Go's decoder ([`json`]), because the other side may be Microsoft's
//! agent or host, and written exactly as those expect them.
//!
//! The host end trusts nothing it reads: a frame out of bounds, an unknown answer or a flood ends the bridge with a
//! reason. Errors are [`GcsError`]; an error the agent reported keeps its HRESULT.
//!
//! Not here: sockets and listeners (`compute`), the order in which a sandbox sends requests (`task`), and what the
//! agent does with them (`guest`).

pub mod error;
pub mod frame;
pub mod guest;
pub mod host;
pub mod hresult;
pub mod json;
pub mod message;

use tokio::io::{AsyncRead, AsyncWrite};

pub use error::GcsError;

/// A bidirectional byte stream. Half-close (`shutdown` of the writing side) must reach the peer: the protocol's
/// stream handling depends on it.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// A boxed [`Duplex`].
pub type Stream = Box<dyn Duplex>;

/// The container id that addresses the utility VM itself.
pub const NULL_ID: &str = "00000000-0000-0000-0000-000000000000";

/// The protocol version spoken here; no other exists today.
pub const PROTOCOL_VERSION: u32 = 4;

/// An extension of ours: the variable in the environment of an external process that names a container. Our agent freezes its processes
/// for as long as that one runs, and takes the variable out. An agent that does not know it passes it on.
pub const FREEZE: &str = "CTR_LIKE_FREEZE";

/// Well-known ports. The guest always dials, the host always listens.
pub mod port {
    /// The host writes [`ENTROPY_BYTES`] random bytes and closes.
    pub const ENTROPY: u32 = 1;
    /// How many bytes the guest expects on [`ENTROPY`].
    pub const ENTROPY_BYTES: usize = 512;
    /// The agent's log: one JSON object per line.
    pub const LOG: u32 = 109;
    /// The Plan 9 server of the VM's shares.
    pub const PLAN9: u32 = 564;
    /// The bridge.
    pub const BRIDGE: u32 = 0x4000_0000;
    /// The first port for standard streams; the host counts upwards and never reuses one.
    pub const FIRST_STDIO: u32 = 0x4000_0001;

    /// The service of the bridge of a Windows guest, which knows services instead of ports.
    pub const WINDOWS_BRIDGE: &str = "acef5661-84a1-4e44-856b-6245e69f4620";
}
