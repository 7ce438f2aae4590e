//! Messages of `ctr.v1.Containers`, but for create, exec and logs.
//!
//! `container` in a request is a name, a full id or a unique prefix of one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Filters;

/// The request of `Containers/Start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartContainer {
    /// Which.
    pub container: String,
}

/// The request of `Containers/Stop` and `Containers/Restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopContainer {
    /// Which.
    pub container: String,
    /// Instead of the container's stop signal.
    #[serde(default)]
    pub signal: Option<String>,
    /// Seconds until it is killed, instead of the container's; -1 is without limit.
    #[serde(default)]
    pub timeout: Option<i64>,
}

/// The request of `Containers/Kill`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillContainer {
    /// Which.
    pub container: String,
    /// A name with or without `SIG`, or a number; absent: KILL.
    #[serde(default)]
    pub signal: Option<String>,
}

/// The request of `Containers/Remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveContainer {
    /// Which.
    pub container: String,
    /// Also when it runs: it is killed first.
    #[serde(default)]
    pub force: bool,
    /// With its anonymous volumes.
    #[serde(default)]
    pub volumes: bool,
}

/// The request of `Containers/List`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListContainers {
    /// Also those that do not run.
    pub all: bool,
    /// The newest so many, in any state; 0 is without limit.
    pub limit: u32,
    /// Compute `size_rw` and `size_root`.
    pub size: bool,
    /// `id`, `name`, `label`, `status`, `exited`, `ancestor`, `before`, `since`, `network`, `volume`, `health`, ...
    pub filters: Filters,
}

/// One published or exposed port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PortSummary {
    /// The address on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// The port on the host, when published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// The port in the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// One container of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name, without a slash.
    pub name: String,
    /// The image as the user wrote it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The entry point and its arguments, separated by spaces.
    pub command: String,
    /// When it was created.
    pub created: String,
    /// When it was last started, or the zero time.
    pub started: String,
    /// When it last ended, or the zero time.
    pub finished: String,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub state: String,
    /// Of the last end.
    pub exit_code: i32,
    /// `starting`, `healthy` or `unhealthy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Ports.
    pub ports: Vec<PortSummary>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Names of networks.
    pub networks: Vec<String>,
    /// Names of volumes and host paths.
    pub mounts: Vec<String>,
    /// How many of them are volumes.
    pub local_volumes: u32,
    /// For example `linux/amd64`.
    pub platform: String,
    /// `process` or `hyperv`.
    pub isolation: String,
    /// The virtual machine that it lives in, while it runs in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Bytes of the writable layer, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// Bytes of all layers, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root: Option<u64>,
}

/// The answer of `Containers/List`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContainerList {
    /// The containers.
    pub containers: Vec<ContainerSummary>,
}

/// The request of `Containers/Inspect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectContainer {
    /// Which.
    pub container: String,
    /// Compute `SizeRw` and `SizeRootFs`.
    #[serde(default)]
    pub size: bool,
}

/// The answer of `Containers/Inspect`: what a client acts on, and the whole in docker's shape.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContainerInspection {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name, without a slash.
    pub name: String,
    /// It has a terminal.
    pub tty: bool,
    /// Its standard input is open.
    pub stdin: bool,
    /// It is removed when it ends.
    pub auto_remove: bool,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub state: String,
    /// Of the last end.
    pub exit_code: i32,
    /// Everything, as `docker inspect` prints it.
    pub document: Value,
}

/// What `Containers/Wait` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitCondition {
    /// It does not run; true at once for one that was never started.
    #[default]
    NotRunning,
    /// It ends the next time; to be asked before the start.
    NextExit,
    /// It is gone.
    Removed,
}

/// The request of `Containers/Wait`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitContainer {
    /// Which.
    pub container: String,
    /// For what.
    #[serde(default)]
    pub condition: WaitCondition,
}

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Exited {
    /// The code; 128 plus the number of the signal that ended it.
    pub exit_code: i32,
    /// Why it could not be started or waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The request of `Containers/Attach`, a byte stream. An attach made before the start loses nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachContainer {
    /// Which.
    pub container: String,
    /// Send standard input.
    #[serde(default)]
    pub stdin: bool,
    /// Receive standard output.
    #[serde(default)]
    pub stdout: bool,
    /// Receive standard error.
    #[serde(default)]
    pub stderr: bool,
}

/// The request of `Containers/Resize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeTerminal {
    /// The container, or an exec's id.
    pub target: String,
    /// Lines.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// The request of `Containers/Rename`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameContainer {
    /// Which.
    pub container: String,
    /// The new name.
    pub name: String,
}

/// The request of `Containers/Prune`: removes what does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneContainers {
    /// `until`, `label`.
    pub filters: Filters,
}

/// The answer of the prune methods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pruned {
    /// Ids or names of what was removed.
    pub removed: Vec<String>,
    /// Bytes freed.
    pub reclaimed: u64,
}
