//! `Containers/Create` from the wire to the domain: conversions, and refusals of what this daemon does not do.
//!
//! Every field of the message is either converted or refused here; none is dropped.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use api::Status;
use api::message::{CreateContainer, Isolation, Mount, MountKind, PortMapping, RestartName};
use engine::{CreateOptions, MountOption, Ulimit};
use network::{Port, Protocol};

/// Converts the request, together with warnings about what has no effect. `publishes`: ports can be published here.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is wrong, `UNIMPLEMENTED` with the alternative for what is not supported.
pub(super) fn options(
    request: CreateContainer,
    publishes: bool,
) -> Result<(CreateOptions, Vec<String>), Status> {
    refuse_unsupported(&request, publishes)?;
    let mut warnings = Vec::new();
    if request.console_size.is_some() && !request.tty {
        warnings.push("a console size without a terminal has no effect".to_owned());
    }
    let (mounts, mut tmpfs) = mounts(request.mounts)?;
    if let Some(size) = request.shm_size.filter(|size| *size > 0) {
        tmpfs.insert("/dev/shm".to_owned(), format!("mode=1777,size={size}"));
    }
    let (network, ip) = network(&request.networks)?;
    let options = CreateOptions {
        name: request.name.filter(|name| !name.is_empty()),
        image: request.image,
        platform: request.platform,
        entrypoint: request.entrypoint,
        command: request.command,
        env: environment(request.env)?,
        working_dir: request.workdir,
        user: request.user,
        hostname: hostname(request.hostname, request.domainname)?,
        labels: request.labels,
        tty: request.tty,
        console_size: request.console_size.map(|size| (size.height, size.width)),
        open_stdin: request.stdin,
        stdin_once: request.stdin_once,
        stop_signal: request.stop_signal,
        stop_timeout: request
            .stop_timeout
            .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
        auto_remove: request.auto_remove,
        mounts,
        network,
        ip,
        ports: request.ports.iter().map(port).collect::<Result<_, _>>()?,
        memory: bytes("memory", request.memory)?,
        nano_cpus: nano_cpus(request.cpus, request.cpu_quota, request.cpu_period)?,
        pids_limit: request.pids_limit,
        cap_add: request.cap_add,
        cap_drop: request.cap_drop,
        privileged: request.privileged,
        read_only: request.read_only,
        tmpfs,
        ulimits: request
            .ulimits
            .into_iter()
            .map(|limit| Ulimit {
                name: limit.name,
                soft: unlimited(limit.soft),
                hard: unlimited(limit.hard),
            })
            .collect(),
        log_max_size: log_size(&request.log.options)?,
        log_max_files: log_files(&request.log.options)?,
        isolation: match request.isolation {
            Isolation::Default => None,
            Isolation::Process => Some("process".to_owned()),
            Isolation::Hyperv => Some("hyperv".to_owned()),
            Isolation::Host => Some("host".to_owned()),
        },
        storage_size: storage_size(&request.storage_options)?,
    };
    Ok((options, warnings))
}

/// What is recognised and not done, with what to use instead.
fn refuse_unsupported(request: &CreateContainer, publishes: bool) -> Result<(), Status> {
    let security = request
        .security_options
        .iter()
        .any(|option| option != "seccomp=builtin");
    let own_mode = |mode: &Option<String>| {
        mode.as_deref()
            .is_some_and(|mode| !matches!(mode, "" | "private" | "default"))
    };
    let healthcheck = request
        .health
        .as_ref()
        .is_some_and(|health| !matches!(health.test.as_slice(), [none] if none == "NONE"));
    let driver = request
        .log
        .driver
        .as_deref()
        .is_some_and(|driver| driver != "json-file");
    let log_option = request
        .log
        .options
        .keys()
        .any(|key| key != "max-size" && key != "max-file");
    let storage = request.storage_options.keys().any(|key| key != "size");
    let swap = request
        .memory_swap
        .is_some_and(|swap| Some(swap) != request.memory.map(|memory| memory.saturating_mul(2)));
    let refusals: &[(bool, &str, &str)] = &[
        (
            request.restart.name != RestartName::No,
            "restart policies",
            "start the container again with 'ctr-like start'",
        ),
        (healthcheck, "health checks", "run the check with 'ctr-like exec'"),
        (
            !publishes && (!request.ports.is_empty() || request.publish_all),
            "published ports",
            "use --network host",
        ),
        (
            request.publish_all,
            "--publish-all",
            "publish each port with --publish",
        ),
        (
            !request.expose.is_empty(),
            "exposed ports",
            if publishes {
                "publish each port with --publish"
            } else {
                "use --network host"
            },
        ),
        (
            !request.volumes_from.is_empty(),
            "--volumes-from",
            "repeat the bind mounts with -v",
        ),
        (
            request.volume_driver.is_some(),
            "volume drivers",
            "use a bind mount",
        ),
        (
            !request.dns.is_empty() || !request.dns_search.is_empty() || !request.dns_options.is_empty(),
            "DNS options",
            "bind-mount a resolv.conf over /etc/resolv.conf",
        ),
        (
            !request.add_hosts.is_empty(),
            "--add-host",
            "bind-mount a hosts file over /etc/hosts",
        ),
        (
            !request.devices.is_empty() || request.gpus.is_some(),
            "host devices",
            "use --privileged with a bind mount of the device",
        ),
        (
            !request.sysctls.is_empty(),
            "--sysctl",
            "set the value on the host",
        ),
        (
            security,
            "security options other than the built-in seccomp profile",
            "use --privileged to run without filters",
        ),
        (
            request.init == Some(true),
            "--init",
            "start an init program such as tini in the image",
        ),
        (
            !request.group_add.is_empty(),
            "--group-add",
            "give the group with --user USER:GROUP",
        ),
        (!request.annotations.is_empty(), "annotations", "use labels"),
        (
            driver,
            "log drivers other than json-file",
            "use --log-driver json-file",
        ),
        (
            log_option,
            "log options other than max-size and max-file",
            "remove the option",
        ),
        (storage, "storage options other than size", "remove the option"),
        (
            swap,
            "--memory-swap",
            "set --memory; swap is limited to the same amount",
        ),
        (
            request.memory_reservation.is_some(),
            "--memory-reservation",
            "set --memory",
        ),
        (
            request.cpu_shares.is_some_and(|shares| shares != 0),
            "--cpu-shares",
            "use --cpus",
        ),
        (
            request.cpuset_cpus.is_some() || request.cpuset_mems.is_some(),
            "--cpuset-cpus and --cpuset-mems",
            "use --cpus",
        ),
        (
            request.cpu_count.is_some() || request.cpu_percent.is_some(),
            "--cpu-count and --cpu-percent (Windows containers)",
            "use --cpus",
        ),
        (
            request.io_maximum_iops.is_some()
                || request.io_maximum_bandwidth.is_some()
                || request.blkio_weight.is_some(),
            "I/O limits",
            "remove the option",
        ),
        (
            request.oom_score_adj.is_some() || request.oom_kill_disable,
            "out-of-memory options",
            "set --memory",
        ),
        (
            own_mode(&request.pid_mode),
            "--pid",
            "use 'ctr-like exec' to see a container's processes",
        ),
        (own_mode(&request.ipc_mode), "--ipc", "share a directory with -v"),
        (own_mode(&request.uts_mode), "--uts", "set --hostname"),
        (own_mode(&request.userns_mode), "--userns", "set --user"),
        (
            own_mode(&request.cgroupns_mode),
            "--cgroupns",
            "remove the option",
        ),
        (
            request.cgroup_parent.is_some(),
            "--cgroup-parent",
            "set limits on the container",
        ),
        (request.runtime.is_some(), "--runtime", "remove the option"),
    ];
    for (given, what, instead) in refusals {
        if *given {
            return Err(
                Status::unimplemented(format!("{what}: not supported by this daemon")).hint(*instead),
            );
        }
    }
    Ok(())
}

fn mounts(mounts: Vec<Mount>) -> Result<(Vec<MountOption>, BTreeMap<String, String>), Status> {
    let mut binds = Vec::new();
    let mut tmpfs = BTreeMap::new();
    for mount in mounts {
        match mount.kind {
            MountKind::Bind => {
                if mount
                    .propagation
                    .as_deref()
                    .is_some_and(|word| !matches!(word, "" | "rprivate" | "private"))
                {
                    return Err(
                        Status::unimplemented("mount propagation: not supported by this daemon")
                            .hint("use rprivate"),
                    );
                }
                let Some(source) = mount.source else {
                    return Err(Status::invalid(format!(
                        "invalid mount config for {}: a bind mount needs a source",
                        mount.target
                    )));
                };
                binds.push(MountOption {
                    source: source.into(),
                    target: mount.target,
                    read_only: mount.read_only,
                    create_source: mount.create_source,
                });
            }
            MountKind::Tmpfs => {
                let mut words = mount.tmpfs_options;
                words.extend(mount.tmpfs_size.map(|size| format!("size={size}")));
                words.extend(mount.tmpfs_mode.map(|mode| format!("mode={mode:o}")));
                words.extend(mount.read_only.then(|| "ro".to_owned()));
                tmpfs.insert(mount.target, words.join(","));
            }
            MountKind::Volume | MountKind::Npipe | MountKind::Image => {
                return Err(Status::unimplemented(
                    format!("{:?} mounts: not supported by this daemon", mount.kind).to_lowercase(),
                )
                .about("mount", mount.target)
                .hint("use a bind mount: -v /HOST/PATH:/CONTAINER/PATH"));
            }
        }
    }
    Ok((binds, tmpfs))
}

/// The network and the address on it.
fn network(
    networks: &[api::message::NetworkAttachment],
) -> Result<(Option<String>, Option<Ipv4Addr>), Status> {
    match networks {
        [] => Ok((None, None)),
        [one] => {
            let plain = api::message::NetworkAttachment {
                network: one.network.clone(),
                ipv4: one.ipv4.clone(),
                ..Default::default()
            };
            if *one != plain {
                return Err(Status::unimplemented(
                    "network aliases, addresses but --ip, and driver options: not supported by this daemon",
                )
                .hint(
                    "use --network and --ip without further options; containers reach each other by address",
                ));
            }
            let ip = one
                .ipv4
                .as_deref()
                .map(|text| {
                    text.parse().map_err(|_| {
                        Status::invalid(format!("invalid IPv4 address: {text}"))
                            .hint("write four numbers: --ip 10.1.0.9")
                    })
                })
                .transpose()?;
            let name = Some(one.network.clone()).filter(|name| !name.is_empty() && name != "default");
            Ok((name, ip))
        }
        _ => Err(
            Status::unimplemented("several networks: not supported by this daemon").hint("use one --network"),
        ),
    }
}

fn port(port: &PortMapping) -> Result<Port, Status> {
    let text = format!("{}/{}", port.container_port, port.protocol);
    let protocol = match port.protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => {
            return Err(Status::unimplemented(format!(
                "publishing {other} ports: not supported by this daemon"
            ))
            .about("port", text)
            .hint("publish tcp or udp"));
        }
    };
    if let Some(address) = port
        .host_ip
        .as_deref()
        .filter(|address| !matches!(*address, "" | "0.0.0.0"))
    {
        return Err(Status::unimplemented(format!(
            "publishing on the address {address} alone: not supported by this daemon"
        ))
        .about("port", text)
        .hint("leave the address out: the port is then published on all addresses of the host, and a rule of its firewall can restrict that"));
    }
    if port.container_port == 0 {
        return Err(Status::invalid("the port of the container must not be 0").about("port", text));
    }
    Ok(Port {
        host: port.host_port.unwrap_or(0),
        container: port.container_port,
        protocol,
    })
}

fn environment(env: Vec<String>) -> Result<Vec<String>, Status> {
    match env
        .iter()
        .find(|entry| entry.is_empty() || entry.starts_with('=') || entry.contains('\0'))
    {
        Some(bad) => {
            Err(Status::invalid(format!("invalid environment variable: {bad:?}")).hint("use NAME=value"))
        }
        // A name without a value comes from a client whose own environment lacks it; docker leaves it out as well.
        None => Ok(env.into_iter().filter(|entry| entry.contains('=')).collect()),
    }
}

fn hostname(hostname: Option<String>, domainname: Option<String>) -> Result<Option<String>, Status> {
    let name = match (
        hostname.filter(|name| !name.is_empty()),
        domainname.filter(|name| !name.is_empty()),
    ) {
        (Some(host), Some(domain)) => format!("{host}.{domain}"),
        (Some(host), None) => host,
        (None, Some(_)) => {
            return Err(Status::invalid("a domain name needs a host name").hint("add --hostname"));
        }
        (None, None) => return Ok(None),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.len() > 64 || !name.chars().all(allowed) {
        return Err(Status::invalid(format!("invalid hostname: {name:?}"))
            .hint("at most 64 letters, digits, '-', '_' and '.'"));
    }
    Ok(Some(name))
}

fn bytes(what: &str, value: Option<i64>) -> Result<u64, Status> {
    u64::try_from(value.unwrap_or(0))
        .map_err(|_| Status::invalid(format!("invalid {what} limit: must not be negative")))
}

const MAX_CPUS: f64 = 65_536.0;

fn nano_cpus(cpus: Option<f64>, quota: Option<i64>, period: Option<i64>) -> Result<u64, Status> {
    let cpus = match (cpus.filter(|cpus| *cpus != 0.0), quota.filter(|quota| *quota > 0)) {
        (Some(_), Some(_)) => {
            return Err(
                Status::invalid("Conflicting options: CPU quota cannot be used with --cpus")
                    .hint("use --cpus alone"),
            );
        }
        (Some(cpus), None) => cpus,
        #[expect(
            clippy::cast_precision_loss,
            reason = "microseconds per period are far below 2^52"
        )]
        (None, Some(quota)) => quota as f64 / period.filter(|period| *period > 0).unwrap_or(100_000) as f64,
        (None, None) => return Ok(0),
    };
    if !(0.01..=MAX_CPUS).contains(&cpus) {
        return Err(
            Status::invalid(format!("Range of CPUs is from 0.01 to the host's: {cpus}"))
                .hint("for example --cpus 1.5"),
        );
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to lie between 0.01 and 65536"
    )]
    Ok((cpus * 1e9).round() as u64)
}

/// -1 is without limit.
fn unlimited(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn log_size(options: &BTreeMap<String, String>) -> Result<u64, Status> {
    options.get("max-size").map_or(Ok(0), |text| {
        size(text)
            .ok_or_else(|| Status::invalid(format!("invalid max-size: {text:?}")).hint("for example 10m"))
    })
}

fn log_files(options: &BTreeMap<String, String>) -> Result<u32, Status> {
    let Some(text) = options.get("max-file") else {
        return Ok(0);
    };
    let count = text
        .parse::<u32>()
        .ok()
        .filter(|count| (1..=1000).contains(count));
    count
        .ok_or_else(|| Status::invalid(format!("invalid max-file: {text:?}")).hint("a number from 1 to 1000"))
}

fn storage_size(options: &BTreeMap<String, String>) -> Result<Option<u64>, Status> {
    let Some(text) = options.get("size") else {
        return Ok(None);
    };
    size(text).map(Some).ok_or_else(|| {
        Status::invalid(format!("invalid storage size: {text:?}")).hint("for example size=20G")
    })
}

/// `10m`, `1G`, `512` in bytes; powers of 1024.
fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let plain = lower
        .strip_suffix("ib")
        .or_else(|| lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let digits = plain.trim_end_matches(['k', 'm', 'g', 't']);
    let shift = match plain.get(digits.len()..)? {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_dockers() {
        assert_eq!(size("10m"), Some(10 << 20));
        assert_eq!(size("1G"), Some(1 << 30));
        assert_eq!(size("512"), Some(512));
        assert_eq!(size("1kb"), Some(1024));
        for bad in ["", "m", "1x", "-1", "99999999999t"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_supported_names_the_alternative() {
        let ports = CreateContainer {
            publish_all: true,
            ..CreateContainer::default()
        };
        let init = CreateContainer {
            init: Some(true),
            ..CreateContainer::default()
        };
        let volume = CreateContainer {
            mounts: vec![Mount {
                kind: MountKind::Volume,
                target: "/data".into(),
                ..Mount::default()
            }],
            ..CreateContainer::default()
        };
        for request in [ports, init, volume] {
            let status = options(request, false).unwrap_err();
            assert_eq!(status.code, api::Code::Unimplemented);
            assert!(!status.hints.is_empty());
        }
    }

    #[test]
    fn processors_come_from_cpus_or_quota_but_not_both() {
        assert_eq!(nano_cpus(Some(1.5), None, None).unwrap(), 1_500_000_000);
        assert_eq!(nano_cpus(None, Some(50_000), Some(100_000)).unwrap(), 500_000_000);
        assert!(nano_cpus(Some(1.0), Some(1), None).is_err());
        assert!(nano_cpus(Some(f64::NAN), None, None).is_err());
        assert!(nano_cpus(Some(-1.0), None, None).is_err());
    }
}
