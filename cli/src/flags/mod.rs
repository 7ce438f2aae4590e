//! The flags of `run` and `create`, and the request that they make.
//!
//! Every flag of docker that says something about the container is here and goes to the daemon, which refuses what it does
//! not support and names the alternative. What belongs to the user's side is resolved here: relative paths of binds,
//! files of variables and labels, variables without a value.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::message::{
    CreateContainer, HealthCheck, Isolation, LogOptions, NetworkAttachment, RestartName, RestartPolicy,
    Ulimit,
};
use clap::Args;

use crate::failure::Failure;
use crate::{quantity, terminal};

pub(crate) mod environment;
mod mounts;
mod networks;
mod ports;
#[cfg(test)]
mod tests;

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

impl ContainerFlags {
    /// The request for `image` and what follows it.
    pub(crate) fn request(&self, image: &str, command: &[String]) -> Result<CreateContainer, Failure> {
        let restart = restart(self.restart.as_deref())?;
        if self.rm && restart.name != RestartName::No {
            return Err(Failure::usage("conflicting options: --rm and --restart"));
        }
        let streams = streams(&self.attach)?;
        let attached = |stream: &str| streams.is_empty() || streams.iter().any(|name| name == stream);
        Ok(CreateContainer {
            image: image.to_owned(),
            name: self.name.clone(),
            platform: self.platform.clone(),
            isolation: isolation(self.isolation.as_deref()),
            command: command.to_vec(),
            entrypoint: self.entrypoint.as_ref().map(|entry| {
                Some(entry)
                    .filter(|entry| !entry.is_empty())
                    .into_iter()
                    .cloned()
                    .collect()
            }),
            env: environment::variables(&self.env_file, &self.env)?,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            group_add: self.group_add.clone(),
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            labels: environment::labels(&self.label_file, &self.label)?,
            annotations: pairs("--annotation", &self.annotation)?,
            tty: self.tty,
            stdin: self.interactive,
            stdin_once: self.interactive && attached("stdin"),
            attach_stdin: self.interactive && attached("stdin"),
            attach_stdout: attached("stdout"),
            attach_stderr: attached("stderr"),
            console_size: terminal::size().filter(|_| self.tty),
            auto_remove: self.rm,
            restart,
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            health: self.health()?,
            log: LogOptions {
                driver: self.log_driver.clone(),
                options: pairs("--log-opt", &self.log_opt)?,
            },
            mounts: mounts::all(&self.volume, &self.mount, &self.tmpfs)?,
            volumes_from: self.volumes_from.clone(),
            storage_options: pairs("--storage-opt", &self.storage_opt)?,
            volume_driver: self.volume_driver.clone(),
            read_only: self.read_only,
            networks: self.networks()?,
            ports: ports::published(&self.publish)?,
            publish_all: self.publish_all,
            expose: ports::exposed(&self.expose)?,
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            add_hosts: hosts(&self.add_host)?,
            memory: self.memory,
            memory_swap: self.memory_swap,
            memory_reservation: self.memory_reservation,
            cpus: cpus(self.cpus)?,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            cpu_count: self.cpu_count,
            cpu_percent: self.cpu_percent,
            io_maximum_iops: self.io_maxiops,
            io_maximum_bandwidth: self.io_maxbandwidth.and_then(|bytes| u64::try_from(bytes).ok()),
            blkio_weight: self.blkio_weight,
            pids_limit: self.pids_limit,
            shm_size: self.shm_size,
            oom_score_adj: self.oom_score_adj,
            oom_kill_disable: self.oom_kill_disable,
            ulimits: self
                .ulimit
                .iter()
                .map(|text| ulimit(text))
                .collect::<Result<_, _>>()?,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            privileged: self.privileged,
            security_options: self
                .security_opt
                .iter()
                .map(|text| security(text))
                .collect::<Result<_, _>>()?,
            init: self.init.then_some(true),
            sysctls: pairs("--sysctl", &self.sysctl)?,
            devices: self.device.clone(),
            gpus: self.gpus.clone(),
            pid_mode: self.pid.clone(),
            ipc_mode: self.ipc.clone(),
            uts_mode: self.uts.clone(),
            userns_mode: self.userns.clone(),
            cgroupns_mode: self.cgroupns.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            runtime: self.runtime.clone(),
        })
    }

    fn networks(&self) -> Result<Vec<NetworkAttachment>, Failure> {
        let mut networks = networks::all(&self.network)?;
        let extra = NetworkAttachment {
            network: "default".to_owned(),
            aliases: self.network_alias.clone(),
            ipv4: self.ip.clone(),
            ipv6: self.ip6.clone(),
            link_local: self.link_local_ip.clone(),
            mac_address: self.mac_address.clone(),
            ..NetworkAttachment::default()
        };
        networks::add(&mut networks, extra);
        Ok(networks)
    }

    fn health(&self) -> Result<Option<HealthCheck>, Failure> {
        let check = HealthCheck {
            test: self
                .health_cmd
                .iter()
                .flat_map(|command| ["CMD-SHELL".to_owned(), command.clone()])
                .collect(),
            interval_ms: self.health_interval.unwrap_or_default(),
            timeout_ms: self.health_timeout.unwrap_or_default(),
            retries: self.health_retries.unwrap_or_default(),
            start_period_ms: self.health_start_period.unwrap_or_default(),
            start_interval_ms: self.health_start_interval.unwrap_or_default(),
        };
        if !self.no_healthcheck {
            return Ok((check != HealthCheck::default()).then_some(check));
        }
        if check != HealthCheck::default() {
            return Err(Failure::usage(
                "--no-healthcheck conflicts with --health-* options",
            ));
        }
        Ok(Some(HealthCheck {
            test: vec!["NONE".to_owned()],
            ..HealthCheck::default()
        }))
    }
}

/// The streams of `--attach`, in lower case.
pub(crate) fn streams(names: &[String]) -> Result<Vec<String>, Failure> {
    let known = |name: &String| match name.to_lowercase() {
        name if ["stdin", "stdout", "stderr"].contains(&name.as_str()) => Ok(name),
        _ => Err(Failure::usage(format!(
            "invalid stream {name:?}: write stdin, stdout or stderr"
        ))),
    };
    names.iter().map(known).collect()
}

fn isolation(name: Option<&str>) -> Isolation {
    match name {
        Some("process") => Isolation::Process,
        Some("hyperv") => Isolation::Hyperv,
        Some("host") => Isolation::Host,
        _ => Isolation::Default,
    }
}

fn restart(policy: Option<&str>) -> Result<RestartPolicy, Failure> {
    let Some(policy) = policy else {
        return Ok(RestartPolicy::default());
    };
    let invalid = || {
        Failure::usage(format!(
            "invalid restart policy {policy:?}: write no, on-failure[:MAX], always or unless-stopped"
        ))
    };
    let (name, maximum) = policy
        .split_once(':')
        .map_or((policy, None), |(name, maximum)| (name, Some(maximum)));
    let name = match name {
        "no" | "" => RestartName::No,
        "on-failure" => RestartName::OnFailure,
        "always" => RestartName::Always,
        "unless-stopped" => RestartName::UnlessStopped,
        _ => return Err(invalid()),
    };
    if maximum.is_some() && name != RestartName::OnFailure {
        return Err(invalid());
    }
    let maximum_retry_count = maximum.map_or(Ok(0), str::parse).map_err(|_| invalid())?;
    Ok(RestartPolicy {
        name,
        maximum_retry_count,
    })
}

fn cpus(number: Option<f64>) -> Result<Option<f64>, Failure> {
    match number {
        Some(number) if !number.is_finite() || number < 0.0 => {
            Err(Failure::usage(format!("invalid number of processors: {number}")))
        }
        number => Ok(number),
    }
}

fn ulimit(text: &str) -> Result<Ulimit, Failure> {
    let parse = || {
        let (name, limits) = text.split_once('=')?;
        let limit = |text: &str| {
            if text == "unlimited" {
                Some(-1)
            } else {
                text.parse().ok()
            }
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (limit(soft)?, limit(hard)?);
        let valid =
            !name.is_empty() && soft >= -1 && hard >= -1 && (hard == -1 || (soft != -1 && soft <= hard));
        valid.then(|| Ulimit {
            name: name.to_owned(),
            soft,
            hard,
        })
    };
    parse().ok_or_else(|| {
        Failure::usage(format!(
            "invalid ulimit {text:?}: write NAME=SOFT[:HARD], the soft limit not above the hard one"
        ))
    })
}

/// `seccomp=FILE` sends the file's content: the daemon reads no files of users.
fn security(text: &str) -> Result<String, Failure> {
    match text.split_once('=') {
        Some(("seccomp", file)) if !matches!(file, "unconfined" | "builtin") => {
            let profile = std::fs::read_to_string(file).map_err(|error| {
                Failure::io(format!("cannot read the seccomp profile {file}"), &error)
                    .exit(crate::failure::ENGINE)
            })?;
            Ok(format!("seccomp={profile}"))
        }
        _ => Ok(text.to_owned()),
    }
}

fn hosts(entries: &[String]) -> Result<Vec<String>, Failure> {
    let check = |entry: &String| {
        // Docker takes both NAME:ADDRESS and NAME=ADDRESS, the latter for IPv6.
        let (name, address) = entry
            .split_once('=')
            .or_else(|| entry.split_once(':'))
            .unwrap_or_default();
        let address = address.trim_start_matches('[').trim_end_matches(']');
        if name.is_empty() || (address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err()) {
            return Err(Failure::usage(format!(
                "invalid host {entry:?}: write NAME:ADDRESS or NAME:host-gateway"
            )));
        }
        Ok(format!("{name}:{address}"))
    };
    entries.iter().map(check).collect()
}

/// `NAME=VALUE` options; the last of a name wins.
pub(crate) fn pairs(flag: &str, options: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |option: &String| match option.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::usage(format!(
            "invalid {flag} {option:?}: write NAME=VALUE"
        ))),
    };
    options.iter().map(pair).collect()
}
