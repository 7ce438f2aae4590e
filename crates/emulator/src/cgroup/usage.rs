//! What a sandbox has used: counters of its cgroup and of its processes.
//!
//! A counter that the host does not have, or that vanishes while it is read, is zero: statistics never fail.

use std::fs;
use std::io;
use std::path::Path;

/// Counters of a whole sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time in microseconds: total, in user mode, in the kernel.
    pub(crate) cpu_us: (u64, u64, u64),
    /// Bytes of memory charged now, and at most so far.
    pub(crate) memory: (u64, u64),
    /// Bytes of memory that are not page cache.
    pub(crate) memory_anonymous: u64,
    /// Reads: operations and bytes.
    pub(crate) read: (u64, u64),
    /// Writes: operations and bytes.
    pub(crate) written: (u64, u64),
}

impl Usage {
    pub(super) fn read<'a>(unified: Option<&Path>, version1: impl Fn(&str) -> Option<&'a Path>) -> Self {
        let mut usage = Self::default();
        if let Some(directory) = version1("cpuacct") {
            usage.cpu_us = (
                number(&directory.join("cpuacct.usage")) / 1000,
                number(&directory.join("cpuacct.usage_user")) / 1000,
                number(&directory.join("cpuacct.usage_sys")) / 1000,
            );
        } else if let Some(directory) = unified {
            let stat = text(&directory.join("cpu.stat"));
            usage.cpu_us = (
                keyed(&stat, "usage_usec"),
                keyed(&stat, "user_usec"),
                keyed(&stat, "system_usec"),
            );
        }
        if let Some(directory) = version1("memory") {
            usage.memory = (
                number(&directory.join("memory.usage_in_bytes")),
                number(&directory.join("memory.max_usage_in_bytes")),
            );
            usage.memory_anonymous = keyed(&text(&directory.join("memory.stat")), "total_rss");
        } else if let Some(directory) = unified {
            usage.memory = (
                number(&directory.join("memory.current")),
                number(&directory.join("memory.peak")),
            );
            usage.memory_anonymous = keyed(&text(&directory.join("memory.stat")), "anon");
        }
        usage.memory.1 = usage.memory.1.max(usage.memory.0);
        if let Some(directory) = version1("blkio") {
            let operations = text(&directory.join("blkio.throttle.io_serviced_recursive"));
            let bytes = text(&directory.join("blkio.throttle.io_service_bytes_recursive"));
            usage.read = (total(&operations, "Read"), total(&bytes, "Read"));
            usage.written = (total(&operations, "Write"), total(&bytes, "Write"));
        } else if let Some(directory) = unified {
            let stat = text(&directory.join("io.stat"));
            usage.read = (assigned(&stat, "rios"), assigned(&stat, "rbytes"));
            usage.written = (assigned(&stat, "wios"), assigned(&stat, "wbytes"));
        }
        usage
    }
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessUsage {
    /// Its id on the host.
    pub(crate) pid: u32,
    /// The program's name as the kernel keeps it, at most 15 bytes.
    pub(crate) name: String,
    /// Ticks in user mode and in the kernel, and since the boot of the host when it started.
    pub(crate) ticks: (u64, u64, u64),
    /// Bytes: address space, resident private, resident shared.
    pub(crate) memory: (u64, u64, u64),
}

impl ProcessUsage {
    /// Reads `/proc`; `None` when the process is gone.
    pub(super) fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        Self::parse(u32::try_from(pid).ok()?, &stat, &statm)
    }

    fn parse(pid: u32, stat: &str, statm: &str) -> Option<Self> {
        // The name may contain anything, parentheses and blanks too: fields count from the last parenthesis.
        let (head, tail) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let field = |number: usize| {
            tail.split_ascii_whitespace()
                .nth(number - 3)
                .and_then(|f| f.parse::<u64>().ok())
        };
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        let mut pages = statm
            .split_ascii_whitespace()
            .map(|f| f.parse::<u64>().unwrap_or(0).saturating_mul(page));
        let (size, resident, shared) = (pages.next()?, pages.next()?, pages.next()?);
        Some(Self {
            pid,
            name,
            ticks: (field(14)?, field(15)?, field(22)?),
            memory: (size, resident.saturating_sub(shared), shared),
        })
    }
}

/// The processes in a group and all groups below; none when the group is gone.
pub(super) fn processes(directory: &Path) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    collect(directory, &mut found)?;
    Ok(found)
}

fn collect(directory: &Path, found: &mut Vec<i32>) -> io::Result<()> {
    let gone = |error: &io::Error| {
        error.kind() == io::ErrorKind::NotFound
            || rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::NODEV)
    };
    match fs::read_to_string(directory.join("cgroup.procs")) {
        // A process outside our pid namespace shows as 0 and cannot be named from here.
        Ok(text) => found.extend(
            text.lines()
                .filter_map(|line| line.parse::<i32>().ok())
                .filter(|pid| *pid != 0),
        ),
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found)?;
        }
    }
    Ok(())
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn number(file: &Path) -> u64 {
    text(file).trim().parse().unwrap_or(0)
}

/// The value of a line `key value`.
fn keyed(text: &str, key: &str) -> u64 {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// The sum over devices of lines `major:minor key value`.
fn total(text: &str, key: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (device, name, value) = (fields.next()?, fields.next()?, fields.next()?);
        (device.contains(':') && name == key).then(|| value.parse::<u64>().unwrap_or(0))
    });
    values.fold(0, u64::saturating_add)
}

/// The sum over devices of assignments `key=value`.
fn assigned(text: &str, key: &str) -> u64 {
    let values = text
        .split_ascii_whitespace()
        .filter_map(|field| field.split_once('='))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value.parse::<u64>().unwrap_or(0));
    values.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_nasty_name_is_read() {
        let stat = "42 (a) (b c) S 1 42 42 0 -1 4194304 10 0 0 0 7 9 0 0 20 0 1 0 12345 4096 25 18446744073709551615";
        let process = ProcessUsage::parse(42, stat, "100 30 10 1 0 20 0").unwrap();
        assert_eq!(process.name, "a) (b c");
        assert_eq!(process.ticks, (7, 9, 12345));
        let page = u64::try_from(rustix::param::page_size()).unwrap();
        assert_eq!(process.memory, (100 * page, 20 * page, 10 * page));
    }

    #[test]
    fn counters_of_several_devices_are_added() {
        assert_eq!(
            total("8:0 Read 5\n8:0 Write 1\n7:0 Read 6\nTotal 12\n", "Read"),
            11
        );
        assert_eq!(
            assigned("8:0 rbytes=5 rios=1\n7:0 rbytes=7 rios=2\n", "rbytes"),
            12
        );
        assert_eq!(keyed("usage_usec 9\nuser_usec 4\n", "user_usec"), 4);
        assert_eq!(keyed("", "user_usec"), 0);
    }

    #[test]
    fn a_group_that_is_gone_has_no_processes() {
        assert!(
            processes(Path::new("/sys/fs/cgroup/no/such/group"))
                .unwrap()
                .is_empty()
        );
    }
}
