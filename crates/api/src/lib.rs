//! The wire: messages, service traits, status codes, framing, transports, server and client.
//!
//! `daemon` implements the service traits ([`System`], [`Containers`], [`Images`]) and hands them to [`Server`];
//! `cli` holds a [`Client`], which implements the same traits over a connection. Knows no other crate but `win32`.
//!
//! A connection carries one JSON object per line ([`wire`]): requests run concurrently and are answered by id, as one
//! result, as a stream of items, or as an error with a [`Status`]. Bulk bytes take a connection of their own: a method
//! answers with a single-use token, the second connection presents it and then carries [`Frame`]s.
//!
//! Everything a peer can do wrong is answered by a status with a gRPC code. Dropping a call cancels it, on both sides:
//! a handler whose caller has gone is dropped at its next await, so work that must finish belongs to a task of the
//! engine. No state is kept between the requests of a connection.
//!
//! Not here: what a request means (engine), how an error of the engine becomes a code (daemon), reading the
//! environment (cli, daemon), and any file of the user.

pub mod client;
mod context;
mod frame;
mod limits;
mod line;
pub mod message;
mod pump;
pub mod schema;
pub mod server;
mod service;
mod status;
pub mod stream;
pub mod transport;
pub mod wire;

pub use client::Client;
pub use context::{Context, Peer};
pub use limits::Limits;
pub use server::Server;
pub use service::{Containers, Images, ItemStream, Kind, Machines, Networks, Services, System, items};
pub use status::{Code, HcsDetail, Resource, Status};
pub use stream::{ByteStream, Channel, Control, Frame, StreamClosed, StreamReceiver, StreamSender};
pub use transport::{Connector, Endpoint, Listener};

/// The newest version of the wire that this build speaks.
pub const API_VERSION: u32 = 1;

/// The oldest version of the wire that this build speaks.
pub const MIN_API_VERSION: u32 = 1;
