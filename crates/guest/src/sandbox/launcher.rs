//! The launcher: control groups, the fork into the pid namespace, and the watch over both ends.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, setgroups};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, getppid, pidfd_open, set_parent_process_death_signal};

use super::{Config, SandboxError, root};
use crate::cgroup::hierarchy::{self, Hierarchy};
use crate::cgroup::tree::Groups;
use crate::sys::{self, Fork};

/// How long the kernel may take to release the control groups of a dead sandbox.
const RELEASE: Duration = Duration::from_secs(30);

/// Runs the launcher, and in its child the sandbox. Returns in both.
pub(crate) fn run(document: &str) -> ExitCode {
    crate::log::start("info");
    match launch(document) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = crate::chain(&error), "sandbox failed");
            ExitCode::FAILURE
        }
    }
}

fn launch(document: &str) -> Result<ExitCode, SandboxError> {
    let config = Config::parse(document)?;
    guard(
        &config.cgroup,
        config.host_network,
        Vec::new(),
        |hierarchies, _| root::enter(&config, hierarchies).map(|()| crate::init::run_sandbox(&config)),
    )
}

/// Makes the control groups and namespaces, runs `inside` as their pid 1, and watches over it. Returns in both processes.
///
/// `inherited` is for the inside alone: this process lets go of it, so that its ends are seen.
pub(crate) fn guard(
    cgroup: &str,
    host_network: bool,
    inherited: Vec<OwnedFd>,
    inside: impl FnOnce(&[Hierarchy], Vec<OwnedFd>) -> Result<ExitCode, SandboxError>,
) -> Result<ExitCode, SandboxError> {
    let parent = parent()?;
    let hierarchies = hierarchy::mounted().map_err(SandboxError::step("read control group hierarchies"))?;
    let groups = Groups::create(&hierarchies, cgroup)
        .map_err(SandboxError::step(format!("create control groups {cgroup}")))?;
    let sandbox = start(cgroup, host_network, &groups).inspect_err(|_| {
        let _ = groups.destroy(RELEASE);
    })?;
    let Some(init) = sandbox else {
        // This is pid 1. The launcher's view of its own parent is not for us.
        drop(parent);
        return inside(&hierarchies, inherited);
    };
    drop(inherited);
    let code = watch(parent.as_ref(), init);
    if let Err(error) = groups.destroy(RELEASE) {
        tracing::error!(%error, "control groups of the sandbox remain");
    }
    code
}

/// The process that spawned us, as long as it lives.
fn parent() -> Result<Option<OwnedFd>, SandboxError> {
    let step = || SandboxError::step::<rustix::io::Errno>("watch the parent process");
    let Some(pid) = getppid() else { return Ok(None) };
    let fd = pidfd_open(pid, PidfdFlags::empty()).map_err(step())?;
    // Had it died in between, the pid could be someone else's.
    if getppid() == Some(pid) {
        Ok(Some(fd))
    } else {
        Err(step()(rustix::io::Errno::SRCH))
    }
}

/// Forks pid 1 of the new pid namespace. `None` in the child, once it is in its control groups.
fn start(cgroup: &str, host_network: bool, groups: &Groups) -> Result<Option<Pid>, SandboxError> {
    let (mut ready, mut release) = io::pipe().map_err(SandboxError::step("create a pipe"))?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(SandboxError::step("create a pid namespace"))?;
    match sys::fork().map_err(SandboxError::step("fork the sandbox's init"))? {
        Fork::Parent(init) => {
            drop(ready);
            let attached = groups.attach(init).and_then(|()| release.write_all(b"!"));
            if let Err(source) = attached {
                let _ = kill(init, Signal::SIGKILL);
                let _ = waitpid(init, None);
                return Err(SandboxError::Step {
                    step: format!("enter control groups {cgroup}"),
                    source,
                });
            }
            Ok(Some(init))
        }
        Fork::Child => {
            drop(release);
            // First the signal, then the read: a launcher that died in between shows as the end of the pipe.
            set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .map_err(SandboxError::step("bind to the launcher"))?;
            ready
                .read_exact(&mut [0])
                .map_err(SandboxError::step("wait for the control groups"))?;
            setgroups(&[]).map_err(SandboxError::step("drop supplementary groups"))?;
            let mut namespaces = CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWCGROUP;
            if !host_network {
                namespaces |= CloneFlags::CLONE_NEWNET;
            }
            unshare(namespaces).map_err(SandboxError::step("create namespaces"))?;
            Ok(None)
        }
    }
}

/// Waits for the end of pid 1, which comes by itself, with the parent, or with a request to stop.
fn watch(parent: Option<&OwnedFd>, init: Pid) -> Result<ExitCode, SandboxError> {
    let failed = || SandboxError::step::<io::Error>("watch the sandbox");
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTERM);
    stop.add(Signal::SIGINT);
    stop.thread_block().map_err(|error| failed()(error.into()))?;
    let signals =
        SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC).map_err(|error| failed()(error.into()))?;
    let pid = rustix::process::Pid::from_raw(init.as_raw());
    let pid = pid.ok_or_else(|| failed()(io::ErrorKind::NotFound.into()))?;
    let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed()(error.into()))?;
    loop {
        let mut events = vec![
            PollFd::new(&ended, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        if let Some(parent) = parent {
            events.push(PollFd::from_borrowed_fd(parent.as_fd(), PollFlags::IN));
        }
        match poll(&mut events, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(failed()(error.into())),
        }
        if events[0].revents().is_empty() {
            let _ = kill(init, Signal::SIGKILL);
        }
        let code = match waitpid(init, None) {
            Ok(WaitStatus::Exited(_, code)) => u8::try_from(code).unwrap_or(u8::MAX),
            Ok(WaitStatus::Signaled(_, signal, _)) => u8::try_from(128 + signal as i32).unwrap_or(u8::MAX),
            Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(failed()(error.into())),
        };
        return Ok(ExitCode::from(code));
    }
}
