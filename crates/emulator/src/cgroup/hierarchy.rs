//! The cgroup hierarchies of the host: which are mounted where, version 1 and 2 side by side.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::sandbox::mounts::{mount_point_of, unescape};

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Version 2, the unified hierarchy; there is at most one.
    pub(crate) unified: bool,
    /// Controllers of version 1; a named hierarchy has none.
    pub(crate) controllers: Vec<String>,
}

impl Hierarchy {
    /// All hierarchies of this host, in the order of mounting.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// The controllers that version 1 knows; other options of such a mount are flags or names.
const CONTROLLERS: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "net_cls",
    "net_prio",
    "perf_event",
    "hugetlb",
    "rdma",
    "misc",
];

fn parse(table: &str) -> Vec<Hierarchy> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut after = after.split(' ');
        let kind = after.next().unwrap_or_default();
        let unified = match kind {
            "cgroup" => false,
            "cgroup2" => true,
            _ => continue,
        };
        let (Some(mount), Some(device)) = (mount_point_of(line), before.split(' ').nth(2)) else {
            continue;
        };
        // A second mount of the same hierarchy (a bind, a container's view) adds nothing.
        if seen.contains(&device) {
            continue;
        }
        seen.push(device);
        let options = unescape(after.nth(1).unwrap_or_default());
        let options = options.to_string_lossy();
        let controllers = options
            .split(',')
            .filter(|name| CONTROLLERS.contains(name))
            .map(str::to_owned)
            .collect();
        found.push(Hierarchy {
            mount,
            unified,
            controllers,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_has_both_versions() {
        let found = parse(
            "30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n\
             31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:4 - cgroup cgroup rw,cpu,cpuacct\n\
             34 30 0:29 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        let summary: Vec<_> = found
            .iter()
            .map(|h| (h.mount.to_str().unwrap(), h.unified))
            .collect();
        assert_eq!(
            summary,
            [
                ("/sys/fs/cgroup/unified", true),
                ("/sys/fs/cgroup/systemd", false),
                ("/sys/fs/cgroup/cpu,cpuacct", false)
            ]
        );
        assert!(found[2].has("cpuacct") && !found[2].has("memory"));
        assert!(found[1].controllers.is_empty());
    }
}
