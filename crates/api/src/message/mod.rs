//! The messages of the wire, by service; those of containers in several files.
//!
//! Requests refuse fields that they do not know; every field of a request that is absent has the value of the type's
//! `Default`, and the client leaves such fields out, so an option that nobody uses never troubles an older daemon.
//! Results may grow: readers skip what they do not know. Times are RFC 3339 strings, "not yet" is
//! `0001-01-01T00:00:00Z`; sizes are bytes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod containers;
mod create;
mod exec;
mod files;
mod images;
mod logs;
mod machines;
mod networks;
mod stats;
mod system;

pub use containers::*;
pub use create::*;
pub use exec::*;
pub use files::*;
pub use images::*;
pub use logs::*;
pub use machines::*;
pub use networks::*;
pub use stats::*;
pub use system::*;

/// The time that stands for "not yet".
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A message without fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// Conditions by name; the values of one name are alternatives, names must all hold.
pub type Filters = BTreeMap<String, Vec<String>>;

/// How far one part of a transfer has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Progress {
    /// The part: usually a short digest; empty for the whole (`Digest: ...`, `Status: ...`).
    pub id: String,
    /// `Pulling fs layer`, `Downloading`, `Verifying`, `Extracting`, `Pull complete`, `Already exists`, `Pushed`, ...
    pub status: String,
    /// Bytes done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// Bytes in all, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// The answer to a call that opens a byte stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamTicket {
    /// Good for one `ctr.v1.Streams/Open` by the same user.
    pub token: String,
    /// How long it is good for.
    pub expires_ms: u64,
}

/// The request of `ctr.v1.Streams/Open`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenStream {
    /// From the [`StreamTicket`].
    pub token: String,
}
