//! Messages of `ctr.v1.System`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Filters;

/// The versions of the wire that a program speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiRange {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

impl ApiRange {
    /// What this build speaks.
    pub const OURS: Self = Self {
        min: crate::MIN_API_VERSION,
        max: crate::API_VERSION,
    };

    /// The newest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

impl Default for ApiRange {
    fn default() -> Self {
        Self::OURS
    }
}

/// The request of `System/Version`, which opens a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VersionRequest {
    /// The versions that the client speaks. When the daemon speaks none of them, the call fails with
    /// `FAILED_PRECONDITION` before any handler runs. Absent: no check.
    pub api: Option<ApiRange>,
    /// The client and its version, for the daemon's log.
    pub client: Option<String>,
}

/// A part of the daemon with a version of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Component {
    /// For example `Engine`, `Emulator`, `Kernel`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// More facts.
    pub details: BTreeMap<String, String>,
}

/// The answer of `System/Version`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Version {
    /// The daemon's version, for example `0.1.0`.
    pub version: String,
    /// The versions of the wire that it speaks.
    pub api: ApiRange,
    /// The commit that it was built from, where that is known.
    pub git_commit: String,
    /// When it was built, where that is known.
    pub build_time: String,
    /// The system that containers run on by default: `linux` also in a daemon that serves both.
    pub os: String,
    /// `amd64` or `arm64`.
    pub arch: String,
    /// The host's kernel.
    pub kernel_version: String,
    /// Parts with versions of their own.
    pub components: Vec<Component>,
}

/// The request of `System/Info`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InfoRequest {}

/// The answer of `System/Info`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Info {
    /// Identifies this store.
    pub id: String,
    /// The host's name.
    pub name: String,
    /// The daemon's version.
    pub server_version: String,
    /// Containers in any state.
    pub containers: u64,
    /// Running containers.
    pub containers_running: u64,
    /// Paused containers.
    pub containers_paused: u64,
    /// Containers that are neither.
    pub containers_stopped: u64,
    /// Images.
    pub images: u64,
    /// Snapshotters by name, the default first.
    pub storage_drivers: Vec<String>,
    /// The log driver used when none is asked for.
    pub logging_driver: String,
    /// `1` or `2`, on Linux.
    pub cgroup_version: String,
    /// The host's kernel.
    pub kernel_version: String,
    /// The host's system as it names itself.
    pub operating_system: String,
    /// The version of that system.
    pub os_version: String,
    /// `linux` or `windows`: the default system of containers.
    pub os_type: String,
    /// `x86_64` or `aarch64`.
    pub architecture: String,
    /// Processors.
    pub ncpu: u64,
    /// Memory in bytes.
    pub mem_total: u64,
    /// Where the store is.
    pub root_dir: String,
    /// Where sockets and sandboxes are.
    pub run_dir: String,
    /// The platforms that this daemon can run, for example `linux/amd64`.
    pub platforms: Vec<String>,
    /// The compute service: `hcs` or `emulator`.
    pub compute: String,
    /// Isolation used when none is asked for.
    pub default_isolation: String,
    /// Security features in use, for example `name=seccomp,profile=builtin`.
    pub security_options: Vec<String>,
    /// The daemon's clock.
    pub system_time: String,
    /// Labels of the daemon.
    pub labels: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// More facts in docker's names; shown by `info --format json`.
    pub details: BTreeMap<String, Value>,
}

/// The request of `System/Ping`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PingRequest {}

/// The answer of `System/Ping`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pong {}

/// The request of `System/Explain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExplainRequest {
    /// A code of Windows as people paste it: `0x8037010E`, `-2143878898`, `1168`, `0xC0000135`, or a name.
    pub code: String,
}

/// The answer of `System/Explain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CodeExplanation {
    /// The code, as eight hexadecimal digits after `0x`.
    pub code: String,
    /// The same as Windows programs print it in decimal.
    pub signed: i32,
    /// The name that the headers of Windows have for it.
    pub name: String,
    /// What happened, in one sentence.
    pub meaning: String,
    /// What to do about it; empty when there is nothing to do.
    pub hint: String,
}

/// The request of `System/Doctor`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DoctorRequest {
    /// Mend what can be mended without losing anything.
    pub fix: bool,
}

/// The answer of `System/Doctor`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DoctorReport {
    /// One for each thing that was looked at.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub state: FindingState,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    pub advice: String,
    /// It was mended.
    pub fixed: bool,
}

/// How something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FindingState {
    /// As it has to be.
    #[default]
    Ok,
    /// Something does not work, and other things do.
    Warning,
    /// Containers do not run.
    Problem,
}

/// The request of `System/Events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsRequest {
    /// Begin with what happened at this time or later; absent: with now.
    pub since: Option<String>,
    /// End at this time; absent: never.
    pub until: Option<String>,
    /// `type`, `event`, `container`, `image`, `label`, ...
    pub filters: Filters,
}

/// What an event happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Actor {
    /// Its full id, or the name for images.
    pub id: String,
    /// Facts about it, its labels included.
    pub attributes: BTreeMap<String, String>,
}

/// Something that happened. The state that it tells of is committed before it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Event {
    /// `container`, `image`, `network`, `volume` or `daemon`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `create`, `start`, `die`, `destroy`, `pull`, ...
    pub action: String,
    /// What it happened to.
    pub actor: Actor,
    /// `local`.
    pub scope: String,
    /// When.
    pub time: String,
    /// When, in nanoseconds since 1970.
    pub time_nano: i64,
}

/// The request of `System/DiskUsage`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskUsageRequest {}

/// What one kind of thing occupies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Usage {
    /// `Images`, `Containers`, `Local Volumes`, `Build Cache`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many there are.
    pub count: u64,
    /// How many are in use.
    pub active: u64,
    /// Bytes.
    pub size: u64,
    /// Bytes that a prune would free.
    pub reclaimable: u64,
}

/// The answer of `System/DiskUsage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DiskUsage {
    /// One entry per kind.
    pub usage: Vec<Usage>,
}

/// The request of `System/Shutdown`. Containers go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownRequest {
    /// Stop the containers (and their sandboxes) first.
    pub stop_containers: bool,
}
