//! From what was typed to the request.

use std::collections::BTreeMap;

use api::message::{
    CreateContainer, HealthCheck, Isolation, LogOptions, NetworkAttachment, RestartName, RestartPolicy,
    Ulimit,
};

use super::{ContainerFlags, environment, mounts, networks, ports};
use crate::failure::Failure;
use crate::terminal;

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
