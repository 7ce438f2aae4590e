//! Messages of `ctr.v1.Containers/Top` and `ctr.v1.Containers/Stats`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The request of `Containers/Top`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopContainer {
    /// Which.
    pub container: String,
    /// Options of `ps`: none, or those of `ps -ef`; of a Windows container none.
    pub options: Vec<String>,
}

/// The answer of `Containers/Top`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProcessTable {
    /// The heads of the columns: of Linux `UID PID PPID C STIME TTY TIME CMD`, of Windows `Name`, `PID`, `CPU`,
    /// `Private Working Set`.
    pub titles: Vec<String>,
    /// The processes, a value for each column.
    pub processes: Vec<Vec<String>>,
}

/// The request of `Containers/Stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchStats {
    /// Which; none: all that run, new ones as they start.
    pub containers: Vec<String>,
    /// When none is named, also those that do not run.
    pub all: bool,
    /// One round after about a second, and no more.
    pub once: bool,
}

/// An item of `Containers/Stats`: all containers at about the same moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatsRound {
    /// Those that were named and still exist, in their order; or all, newest first.
    pub containers: Vec<ContainerStats>,
}

/// What one container uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContainerStats {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `linux` or `windows`.
    pub os: String,
    /// As in `Containers/List`.
    pub state: String,
    /// When this was measured.
    pub read: String,
    /// What it uses; absent when it does not run, and when there is a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<ResourceUse>,
    /// Processor time since the round before, in percent: of Linux one busy processor is 100, of Windows all of them are.
    /// Absent in the first round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Why there is no usage although it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a container used so far, and what it may use. What goes over networks is not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceUse {
    /// Processors that it can use.
    pub processors: u32,
    /// Processor time.
    pub cpu: CpuUse,
    /// Memory.
    pub memory: MemoryUse,
    /// Processes and threads; of Windows processes only.
    pub processes: u64,
    /// How many it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes_limit: Option<u64>,
    /// Disks.
    pub disks: DiskUse,
}

/// Processor time in nanoseconds since the container was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CpuUse {
    /// In all.
    pub total_ns: u64,
    /// In programs.
    pub user_ns: u64,
    /// In the kernel.
    pub kernel_ns: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MemoryUse {
    /// Of Linux: what is used, without file pages that can go at any time. Of Windows: the private working set.
    pub usage: u64,
    /// How much it may use; of Linux without limit all that its machine has. Absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Linux: file pages.
    pub cache: u64,
    /// Linux: the most that was used at once; 0 where the kernel does not say.
    pub peak: u64,
    /// Windows: committed.
    pub commit: u64,
    /// Windows: the most that was committed at once.
    pub commit_peak: u64,
}

/// What went to and from disks since the container was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DiskUse {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Windows: reads, in units of 8 KiB.
    pub reads: u64,
    /// Windows: writes, in units of 8 KiB.
    pub writes: u64,
}
