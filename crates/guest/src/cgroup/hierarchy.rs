//! Which control group hierarchies there are, read from `/proc/self/mountinfo`.
//!
//! Hosts differ: version 2 alone, version 1 with one mount per controller set, or both at once with some controllers
//! in version 2 (hybrid). The launcher reads the host's, the agent the sandbox's.

use std::io;
use std::path::{Path, PathBuf};

/// Where hierarchies are mounted, by convention of every runtime.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount_point: PathBuf,
    /// Version 1: its controllers, as in the mount option (`cpu,cpuacct`). Version 2: `None`.
    pub(crate) controllers: Option<String>,
}

impl Hierarchy {
    /// True for version 2.
    pub(crate) fn is_unified(&self) -> bool {
        self.controllers.is_none()
    }

    /// True when the controller is one of this version 1 hierarchy.
    pub(crate) fn controls(&self, controller: &str) -> bool {
        self.controllers
            .as_deref()
            .is_some_and(|names| names.split(',').any(|name| name == controller))
    }

    /// The directory of a group: `group` is absolute within the hierarchy.
    pub(crate) fn group(&self, group: &str) -> PathBuf {
        self.mount_point.join(group.trim_start_matches('/'))
    }
}

/// The hierarchies of this process's mount namespace, in mount order. Hierarchies without controllers that only name
/// something (systemd's) are left out: they limit nothing.
pub(crate) fn mounted() -> io::Result<Vec<Hierarchy>> {
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

/// True when version 2 is the only one.
pub(crate) fn unified_only(hierarchies: &[Hierarchy]) -> bool {
    !hierarchies.is_empty() && hierarchies.iter().all(Hierarchy::is_unified)
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else {
            continue;
        };
        let Some(mount_point) = mount.split(' ').nth(4) else {
            continue;
        };
        let mut filesystem = filesystem.split(' ');
        let (Some(kind), Some(options)) = (filesystem.next(), filesystem.nth(1)) else {
            continue;
        };
        let controllers = match kind {
            "cgroup2" => None,
            "cgroup" => match controllers(options) {
                Some(controllers) => Some(controllers),
                None => continue,
            },
            _ => continue,
        };
        let hierarchy = Hierarchy {
            mount_point: unescape(mount_point),
            controllers,
        };
        // A container engine may have mounted the same hierarchy a second time somewhere else.
        if !found
            .iter()
            .any(|known| known.controllers == hierarchy.controllers)
        {
            found.push(hierarchy);
        }
    }
    found
}

/// The controllers among the options of a version 1 file system.
fn controllers(options: &str) -> Option<String> {
    const OTHER: [&str; 8] = [
        "rw",
        "ro",
        "xattr",
        "noprefix",
        "clone_children",
        "cpuset_v2_mode",
        "favordynmods",
        "nofavordynmods",
    ];
    let names: Vec<&str> = options
        .split(',')
        .filter(|option| !OTHER.contains(option) && !option.contains('='))
        .collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// Undoes mountinfo's octal escapes.
pub(crate) fn unescape(path: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    Path::new(std::ffi::OsStr::new(&*String::from_utf8_lossy(&bytes))).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
52 31 0:32 /x /mnt/other\\040place rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn a_hybrid_host_has_both_versions_and_each_hierarchy_once() {
        let found = parse(HYBRID);
        let points: Vec<_> = found
            .iter()
            .map(|found| found.mount_point.to_str().unwrap())
            .collect();
        assert_eq!(
            points,
            [
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/unified"
            ]
        );
        assert!(found[0].controls("cpuacct") && !found[0].controls("memory"));
        assert!(found[2].is_unified() && !unified_only(&found));
        assert_eq!(
            found[1].group("/ctr-like/s1"),
            Path::new("/sys/fs/cgroup/memory/ctr-like/s1")
        );
    }

    #[test]
    fn a_host_with_version_two_alone_is_unified() {
        let found =
            parse("26 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n");
        assert!(unified_only(&found));
        assert!(!unified_only(&[]));
    }

    #[test]
    fn escapes_of_mountinfo_are_undone() {
        assert_eq!(unescape("/a\\040b\\134c\\9"), Path::new("/a b\\c\\9"));
    }
}
