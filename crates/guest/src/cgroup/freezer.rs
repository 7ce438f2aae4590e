//! Processes of a group that stand still for a while.
//!
//! Version 2 has a switch in every group but the root; version 1 a hierarchy of its own. A process that sleeps in the kernel stands still
//! only when it comes back from there, so freezing takes its time, and a deadline. What is frozen goes on when the last [`Still`] is
//! dropped, which takes a moment as well.
//!
//! A group of version 1 that stands still does not even die: whoever wants it to end thaws it first.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::tree::Groups;

/// How long processes may take to stand still.
const PATIENCE: Duration = Duration::from_secs(30);
/// Version 1 has no event for it, so the state is looked at again after this time.
const PAUSE: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// The switch of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Switch {
    /// `cgroup.freeze` and `cgroup.events`.
    Unified(PathBuf),
    /// `freezer.state`.
    Legacy(PathBuf),
}

/// The processes of one container, which several may want to stand still.
#[derive(Debug, Default)]
pub(crate) struct Freezer(Mutex<Option<(usize, Frozen)>>);

impl Freezer {
    fn users(&self) -> MutexGuard<'_, Option<(usize, Frozen)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Freezes a group and the groups below it. Blocks until everything stands still.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: this machine has nothing to freeze with. [`ErrorKind::TimedOut`]: something went on; nothing is
    /// frozen then.
    pub(crate) fn freeze(self: &Arc<Self>, groups: &Groups) -> io::Result<Still> {
        let mut users = self.users();
        match users.as_mut() {
            Some((count, _)) => *count += 1,
            None => *users = Some((1, Frozen::new(groups)?)),
        }
        drop(users);
        Ok(Still(Arc::clone(self)))
    }
}

/// A container stands still at least until this is dropped.
#[derive(Debug)]
pub(crate) struct Still(Arc<Freezer>);

impl Drop for Still {
    fn drop(&mut self) {
        let mut users = self.0.users();
        if let Some((count, _)) = users.as_mut() {
            *count -= 1;
            if *count == 0 {
                // Under the lock, so that nobody freezes before this has thawed.
                *users = None;
            }
        }
    }
}

/// A group whose processes stand still.
#[derive(Debug)]
struct Frozen(Switch);

impl Frozen {
    fn new(groups: &Groups) -> io::Result<Self> {
        let switch = switch(groups.directories()).ok_or_else(|| {
            io::Error::new(
                ErrorKind::Unsupported,
                "there is no control group that can freeze",
            )
        })?;
        let frozen = Self(switch);
        let end = Instant::now() + PATIENCE;
        frozen.0.turn(true)?;
        while !frozen.0.stands_still()? {
            if Instant::now() >= end {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    format!("processes did not stand still within {} s", PATIENCE.as_secs()),
                ));
            }
            let _ = rustix::event::poll(&mut [], Some(&PAUSE));
            // Version 1 gives up when a process moves in meanwhile.
            if matches!(frozen.0, Switch::Legacy(_)) {
                frozen.0.turn(true)?;
            }
        }
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = self.0.turn(false)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, "a container stays frozen");
        }
    }
}

/// Lets everything in a group go on, whoever froze it.
pub(crate) fn thaw(groups: &Groups) {
    if let Some(switch) = switch(groups.directories())
        && let Err(error) = switch.turn(false)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::debug!(%error, "group is not thawed");
    }
}

/// Version 2 first: what it froze can still be killed.
fn switch(directories: &[PathBuf]) -> Option<Switch> {
    let with = |name: &str| {
        directories
            .iter()
            .find(|directory| directory.join(name).exists())
            .cloned()
    };
    with("cgroup.freeze")
        .map(Switch::Unified)
        .or_else(|| with("freezer.state").map(Switch::Legacy))
}

impl Switch {
    fn turn(&self, frozen: bool) -> io::Result<()> {
        let (path, word) = match self {
            Self::Unified(group) => (group.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
            Self::Legacy(group) => (
                group.join("freezer.state"),
                if frozen { "FROZEN" } else { "THAWED" },
            ),
        };
        fs::write(&path, word).map_err(|error| located(&error, &path))
    }

    fn stands_still(&self) -> io::Result<bool> {
        let (path, line) = match self {
            Self::Unified(group) => (group.join("cgroup.events"), "frozen 1"),
            Self::Legacy(group) => (group.join("freezer.state"), "FROZEN"),
        };
        let text = fs::read_to_string(&path).map_err(|error| located(&error, &path))?;
        Ok(text.lines().any(|found| found == line))
    }
}

fn located(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_two_comes_first_and_a_group_without_a_switch_is_not_frozen() {
        let directory = tempfile::tempdir().unwrap();
        let groups: Vec<PathBuf> = ["memory", "freezer", "unified"]
            .iter()
            .map(|name| directory.path().join(name))
            .collect();
        for group in &groups {
            fs::create_dir(group).unwrap();
        }
        assert_eq!(switch(&groups), None);
        fs::write(groups[1].join("freezer.state"), "THAWED\n").unwrap();
        assert_eq!(switch(&groups), Some(Switch::Legacy(groups[1].clone())));
        fs::write(groups[2].join("cgroup.freeze"), "0\n").unwrap();
        let unified = switch(&groups).unwrap();
        assert_eq!(unified, Switch::Unified(groups[2].clone()));

        fs::write(groups[2].join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        assert!(!unified.stands_still().unwrap());
        fs::write(groups[2].join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        assert!(unified.stands_still().unwrap());
        unified.turn(true).unwrap();
        assert_eq!(fs::read_to_string(groups[2].join("cgroup.freeze")).unwrap(), "1");
    }
}
