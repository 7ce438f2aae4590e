//! Groups for containers that do not exist yet.
//!
//! Moving a process into a group costs a grace period of the kernel, ten milliseconds and more: most of a container's
//! start. A helper therefore makes its groups, a numbered *slot*, and moves itself in while it waits; what it makes
//! later is born there. libcontainer must then not move anything again, so helpers run in a mount namespace where it
//! finds no hierarchy: the agent binds them below [`PLACE`], under names that libcontainer does not look for, and the
//! helper takes the usual mounts away. Limits are set by the agent, and containers see their own groups through binds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use super::hierarchy::{self, Hierarchy};
use super::tree::Groups;
use crate::mounts::{self, Access};

/// Where the hierarchies are bound.
const PLACE: &str = "/run/gcs/groups";
/// A directory with an empty directory per hierarchy: what a container sees them mounted on.
const VIEW: &str = "/run/gcs/view";
/// Marks hierarchies of version 1; version 2 is this without controllers.
const PREFIX: &str = "hierarchy-";

/// The group of a slot, absolute within each hierarchy.
pub(crate) fn group(slot: u32) -> String {
    format!("/pods/{slot}")
}

/// Prepares the machine: binds the hierarchies, and lets mounts that the agent makes reach the helpers.
pub(crate) fn prepare(hierarchies: &[Hierarchy]) -> io::Result<()> {
    for hierarchy in hierarchies {
        let access = Access {
            read_only: false,
            devices: true,
        };
        mounts::bind(&hierarchy.mount_point, &place(hierarchy), access)?;
        for name in names(hierarchy) {
            mounts::create_dir(&Path::new(VIEW).join(name), 0o755)?;
        }
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)?;
    Ok(())
}

/// Called in a helper: hides the hierarchies from libcontainer and enters the slot.
pub(crate) fn enter(slot: u32) -> io::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    umount2(hierarchy::ROOT, MntFlags::MNT_DETACH)?;
    // An empty tmpfs is what libcontainer takes for version 1 without controllers.
    mount(
        Some("none"),
        hierarchy::ROOT,
        Some("tmpfs"),
        MsFlags::MS_RDONLY,
        none,
    )?;
    Groups::create(&bound()?, &group(slot))?.attach(nix::unistd::getpid())
}

/// Called in a helper: moves it into a container's groups.
pub(crate) fn join(group: &str) -> io::Result<()> {
    Groups::at(&bound()?, group).attach(nix::unistd::getpid())
}

/// The hierarchies as [`prepare`] has bound them.
fn bound() -> io::Result<Vec<Hierarchy>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(PLACE)? {
        let mount_point = entry?.path();
        let name = mount_point
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix(PREFIX))
            .unwrap_or_default();
        let controllers = (!name.is_empty()).then(|| name.to_owned());
        found.push(Hierarchy {
            mount_point,
            controllers,
        });
    }
    Ok(found)
}

fn place(hierarchy: &Hierarchy) -> PathBuf {
    Path::new(PLACE).join(format!(
        "{PREFIX}{}",
        hierarchy.controllers.as_deref().unwrap_or_default()
    ))
}

/// The names under which programs look for a hierarchy of version 1.
fn names(hierarchy: &Hierarchy) -> Vec<&str> {
    let Some(all) = hierarchy.controllers.as_deref() else {
        return Vec::new();
    };
    let mut names: Vec<&str> = all.split(',').filter(|name| *name != all).collect();
    names.insert(0, all);
    names
}

/// Replaces the mounts of control groups in a specification by binds of the slot's.
pub(crate) fn expose(config: &mut Value, hierarchies: &[Hierarchy], slot: u32) {
    let Some(mounts) = config.get_mut("mounts").and_then(Value::as_array_mut) else {
        return;
    };
    let mut exposed = Vec::with_capacity(mounts.len());
    for entry in mounts.drain(..) {
        let kind = entry.get("type").and_then(Value::as_str);
        if !matches!(kind, Some("cgroup" | "cgroup2")) {
            exposed.push(entry);
            continue;
        }
        let destination = entry
            .get("destination")
            .and_then(Value::as_str)
            .unwrap_or(hierarchy::ROOT);
        let mut options = vec![json!("bind")];
        let asked = entry
            .get("options")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        options.extend(
            asked
                .filter(|option| matches!(option.as_str(), Some("ro" | "nosuid" | "noexec" | "nodev")))
                .cloned(),
        );
        let mut bind = |source: PathBuf, destination: PathBuf| {
            exposed.push(
                json!({ "destination": destination, "type": "bind", "source": source, "options": options }),
            );
        };
        let source = |hierarchy: &Hierarchy| place(hierarchy).join(&group(slot)[1..]);
        if let ([only], true) = (hierarchies, hierarchy::unified_only(hierarchies)) {
            bind(source(only), destination.into());
            continue;
        }
        bind(VIEW.into(), destination.into());
        for hierarchy in hierarchies {
            for name in names(hierarchy) {
                bind(source(hierarchy), Path::new(destination).join(name));
            }
        }
    }
    *mounts = exposed;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(controllers: Option<&str>) -> Hierarchy {
        Hierarchy {
            mount_point: "/x".into(),
            controllers: controllers.map(str::to_owned),
        }
    }

    fn config() -> Value {
        json!({"mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/sys/fs/cgroup", "type": "cgroup",
            "source": "cgroup", "options": ["ro", "nosuid", "relatime"]}, {"destination": "/dev", "type": "tmpfs"}]})
    }

    fn exposed(hierarchies: &[Hierarchy]) -> Vec<(String, String)> {
        let mut config = config();
        expose(&mut config, hierarchies, 7);
        let text = |mount: &Value, name: &str| mount[name].as_str().unwrap_or_default().to_owned();
        let mounts = config["mounts"].as_array().unwrap();
        for mount in mounts.iter().filter(|mount| mount["type"] == "bind") {
            assert_eq!(mount["options"], json!(["bind", "ro", "nosuid"]));
        }
        mounts
            .iter()
            .map(|mount| (text(mount, "source"), text(mount, "destination")))
            .collect()
    }

    #[test]
    fn a_container_sees_only_its_own_groups_of_version_one() {
        let seen = exposed(&[
            hierarchy(Some("cpu,cpuacct")),
            hierarchy(Some("memory")),
            hierarchy(None),
        ]);
        let expected = [
            ("", "/proc"),
            ("/run/gcs/view", "/sys/fs/cgroup"),
            (
                "/run/gcs/groups/hierarchy-cpu,cpuacct/pods/7",
                "/sys/fs/cgroup/cpu,cpuacct",
            ),
            (
                "/run/gcs/groups/hierarchy-cpu,cpuacct/pods/7",
                "/sys/fs/cgroup/cpu",
            ),
            (
                "/run/gcs/groups/hierarchy-cpu,cpuacct/pods/7",
                "/sys/fs/cgroup/cpuacct",
            ),
            ("/run/gcs/groups/hierarchy-memory/pods/7", "/sys/fs/cgroup/memory"),
            ("", "/dev"),
        ];
        assert_eq!(
            seen,
            expected.map(|(source, destination)| (source.to_owned(), destination.to_owned()))
        );
    }

    #[test]
    fn version_two_alone_is_one_tree() {
        let seen = exposed(&[hierarchy(None)]);
        assert_eq!(
            seen[1],
            (
                "/run/gcs/groups/hierarchy-/pods/7".to_owned(),
                "/sys/fs/cgroup".to_owned()
            )
        );
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn a_specification_that_mounts_no_groups_stays_as_it_is() {
        let mut config = json!({"mounts": [{"destination": "/proc", "type": "proc"}]});
        expose(&mut config, &[hierarchy(None)], 7);
        assert_eq!(config["mounts"].as_array().unwrap().len(), 1);
    }
}
