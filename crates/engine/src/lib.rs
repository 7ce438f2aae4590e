//! The domain: containers, their processes, images, logs and events.
//!
//! The daemon calls [`Engine`]; the engine calls `image`, `network`, `snapshot`, `store` and `task`, whose implementations the daemon
//! injects: no back end is named here, and nothing here knows the wire.
//!
//! Model: a [`ContainerRecord`] is the durable truth and the engine its only writer. A container is created from an unpacked
//! image (its layers and its scratch are kept alive by a root in the store), started in a shared sandbox, watched by one
//! monitor task, and removed with its scratch and log. A restart of the daemon finds the sandboxes again, re-attaches to
//! what runs and learns of what ended meanwhile.
//!
//! Contract: operations on one container are serialised; unless said otherwise a dropped future may leave the operation
//! half done, and the daemon therefore runs mutations to completion. Errors carry a [`Kind`], hints and their causes.
//!
//! Not here: the wire format, back ends, pulling of blobs (`image`), and process stdio (`task`).

mod clock;
mod commit;
mod container;
mod convert;
mod create;
mod engine;
mod error;
mod events;
mod exec;
mod files;
mod images;
mod lifecycle;
mod logs;
mod machines;
mod names;
mod networks;
mod reach;
mod record;
mod recover;
mod sandboxes;
mod signal;
mod snapshots;
mod spec;
mod stats;
#[cfg(test)]
mod tests;
mod top;
mod unpack;

pub use clock::{now_ns, parse_rfc3339, rfc3339};
pub use commit::{CommitOptions, Committed};
pub use container::{Attachment, Exit, WaitCondition};
pub use engine::{Engine, Parts, RemoveOptions};
pub use error::{Error, Kind, Result, Subject};
pub use events::{Event, Events};
pub use exec::ExecRecord;
pub use files::{Change, PathStat};
pub use images::{DiskUsage, ImageUse};
pub use logs::{LogLine, LogOptions};
pub use machines::Machine;
pub use networks::{NetworkInspection, NetworkOptions, NetworkRecord};
pub use record::{ContainerRecord, CreateOptions, MountOption, State, Status, Ulimit};
pub use sandboxes::{Role, SandboxConfig, ServiceMode, VmConfig};
pub use spec::ExecOptions;
pub use stats::{
    ContainerStats, CpuFigures, DiskFigures, Figures, HostFigures, MemoryFigures, StatsOptions, StatsWatch,
};
pub use top::ProcessTable;
