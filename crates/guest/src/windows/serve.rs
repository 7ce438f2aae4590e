//! Pid 1 of a Windows container: starts what the emulator asks for, reports ends, reaps everything.
//!
//! One thread, one poll. It ends with success after a shutdown, and with its container when the control socket closes: then the
//! emulator is gone.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::personality::{self, Persona};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::Config;
use super::message::{Event, Request};
use super::process::{self, Process};
use crate::sandbox::SandboxError;

/// Longest message; the emulator refuses longer ones before it sends them.
const MESSAGE: usize = 256 * 1024;
/// `CTRL_SHUTDOWN_EVENT`.
const SHUTDOWN: u32 = 6;
/// How long programs may take to end after that. Windows gives them five seconds (`WaitToKillAppTimeout`); here two processes of Wine
/// pass it on before they hear of it.
const LEAVE: Duration = Duration::from_secs(10);
/// Has Wine's server end everything, write the registry and end. Without a signal's number, the one who asks kills the server when it
/// has not ended after ten seconds.
const END_SERVER: &str = "-k2";

struct Server<'a> {
    config: &'a Config,
    control: OwnedFd,
    processes: Vec<Process>,
    /// Starts Wine's server, and ends when that can be reached.
    starter: Option<Pid>,
    /// A shutdown was asked for, and lasts no longer than this.
    ending: Option<Instant>,
}

/// Serves until the end of the container.
pub(super) fn serve(config: &Config, control: OwnedFd) -> Result<ExitCode, SandboxError> {
    give_up_privileges().map_err(SandboxError::step("give up capabilities"))?;
    fix_addresses().map_err(SandboxError::step("fix addresses of programs"))?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let failed = || SandboxError::step::<io::Error>("watch children");
    children.thread_block().map_err(|errno| failed()(errno.into()))?;
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|errno| failed()(errno.into()))?;
    let starter = wine_server(config, &["-p"]).map_err(SandboxError::step("start the server of Wine"))?;
    let mut server = Server {
        config,
        control,
        processes: Vec::new(),
        starter: Some(starter),
        ending: None,
    };
    server
        .send(&Event::Ready)
        .map_err(SandboxError::step("report to the emulator"))?;
    tracing::info!(container = config.id, "container is ready");
    match server.run(&signals) {
        Ok(code) => Ok(code),
        Err(source) => Err(SandboxError::step("serve the emulator")(source)),
    }
}

/// Nothing below may ever do more than open files as their owner, whatever it executes.
fn give_up_privileges() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    for capability in CapabilitySet::all() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel is older than the list.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    Ok(())
}

/// Keeps chance out of the addresses of what is executed from here on. Windows has a page at 0x7FFE0000. Linux begins the heap of
/// Wine's loader, which is at 0x7D000000 itself, up to 1 GiB behind it: in one of 8000 starts on that very page, and then Wine
/// ends with 1 and in silence before the program begins.
fn fix_addresses() -> io::Result<()> {
    let before = personality::get()?;
    personality::set(before | Persona::ADDR_NO_RANDOMIZE)?;
    Ok(())
}

/// Runs Wine's server with arguments, in the background of this container. Says who has to be waited for before it has done that.
fn wine_server(config: &Config, arguments: &[&str]) -> io::Result<Pid> {
    let directory = config.wine.parent().unwrap_or(Path::new("/"));
    // Debian puts a script before the program.
    let program = ["wineserver64", "wineserver"]
        .iter()
        .map(|name| directory.join(name))
        .find(|path| path.exists())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no wineserver beside wine64"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("HOME", "/wine")
        .env("PATH", "/usr/bin:/bin");
    command
        .envs(super::root::ENVIRONMENT.iter().copied())
        .current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Reaped like every other child.
    let id = command.spawn()?.id();
    i32::try_from(id).map(Pid::from_raw).map_err(io::Error::other)
}

impl Server<'_> {
    fn run(&mut self, signals: &SignalFd) -> io::Result<ExitCode> {
        loop {
            let mut watched = vec![
                PollFd::new(&self.control, PollFlags::IN),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            watched.extend(
                self.processes
                    .iter()
                    .map(|process| PollFd::from_borrowed_fd(process.reports(), PollFlags::IN)),
            );
            let left = self
                .ending
                .map(|end| end.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut watched, left.as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut events = Vec::new();
            for (process, ready) in self.processes.iter_mut().zip(&ready[2..]) {
                if *ready {
                    events.extend(process.events());
                }
            }
            if ready[1] {
                while let Ok(Some(_)) = signals.read_signal() {}
                events.extend(self.reap());
            }
            for event in &events {
                self.send(event)?;
            }
            if ready[0] && !self.receive()? {
                return Ok(ExitCode::FAILURE);
            }
            let over = self.ending.is_some_and(|end| Instant::now() >= end);
            if over || self.ending.is_some() && self.processes.iter().all(Process::is_over) {
                return Ok(self.end());
            }
        }
    }

    /// Saves the registry, as the last thing. Whoever still runs is killed.
    fn end(&self) -> ExitCode {
        // A server that nobody can reach yet would not be told, and stay.
        while let Some(starter) = self.starter {
            match waitpid(starter, None) {
                Err(Errno::EINTR) => {}
                _ => break,
            }
        }
        match wine_server(self.config, &[END_SERVER]) {
            // Every child is gone when the server and the program that told it are.
            Ok(_) => loop {
                match waitpid(None, None) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => return ExitCode::SUCCESS,
                }
            },
            Err(error) => {
                tracing::error!(%error, "cannot end the server of Wine");
                ExitCode::FAILURE
            }
        }
    }

    fn send(&self, event: &Event) -> io::Result<()> {
        let text = serde_json::to_vec(event)?;
        match send(&self.control, &text, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            // The emulator is on its way out; the end of the socket is seen next.
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn reap(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let (pid, killed) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, _)) => (pid, false),
                Ok(WaitStatus::Signaled(pid, _, _)) => (pid, true),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return events,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "cannot reap");
                    return events;
                }
            };
            self.starter = self.starter.filter(|starter| *starter != pid);
            for process in &mut self.processes {
                events.extend(process.member_ended(pid.as_raw(), killed));
            }
            let helper = |process: &Process| i32::try_from(process.helper) == Ok(pid.as_raw());
            if let Some(at) = self.processes.iter().position(helper) {
                events.extend(self.processes.swap_remove(at).helper_ended());
            }
        }
    }

    /// Takes one message; false when the socket is at its end.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.control,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut streams: Vec<OwnedFd> = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                streams.extend(descriptors);
            }
        }
        if received.bytes == 0 {
            return Ok(false);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::other("a message of the emulator is too long"));
        }
        let request: Request = serde_json::from_slice(&buffer[..received.bytes])?;
        self.obey(request, streams)?;
        Ok(true)
    }

    fn obey(&mut self, request: Request, streams: Vec<OwnedFd>) -> io::Result<()> {
        match request {
            Request::Create(create) => {
                let number = create.number;
                let three = <[OwnedFd; 3]>::try_from(streams)
                    .map_err(|_| io::Error::other("three streams are needed"));
                let started = three.and_then(|streams| Process::start(&self.config.wine, &create, streams));
                match started {
                    Ok(process) => self.processes.push(process),
                    Err(error) => {
                        tracing::error!(%error, number, "cannot start Wine");
                        self.send(&Event::Failed { number, code: 1 })?;
                    }
                }
            }
            Request::Tell { number, line } => {
                if let Some(process) = self.processes.iter_mut().find(|process| process.number == number) {
                    process.tell(&line);
                }
            }
            Request::List => {
                // The stream ends without a list when this fails, and that is the answer.
                if let Some(stream) = streams.into_iter().next()
                    && let Err(error) = process::list(&self.config.wine, stream)
                {
                    tracing::error!(%error, "cannot start Wine for the process list");
                }
            }
            Request::Shutdown => {
                self.ending = Some(Instant::now() + LEAVE);
                for process in &mut self.processes {
                    process.tell(&format!("signal {SHUTDOWN}"));
                }
            }
        }
        Ok(())
    }
}
