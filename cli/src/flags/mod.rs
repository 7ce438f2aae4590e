//! The flags of `run` and `create`, and the request that they make.
//!
//! Every flag of docker that says something about the container is here and goes to the daemon, which refuses what it does
//! not support and names the alternative. What belongs to the user's side is resolved here: relative paths of binds,
//! files of variables and labels, variables without a value.

use std::path::PathBuf;

use clap::Args;

use crate::quantity;

pub(crate) mod environment;
mod mounts;
mod networks;
mod ports;
mod request;
#[cfg(test)]
mod tests;

pub(crate) use request::streams;

/// What a container is made of.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Container")]
pub(crate) struct ContainerFlags {
    /// Name of the container
    #[arg(long)]
    name: Option<String>,
    /// Set a variable; without a value, take it from this environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User, and group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Replace the entry point of the image
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Host name
    #[arg(short = 'h', long)]
    hostname: Option<String>,
    /// Domain name
    #[arg(long)]
    domainname: Option<String>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Set an annotation
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// More groups
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Attach to stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM")]
    pub(crate) attach: Vec<String>,
    /// Remove the container when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Start it again when it ends: no, on-failure[:MAX], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Signal that stops it
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds between the stop signal and the kill
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    /// Write the id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// When to pull the image
    #[arg(long, value_name = "WHEN", default_value = "missing", value_parser = ["always", "missing", "never"])]
    pub(crate) pull: String,
    /// Say nothing while pulling
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Platform of the image
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    pub(crate) platform: Option<String>,
    /// Separation from the host
    #[arg(long, value_parser = ["default", "process", "hyperv", "host"])]
    isolation: Option<String>,

    /// Bind a directory or volume
    #[arg(short, long, value_name = "SOURCE:TARGET[:OPTIONS]", help_heading = "Storage")]
    volume: Vec<String>,
    /// Add a mount
    #[arg(long, value_name = "type=...,source=...,target=...", help_heading = "Storage")]
    mount: Vec<String>,
    /// Mount memory
    #[arg(long, value_name = "PATH[:OPTIONS]", help_heading = "Storage")]
    tmpfs: Vec<String>,
    /// Take over the volumes of another container
    #[arg(long, value_name = "CONTAINER[:ro]", help_heading = "Storage")]
    volumes_from: Vec<String>,
    /// Driver of new volumes
    #[arg(long, value_name = "DRIVER", help_heading = "Storage")]
    volume_driver: Option<String>,
    /// Option of the writable layer
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Storage")]
    storage_opt: Vec<String>,
    /// Make the image's tree read-only
    #[arg(long, help_heading = "Storage")]
    read_only: bool,

    /// Join a network: NAME, none, host, container:NAME, or name=X,alias=Y
    #[arg(long, visible_alias = "net", value_name = "NETWORK", help_heading = "Network")]
    network: Vec<String>,
    /// Another name on the network
    #[arg(
        long,
        visible_alias = "net-alias",
        value_name = "NAME",
        help_heading = "Network"
    )]
    network_alias: Vec<String>,
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    ip6: Option<String>,
    /// Link-local address
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    link_local_ip: Vec<String>,
    /// MAC address
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    mac_address: Option<String>,
    /// Publish a port
    #[arg(
        short,
        long,
        value_name = "[[IP:]HOST:]PORT[/PROTOCOL]",
        help_heading = "Network"
    )]
    publish: Vec<String>,
    /// Publish all exposed ports
    #[arg(short = 'P', long, help_heading = "Network")]
    publish_all: bool,
    /// Expose a port
    #[arg(long, value_name = "PORT[/PROTOCOL]", help_heading = "Network")]
    expose: Vec<String>,
    /// Name server
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    dns: Vec<String>,
    /// Search domain
    #[arg(long, value_name = "DOMAIN", help_heading = "Network")]
    dns_search: Vec<String>,
    /// Resolver option
    #[arg(
        long,
        visible_alias = "dns-opt",
        value_name = "OPTION",
        help_heading = "Network"
    )]
    dns_option: Vec<String>,
    /// Add a host name
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = "Network")]
    add_host: Vec<String>,

    /// Memory limit
    #[arg(short, long, value_name = "BYTES", value_parser = quantity::bytes, help_heading = "Resources")]
    memory: Option<i64>,
    /// Memory and swap together; -1 is without limit
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes, allow_negative_numbers = true, help_heading = "Resources")]
    memory_swap: Option<i64>,
    /// Soft memory limit
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes, help_heading = "Resources")]
    memory_reservation: Option<i64>,
    /// Processors, for example 1.5
    #[arg(long, value_name = "NUMBER", help_heading = "Resources")]
    cpus: Option<f64>,
    /// Weight of processor time
    #[arg(short, long, value_name = "WEIGHT", help_heading = "Resources")]
    cpu_shares: Option<i64>,
    /// Microseconds of a period
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Resources")]
    cpu_period: Option<i64>,
    /// Processor time in a period
    #[arg(
        long,
        value_name = "MICROSECONDS",
        allow_negative_numbers = true,
        help_heading = "Resources"
    )]
    cpu_quota: Option<i64>,
    /// Processors to run on
    #[arg(long, value_name = "LIST", help_heading = "Resources")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST", help_heading = "Resources")]
    cpuset_mems: Option<String>,
    /// Number of processors (Windows)
    #[arg(long, value_name = "NUMBER", help_heading = "Resources")]
    cpu_count: Option<i64>,
    /// Share of all processors (Windows)
    #[arg(long, value_name = "PERCENT", help_heading = "Resources")]
    cpu_percent: Option<i64>,
    /// I/O operations per second (Windows)
    #[arg(long, value_name = "NUMBER", help_heading = "Resources")]
    io_maxiops: Option<u64>,
    /// I/O bytes per second (Windows)
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes, help_heading = "Resources")]
    io_maxbandwidth: Option<i64>,
    /// Weight of block I/O
    #[arg(long, value_name = "WEIGHT", help_heading = "Resources")]
    blkio_weight: Option<u16>,
    /// Processes at most; -1 is without limit
    #[arg(
        long,
        value_name = "NUMBER",
        allow_negative_numbers = true,
        help_heading = "Resources"
    )]
    pids_limit: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes, help_heading = "Resources")]
    shm_size: Option<i64>,
    /// Resource limit of processes
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Resources")]
    ulimit: Vec<String>,
    /// Preference of the out-of-memory killer
    #[arg(
        long,
        value_name = "NUMBER",
        allow_negative_numbers = true,
        help_heading = "Resources"
    )]
    oom_score_adj: Option<i64>,
    /// Keep the out-of-memory killer away
    #[arg(long, help_heading = "Resources")]
    oom_kill_disable: bool,

    /// Add a capability
    #[arg(long, value_name = "NAME", help_heading = "Security")]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "NAME", help_heading = "Security")]
    cap_drop: Vec<String>,
    /// Allow everything
    #[arg(long, help_heading = "Security")]
    privileged: bool,
    /// Security option
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Security")]
    security_opt: Vec<String>,
    /// Run an init as process 1
    #[arg(long, help_heading = "Security")]
    init: bool,
    /// Kernel parameter
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Security")]
    sysctl: Vec<String>,
    /// Host device
    #[arg(long, value_name = "DEVICE", help_heading = "Security")]
    device: Vec<String>,
    /// Graphics processors
    #[arg(long, value_name = "WHICH", help_heading = "Security")]
    gpus: Option<String>,
    /// Process ids: host, container:NAME
    #[arg(long, value_name = "MODE", help_heading = "Security")]
    pid: Option<String>,
    /// System V IPC: private, host, container:NAME
    #[arg(long, value_name = "MODE", help_heading = "Security")]
    ipc: Option<String>,
    /// Host name: host
    #[arg(long, value_name = "MODE", help_heading = "Security")]
    uts: Option<String>,
    /// User ids: host
    #[arg(long, value_name = "MODE", help_heading = "Security")]
    userns: Option<String>,
    /// Control groups: host, private
    #[arg(long, value_name = "MODE", help_heading = "Security")]
    cgroupns: Option<String>,
    /// Control group above the container's
    #[arg(long, value_name = "PATH", help_heading = "Security")]
    cgroup_parent: Option<String>,
    /// Low-level runtime
    #[arg(long, value_name = "NAME", help_heading = "Security")]
    runtime: Option<String>,

    /// Command that says whether it is well
    #[arg(long, value_name = "COMMAND", help_heading = "Health and log")]
    health_cmd: Option<String>,
    /// Time between checks
    #[arg(long, value_name = "DURATION", value_parser = quantity::milliseconds, help_heading = "Health and log")]
    health_interval: Option<u64>,
    /// Time until a check has failed
    #[arg(long, value_name = "DURATION", value_parser = quantity::milliseconds, help_heading = "Health and log")]
    health_timeout: Option<u64>,
    /// Failures until it is unhealthy
    #[arg(long, value_name = "NUMBER", help_heading = "Health and log")]
    health_retries: Option<u32>,
    /// Time in which failures do not count
    #[arg(long, value_name = "DURATION", value_parser = quantity::milliseconds, help_heading = "Health and log")]
    health_start_period: Option<u64>,
    /// Time between checks in that time
    #[arg(long, value_name = "DURATION", value_parser = quantity::milliseconds, help_heading = "Health and log")]
    health_start_interval: Option<u64>,
    /// No checks, whatever the image says
    #[arg(long, help_heading = "Health and log")]
    no_healthcheck: bool,
    /// Where the log goes
    #[arg(long, value_name = "DRIVER", help_heading = "Health and log")]
    log_driver: Option<String>,
    /// Option of the log
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Health and log")]
    log_opt: Vec<String>,
}
