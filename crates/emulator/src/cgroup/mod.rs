//! The cgroup of one sandbox: `/ctr-like/<id>` in every hierarchy of the host.
//!
//! The back end creates it before the launcher exists and removes it after the launcher has ended; the launcher joins it by
//! itself and then hides everything above it behind a cgroup namespace. Limits of the compute document are applied where the
//! host has the controller; containers inside make their own groups below.
//!
//! Removing kills what is left in the group first, so nothing the guest started can outlive its sandbox. All calls block;
//! waiting for processes to go is driven by the kernel's event on version 2, and on version 1, which has none, by looking.

mod hierarchy;
mod usage;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hcs::HResult;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

pub(crate) use self::hierarchy::Hierarchy;
pub(crate) use self::usage::{ProcessUsage, Usage};
use crate::failure::Failure;
use crate::patience::look_until;

/// The parent of all sandboxes in each hierarchy.
const PARENT: &str = "ctr-like";
/// Period of processor quotas, in microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;
/// How long killed or frozen processes may take; they are in the kernel's hands.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long killed processes may take before the group is killed once more.
const BETWEEN_BLOWS: Duration = Duration::from_millis(50);

/// Limits taken from the compute document. `None` leaves the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of memory.
    pub(crate) memory: Option<u64>,
    /// Microseconds of processor time per [`PERIOD_US`].
    pub(crate) quota_us: Option<u64>,
    /// Relative weight, 100 being usual.
    pub(crate) weight: Option<u64>,
}

/// The directories of one sandbox, one per hierarchy.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: String,
    groups: Vec<(Hierarchy, PathBuf)>,
}

impl Cgroup {
    /// Creates the group everywhere. On failure nothing is left.
    pub(crate) fn create(id: &str) -> Result<Self, Failure> {
        let groups = groups(id)?;
        let failed = |at: &Path, error| Failure::io(format!("cannot create cgroup {}", at.display()), error);
        // Before anything is ours: an empty group is a rest of a killed process, any other is somebody's.
        for (_, directory) in &groups {
            let used = usage::processes(directory).map_err(|error| failed(directory, error))?;
            if !used.is_empty() {
                return Err(Failure::new(
                    HResult::SYSTEM_ALREADY_EXISTS,
                    format!("cgroup {} is in use by another process", directory.display()),
                ));
            }
        }
        let group = Self {
            path: format!("/{PARENT}/{id}"),
            groups,
        };
        for (hierarchy, directory) in &group.groups {
            let parent = hierarchy.mount.join(PARENT);
            fs::create_dir_all(&parent).map_err(|error| failed(&parent, error))?;
            prepare(hierarchy, &hierarchy.mount, &parent);
            fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
            prepare(hierarchy, &parent, directory);
        }
        Ok(group)
    }

    /// The group of a sandbox, whether it exists or not. Dropping it removes what exists.
    pub(crate) fn at(id: &str) -> Result<Self, Failure> {
        Ok(Self {
            path: format!("/{PARENT}/{id}"),
            groups: groups(id)?,
        })
    }

    /// The path inside each hierarchy.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn unified(&self) -> Option<&Path> {
        self.groups
            .iter()
            .find(|(hierarchy, _)| hierarchy.unified)
            .map(|(_, directory)| directory.as_path())
    }

    /// The directory in the version 1 hierarchy of a controller.
    fn version1(&self, controller: &str) -> Option<&Path> {
        self.groups
            .iter()
            .find(|(hierarchy, _)| hierarchy.has(controller))
            .map(|(_, directory)| directory.as_path())
    }

    /// Puts a process into the group.
    pub(crate) fn join(&self, process: Pid) -> io::Result<()> {
        for (_, directory) in &self.groups {
            write(
                &directory.join("cgroup.procs"),
                &process.as_raw_nonzero().to_string(),
            )?;
        }
        Ok(())
    }

    /// Applies limits; those that are `None` are lifted.
    pub(crate) fn limit(&self, limits: Limits) -> Result<(), Failure> {
        let memory = limits.memory.map(|bytes| bytes.to_string());
        let quota = limits.quota_us.map(|quota| quota.to_string());
        let mut writes: Vec<(PathBuf, String)> = Vec::new();
        if let Some(directory) = self.version1("memory") {
            writes.push((
                directory.join("memory.limit_in_bytes"),
                memory.clone().unwrap_or("-1".to_owned()),
            ));
        }
        if let Some(directory) = self.version1("cpu") {
            writes.push((directory.join("cpu.cfs_period_us"), PERIOD_US.to_string()));
            writes.push((
                directory.join("cpu.cfs_quota_us"),
                quota.clone().unwrap_or("-1".to_owned()),
            ));
            let shares = limits.weight.unwrap_or(100).saturating_mul(1024) / 100;
            writes.push((directory.join("cpu.shares"), shares.clamp(2, 262_144).to_string()));
        }
        if let Some(directory) = self.unified() {
            writes.push((directory.join("memory.max"), memory.unwrap_or("max".to_owned())));
            writes.push((
                directory.join("cpu.max"),
                format!("{} {PERIOD_US}", quota.as_deref().unwrap_or("max")),
            ));
            let weight = limits.weight.unwrap_or(100).clamp(1, 10_000);
            writes.push((directory.join("cpu.weight"), weight.to_string()));
        }
        for (file, value) in writes {
            match write(&file, &value) {
                Ok(()) => {}
                // The hierarchy is there without this controller.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Failure::io(
                        format!("cannot write {value} to {}", file.display()),
                        error,
                    ));
                }
            }
        }
        Ok(())
    }

    /// Stops or continues every process of the sandbox, and returns when the kernel has done it.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<(), Failure> {
        let failed = |error| Failure::io("cannot change the freezer of the sandbox", error);
        if let Some(directory) = self.unified()
            && directory.join("cgroup.freeze").exists()
        {
            let switch = directory.join("cgroup.freeze");
            write(&switch, if frozen { "1" } else { "0" }).map_err(failed)?;
            let waited = wait_event(directory, "frozen", frozen, PATIENCE);
            return undone_unless(waited, frozen, &switch, "0").map_err(failed);
        }
        let Some(directory) = self.version1("freezer") else {
            return Err(Failure::unsupported(
                "this host has no cgroup freezer, which a pause needs",
            ));
        };
        let state = directory.join("freezer.state");
        let wanted = if frozen { "FROZEN" } else { "THAWED" };
        write(&state, wanted).map_err(failed)?;
        let done = || Ok(fs::read_to_string(&state)?.trim() == wanted);
        undone_unless(look_until(PATIENCE, done), frozen, &state, "THAWED").map_err(failed)
    }

    /// Kills every process of the sandbox; returns when none is left.
    pub(crate) fn kill(&self) -> io::Result<()> {
        if let Some(directory) = self.unified() {
            kill_unified(directory)?;
        }
        // Version 1 alone, or a process that joined only some hierarchies.
        for (hierarchy, directory) in &self.groups {
            if hierarchy.has("freezer") {
                // A frozen process of version 1 does not die.
                let _ = write(&directory.join("freezer.state"), "THAWED");
            }
            look_until(PATIENCE, || {
                let pids = usage::processes(directory)?;
                for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                    match kill_process(pid, Signal::KILL) {
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                Ok(pids.is_empty())
            })?;
        }
        Ok(())
    }

    /// Kills what is left and removes the directories, those the guest made first.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.kill()?;
        for (_, directory) in &self.groups {
            // A process that was just reaped may still hold its group for an instant.
            look_until(PATIENCE, || match remove_tree(directory) {
                Ok(()) => Ok(true),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => Ok(false),
                Err(error) => Err(error),
            })?;
        }
        Ok(())
    }

    /// Processor, memory and storage use so far.
    pub(crate) fn usage(&self) -> Usage {
        Usage::read(self.unified(), |controller| self.version1(controller))
    }

    /// The processes in the sandbox, as the host sees them.
    pub(crate) fn process_usage(&self) -> Vec<ProcessUsage> {
        let directory = self
            .unified()
            .or_else(|| self.version1("pids"))
            .or_else(|| self.version1("memory"));
        let pids = directory
            .and_then(|directory| usage::processes(directory).ok())
            .unwrap_or_default();
        pids.into_iter().filter_map(ProcessUsage::read).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(cgroup = self.path, %error, "cannot remove the cgroup");
        }
    }
}

/// Where the group of a sandbox is, in every hierarchy.
fn groups(id: &str) -> Result<Vec<(Hierarchy, PathBuf)>, Failure> {
    let hierarchies =
        Hierarchy::all().map_err(|error| Failure::io("cannot read the mounts of this host", error))?;
    let place = |hierarchy: Hierarchy| {
        let directory = hierarchy.mount.join(PARENT).join(id);
        (hierarchy, directory)
    };
    Ok(hierarchies.into_iter().map(place).collect())
}

/// Kills through `cgroup.kill` until nothing is left.
///
/// Again and again: a launcher that was on its way into the group when the first blow fell is inside at the next.
fn kill_unified(directory: &Path) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match write(&directory.join("cgroup.kill"), "1") {
            Ok(()) => {}
            // The group is gone, or the kernel is older than 5.14: then the caller's other way applies.
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        match wait_event(directory, "populated", false, BETWEEN_BLOWS) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && Instant::now() < deadline => {}
            result => return result,
        }
    }
}

/// Whether a group, or a file in it, does not exist any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NODEV))
}

/// What a new group needs before processes and limits can be put into it.
fn prepare(hierarchy: &Hierarchy, parent: &Path, directory: &Path) {
    if hierarchy.unified {
        // One by one: a controller that is bound to version 1 or cannot be enabled must not hinder the others.
        for controller in ["cpu", "memory", "pids", "io", "cpuset"] {
            let _ = write(&parent.join("cgroup.subtree_control"), &format!("+{controller}"));
        }
    }
    if hierarchy.has("cpuset") {
        // Empty in a new group, and then no process can join.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let current = fs::read_to_string(directory.join(file)).unwrap_or_default();
            if current.trim().is_empty()
                && let Ok(inherited) = fs::read_to_string(parent.join(file))
            {
                let _ = write(&directory.join(file), inherited.trim());
            }
        }
    }
    if hierarchy.has("memory") {
        // The only behaviour of newer kernels, which have no such switch.
        let _ = write(&directory.join("memory.use_hierarchy"), "1");
    }
}

/// Control files exist already; creating one is always a mistake.
fn write(file: &Path, value: &str) -> io::Result<()> {
    use std::io::Write;
    File::options()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What became of a change of the freezer. One to stand still that was not done is taken back, or the processes would stand still later,
/// when nobody knows of it.
fn undone_unless(done: io::Result<()>, frozen: bool, switch: &Path, back: &str) -> io::Result<()> {
    if done.is_err() && frozen {
        write(switch, back)?;
    }
    done
}

/// Waits until a key of `cgroup.events` has a value; the kernel reports each change as a priority event.
fn wait_event(directory: &Path, key: &str, wanted: bool, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    let path = directory.join("cgroup.events");
    loop {
        let read = File::open(&path).and_then(|mut file| Ok((io::read_to_string(&mut file)?, file)));
        let (text, file) = match read {
            Err(error) if is_gone(&error) => return Ok(()),
            result => result?,
        };
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::trim);
        if value.is_none_or(|value| (value == "1") == wanted) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{key} of {} stays", path.display()),
            ));
        }
        let timeout = Timespec::try_from(left).map_err(|_| io::Error::from(Errno::INVAL))?;
        match poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_was_not_done_in_time_is_taken_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let late = || Err(io::ErrorKind::TimedOut.into());
        for (done, frozen, left) in [
            (late(), true, "THAWED"),
            (Ok(()), true, "FROZEN"),
            (late(), false, "FROZEN"),
        ] {
            fs::write(file.path(), "FROZEN").unwrap();
            let same = done.is_ok();
            assert_eq!(undone_unless(done, frozen, file.path(), "THAWED").is_ok(), same);
            assert_eq!(fs::read_to_string(file.path()).unwrap(), left);
        }
    }
}
