//! One handle of a process.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hcs::{Document, HResult, ProcessStatus};
use tokio::sync::watch;
use win32::hcs::{Event, EventKind, Failure};

use super::call::{Caller, Orphan, drop_elsewhere};
use super::hub::{End, Hub};
use super::{Shared, document};
use crate::state::check_process;
use crate::{ComputeError, ExitStatus, Process, Result, Stdio};

/// How a process ended: its exit code, or why nobody knows it.
type Outcome = std::result::Result<u32, HResult>;

type Exit = Arc<watch::Sender<Option<Outcome>>>;

/// A process whose exit is watched.
pub(super) struct Started {
    process: Orphan<win32::hcs::Process>,
    pid: u32,
    exit: Exit,
}

impl Started {
    /// Sets the callback and asks once, because the exit may have come before.
    pub(super) fn watch(
        mut process: Orphan<win32::hcs::Process>,
        pid: u32,
    ) -> std::result::Result<Self, Failure> {
        let exit = Exit::new(watch::Sender::new(None));
        let heard = Arc::clone(&exit);
        process.get_mut().on_event(move |event| record(&heard, event))?;
        let status = process.get_mut().properties()?;
        if let Some(outcome) = status.as_deref().and_then(outcome) {
            settle(&exit, outcome);
        }
        Ok(Self { process, pid, exit })
    }
}

/// Takes an event down. Called on threads of the service.
fn record(exit: &Exit, event: Event) {
    match event.kind {
        EventKind::ProcessExited => {
            let told = event.data.as_deref().and_then(outcome);
            // An exit without a readable status is one nevertheless.
            settle(exit, told.unwrap_or(Err(HResult::INVALID_DATA)));
        }
        EventKind::ServiceDisconnect => settle(exit, Err(HResult::SERVICE_DISCONNECT)),
        _ => {}
    }
}

/// The first one counts.
fn settle(exit: &Exit, outcome: Outcome) {
    exit.send_if_modified(|known| {
        let first = known.is_none();
        known.get_or_insert(outcome);
        first
    });
}

/// The end that a `ProcessStatus` tells of, if it does.
fn outcome(status: &str) -> Option<Outcome> {
    match ProcessStatus::from_json(status) {
        Ok(status) if !status.exited => None,
        // The guest was lost: the code is not one of the process.
        Ok(status) => Some(status.code().ok_or(HResult::CONNECTION_CLOSED)),
        Err(error) => {
            tracing::warn!(%error, "the status of a process cannot be read");
            None
        }
    }
}

/// Waits until the outcome is known.
async fn known(exit: &mut watch::Receiver<Option<Outcome>>) -> Option<Outcome> {
    // The sender lives as long as the handle.
    exit.wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|outcome| *outcome)
}

/// Waits for the end of the system.
async fn ended(system: &mut watch::Receiver<Option<End>>) {
    // The sender lives as long as the hub.
    drop(system.wait_for(Option::is_some).await);
}

/// A handle. Dropping it closes it and does not end the process.
pub(super) struct HcsProcess {
    system: String,
    pid: u32,
    raw: Option<Arc<win32::hcs::Process>>,
    // Locked by nobody: the streams are not to be shared, and handles are.
    stdio: Mutex<Stdio>,
    exit: Exit,
    hub: Arc<Hub>,
    shared: Shared,
}

impl HcsProcess {
    pub(super) fn new(system: &str, started: Started, stdio: Stdio, hub: Arc<Hub>, shared: Shared) -> Self {
        Self {
            system: system.to_owned(),
            pid: started.pid,
            raw: Some(Arc::new(started.process.adopt())),
            stdio: Mutex::new(stdio),
            exit: started.exit,
            hub,
            shared,
        }
    }

    fn error(&self, operation: &'static str, code: HResult) -> ComputeError {
        ComputeError::new(operation, &self.system, code)
    }

    /// Refuses what makes no sense after the end.
    fn check(&self, operation: &'static str) -> Result<()> {
        let exited = self.exit.borrow().is_some_and(|outcome| outcome.is_ok());
        check_process(exited).map_err(|code| self.error(operation, code))
    }

    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&win32::hcs::Process) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let raw = self
            .raw
            .clone()
            .ok_or_else(|| self.error(operation, HResult::E_HANDLE))?;
        Caller::new(operation, &self.system, self.shared.deadlines.call)
            // The handle goes into the thread, so that the last reference is dropped there and never here.
            .run(move || work(&raw))
            .await
    }
}

#[async_trait]
impl Process for HcsProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn take_stdio(&mut self) -> Stdio {
        std::mem::take(self.stdio.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    async fn modify(&self, request: &str) -> Result<()> {
        self.check("modify process")?;
        let request = request.to_owned();
        self.call("modify process", move |process| {
            process.modify(&request).map(drop)
        })
        .await
    }

    async fn signal(&self, options: &str) -> Result<()> {
        self.check("signal process")?;
        let options = options.to_owned();
        let call = self.call("signal process", move |process| {
            process.signal(document(&options)).map(drop)
        });
        // Some guests answer when the process has ended. A caller that wants to do something about a process that does not end
        // must not wait for that; the call goes on by itself.
        match tokio::time::timeout(self.shared.deadlines.signal, call).await {
            Ok(answer) => answer,
            Err(_) => {
                tracing::debug!(
                    id = self.system,
                    pid = self.pid,
                    "a signal was delivered and not answered yet"
                );
                Ok(())
            }
        }
    }

    async fn terminate(&self) -> Result<()> {
        self.check("terminate process")?;
        let (core, system, pid) = (self.shared.core, self.system.clone(), self.pid);
        self.call("terminate process", move |process| {
            // Calls on one handle wait for each other, and a signal may wait for the end of the process: so through fresh ones.
            let fresh = core
                .open_system(&system)
                .and_then(|system| system.open_process(pid).map(|process| (system, process)));
            match fresh {
                // The process is closed before the system.
                Ok((_system, process)) => process.terminate().map(drop),
                Err(_) => process.terminate().map(drop),
            }
        })
        .await
    }

    async fn properties(&self) -> Result<String> {
        let status = self
            .call("process properties", win32::hcs::Process::properties)
            .await?;
        Ok(status.unwrap_or_else(|| "{}".to_owned()))
    }

    async fn exited(&self) -> Result<ExitStatus> {
        const OPERATION: &str = "wait for process";
        let mut exit = self.exit.subscribe();
        let mut system = self.hub.end();
        let mut found = tokio::select! {
            biased;
            found = known(&mut exit) => found,
            () = ended(&mut system) => {
                // The end of the system may be all that one hears of its processes.
                tokio::time::timeout(self.shared.deadlines.grace, known(&mut exit)).await.ok().flatten()
            }
        };
        if found.is_none() {
            found = match self.properties().await {
                Ok(status) => outcome(&status),
                Err(error) => Some(Err(error.hresult)),
            };
        }
        let lost = match *system.borrow() {
            Some(End::Disconnected) => HResult::SERVICE_DISCONNECT,
            _ => HResult::TERMINATED,
        };
        found
            .unwrap_or(Err(lost))
            .map(|code| ExitStatus { code })
            .map_err(|code| self.error(OPERATION, code))
    }
}

impl Drop for HcsProcess {
    fn drop(&mut self) {
        if let Some(raw) = self.raw.take() {
            drop_elsewhere(raw);
        }
    }
}
