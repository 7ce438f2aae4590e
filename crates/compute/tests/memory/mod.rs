//! A compute service in memory, to prove the contract suite: it keeps every guarantee, or breaks one on purpose.

mod handle;
mod harness;
mod process;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compute::state::{Machine, Operation, State};
use compute::{ComputeError, ComputeService, ComputeSystem, GuestStream, Result, SystemEvent};
use hcs::{
    Document, ExitType, HResult, InvalidDocument, Properties, ResultError, SystemExitStatus, SystemKind,
    SystemQuery, SystemType,
};
use tokio::sync::{broadcast, mpsc};

pub(crate) use handle::Handle;
pub(crate) use harness::MemoryHarness;

/// What the service does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breach {
    None,
    RunsAtOnce,
    StartDoesNothing,
    SecondStartSucceeds,
    ChangesBeforeStart,
    TerminationIsGraceful,
    NoTerminationBeforeStart,
    InvalidStateAfterExit,
    PauseDoesNothing,
    GuestEndIsForced,
    CaseSensitiveIds,
    UnknownIdIsAnotherError,
    EachHandleHasItsSystem,
    IdsAreNeverFree,
    EnumerationIgnoresOwners,
    UnknownFieldsAreIgnored,
    MalformedDocumentsTakeTheId,
    FirstKindWins,
    FieldsOfChangesAreNotNamed,
    UnknownResourcesAreIgnored,
    UnknownPropertiesAreIgnored,
    ExitsTwice,
    OnlyOneHandleHears,
    StoppedIsForgotten,
    CloseIsAnExit,
    TieIsIgnored,
    ClosedHandlesWork,
    StartWins,
    TerminationsPublishEach,
    StartChecksLate,
    CreateChecksLate,
    ChangesExcludeEachOther,
    ChangeHangsInTermination,
    DroppedStartBlocks,
    NoListeningBeforeStart,
    HalfCloseIsFull,
    ListenersSteal,
    ExitCodesAreLost,
    CloseOfInputIsIgnored,
    LastProcessEndsTheSystem,
    SignalsReachTheDead,
    KillIsASuccess,
    UnknownProcessesOpen,
    ProcessesOutliveTheSystem,
}

/// The service.
pub(crate) struct Memory {
    pub(crate) breach: Breach,
    systems: Mutex<HashMap<String, Option<Arc<System>>>>,
    this: std::sync::Weak<Self>,
}

/// One system.
pub(crate) struct System {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) tied: bool,
    pub(crate) breach: Breach,
    pub(crate) runtime_id: String,
    pub(crate) machine: Mutex<Machine>,
    pub(crate) exit: Mutex<Option<ExitType>>,
    pub(crate) handles: Mutex<Vec<(u64, broadcast::Sender<SystemEvent>)>>,
    pub(crate) shares: Mutex<BTreeSet<String>>,
    pub(crate) changing: Mutex<u32>,
    pub(crate) listeners: Mutex<HashMap<u32, mpsc::Sender<GuestStream>>>,
    pub(crate) processes: Mutex<HashMap<u32, Arc<process::Running>>>,
}

impl System {
    fn new(id: &str, owner: &str, tied: bool, breach: Breach, machine: Machine) -> Self {
        Self {
            id: id.to_owned(),
            owner: owner.to_owned(),
            tied,
            breach,
            runtime_id: String::new(),
            machine: Mutex::new(machine),
            exit: Mutex::default(),
            handles: Mutex::default(),
            shares: Mutex::default(),
            changing: Mutex::default(),
            listeners: Mutex::default(),
            processes: Mutex::default(),
        }
    }

    /// The system ends: the first time that is published.
    pub(crate) fn end(&self, exit_type: ExitType) {
        let first = self.machine.lock().unwrap().exit();
        if first {
            *self.exit.lock().unwrap() = Some(exit_type);
        }
        if first || self.breach == Breach::TerminationsPublishEach {
            self.publish(exit_type);
        }
        if self.breach == Breach::ExitsTwice {
            self.publish(exit_type);
        }
        self.listeners.lock().unwrap().clear();
        if self.breach != Breach::ProcessesOutliveTheSystem {
            for process in self.processes.lock().unwrap().values() {
                process.end(HResult::TERMINATED.bits());
            }
        }
    }

    fn publish(&self, exit_type: ExitType) {
        let handles = self.handles.lock().unwrap();
        let hearing = if self.breach == Breach::OnlyOneHandleHears {
            1
        } else {
            handles.len()
        };
        for (_, events) in handles.iter().take(hearing) {
            let status = SystemExitStatus::new(exit_type, HResult::OK);
            // Nobody may be listening.
            drop(events.send(SystemEvent::Exited(status)));
        }
    }

    pub(crate) fn error(&self, operation: &'static str, hresult: HResult) -> ComputeError {
        ComputeError::new(operation, &self.id, hresult)
    }

    pub(crate) fn invalid(&self, operation: &'static str, error: &InvalidDocument) -> ComputeError {
        invalid(operation, &self.id, error)
    }

    pub(crate) fn properties(&self) -> Properties {
        let state = self.machine.lock().unwrap().state();
        let stopped = state == State::Stopped && self.breach != Breach::StoppedIsForgotten;
        Properties {
            id: self.id.clone(),
            name: self.id.clone(),
            owner: self.owner.clone(),
            system_type: Some(SystemType::VirtualMachine),
            runtime_id: self.runtime_id.clone(),
            state: Some(state.reported()),
            stopped,
            exit_type: *self.exit.lock().unwrap(),
            ..Default::default()
        }
    }
}

fn invalid(operation: &'static str, id: &str, error: &InvalidDocument) -> ComputeError {
    let document = ResultError::invalid_document("memory", error).to_json();
    ComputeError::new(operation, id, HResult::INVALID_JSON).with_document(document)
}

impl Memory {
    pub(crate) fn new(breach: Breach) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            breach,
            systems: Mutex::default(),
            this: this.clone(),
        })
    }

    fn key(&self, id: &str) -> String {
        if self.breach == Breach::CaseSensitiveIds {
            id.to_owned()
        } else {
            id.to_lowercase()
        }
    }

    fn handle(&self, system: &Arc<System>) -> Arc<dyn ComputeSystem> {
        Handle::open(
            Arc::clone(system),
            self.this.upgrade().expect("the service answers"),
        )
    }

    /// The last handle of a system was closed.
    pub(crate) fn last_close(&self, system: &System) {
        if system.tied && self.breach != Breach::TieIsIgnored {
            system.end(ExitType::ForcedExit);
        }
        let stopped = system.machine.lock().unwrap().is_stopped();
        if stopped && self.breach != Breach::IdsAreNeverFree {
            self.systems.lock().unwrap().remove(&self.key(&system.id));
        }
    }

    fn parse(&self, id: &str, document: &str) -> Result<(hcs::ComputeSystem, SystemKind)> {
        let parsed = match hcs::ComputeSystem::from_json(document) {
            Err(error)
                if self.breach == Breach::UnknownFieldsAreIgnored && error.to_string().contains("Colour") =>
            {
                hcs::ComputeSystem {
                    virtual_machine: Some(Box::default()),
                    ..Default::default()
                }
            }
            parsed => parsed.map_err(|error| invalid("create", id, &error))?,
        };
        let kind = match parsed.kind() {
            None if self.breach == Breach::FirstKindWins => SystemKind::VirtualMachine,
            kind => kind.ok_or_else(|| ComputeError::new("create", id, HResult::INVALID_JSON))?,
        };
        Ok((parsed, kind))
    }
}

#[async_trait]
impl ComputeService for Memory {
    async fn create(&self, id: &str, document: &str) -> Result<Arc<dyn ComputeSystem>> {
        let key = self.key(id);
        let exists = || ComputeError::new("create", id, HResult::SYSTEM_ALREADY_EXISTS);
        if self.breach == Breach::CreateChecksLate {
            if self.systems.lock().unwrap().contains_key(&key) {
                return Err(exists());
            }
            tokio::task::yield_now().await;
        } else {
            // The place is taken before the document is read, and given back if that fails.
            let mut systems = self.systems.lock().unwrap();
            if systems.contains_key(&key) {
                return Err(exists());
            }
            systems.insert(key.clone(), None);
        }
        let (parsed, kind) = match self.parse(id, document) {
            Ok(parsed) => parsed,
            Err(error) => {
                if self.breach != Breach::MalformedDocumentsTakeTheId {
                    self.systems.lock().unwrap().remove(&key);
                }
                return Err(error);
            }
        };
        let mut machine = Machine::new(kind);
        if self.breach == Breach::RunsAtOnce {
            machine.begin(Operation::Start).unwrap();
            machine.complete(Operation::Start).unwrap();
        }
        let tied = parsed.should_terminate_on_last_handle_closed;
        let system = Arc::new(System {
            runtime_id: uuid::Uuid::new_v4().to_string(),
            ..System::new(id, &parsed.owner, tied, self.breach, machine)
        });
        self.systems
            .lock()
            .unwrap()
            .insert(key, Some(Arc::clone(&system)));
        Ok(self.handle(&system))
    }

    async fn open(&self, id: &str) -> Result<Arc<dyn ComputeSystem>> {
        let found = self.systems.lock().unwrap().get(&self.key(id)).cloned().flatten();
        let code = match self.breach {
            Breach::UnknownIdIsAnotherError => HResult::E_INVALIDARG,
            _ => HResult::SYSTEM_NOT_FOUND,
        };
        let mut system = found.ok_or_else(|| ComputeError::new("open", id, code))?;
        if self.breach == Breach::EachHandleHasItsSystem {
            let machine = Machine::new(SystemKind::VirtualMachine);
            system = Arc::new(System {
                runtime_id: system.runtime_id.clone(),
                ..System::new(&system.id, &system.owner, system.tied, system.breach, machine)
            });
        }
        Ok(self.handle(&system))
    }

    async fn enumerate(&self, query: &str) -> Result<String> {
        let mut parsed = match query {
            "" => SystemQuery::default(),
            text => SystemQuery::from_json(text).map_err(|error| invalid("enumerate", query, &error))?,
        };
        if self.breach == Breach::EnumerationIgnoresOwners {
            parsed.owners.clear();
        }
        let systems = self.systems.lock().unwrap();
        let matching: Vec<Properties> = systems
            .values()
            .flatten()
            .map(|system| system.properties())
            .filter(|properties| parsed.matches(properties))
            .collect();
        Ok(serde_json::to_string(&matching).unwrap())
    }
}
