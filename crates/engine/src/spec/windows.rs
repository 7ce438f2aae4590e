//! The OCI runtime specification of a Windows container, as a pure function of its record.
//!
//! [`check`] refuses what Windows containers do not have before anything is made, [`arguments`], [`environment`],
//! [`working_dir`] and [`signal`] settle the fields of a new record, [`windows`] and [`windows_exec_process`] write what
//! `task` turns into documents. Paths are Windows paths with a drive; `/` is read as `\`.
//!
//! A Windows process gets one command line. Arguments are quoted for it by `task`, unless the image says that its
//! command is a command line already (`ArgsEscaped`): then that is passed as it stands, in `commandLine`.
//!
//! Not here: layers and volumes (`task`), users and groups (Windows looks names up itself), how networks are made (`network`).

mod command;
mod path;

use image::Isolation;
use serde_json::{Value, json};

pub(crate) use self::command::arguments;
use self::command::raw_line;
pub(crate) use self::path::working_dir;
use self::path::{ROOT, pipe_name, target};
use super::{Bind, CONSOLE, ExecOptions};
use crate::error::{Error, Result};
use crate::record::{ContainerRecord, CreateOptions, MountOption};

/// The longest name of a host.
const HOST_NAME: usize = 63;
/// All processors, in the unit of `cpu.maximum`.
const ALL_PROCESSORS: u64 = 10_000;
const NANO: u64 = 1_000_000_000;

/// Refuses what a Windows container does not have, naming the alternative. `wine`: it would run on Linux.
///
/// # Errors
/// The first option that is wrong or unsupported.
pub(crate) fn check(options: &CreateOptions, wine: bool) -> Result<()> {
    let refusals = [
        (
            options.privileged,
            "--privileged",
            "run as an administrator with --user ContainerAdministrator",
        ),
        (
            !options.cap_add.is_empty() || !options.cap_drop.is_empty(),
            "--cap-add and --cap-drop",
            "choose the account with --user ContainerAdministrator or --user ContainerUser",
        ),
        (
            !options.ulimits.is_empty(),
            "--ulimit",
            "limit the container with --memory and --cpus",
        ),
        (
            options.pids_limit.is_some_and(|limit| limit > 0),
            "--pids-limit",
            "limit the container with --memory and --cpus",
        ),
        (
            !options.tmpfs.is_empty(),
            "--tmpfs",
            "mount a directory of the host with --volume",
        ),
        (
            options.read_only,
            "--read-only",
            "mount what must not change with --volume SOURCE:TARGET:ro",
        ),
        (
            options.network.as_deref() == Some("host"),
            "--network host",
            "leave --network out, or use --network none",
        ),
        (
            wine && options.isolation.as_deref() == Some("hyperv"),
            "--isolation hyperv on Linux",
            "leave --isolation out: the container runs under Wine",
        ),
        (
            wine && options.storage_size.is_some(),
            "--storage-opt size on Linux",
            "leave it out: the container's files share the disk of the host",
        ),
    ];
    if let Some((_, option, instead)) = refusals.into_iter().find(|(given, ..)| *given) {
        let message = format!("Windows containers do not support {option}");
        return Err(Error::unimplemented(message, instead).about("option", option));
    }
    match options.isolation.as_deref() {
        None | Some("" | "default" | "process" | "hyperv") => {}
        Some(other) => {
            return Err(Error::unimplemented(
                format!("isolation {other:?} does not exist for Windows containers"),
                "leave --isolation out, or use --isolation process or --isolation hyperv",
            )
            .about("isolation", other));
        }
    }
    if let Some(name) = options.hostname.as_deref().filter(|name| name.len() > HOST_NAME) {
        return Err(Error::invalid(format!(
            "the host name {name:?} has more than {HOST_NAME} characters"
        ))
        .about("option", "--hostname"));
    }
    if let Some(user) = options.user.as_deref().filter(|user| user.contains(':')) {
        return Err(Error::invalid(format!(
            "the user {user:?} has a group, which Windows does not know"
        ))
        .about("option", "--user")
        .hint("give an account alone, such as ContainerUser"));
    }
    for mount in &options.mounts {
        let source = mount.source.to_string_lossy();
        let pipe = pipe_name(&source).is_some();
        if !pipe && !mount.source.is_absolute() {
            return Err(Error::unimplemented(
                format!("named volume {source:?} is not supported"),
                "give an absolute host path to mount a directory or file",
            )
            .about("mount", source));
        }
        if wine && pipe {
            return Err(Error::unimplemented(
                format!("there are no named pipes on Linux to mount at {}", mount.target),
                "mount a directory of the host with --volume",
            )
            .about("mount", &mount.target));
        }
        target(mount)?;
    }
    Ok(())
}

/// Refuses what a Windows container with Hyper-V isolation does not have.
///
/// # Errors
/// The first option that is wrong or unsupported.
pub(crate) fn check_hyperv(options: &CreateOptions) -> Result<()> {
    let shared = |name: &&str| name.starts_with("container:");
    if let Some(network) = options.network.as_deref().filter(shared) {
        return Err(Error::unimplemented(
            "a container with Hyper-V isolation has a machine of its own and cannot share the network of another",
            "leave --network out, or use --isolation process",
        )
        .about("network", network));
    }
    Ok(())
}

/// How the user wants the container to be kept apart.
///
/// # Errors
/// Windows has nothing of this name.
pub(crate) fn isolation(options: &CreateOptions) -> Result<Option<Isolation>> {
    match options.isolation.as_deref() {
        None | Some("" | "default") => Ok(None),
        Some("process") => Ok(Some(Isolation::Process)),
        Some("hyperv") => Ok(Some(Isolation::HyperV)),
        Some(other) => Err(Error::unimplemented(
            format!("isolation {other:?} is not available for Windows containers"),
            "use --isolation process or hyperv, or leave it out",
        )
        .about("isolation", other)),
    }
}

/// `base` with the settings of `more`; names are the same in any case, later ones win with their spelling, places are
/// kept.
#[must_use]
pub(crate) fn environment(base: &[String], more: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_uppercase();
    let mut merged: Vec<String> = Vec::with_capacity(base.len() + more.len());
    for entry in base.iter().chain(more) {
        match merged.iter_mut().find(|known| name(known) == name(entry)) {
            Some(known) => known.clone_from(entry),
            None => merged.push(entry.clone()),
        }
    }
    merged
}

/// The number of a signal for a Windows container: the console events by their own numbers (as containerd's shim counts
/// them), 15 for a shutdown and 9 for the end. What a terminal sends on Linux means the same event.
///
/// # Errors
/// Windows has nothing like it.
pub(crate) fn signal(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let number = match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "0" | "CTRLC" | "INT" => 0,
        "1" | "CTRLBREAK" | "QUIT" => 1,
        "2" | "CTRLCLOSE" | "HUP" => 2,
        "5" | "CTRLLOGOFF" => 5,
        "6" | "CTRLSHUTDOWN" => 6,
        "9" | "KILL" => 9,
        "15" | "TERM" => 15,
        _ => {
            return Err(Error::invalid(format!("Invalid signal: {text}"))
                .about("signal", text)
                .hint(
                    "Windows knows CTRLC, CTRLBREAK, CTRLCLOSE, CTRLLOGOFF, CTRLSHUTDOWN (TERM) and KILL",
                ));
        }
    };
    Ok(number)
}

/// The specification and its bind mounts. `processors`: how many the host has; `namespace`: of its network, if it has one.
/// `windows.layerFolders` is left to `task`.
///
/// # Errors
/// A mount that cannot be expressed.
pub(crate) fn windows(
    record: &ContainerRecord,
    processors: u32,
    namespace: Option<&str>,
) -> Result<(Value, Vec<Bind>)> {
    let options = &record.options;
    let mut process = process(
        &record.env,
        &record.working_dir,
        &record.user,
        options.tty.then_some(options.console_size.unwrap_or(CONSOLE)),
    );
    if record.args_escaped {
        process["commandLine"] = raw_line(&record.args).into();
    } else {
        process["args"] = json!(record.args);
    }
    let (mounts, binds) = mounts(&options.mounts)?;
    let mut spec = json!({
        "ociVersion": "1.1.0",
        "hostname": record.hostname,
        "process": process,
        "root": {},
        "mounts": mounts,
        "windows": {"resources": resources(options, processors)},
    });
    if let Some(namespace) = namespace {
        spec["windows"]["network"] = json!({"networkNamespace": namespace});
    }
    Ok((spec, binds))
}

/// The OCI `process` of an exec.
///
/// # Errors
/// An empty command, or what Windows does not have.
pub(crate) fn windows_exec_process(record: &ContainerRecord, exec: &ExecOptions) -> Result<Value> {
    if exec.args.is_empty() {
        return Err(Error::invalid("no command given to exec").about("container", &record.name));
    }
    if exec.privileged {
        return Err(Error::unimplemented(
            "Windows containers do not support --privileged",
            "run as an administrator with --user ContainerAdministrator",
        )
        .about("container", &record.name));
    }
    let cwd = match &exec.working_dir {
        Some(given) => working_dir(given)?,
        None => record.working_dir.clone(),
    };
    let mut process = process(
        &environment(&record.env, &exec.env),
        &cwd,
        exec.user.as_deref().unwrap_or(&record.user),
        exec.tty.then_some(exec.console_size.unwrap_or(CONSOLE)),
    );
    process["args"] = json!(exec.args);
    Ok(process)
}

fn process(env: &[String], cwd: &str, user: &str, console: Option<(u16, u16)>) -> Value {
    let mut process = json!({
        "terminal": console.is_some(),
        "user": {"username": user},
        "env": env,
        "cwd": if cwd.is_empty() { ROOT } else { cwd },
    });
    if let Some((height, width)) = console {
        process["consoleSize"] = json!({"height": height, "width": width});
    }
    process
}

fn mounts(given: &[MountOption]) -> Result<(Vec<Value>, Vec<Bind>)> {
    let (mut mounts, mut binds) = (Vec::new(), Vec::new());
    for mount in given {
        let source = mount.source.to_string_lossy();
        if pipe_name(&source).is_none() {
            binds.push(Bind {
                mount_index: mounts.len(),
                source: mount.source.clone(),
                read_only: mount.read_only,
            });
        }
        let access = if mount.read_only { "ro" } else { "rw" };
        mounts.push(json!({"destination": target(mount)?, "source": source, "options": [access]}));
    }
    Ok((mounts, binds))
}

fn resources(options: &CreateOptions, processors: u32) -> Value {
    let mut resources = json!({});
    if options.memory > 0 {
        resources["memory"] = json!({"limit": options.memory});
    }
    if options.nano_cpus > 0 {
        let of_all = u128::from(options.nano_cpus) * u128::from(ALL_PROCESSORS)
            / (u128::from(processors.max(1)) * u128::from(NANO));
        let maximum = u64::try_from(of_all).unwrap_or(ALL_PROCESSORS);
        resources["cpu"] = json!({"maximum": maximum.clamp(1, ALL_PROCESSORS)});
    }
    if let Some(size) = options.storage_size {
        resources["storage"] = json!({"sandboxSize": size});
    }
    resources
}

#[cfg(test)]
mod tests;
