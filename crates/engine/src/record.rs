//! What the engine remembers of a container.
//!
//! [`ContainerRecord`] is the durable truth, stored as versioned JSON; it holds what the user asked for (already merged
//! with the image's configuration) and what became of it. Nothing here acts; the actors in `container` do.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use network::{Attachment, Port};
use serde::{Deserialize, Serialize};
use store::Digest;

/// What a client asks for; every field may be left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateOptions {
    /// Name; two random words when absent.
    pub name: Option<String>,
    /// Image name, id or digest.
    pub image: String,
    /// `os[/architecture[/variant]]` when the image has several.
    pub platform: Option<String>,
    /// Replaces the image's entry point; an empty list removes it.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments; replaces the image's command when not empty.
    pub command: Vec<String>,
    /// `NAME=value`, later ones win.
    pub env: Vec<String>,
    /// Working directory inside the container.
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// Host name; the first 12 digits of the id when absent.
    pub hostname: Option<String>,
    /// Labels, over those of the image.
    pub labels: BTreeMap<String, String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Height and width of the terminal in characters, where the client knows them.
    pub console_size: Option<(u16, u16)>,
    /// Keep standard input open.
    pub open_stdin: bool,
    /// Close standard input when the first attached client leaves.
    pub stdin_once: bool,
    /// Signal that `stop` sends first.
    pub stop_signal: Option<String>,
    /// Seconds `stop` waits before it kills.
    pub stop_timeout: Option<u32>,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// Bind mounts.
    pub mounts: Vec<MountOption>,
    /// `none`, `host`, the driver's network or a user's; empty is the default, which a record has settled.
    pub network: Option<String>,
    /// The address on a network of a user; any free one when absent.
    pub ip: Option<Ipv4Addr>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Bytes of memory, 0 is unlimited.
    pub memory: u64,
    /// Billionths of a processor, 0 is unlimited.
    pub nano_cpus: u64,
    /// Processes, absent or 0 or below is unlimited.
    pub pids_limit: Option<i64>,
    /// Capabilities beyond the default set.
    pub cap_add: Vec<String>,
    /// Capabilities to take away.
    pub cap_drop: Vec<String>,
    /// All capabilities and no filters.
    pub privileged: bool,
    /// The root file system is read-only.
    pub read_only: bool,
    /// tmpfs mounts: target to options.
    pub tmpfs: BTreeMap<String, String>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Bytes per log file before it is rotated; 0 never rotates.
    pub log_max_size: u64,
    /// Log files kept.
    pub log_max_files: u32,
    /// `sandbox`, `hyperv` or `process`; empty is the default.
    pub isolation: Option<String>,
    /// Size of the writable layer in bytes.
    pub storage_size: Option<u64>,
}

/// A bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountOption {
    /// Path on the host, absolute.
    pub source: PathBuf,
    /// Path in the container, absolute.
    pub target: String,
    /// Writes are refused.
    pub read_only: bool,
    /// Create the source directory when it does not exist (`-v`, not `--mount`).
    pub create_source: bool,
}

/// One resource limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// The life of a container, in the words of `ps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    #[default]
    Created,
    /// Its first process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process ended.
    Exited,
    /// Being removed.
    Removing,
    /// Removal failed half-way; `rm` tries again.
    Dead,
}

impl Status {
    /// The word that `ps` and `inspect` show.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }
}

/// What became of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Where in its life it is.
    pub status: Status,
    /// Process id of the first process in its sandbox, while it runs.
    pub pid: Option<u32>,
    /// Exit code of the last run.
    pub exit_code: i32,
    /// Why the last start failed or the sandbox died.
    pub error: Option<String>,
    /// The memory limit killed it.
    pub oom_killed: bool,
    /// Last start, nanoseconds since 1970.
    pub started_ns: Option<i64>,
    /// Last end, nanoseconds since 1970.
    pub finished_ns: Option<i64>,
    /// The sandbox in which it runs or ran.
    pub sandbox: Option<String>,
    /// What it has of a network, while it runs.
    pub network: Option<Attachment>,
}

/// All that is known of one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique name, without the leading slash.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created_ns: i64,
    /// The image as the user named it.
    pub image: String,
    /// Digest of the image's configuration.
    pub image_id: Digest,
    /// Digest of the image's manifest.
    pub manifest: Digest,
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// What its layers are stored under, base first: diff ids, or chain ids of Windows layers.
    pub layers: Vec<Digest>,
    /// Program and arguments that will run.
    pub args: Vec<String>,
    /// The first of `args` is the beginning of a Windows command line, and not to be quoted.
    #[serde(default)]
    pub args_escaped: bool,
    /// Full environment.
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// `user[:group]`, empty is root.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// Signal number that `stop` sends first.
    pub stop_signal: i32,
    /// What was asked for, with labels merged.
    pub options: CreateOptions,
    /// Path of the newest log file.
    pub log_path: PathBuf,
    /// What became of it.
    pub state: State,
}

impl ContainerRecord {
    /// The id as `ps` shows it.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// It is made from an image for Windows.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        let os = self.platform.split(['/', '(']).next();
        os == Some("windows")
    }

    /// It is a Windows container with Hyper-V isolation.
    #[must_use]
    pub fn has_windows_machine(&self) -> bool {
        self.is_windows() && self.options.isolation.as_deref() == Some("hyperv")
    }

    /// Attributes that its events carry.
    #[must_use]
    pub fn event_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.options.labels.clone();
        attributes.insert("name".to_owned(), self.name.clone());
        attributes.insert("image".to_owned(), self.image.clone());
        attributes
    }
}
