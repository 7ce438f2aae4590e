//! The OCI runtime specification of a Linux container, as a pure function of its record.
//!
//! The engine calls [`linux`] at each start and [`exec_process`] for each exec; `task` fills in the paths inside the guest and
//! sends the document on. Defaults are those that docker's users rely on: its capabilities, its system call filter, its
//! masked and read-only paths. Limits of the host (capabilities or hard limits it does not grant) are the agent's to clamp,
//! because only it knows them.

mod capabilities;
mod seccomp;
pub(crate) mod windows;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::record::{ContainerRecord, Ulimit};

const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY_PATHS: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A process to run in a container next to its first one.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Added to the container's environment.
    pub env: Vec<String>,
    /// The container's when absent.
    pub working_dir: Option<String>,
    /// The container's when absent.
    pub user: Option<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Its height and width in characters, where the client knows them.
    pub console_size: Option<(u16, u16)>,
    /// Keep standard input open.
    pub stdin: bool,
    /// All capabilities.
    pub privileged: bool,
}

/// Where a bind mount of the specification comes from: index in `mounts`, host path, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    /// Index in `mounts`.
    pub mount_index: usize,
    /// Path on the host.
    pub source: std::path::PathBuf,
    /// Writes are refused.
    pub read_only: bool,
}

/// The specification and its bind mounts.
///
/// # Errors
/// A capability, limit or path that cannot be expressed.
pub(crate) fn linux(record: &ContainerRecord) -> Result<(Value, Vec<Bind>)> {
    let options = &record.options;
    let capabilities = capabilities::set(&options.cap_add, &options.cap_drop, options.privileged)?;
    let mut process = process(
        &record.args,
        &record.env,
        &record.working_dir,
        &record.user,
        options.tty.then_some(options.console_size.unwrap_or(CONSOLE)),
        &capabilities,
    );
    process["rlimits"] = rlimits(&options.ulimits)?;
    let (mounts, binds) = mounts(record)?;

    let mut namespaces = vec![
        json!({"type": "mount"}),
        json!({"type": "uts"}),
        json!({"type": "ipc"}),
        json!({"type": "pid"}),
        json!({"type": "cgroup"}),
    ];
    if !host_network(record) {
        namespaces.push(json!({"type": "network"}));
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "resources": resources(record),
    });
    if !options.privileged {
        linux["maskedPaths"] = json!(MASKED_PATHS);
        linux["readonlyPaths"] = json!(READONLY_PATHS);
        linux["seccomp"] = seccomp::profile(&capabilities);
    }
    let spec = json!({
        "ociVersion": "1.1.0",
        "hostname": record.hostname,
        "process": process,
        "root": {"path": "rootfs", "readonly": options.read_only},
        "mounts": mounts,
        "linux": linux,
    });
    Ok((spec, binds))
}

/// The OCI `process` of an exec.
///
/// # Errors
/// An empty command.
pub(crate) fn exec_process(record: &ContainerRecord, exec: &ExecOptions) -> Result<Value> {
    if exec.args.is_empty() {
        return Err(Error::invalid("no command given to exec").about("container", &record.name));
    }
    let options = &record.options;
    let privileged = exec.privileged || options.privileged;
    let capabilities = capabilities::set(&options.cap_add, &options.cap_drop, privileged)?;
    let env = merge_env(&record.env, &exec.env);
    let env = if exec.tty {
        with_default(env, "TERM", "xterm")
    } else {
        env
    };
    let user = exec.user.as_deref().unwrap_or(&record.user);
    let cwd = exec.working_dir.as_deref().unwrap_or(&record.working_dir);
    Ok(process(
        &exec.args,
        &env,
        cwd,
        user,
        exec.tty.then_some(exec.console_size.unwrap_or(CONSOLE)),
        &capabilities,
    ))
}

/// A program in a machine itself: root, with all that the machine has.
pub(crate) fn machine_process(exec: &ExecOptions) -> Value {
    let mut env = merge_env(
        &[
            "PATH=/sbin:/usr/sbin:/bin:/usr/bin".to_owned(),
            "HOME=/".to_owned(),
        ],
        &exec.env,
    );
    if exec.tty {
        env = with_default(env, "TERM", "xterm");
    }
    json!({ "args": exec.args, "env": env, "cwd": exec.working_dir.as_deref().unwrap_or("/") })
}

/// The container shares the network of its sandbox's host.
#[must_use]
pub(crate) fn host_network(record: &ContainerRecord) -> bool {
    record.options.network.as_deref() == Some("host")
}

/// `base` with the settings of `more`; later ones win, places are kept.
#[must_use]
pub(crate) fn merge_env(base: &[String], more: &[String]) -> Vec<String> {
    let mut merged = base.to_vec();
    for entry in more {
        let name = entry.split('=').next().unwrap_or_default();
        let existing = merged
            .iter_mut()
            .find(|known| known.split('=').next() == Some(name));
        match existing {
            Some(known) => known.clone_from(entry),
            None => merged.push(entry.clone()),
        }
    }
    merged
}

/// Adds `name=value` unless `name` is set.
#[must_use]
pub(crate) fn with_default(mut env: Vec<String>, name: &str, value: &str) -> Vec<String> {
    if !env.iter().any(|entry| entry.split('=').next() == Some(name)) {
        env.push(format!("{name}={value}"));
    }
    env
}

/// Height and width of a terminal whose client does not say.
const CONSOLE: (u16, u16) = (24, 80);

fn process(
    args: &[String],
    env: &[String],
    cwd: &str,
    user: &str,
    console: Option<(u16, u16)>,
    capabilities: &[String],
) -> Value {
    let mut process = json!({
        "terminal": console.is_some(),
        "user": user_of(user),
        "args": args,
        "env": env,
        "cwd": if cwd.is_empty() { "/" } else { cwd },
        "noNewPrivileges": false,
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
        },
    });
    if let Some((height, width)) = console {
        process["consoleSize"] = json!({"height": height, "width": width});
    }
    process
}

/// Numbers become ids here; names go to the agent, which reads the container's own `/etc/passwd` and `/etc/group`.
fn user_of(user: &str) -> Value {
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    match (name.parse::<u32>(), group.parse::<u32>()) {
        _ if user.is_empty() => json!({"uid": 0, "gid": 0}),
        (Ok(uid), Ok(gid)) => json!({"uid": uid, "gid": gid}),
        _ => json!({"uid": 0, "gid": 0, "username": user}),
    }
}

fn rlimits(ulimits: &[Ulimit]) -> Result<Value> {
    const KNOWN: &[&str] = &[
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let mut limits = Vec::with_capacity(ulimits.len());
    for limit in ulimits {
        if !KNOWN.contains(&limit.name.as_str()) || limit.soft > limit.hard {
            return Err(Error::invalid(format!(
                "invalid ulimit {}={}:{}",
                limit.name, limit.soft, limit.hard
            ))
            .hint("a ulimit is NAME=SOFT[:HARD] with SOFT not above HARD, for example nofile=1024:4096"));
        }
        limits.push(json!({
            "type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
            "soft": limit.soft,
            "hard": limit.hard,
        }));
    }
    Ok(Value::Array(limits))
}

fn mounts(record: &ContainerRecord) -> Result<(Vec<Value>, Vec<Bind>)> {
    let options = &record.options;
    let sys = if options.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", sys],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"],
        ),
    ];
    for (target, extra) in &options.tmpfs {
        check_target(target)?;
        let mut words = vec!["nosuid", "nodev", "noexec"];
        words.extend(extra.split(',').filter(|word| !word.is_empty()));
        mounts.push(mount(target, "tmpfs", "tmpfs", &words));
    }
    let mut binds = Vec::with_capacity(options.mounts.len());
    for bind in &options.mounts {
        check_target(&bind.target)?;
        binds.push(Bind {
            mount_index: mounts.len(),
            source: bind.source.clone(),
            read_only: bind.read_only,
        });
        let access = if bind.read_only { "ro" } else { "rw" };
        mounts.push(mount(
            &bind.target,
            "bind",
            &bind.source.to_string_lossy(),
            &["rbind", "rprivate", access],
        ));
    }
    Ok((mounts, binds))
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

/// Checks a mount target: absolute, normal, and not the root itself.
///
/// # Errors
/// Says what is wrong with `target`.
pub(crate) fn check_target(target: &str) -> Result<()> {
    let normal = target.split('/').all(|part| part != "..");
    if target.starts_with('/') && normal && !target.trim_matches('/').is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid mount path: '{target}' mount path must be absolute and not the root"
    ))
    .about("mount", target))
}

/// The period over which processor time is counted, in microseconds; docker's own.
const CPU_PERIOD_US: u64 = 100_000;

fn resources(record: &ContainerRecord) -> Value {
    let options = &record.options;
    let mut resources = json!({ "devices": device_rules(options.privileged) });
    if options.memory > 0 {
        resources["memory"] = json!({"limit": options.memory, "swap": options.memory.saturating_mul(2)});
    }
    if options.nano_cpus > 0 {
        // Billionths of a processor times the period, as microseconds per period.
        resources["cpu"] =
            json!({"period": CPU_PERIOD_US, "quota": options.nano_cpus / (1_000_000_000 / CPU_PERIOD_US)});
    }
    if let Some(limit) = options.pids_limit.filter(|limit| *limit > 0) {
        resources["pids"] = json!({"limit": limit});
    }
    resources
}

fn device_rules(privileged: bool) -> Value {
    if privileged {
        return json!([{"allow": true, "access": "rwm"}]);
    }
    let character = |major: i64, minor: Option<i64>, access: &str| {
        let mut rule = json!({"allow": true, "type": "c", "major": major, "access": access});
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    };
    json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "access": "m"},
        {"allow": true, "type": "b", "access": "m"},
        character(1, Some(3), "rwm"),  // null
        character(1, Some(5), "rwm"),  // zero
        character(1, Some(7), "rwm"),  // full
        character(1, Some(8), "rwm"),  // random
        character(1, Some(9), "rwm"),  // urandom
        character(5, Some(0), "rwm"),  // tty
        character(5, Some(1), "rwm"),  // console
        character(5, Some(2), "rwm"),  // ptmx
        character(136, None, "rwm"),   // terminals
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_merges_in_place() {
        let merged = merge_env(&["A=1".into(), "B=2".into()], &["B=3".into(), "C=4".into()]);
        assert_eq!(merged, ["A=1", "B=3", "C=4"]);
        assert_eq!(with_default(merged, "A", "9"), ["A=1", "B=3", "C=4"]);
    }

    #[test]
    fn users_by_number_need_no_lookup() {
        assert_eq!(user_of("1000:50"), json!({"uid": 1000, "gid": 50}));
        assert_eq!(user_of("web"), json!({"uid": 0, "gid": 0, "username": "web"}));
        assert_eq!(user_of("1000"), json!({"uid": 0, "gid": 0, "username": "1000"}));
        assert_eq!(user_of(""), json!({"uid": 0, "gid": 0}));
    }

    #[test]
    fn mount_targets_are_absolute_and_normal() {
        for good in ["/data", "/a/b"] {
            assert!(check_target(good).is_ok());
        }
        for bad in ["data", "/", "//", "/a/../b", ""] {
            assert!(check_target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_is_refused() {
        let limit = |soft, hard| Ulimit {
            name: "nofile".into(),
            soft,
            hard,
        };
        assert!(rlimits(&[limit(1, 2)]).is_ok());
        assert!(rlimits(&[limit(3, 2)]).is_err());
    }
}
