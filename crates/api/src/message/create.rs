//! The request of `ctr.v1.Containers/Create`.
//!
//! It carries every option of the command line, also those that a daemon cannot serve: the daemon refuses them with
//! `UNIMPLEMENTED` and names the alternative, the client never hides them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a container is separated from its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// The daemon's choice.
    #[default]
    Default,
    /// Namespaces or a silo on the host's kernel.
    Process,
    /// A utility VM of its own.
    Hyperv,
    /// A HostProcess container.
    Host,
}

/// When a container is started again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartName {
    /// Never.
    #[default]
    No,
    /// After a non-zero exit.
    OnFailure,
    /// Always.
    Always,
    /// Always, but not after it was stopped by hand.
    UnlessStopped,
}

impl fmt::Display for RestartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        })
    }
}

/// The restart policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartPolicy {
    /// When.
    pub name: RestartName,
    /// How often at most, for `on-failure`; 0 is without limit.
    pub maximum_retry_count: u32,
}

/// Where the log goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogOptions {
    /// `json-file`, `local`, `none`, ...; absent: the daemon's default.
    pub driver: Option<String>,
    /// `max-size`, `max-file`, ...
    pub options: BTreeMap<String, String>,
}

/// What a mount shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A file or directory of the host.
    #[default]
    Bind,
    /// A named or anonymous volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// A named pipe of the host.
    Npipe,
    /// The content of an image.
    Image,
}

/// One mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mount {
    /// What it shows.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// The absolute path on the host, the name of the volume or the image. Absent: an anonymous volume.
    pub source: Option<String>,
    /// The absolute path in the container.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
    /// Make the directory on the host when it does not exist (what `-v` does and `--mount` does not).
    pub create_source: bool,
    /// `rprivate`, `rshared`, `rslave`, ...
    pub propagation: Option<String>,
    /// The options as they were written, for inspect: `ro,z`.
    pub mode: String,
    /// Do not copy the image's content into a new volume.
    pub no_copy: bool,
    /// The driver of a new volume.
    pub volume_driver: Option<String>,
    /// Options of the driver.
    pub volume_options: BTreeMap<String, String>,
    /// Labels of a new volume.
    pub volume_labels: BTreeMap<String, String>,
    /// Size limit of a tmpfs in bytes.
    pub tmpfs_size: Option<u64>,
    /// Permissions of a tmpfs.
    pub tmpfs_mode: Option<u32>,
    /// Mount options of a tmpfs as they were written.
    pub tmpfs_options: Vec<String>,
}

/// One network that the container joins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkAttachment {
    /// A name or id, or `none`, `host`, `bridge`, `default`, `container:NAME`.
    pub network: String,
    /// More names for the container on that network.
    pub aliases: Vec<String>,
    /// A fixed IPv4 address.
    pub ipv4: Option<String>,
    /// A fixed IPv6 address.
    pub ipv6: Option<String>,
    /// Link-local addresses.
    pub link_local: Vec<String>,
    /// A fixed MAC address.
    pub mac_address: Option<String>,
    /// Options of the driver.
    pub driver_options: BTreeMap<String, String>,
}

/// One published port. A range is several of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PortMapping {
    /// The address on the host; absent: all.
    pub host_ip: Option<String>,
    /// The port on the host; absent: any free one.
    pub host_port: Option<u16>,
    /// The port in the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// A resource limit of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ulimit {
    /// For example `nofile`.
    pub name: String,
    /// The limit in effect; -1 is without limit.
    pub soft: i64,
    /// What it may be raised to; -1 is without limit.
    pub hard: i64,
}

/// How to find out whether the container is well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// `["CMD-SHELL", "..."]`, `["CMD", ...]`, `["NONE"]`; empty: the image's.
    pub test: Vec<String>,
    /// Milliseconds between checks; 0: the default.
    pub interval_ms: u64,
    /// Milliseconds until a check counts as failed; 0: the default.
    pub timeout_ms: u64,
    /// Failures until the container is unhealthy; 0: the default.
    pub retries: u32,
    /// Milliseconds in which failures do not count; 0: none.
    pub start_period_ms: u64,
    /// Milliseconds between checks in that time; 0: the default.
    pub start_interval_ms: u64,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Lines.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// The request of `Containers/Create`. Only `image` must be given; the image must be local.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateContainer {
    /// A reference or an image id, as the user wrote it.
    pub image: String,
    /// Absent: the daemon invents one.
    pub name: Option<String>,
    /// `os[/arch[/variant]]` when the image must be of that platform.
    pub platform: Option<String>,
    /// How it is separated from the host.
    pub isolation: Isolation,

    /// What follows the image: replaces the image's command. Empty: the image's.
    pub command: Vec<String>,
    /// Replaces the image's entry point (and drops its command); an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=VALUE`, added to the image's; a bare `NAME` removes it.
    pub env: Vec<String>,
    /// Absent: the image's.
    pub workdir: Option<String>,
    /// `user[:group]`, names or numbers; absent: the image's.
    pub user: Option<String>,
    /// More groups of the process.
    pub group_add: Vec<String>,
    /// Absent: the first 12 digits of the id.
    pub hostname: Option<String>,
    /// The domain part of the host's name.
    pub domainname: Option<String>,
    /// Labels, over the image's.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the runtime specification.
    pub annotations: BTreeMap<String, String>,

    /// Give it a terminal.
    pub tty: bool,
    /// Keep its standard input open.
    pub stdin: bool,
    /// Close its standard input when the first attached client ends it.
    pub stdin_once: bool,
    /// The client means to attach to standard input.
    pub attach_stdin: bool,
    /// The client means to attach to standard output.
    pub attach_stdout: bool,
    /// The client means to attach to standard error.
    pub attach_stderr: bool,
    /// The terminal's size at first.
    pub console_size: Option<TerminalSize>,

    /// Remove it, with its anonymous volumes, when it ends.
    pub auto_remove: bool,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Absent: the image's, or SIGTERM.
    pub stop_signal: Option<String>,
    /// Seconds between the stop signal and the kill; -1 is without limit.
    pub stop_timeout: Option<i64>,
    /// How to find out whether it is well; absent: as the image says.
    pub health: Option<HealthCheck>,
    /// Where its log goes.
    pub log: LogOptions,

    /// Mounts, from `-v`, `--mount` and `--tmpfs`.
    pub mounts: Vec<Mount>,
    /// `NAME[:ro]` of containers whose volumes to take over.
    pub volumes_from: Vec<String>,
    /// Options of its writable layer: `size`.
    pub storage_options: BTreeMap<String, String>,
    /// The driver of new volumes.
    pub volume_driver: Option<String>,
    /// The image's tree is not writable.
    pub read_only: bool,

    /// Networks to join, the first is the main one. Empty: the default network.
    pub networks: Vec<NetworkAttachment>,
    /// Published ports.
    pub ports: Vec<PortMapping>,
    /// Publish all exposed ports.
    pub publish_all: bool,
    /// `PORT[/PROTO]`, exposed but not published.
    pub expose: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// `NAME:ADDRESS`.
    pub add_hosts: Vec<String>,

    /// Memory limit in bytes.
    pub memory: Option<i64>,
    /// Memory plus swap in bytes; -1 is without limit.
    pub memory_swap: Option<i64>,
    /// Soft memory limit in bytes.
    pub memory_reservation: Option<i64>,
    /// Processors, for example 1.5.
    pub cpus: Option<f64>,
    /// Relative weight.
    pub cpu_shares: Option<i64>,
    /// Microseconds of a period.
    pub cpu_period: Option<i64>,
    /// Microseconds of processor time in a period.
    pub cpu_quota: Option<i64>,
    /// Processors it may use: `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use.
    pub cpuset_mems: Option<String>,
    /// Processors of a Windows container.
    pub cpu_count: Option<i64>,
    /// Share of all processors of a Windows container.
    pub cpu_percent: Option<i64>,
    /// I/O operations per second of a Windows container.
    pub io_maximum_iops: Option<u64>,
    /// Bytes per second of a Windows container.
    pub io_maximum_bandwidth: Option<u64>,
    /// Block I/O weight.
    pub blkio_weight: Option<u16>,
    /// Processes at most; -1 is without limit.
    pub pids_limit: Option<i64>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<i64>,
    /// Preference of the out-of-memory killer.
    pub oom_score_adj: Option<i64>,
    /// Keep the out-of-memory killer away.
    pub oom_kill_disable: bool,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,

    /// Capabilities to add.
    pub cap_add: Vec<String>,
    /// Capabilities to drop.
    pub cap_drop: Vec<String>,
    /// Everything is allowed.
    pub privileged: bool,
    /// `seccomp=...`, `no-new-privileges`, `credentialspec=...`, ...
    pub security_options: Vec<String>,
    /// Run an init as process 1; absent: the daemon's default.
    pub init: Option<bool>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Host devices, as they were written.
    pub devices: Vec<String>,
    /// `all`, or what docker's `--gpus` takes.
    pub gpus: Option<String>,
    /// `host`, `container:NAME`.
    pub pid_mode: Option<String>,
    /// `private`, `host`, `shareable`, `container:NAME`.
    pub ipc_mode: Option<String>,
    /// `host`.
    pub uts_mode: Option<String>,
    /// `host`.
    pub userns_mode: Option<String>,
    /// `host`, `private`.
    pub cgroupns_mode: Option<String>,
    /// The cgroup above the container's.
    pub cgroup_parent: Option<String>,
    /// The low-level runtime by name.
    pub runtime: Option<String>,
}

/// The answer of `Containers/Create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Created {
    /// 64 hexadecimal digits.
    pub id: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}
