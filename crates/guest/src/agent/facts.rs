//! What this machine grants to containers, read once when the agent starts.

use std::io;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};

use crate::cgroup::hierarchy::{self, Hierarchy};
use crate::spec::Facts;
use crate::spec::capabilities::Set;

/// Limits by their OCI names.
const LIMITS: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_STACK", Resource::Stack),
];

/// The bounding set of this process.
pub(crate) fn bounding() -> io::Result<Set> {
    let mut bits = 0;
    for bit in 0..u64::BITS {
        match capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(true) => bits |= 1 << bit,
            Ok(false) => {}
            // Beyond the last capability that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Set::from_bits(bits))
}

/// Reads the facts.
pub(crate) fn read(hierarchies: &[Hierarchy]) -> io::Result<Facts> {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj")?;
    let bounding = bounding()?;
    Ok(Facts {
        bounding,
        limits: limits(bounding.contains(Set::SYS_RESOURCE)),
        oom_score: own.trim().parse().unwrap_or(0),
        swap_limit: swap_limit(hierarchies),
        device_control: hierarchies.iter().any(|hierarchy| hierarchy.controls("devices")),
    })
}

/// The highest hard limits. Who may raise limits is stopped only by the kernel's own bound on open files.
fn limits(may_raise: bool) -> Vec<(&'static str, Option<u64>)> {
    let files = || {
        std::fs::read_to_string("/proc/sys/fs/nr_open")
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    LIMITS
        .iter()
        .map(|(name, resource)| match (may_raise, resource) {
            (true, Resource::Nofile) => (*name, files()),
            (true, _) => (*name, None),
            (false, _) => (*name, getrlimit(*resource).maximum),
        })
        .collect()
}

fn swap_limit(hierarchies: &[Hierarchy]) -> bool {
    if hierarchy::unified_only(hierarchies) {
        // The root group has no limits of its own; the agent's group is the nearest that has.
        return Path::new(hierarchy::ROOT).join("gcs/memory.swap.max").exists();
    }
    let memory = hierarchies.iter().find(|hierarchy| hierarchy.controls("memory"));
    memory.is_some_and(|memory| memory.mount_point.join("memory.memsw.limit_in_bytes").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_have_more_open_files_than_the_kernel_allows() {
        let bound = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap();
        let limits = limits(true);
        assert!(limits.contains(&("RLIMIT_NOFILE", bound.trim().parse().ok())));
        assert!(limits.contains(&("RLIMIT_CORE", None)));
    }

    #[test]
    fn facts_of_this_machine_can_be_read() {
        let facts = read(&hierarchy::mounted().unwrap()).unwrap();
        assert!(facts.limits.iter().any(|(name, _)| *name == "RLIMIT_NOFILE"));
        assert!(facts.bounding.bits() < 1 << 41);
    }
}
