//! The root file system of a sandbox, built by its pid 1.
//!
//! A tmpfs with what an agent and containers need: `/proc`, `/sys`, the control group hierarchies as the host has
//! them, `/dev` with the standard nodes, and the three directories shared with the emulator: `/run/vsock`,
//! `/run/devices` and `/run/shares`. Everything else of the host is gone after the pivot; mounts that the emulator
//! makes below the shares later still arrive, because that mount stays a slave of the host's.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root, sethostname};

use super::{Config, SandboxError};
use crate::cgroup::hierarchy::{Hierarchy, unified_only};
use crate::mounts;

/// The agent's own files are small; containers write to their scratch disks, not here.
const ROOT_OPTIONS: &str = "mode=755,size=256m";

/// Builds the root and moves into it. The calling process is pid 1 with new namespaces.
pub(super) fn enter(config: &Config, hierarchies: &[Hierarchy]) -> Result<(), SandboxError> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .map_err(SandboxError::step("detach from the host's mounts"))?;
    let inherited = config.host_network.then(inherited_files).unwrap_or_default();
    let root = config.root_dir.as_path();
    mount(
        Some("tmpfs"),
        root,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(ROOT_OPTIONS),
    )
    .map_err(SandboxError::step(format!(
        "mount the root file system on {}",
        root.display()
    )))?;
    for directory in [
        "proc",
        "sys",
        "dev",
        "run/vsock",
        "run/devices",
        "run/shares",
        "etc",
        "var",
        "root",
        "bin",
    ] {
        make_dir(&root.join(directory))?;
    }
    make_dir(&root.join("tmp"))?;
    fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777))
        .map_err(SandboxError::step("open /tmp to everyone"))?;
    symlink("/run", root.join("var/run")).map_err(SandboxError::step("link /var/run"))?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")
        .and_then(|()| fs::write(root.join("etc/group"), "root:x:0:\n"))
        .map_err(SandboxError::step("write /etc"))?;
    for (name, content) in inherited {
        fs::write(root.join("etc").join(name), content).map_err(SandboxError::step("write /etc"))?;
    }
    for (source, target) in [
        (&config.vsock_dir, "run/vsock"),
        (&config.devices_dir, "run/devices"),
        (&config.shares_dir, "run/shares"),
    ] {
        bind(source, &root.join(target))?;
    }
    // The emulator puts device nodes here; a host that keeps it on a nodev file system would make them useless.
    let devices = root.join("run/devices");
    mount(
        none,
        &devices,
        none,
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID,
        none,
    )
    .map_err(SandboxError::step("allow devices below /run/devices"))?;
    mounts::kernel_file_systems(root).map_err(SandboxError::step("mount /proc, /sys and /dev"))?;
    if let Some(console) = &config.console {
        fs::write(root.join("dev/console"), "").map_err(SandboxError::step("create /dev/console"))?;
        bind(console, &root.join("dev/console"))?;
    }
    control_groups(root, hierarchies)?;
    pivot(root)?;
    let name = if config.hostname.is_empty() {
        &config.id
    } else {
        &config.hostname
    };
    sethostname(name).map_err(SandboxError::step("set the host name"))?;
    if !config.host_network {
        crate::netlink::loopback_up().map_err(SandboxError::step("bring the loopback interface up"))?;
    }
    Ok(())
}

/// Name resolution of the host, for sandboxes that share its network.
fn inherited_files() -> Vec<(&'static str, Vec<u8>)> {
    ["resolv.conf", "hosts"]
        .into_iter()
        .filter_map(|name| Some((name, fs::read(Path::new("/etc").join(name)).ok()?)))
        .collect()
}

/// Mounts the hierarchies at the places they have on the host. The cgroup namespace makes the sandbox's own group
/// the root of each.
fn control_groups(root: &Path, hierarchies: &[Hierarchy]) -> Result<(), SandboxError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let top = root.join("sys/fs/cgroup");
    let mount_group = |target: &Path, kind: &str, data: Option<&str>| {
        mount(Some("cgroup"), target, Some(kind), flags, data).map_err(SandboxError::step(format!(
            "mount {kind} on {}",
            target.display()
        )))
    };
    if unified_only(hierarchies) {
        return mount_group(&top, "cgroup2", None);
    }
    mount(
        Some("tmpfs"),
        &top,
        Some("tmpfs"),
        flags,
        Some("mode=755,size=1m"),
    )
    .map_err(SandboxError::step("mount /sys/fs/cgroup"))?;
    for hierarchy in hierarchies {
        let Some(controllers) = &hierarchy.controllers else {
            let target = top.join("unified");
            make_dir(&target)?;
            mount_group(&target, "cgroup2", None)?;
            continue;
        };
        let target = top.join(controllers);
        make_dir(&target)?;
        mount_group(&target, "cgroup", Some(controllers))?;
        for alias in controllers.split(',').filter(|alias| *alias != controllers) {
            symlink(controllers, top.join(alias)).map_err(SandboxError::step("link a controller"))?;
        }
    }
    Ok(())
}

/// Makes `root` the root and lets go of the old one.
pub(crate) fn pivot(root: &Path) -> Result<(), SandboxError> {
    chdir(root).map_err(SandboxError::step("enter the root file system"))?;
    // With both arguments the same the old root ends up on top of the new one, from where it is detached.
    pivot_root(".", ".").map_err(SandboxError::step("pivot into the root file system"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(SandboxError::step("detach the host's root"))?;
    chdir("/").map_err(SandboxError::step("enter the root file system"))
}

fn make_dir(path: &Path) -> Result<(), SandboxError> {
    fs::create_dir_all(path).map_err(SandboxError::step(format!("create {}", path.display())))
}

fn bind(source: &Path, target: &Path) -> Result<(), SandboxError> {
    let none: Option<&str> = None;
    mount(
        Some(source),
        target,
        none,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        none,
    )
    .map_err(SandboxError::step(format!(
        "bind {} to {}",
        source.display(),
        target.display()
    )))
}
