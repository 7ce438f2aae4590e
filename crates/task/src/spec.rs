//! What a sandbox and a task are made from.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Names the compute system and the directory.
    pub id: String,
    /// Who made the compute system.
    pub owner: String,
    /// Memory of the VM.
    pub memory_mb: u64,
    /// Virtual processors.
    pub processors: u32,
    /// The sandbox keeps the host's network (emulator only).
    pub host_network: bool,
    /// A kernel of its own: of Linux containers also where namespaces would do (emulator only; elsewhere always so), of Windows
    /// containers Hyper-V isolation.
    #[serde(default)]
    pub virtual_machine: bool,
    /// It holds one Windows container; kernel and agent mean nothing then, and memory and processors only with a machine.
    #[serde(default)]
    pub windows: bool,
    /// It serves one container and ends with it. Only its owner looks at this.
    #[serde(default)]
    pub dedicated: bool,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial root file system.
    pub initrd: PathBuf,
    /// Directory of everything that lives as long as sandboxes do; see [`SandboxSpec::dir`].
    pub run_dir: PathBuf,
    /// Level of the agent's log: `debug`, `info`, `warning`, `error`.
    pub log_level: String,
    /// More kernel options.
    pub kernel_options: Vec<String>,
}

impl Default for SandboxSpec {
    fn default() -> Self {
        Self {
            id: String::new(),
            owner: "ctr-like".to_owned(),
            memory_mb: 1024,
            processors: 2,
            host_network: false,
            virtual_machine: false,
            windows: false,
            dedicated: false,
            kernel: PathBuf::new(),
            initrd: PathBuf::new(),
            run_dir: PathBuf::new(),
            log_level: "info".to_owned(),
            kernel_options: Vec::new(),
        }
    }
}

impl SandboxSpec {
    /// The sandbox's directory: `<run_dir>/sandboxes/<id>`.
    pub fn dir(&self) -> PathBuf {
        self.run_dir.join("sandboxes").join(&self.id)
    }

    /// Where back ends keep what virtual machines write to their consoles, a file `<id>.log` for each: `<run_dir>/vm`.
    pub fn consoles(&self) -> PathBuf {
        self.run_dir.join("vm")
    }
}

/// A task: one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The container's id.
    pub id: String,
    /// Layer disks, base first; of a Windows container the directories of its layers.
    pub layers: Vec<PathBuf>,
    /// The scratch disk; of a Windows container the directory of its scratch.
    pub scratch: PathBuf,
    /// The OCI runtime specification; `root.path` is filled in here. Null: nothing is to run, the file systems are
    /// only mounted.
    pub oci_spec: Value,
    /// Directories and files of the host.
    pub shares: Vec<Share>,
    /// The first process has a terminal.
    pub terminal: bool,
    /// The first process has a standard input.
    pub stdin: bool,
    /// Standard input ends with the first client that ends it.
    pub stdin_once: bool,
    /// The log file.
    pub log: LogConfig,
    /// What a container in a machine has of a network besides its loopback. A Windows container's specification names its namespace
    /// as well, and one without a machine has nothing here.
    #[serde(default)]
    pub network: Option<NetworkSpec>,
}

/// An endpoint of the host's network service, for one container in a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The namespace that the endpoint is in, a GUID; the guest knows the container's network by it.
    pub namespace: String,
    /// The endpoint, a GUID.
    pub endpoint: String,
    /// The hardware address, with dashes.
    pub mac_address: String,
    /// Addresses, and how many bits of each are the network's.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where the way out begins.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    pub dns_servers: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// How the network service describes both, which a Windows guest is told as it is.
    #[serde(default)]
    pub described: Option<NetworkDescription>,
}

/// Documents of the host's network service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDescription {
    /// The namespace.
    pub namespace: Value,
    /// The endpoint.
    pub endpoint: Value,
}

/// A directory or file of the host inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// On the host, absolute.
    pub source: PathBuf,
    /// The container cannot write.
    pub read_only: bool,
    /// Which entry of `mounts` in the OCI specification gets the guest's path as its source.
    pub mount_index: usize,
}

/// Where output is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The file; empty for no log.
    pub path: PathBuf,
    /// Size at which a new file is begun; 0 for no limit.
    pub max_bytes: u64,
    /// How many files are kept; 0 and 1 mean one.
    pub max_files: u32,
}

/// Another process in a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// An OCI `process` object.
    pub oci_process: Value,
    /// It has a terminal.
    pub terminal: bool,
    /// It has a standard input.
    pub stdin: bool,
    /// Nobody attaches: output is discarded.
    pub detached: bool,
}
