//! One compute system: state, back end, events, handles.
//!
//! Two locks, never taken in the other order: `backend` is held while a back end works, `status` for moments. A termination only
//! needs `status` to be decided, so it overtakes whatever is under way and waits for `backend` like everybody else.
//!
//! The end comes from one of three places: the back end reports it, a termination finds nothing to wait for, or a start fails. All go
//! through [`System::finish`]: the host is cleaned, then the exit is recorded and published once.
//!
//! Everything here blocks and runs to completion; [`crate::handle`] calls it from blocking threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use compute::state::{Machine, Operation};
use compute::{GuestListener, SystemEvent};
use hcs::{
    CrashReport, ExitType, HResult, HvSocketServiceConfig, SaveOptions, SaveType, SystemExitStatus,
    SystemKind,
};
use serde_json::json;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use crate::backend::Backend;
use crate::failure::{Failure, read};
use crate::launcher::{Ended, How};
use crate::machine::{MachineSpec, Processors};
use crate::registry::Registry;
use crate::wine::{Container, Request};

/// Events that a slow receiver may fall behind; a system has three in its life.
const EVENTS: usize = 16;

/// One compute system.
pub(crate) struct System {
    /// As given at creation.
    pub(crate) id: String,
    /// A fresh GUID.
    pub(crate) runtime_id: String,
    /// Free text for enumeration.
    pub(crate) owner: String,
    /// Whether it ends with its last handle.
    pub(crate) terminate_with_last_handle: bool,
    /// Names of its SCSI controllers, in the order of their numbers.
    pub(crate) controllers: Vec<String>,
    pub(super) backend: Mutex<Box<dyn Backend>>,
    status: Mutex<Status>,
    stopped: watch::Sender<bool>,
    registry: Weak<Registry>,
}

/// What a document says of a system, whatever back end carries it out.
pub(crate) struct Identity {
    pub(crate) kind: SystemKind,
    pub(crate) owner: String,
    pub(crate) terminate_with_last_handle: bool,
    pub(crate) controllers: Vec<String>,
    pub(crate) memory_mb: u64,
    pub(crate) processors: Processors,
    pub(crate) services: BTreeMap<u32, HvSocketServiceConfig>,
}

impl From<MachineSpec> for Identity {
    fn from(spec: MachineSpec) -> Self {
        Self {
            kind: SystemKind::VirtualMachine,
            owner: spec.owner,
            terminate_with_last_handle: spec.terminate_with_last_handle,
            controllers: spec
                .controllers
                .into_iter()
                .map(|controller| controller.name)
                .collect(),
            memory_mb: spec.memory_mb,
            processors: spec.processors,
            services: spec.services,
        }
    }
}

/// What is known of a system, besides what never changes.
pub(crate) struct Status {
    /// The state.
    pub(crate) machine: Machine,
    /// How it ended.
    pub(crate) exit: Option<SystemExitStatus>,
    /// When it started, on the wall and on the steady clock.
    pub(crate) started: Option<(SystemTime, Instant)>,
    /// Memory in MB as it is now.
    pub(crate) memory_mb: u64,
    /// Processors as they are now.
    pub(crate) processors: Processors,
    /// Socket services as they are now.
    pub(crate) services: BTreeMap<u32, HvSocketServiceConfig>,
    /// A termination was asked for.
    forced: bool,
    handles: BTreeMap<u64, broadcast::Sender<SystemEvent>>,
    next_handle: u64,
}

impl System {
    pub(crate) fn new(id: &str, spec: Identity, backend: Box<dyn Backend>, registry: &Arc<Registry>) -> Self {
        Self {
            id: id.to_owned(),
            runtime_id: Uuid::new_v4().to_string(),
            owner: spec.owner,
            terminate_with_last_handle: spec.terminate_with_last_handle,
            controllers: spec.controllers,
            backend: Mutex::new(backend),
            status: Mutex::new(Status {
                machine: Machine::new(spec.kind),
                exit: None,
                started: None,
                memory_mb: spec.memory_mb,
                processors: spec.processors,
                services: spec.services,
                forced: false,
                handles: BTreeMap::new(),
                next_handle: 0,
            }),
            stopped: watch::Sender::new(false),
            registry: Arc::downgrade(registry),
        }
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn backend(&self) -> MutexGuard<'_, Box<dyn Backend>> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns true when the system has ended and its exit is published.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.subscribe()
    }

    pub(crate) fn start(self: &Arc<Self>) -> Result<(), Failure> {
        self.begin(Operation::Start)?;
        let result = {
            let mut backend = self.backend();
            let system = Arc::clone(self);
            backend.start(Box::new(move |ended| system.ended(ended)))
        };
        match result {
            Ok(()) => {
                let mut status = self.status();
                status.started = Some((SystemTime::now(), Instant::now()));
                status
                    .machine
                    .complete(Operation::Start)
                    .map_err(|code| Failure::new(code, "the system was terminated while it was starting"))
            }
            Err(failure) => {
                let ended = self.status().machine.fail(Operation::Start);
                if ended {
                    let exit = SystemExitStatus::new(ExitType::UnexpectedExit, failure.code);
                    self.publish_after_release(exit);
                    return Err(failure);
                }
                // A termination is under way, and it cleans up.
                Err(Failure::new(
                    HResult::TERMINATED_DURING_START,
                    failure.to_string(),
                ))
            }
        }
    }

    /// Ends the system by force. Returns when that is under way; the end itself turns [`Self::stopped`].
    pub(crate) fn terminate(self: &Arc<Self>) -> Result<(), Failure> {
        {
            let mut status = self.status();
            status
                .machine
                .begin(Operation::Terminate)
                .map_err(|code| self.refused(code, Operation::Terminate))?;
            status.forced = true;
        }
        // After the start that may be under way: then there is a process to kill.
        let reported = self.backend().kill();
        match reported {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.finish(SystemExitStatus::new(ExitType::ForcedExit, HResult::TERMINATED));
                Ok(())
            }
            // The launcher was told; its end is reported when the kernel gets to it.
            Err(failure) => Err(failure),
        }
    }

    /// The container, if this is one that runs.
    pub(crate) fn container(&self) -> Option<Arc<Container>> {
        self.backend().container()
    }

    /// The kind given at creation.
    pub(crate) fn kind(&self) -> SystemKind {
        self.status().machine.kind()
    }

    /// A container's programs are told. The graceful end of a machine needs a connection to the guest, which this service never
    /// holds.
    pub(crate) fn shutdown(&self, options: &str) -> Result<(), Failure> {
        self.check(Operation::Shutdown)?;
        let _: serde_json::Value = match options.trim() {
            "" => serde_json::Value::Null,
            text => serde_json::from_str(text)
                .map_err(|error| Failure::json(format!("invalid ShutdownOptions document: {error}")))?,
        };
        if let Some(container) = self.container() {
            return container.send(&Request::Shutdown, &[]);
        }
        Err(Failure::new(
            HResult::INVALID_STATE,
            "the virtual machine has no guest connection: end the guest through its protocol, then terminate",
        ))
    }

    pub(crate) fn pause(&self) -> Result<(), Failure> {
        self.transition(Operation::Pause, |backend| backend.pause())
    }

    pub(crate) fn resume(&self) -> Result<(), Failure> {
        self.transition(Operation::Resume, |backend| backend.resume())
    }

    pub(crate) fn save(&self, options: &str) -> Result<(), Failure> {
        let options: SaveOptions = read(options)?;
        let kind = options.save_type.unwrap_or(SaveType::ToFile);
        self.transition(Operation::Save(kind), |backend| backend.save(&options))
    }

    /// Begins an operation, lets the back end act, and completes or fails it.
    fn transition(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut dyn Backend) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.begin(operation)?;
        let result = act(&mut **self.backend());
        let mut status = self.status();
        match result {
            Ok(()) => status
                .machine
                .complete(operation)
                .map_err(|code| self.refused(code, operation)),
            Err(failure) => {
                status.machine.fail(operation);
                Err(failure)
            }
        }
    }

    pub(crate) fn listen(&self, port: u32) -> Result<Box<dyn GuestListener>, Failure> {
        {
            let status = self.status();
            if status.machine.is_stopped() {
                return Err(Failure::new(
                    HResult::SYSTEM_ALREADY_STOPPED,
                    "the system has stopped",
                ));
            }
            if status.services.get(&port).is_some_and(|service| service.disabled) {
                return Err(Failure::new(
                    HResult::ACCESS_DENIED_BY_WINDOWS,
                    format!("the service of port {port} is disabled in the service table"),
                ));
            }
        }
        self.backend().listen(port, self.stopped())
    }

    /// Whether an operation that is no transition is legal now.
    pub(crate) fn check(&self, operation: Operation) -> Result<(), Failure> {
        self.status()
            .machine
            .check(operation)
            .map_err(|code| self.refused(code, operation))
    }

    fn begin(&self, operation: Operation) -> Result<(), Failure> {
        self.status()
            .machine
            .begin(operation)
            .map_err(|code| self.refused(code, operation))
    }

    /// Takes no lock: the caller may hold `status`.
    fn refused(&self, code: HResult, operation: Operation) -> Failure {
        let why = if code.is(HResult::SYSTEM_ALREADY_STOPPED) {
            "the system has stopped"
        } else if code.is(HResult::TERMINATED) {
            "the system was terminated meanwhile"
        } else {
            "not in the state the system is in"
        };
        Failure::new(code, format!("{operation:?} of {}: {why}", self.id))
    }

    /// The back end reports the end of a started machine.
    fn ended(self: &Arc<Self>, ended: Ended) {
        let forced = self.status().forced;
        let exit = classify(&ended, forced);
        tracing::info!(system = self.id, exit = ?exit.exit_type, "system ended");
        if exit.exit_type == Some(ExitType::UnexpectedExit) {
            let report = CrashReport {
                system_id: self.id.clone(),
                crash_log: ended.console,
                status: exit.status,
                ..Default::default()
            };
            self.publish(&SystemEvent::Crashed(report));
        }
        self.finish(exit);
    }

    /// Cleans the host, then records and publishes the exit unless that has been done.
    fn finish(self: &Arc<Self>, exit: SystemExitStatus) {
        self.backend().release();
        if self.status().machine.exit() {
            self.record(exit);
        }
    }

    /// As [`Self::finish`], where the state machine has recorded the end already.
    fn publish_after_release(self: &Arc<Self>, exit: SystemExitStatus) {
        self.backend().release();
        self.record(exit);
    }

    fn record(self: &Arc<Self>, exit: SystemExitStatus) {
        self.status().exit = Some(exit.clone());
        self.publish(&SystemEvent::Exited(exit));
        self.forget_if_unused();
        // Last: who waits for it may look for what should be gone.
        self.stopped.send_replace(true);
    }

    fn publish(&self, event: &SystemEvent) {
        for handle in self.status().handles.values() {
            // Nobody listening is no error.
            let _ = handle.send(event.clone());
        }
    }

    /// A new handle: its number, and the sender whose receivers it gives out.
    pub(crate) fn open(&self) -> (u64, broadcast::Sender<SystemEvent>) {
        let (sender, _) = broadcast::channel(EVENTS);
        let mut status = self.status();
        let number = status.next_handle;
        status.next_handle += 1;
        status.handles.insert(number, sender.clone());
        (number, sender)
    }

    /// A handle is closed. Returns whether the system has to be terminated because it was the last one.
    pub(crate) fn close(self: &Arc<Self>, number: u64) -> bool {
        let (last, stopped) = {
            let mut status = self.status();
            status.handles.remove(&number);
            (status.handles.is_empty(), status.machine.is_stopped())
        };
        if last && stopped {
            self.forget_if_unused();
        }
        last && !stopped && self.terminate_with_last_handle
    }

    /// A stopped system goes with its last handle.
    fn forget_if_unused(self: &Arc<Self>) {
        if let Some(registry) = self.registry.upgrade() {
            registry.remove_if(&self.id, |system| {
                let status = system.status();
                Arc::ptr_eq(system, self) && status.machine.is_stopped() && status.handles.is_empty()
            });
        }
    }
}

/// How the end of a machine reads to the compute service's callers.
fn classify(ended: &Ended, forced: bool) -> SystemExitStatus {
    if forced {
        return SystemExitStatus::new(ExitType::ForcedExit, HResult::TERMINATED);
    }
    let attribution = match ended.how {
        How::PoweredOff => return SystemExitStatus::new(ExitType::GracefulExit, HResult::OK),
        How::Crashed(code) => json!({ "GuestCrash": { "CrashParameters": [code] } }),
        How::Reset => json!({ "SystemExit": { "Detail": "Reset" } }),
        How::Worker(Some(code)) => json!({ "WorkerExit": { "ExitCode": code } }),
        How::Worker(None) => json!({ "WorkerExit": {} }),
    };
    let mut exit = SystemExitStatus::new(ExitType::UnexpectedExit, HResult::UNEXPECTED_EXIT);
    exit.attribution = vec![attribution];
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(how: How, forced: bool) -> SystemExitStatus {
        let console = String::new();
        classify(&Ended { how, console }, forced)
    }

    #[test]
    fn the_end_is_classified_by_who_asked_for_it() {
        assert_eq!(
            exit(How::PoweredOff, false).exit_type,
            Some(ExitType::GracefulExit)
        );
        let crash = exit(How::Crashed(7), false);
        assert_eq!(crash.exit_type, Some(ExitType::UnexpectedExit));
        assert_eq!(crash.attribution[0]["GuestCrash"]["CrashParameters"][0], 7);
        let killed = exit(How::Worker(Some(137)), false);
        assert_eq!(killed.attribution[0]["WorkerExit"]["ExitCode"], 137);
        let reset = exit(How::Reset, false);
        assert_eq!(reset.exit_type, Some(ExitType::UnexpectedExit));
        assert_eq!(
            exit(How::Worker(None), true).exit_type,
            Some(ExitType::ForcedExit)
        );
    }
}
