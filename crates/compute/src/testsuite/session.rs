//! What the guarantees share: systems that are cleaned up, and checks that explain themselves.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hcs::{Document, HResult, Properties, SystemExitStatus, SystemState};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::{Harness, ProcessHarness};
use crate::{ComputeService, ComputeSystem, Result, SystemEvent};

/// Why a check ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The guarantee does not hold.
    Violated(String),
    /// The harness cannot show it.
    Skipped(&'static str),
}

/// Ends the check with a violation unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::testsuite::session::Stop::Violated(format!($($message)+)));
        }
    };
}

pub(super) use ensure;

/// One check: a fresh service and the systems that were created on it.
pub(super) struct Session<'a> {
    pub(super) harness: &'a dyn Harness,
    pub(super) service: Arc<dyn ComputeService>,
    name: &'static str,
    systems: Mutex<Vec<Arc<dyn ComputeSystem>>>,
}

impl<'a> Session<'a> {
    pub(super) async fn new(harness: &'a dyn Harness, name: &'static str) -> Self {
        Self {
            harness,
            service: harness.service().await,
            name,
            systems: Mutex::new(Vec::new()),
        }
    }

    /// An id that no other check uses, on no run.
    pub(super) fn id(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!(
            "contract-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// The owner of this check's systems.
    pub(super) fn owner(&self) -> &'static str {
        self.name
    }

    /// The document of a machine of this check, not tied to its handles.
    pub(super) fn machine(&self) -> hcs::ComputeSystem {
        hcs::ComputeSystem {
            owner: self.owner().to_owned(),
            should_terminate_on_last_handle_closed: false,
            ..self.harness.machine()
        }
    }

    /// Remembers a system for the cleaning up.
    pub(super) fn track(&self, system: Arc<dyn ComputeSystem>) -> Arc<dyn ComputeSystem> {
        self.systems
            .lock()
            .expect("no check panics")
            .push(Arc::clone(&system));
        system
    }

    /// A system of this document.
    pub(super) async fn create(
        &self,
        id: &str,
        document: &hcs::ComputeSystem,
    ) -> std::result::Result<Arc<dyn ComputeSystem>, Stop> {
        let system = ok("create", self.service.create(id, &document.to_json()).await)?;
        Ok(self.track(system))
    }

    /// A machine that was created.
    pub(super) async fn created(&self) -> std::result::Result<Arc<dyn ComputeSystem>, Stop> {
        self.create(&self.id(), &self.machine()).await
    }

    /// A machine that runs.
    pub(super) async fn running(&self) -> std::result::Result<Arc<dyn ComputeSystem>, Stop> {
        let system = self.created().await?;
        ok("start", system.start().await)?;
        Ok(system)
    }

    /// Another handle.
    pub(super) async fn open(&self, id: &str) -> std::result::Result<Arc<dyn ComputeSystem>, Stop> {
        let system = ok("open", self.service.open(id).await)?;
        Ok(self.track(system))
    }

    /// The process harness, or the end of the check.
    pub(super) fn processes(&self) -> std::result::Result<&'a dyn ProcessHarness, Stop> {
        self.harness
            .processes()
            .ok_or(Stop::Skipped("the service runs no processes of its own"))
    }

    /// Terminates what is left, through fresh handles where the old ones are closed.
    pub(super) async fn clean_up(&self) {
        let systems = std::mem::take(&mut *self.systems.lock().expect("no check panics"));
        for system in systems {
            if let Err(error) = system.terminate().await
                && error.hresult.is(HResult::E_HANDLE)
                && let Ok(fresh) = self.service.open(system.id()).await
            {
                let terminated = fresh.terminate().await;
                tracing::debug!(id = system.id(), ?terminated, "terminated through a fresh handle");
                fresh.close().await;
            }
            system.close().await;
        }
    }
}

/// The value of an operation that has to succeed.
pub(super) fn ok<T>(what: &str, result: Result<T>) -> std::result::Result<T, Stop> {
    result.map_err(|error| Stop::Violated(format!("{what} failed: {error}")))
}

/// Checks that an operation failed with this code.
pub(super) fn fails<T>(what: &str, expected: HResult, result: Result<T>) -> std::result::Result<(), Stop> {
    match result {
        Err(error) if error.hresult.is(expected) => Ok(()),
        Err(error) => Err(Stop::Violated(format!(
            "{what} gave {} and not {expected}",
            error.hresult
        ))),
        Ok(_) => Err(Stop::Violated(format!(
            "{what} succeeded and should give {expected}"
        ))),
    }
}

/// The basic properties.
pub(super) async fn properties(system: &dyn ComputeSystem) -> std::result::Result<Properties, Stop> {
    let text = ok("properties", system.properties("").await)?;
    Properties::from_json(&text)
        .map_err(|error| Stop::Violated(format!("the properties are no document: {error}")))
}

/// Whether the system says that it is in this state.
pub(super) async fn in_state(
    finding: &str,
    expected: SystemState,
    system: &dyn ComputeSystem,
) -> std::result::Result<(), Stop> {
    let state = properties(system).await?.state;
    ensure!(state == Some(expected), "{finding} {state:?}");
    Ok(())
}

/// The exit that has to be among the events received so far, the only one and the last of them.
pub(super) fn published_exit(
    events: &mut Receiver<SystemEvent>,
) -> std::result::Result<SystemExitStatus, Stop> {
    let mut exit = None;
    loop {
        match events.try_recv() {
            Ok(event) => {
                ensure!(exit.is_none(), "after the exit came {event:?}");
                if let SystemEvent::Exited(status) = event {
                    exit = Some(status);
                }
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => {
                return exit.ok_or(Stop::Violated("no exit was published".to_owned()));
            }
            Err(TryRecvError::Lagged(missed)) => ensure!(false, "{missed} events were lost"),
        }
    }
}

/// Waits for the exit.
pub(super) async fn exit(events: &mut Receiver<SystemEvent>) -> std::result::Result<SystemExitStatus, Stop> {
    loop {
        match events.recv().await {
            Ok(SystemEvent::Exited(status)) => return Ok(status),
            Ok(_) => {}
            Err(RecvError::Closed) => ensure!(false, "the events ended without an exit"),
            Err(RecvError::Lagged(missed)) => ensure!(false, "{missed} events were lost"),
        }
    }
}

/// Waits until a system cannot be opened any more.
///
/// A service may take its time after the last handle is closed, and nobody is left to be told: so this asks.
pub(super) async fn gone(service: &dyn ComputeService, id: &str) -> std::result::Result<(), Stop> {
    for _ in 0..500 {
        match service.open(id).await {
            Err(error) if error.hresult.is(HResult::SYSTEM_NOT_FOUND) => return Ok(()),
            Err(error) => ensure!(false, "open gave {} and not that it is gone", error.hresult),
            Ok(handle) => handle.close().await,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Stop::Violated("it can still be opened".to_owned()))
}
