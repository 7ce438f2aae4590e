//! The control groups of a sandbox as a whole: made and removed by the launcher, on the host's hierarchies.
//!
//! One group per hierarchy, named by the sandbox's document. Init is moved into all of them before it unshares its
//! cgroup namespace, so that the group is the root of everything inside.
//!
//! Removal kills what is still inside and takes children first; it waits for the kernel with a deadline and reports
//! what it could not remove.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::hierarchy::Hierarchy;

/// The groups of one sandbox, or of one container.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    directories: Vec<PathBuf>,
}

impl Groups {
    /// Names the groups without making them.
    pub(crate) fn at(hierarchies: &[Hierarchy], group: &str) -> Self {
        Self {
            directories: hierarchies
                .iter()
                .map(|hierarchy| hierarchy.group(group))
                .collect(),
        }
    }

    /// Makes the groups, with their parents, so that limits below them can take effect.
    pub(crate) fn create(hierarchies: &[Hierarchy], group: &str) -> io::Result<Self> {
        for hierarchy in hierarchies {
            let mut directory = hierarchy.mount_point.clone();
            for part in Path::new(group.trim_start_matches('/')) {
                if hierarchy.is_unified() {
                    delegate(&directory);
                }
                let parent = directory.clone();
                directory.push(part);
                match fs::create_dir(&directory) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                        return Err(located(error, &directory));
                    }
                    _ => {}
                }
                if hierarchy.controls("cpuset") {
                    inherit(&parent, &directory, "cpuset.cpus")?;
                    inherit(&parent, &directory, "cpuset.mems")?;
                }
            }
        }
        Ok(Self::at(hierarchies, group))
    }

    /// Moves a process into all of them.
    pub(crate) fn attach(&self, pid: Pid) -> io::Result<()> {
        for directory in &self.directories {
            let file = directory.join("cgroup.procs");
            fs::write(&file, pid.to_string()).map_err(|error| located(error, &file))?;
        }
        Ok(())
    }

    /// Every process inside, groups below included.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for directory in &self.directories {
            walk(directory, &mut |directory| {
                let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
                pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            });
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// One attempt to remove all groups; false when something is still inside.
    pub(crate) fn try_remove(&self) -> io::Result<bool> {
        let mut gone = true;
        for directory in &self.directories {
            gone &= remove(directory)?;
        }
        Ok(gone)
    }

    /// Kills what is inside and removes the groups. Blocks until the kernel let go, at most until the deadline.
    pub(crate) fn destroy(&self, deadline: Duration) -> io::Result<()> {
        let end = Instant::now() + deadline;
        while !self.try_remove()? {
            self.kill(Signal::SIGKILL);
            // What stands still does not die.
            super::freezer::thaw(self);
            if Instant::now() >= end {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "control groups are still in use",
                ));
            }
            // A group is released a little after its last process is reaped; the kernel has no event for version 1.
            let pause = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 2_000_000,
            };
            let _ = rustix::event::poll(&mut [], Some(&pause));
        }
        Ok(())
    }

    /// The directories, one for each hierarchy.
    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Signals everything inside.
    pub(crate) fn kill(&self, signal: Signal) {
        for pid in self.processes().into_iter().filter(|pid| *pid > 0) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Lets the groups below use every controller. What a host does not delegate stays unavailable; a limit that needs it
/// fails later with the name of its file.
pub(crate) fn delegate(directory: &Path) {
    let available = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_whitespace() {
        let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// A new cpuset group is empty and takes no process until it has what its parent has.
fn inherit(parent: &Path, child: &Path, file: &str) -> io::Result<()> {
    let own = fs::read_to_string(child.join(file)).map_err(|error| located(error, child))?;
    if own.trim().is_empty() {
        let value = fs::read_to_string(parent.join(file)).map_err(|error| located(error, parent))?;
        fs::write(child.join(file), value.trim()).map_err(|error| located(error, child))?;
    }
    Ok(())
}

fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    visit(directory);
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
}

/// Removes a group and those below it; false when one is busy.
fn remove(directory: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(located(error, directory)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !remove(&entry.path())? {
            return Ok(false);
        }
    }
    match fs::remove_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(false),
        Err(error) => Err(located(error, directory)),
    }
}

fn located(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
