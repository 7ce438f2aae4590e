//! Which operation is legal in which state of a compute system, and the HRESULT of the others.
//!
//! Pure rules: a service of our own (the emulator) keeps one [`Machine`] per system and asks it before it acts; the
//! contract suite holds every service to the same table.
//!
//! ```text
//!              start            pause          save as template
//!   created ---------> running <------> paused -----------------> template
//!      |      (starting)  |    resume     |  save to file: stays      |
//!      +------------------+---- exit -----+--------------------------+--> stopped
//! ```
//!
//! An operation that takes time is begun and then completed or failed. Meanwhile only properties and termination are
//! legal: termination always wins, and the interrupted start reports `HCS_E_TERMINATED_DURING_START`. A system ends
//! once: [`Machine::exit`] tells which caller has to publish it.
//!
//! Not here: what an operation does, and events.

use hcs::{HResult, SaveType, SystemKind, SystemState};

/// The state of a compute system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Created and not started.
    Created,
    /// A start is under way.
    Starting,
    /// Running.
    Running,
    /// Paused.
    Paused,
    /// Saved as a template to clone.
    SavedAsTemplate,
    /// Ended; it goes with its last handle.
    Stopped,
}

impl State {
    /// The state as properties report it.
    pub fn reported(self) -> SystemState {
        match self {
            Self::Created | Self::Starting => SystemState::Created,
            Self::Running => SystemState::Running,
            Self::Paused => SystemState::Paused,
            Self::SavedAsTemplate => SystemState::SavedAsTemplate,
            Self::Stopped => SystemState::Stopped,
        }
    }
}

/// An operation on a compute system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Start it.
    Start,
    /// Ask the guest to end.
    Shutdown,
    /// End it by force.
    Terminate,
    /// Pause it.
    Pause,
    /// Continue it.
    Resume,
    /// Save it.
    Save(SaveType),
    /// Change it.
    Modify,
    /// Read its properties.
    Properties,
    /// Start a process.
    CreateProcess,
    /// Open a process.
    OpenProcess,
}

impl Operation {
    /// Whether the operation changes the state, so that only one such runs at a time.
    fn is_transition(self) -> bool {
        matches!(self, Self::Start | Self::Pause | Self::Resume | Self::Save(_))
    }
}

/// The rules: whether `operation` is legal on a system of this kind in this state.
pub fn check(kind: SystemKind, state: State, operation: Operation) -> Result<(), HResult> {
    use Operation as O;
    use State as S;
    match (state, operation) {
        (_, O::Properties) => Ok(()),
        (S::Stopped, _) => Err(HResult::SYSTEM_ALREADY_STOPPED),
        (_, O::Terminate) => Ok(()),
        // Only a virtual machine has processors that can be stopped.
        (S::Running, O::Pause) if kind != SystemKind::VirtualMachine => Err(HResult::INVALID_STATE),
        (S::Created, O::Start)
        | (S::Running, O::Shutdown | O::Pause | O::Modify | O::CreateProcess | O::OpenProcess)
        | (S::Paused, O::Resume | O::Save(_) | O::OpenProcess) => Ok(()),
        _ => Err(HResult::INVALID_STATE),
    }
}

/// The rules for an operation on a process: after its end it can only be looked at.
pub fn check_process(exited: bool) -> Result<(), HResult> {
    if exited {
        Err(HResult::PROCESS_ALREADY_STOPPED)
    } else {
        Ok(())
    }
}

/// The state of one compute system, with the operation under way.
#[derive(Debug, Clone)]
pub struct Machine {
    kind: SystemKind,
    state: State,
    transition: Option<Operation>,
    terminating: bool,
}

impl Machine {
    /// A system that was just created.
    pub fn new(kind: SystemKind) -> Self {
        Self {
            kind,
            state: State::Created,
            transition: None,
            terminating: false,
        }
    }

    /// The kind given at creation.
    pub fn kind(&self) -> SystemKind {
        self.kind
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the system has ended.
    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// Whether the operation is legal now.
    pub fn check(&self, operation: Operation) -> Result<(), HResult> {
        check(self.kind, self.state, operation)?;
        let interrupts = matches!(operation, Operation::Properties | Operation::Terminate);
        if (self.transition.is_some() || self.terminating) && !interrupts {
            return Err(HResult::INVALID_STATE);
        }
        Ok(())
    }

    /// Begins an operation, if it is legal.
    ///
    /// A start, pause, resume or save has to be ended by [`Machine::complete`] or [`Machine::fail`]; a termination by
    /// [`Machine::exit`]. The others need no end.
    pub fn begin(&mut self, operation: Operation) -> Result<(), HResult> {
        self.check(operation)?;
        if operation == Operation::Terminate {
            self.terminating = true;
        }
        if operation.is_transition() {
            self.transition = Some(operation);
        }
        if operation == Operation::Start {
            self.state = State::Starting;
        }
        Ok(())
    }

    /// Ends an operation that succeeded, and says whether it may be reported as a success: not when the system was
    /// terminated meanwhile.
    pub fn complete(&mut self, operation: Operation) -> Result<(), HResult> {
        self.transition = None;
        if self.terminating || self.is_stopped() {
            return Err(interrupted(operation));
        }
        self.state = match operation {
            Operation::Start | Operation::Resume => State::Running,
            Operation::Pause | Operation::Save(SaveType::ToFile) => State::Paused,
            Operation::Save(SaveType::AsTemplate) => State::SavedAsTemplate,
            _ => self.state,
        };
        Ok(())
    }

    /// Ends an operation that failed for a reason of its own. Returns whether that ended the system, so that the
    /// caller has to publish the exit: a system whose start failed cannot be started again.
    pub fn fail(&mut self, operation: Operation) -> bool {
        self.transition = None;
        operation == Operation::Start && !self.terminating && self.exit()
    }

    /// The system has ended. Returns true the first time: that caller publishes the exit.
    pub fn exit(&mut self) -> bool {
        let first = self.state != State::Stopped;
        self.state = State::Stopped;
        self.terminating = false;
        first
    }
}

/// The code of an operation that a termination overtook.
fn interrupted(operation: Operation) -> HResult {
    match operation {
        Operation::Start => HResult::TERMINATED_DURING_START,
        _ => HResult::TERMINATED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: [Operation; 11] = [
        Operation::Start,
        Operation::Shutdown,
        Operation::Terminate,
        Operation::Pause,
        Operation::Resume,
        Operation::Save(SaveType::ToFile),
        Operation::Save(SaveType::AsTemplate),
        Operation::Modify,
        Operation::Properties,
        Operation::CreateProcess,
        Operation::OpenProcess,
    ];

    fn running() -> Machine {
        let mut machine = Machine::new(SystemKind::VirtualMachine);
        machine.begin(Operation::Start).unwrap();
        machine.complete(Operation::Start).unwrap();
        machine
    }

    #[test]
    fn a_machine_is_started_paused_saved_resumed_and_stopped() {
        let mut machine = running();
        assert_eq!(machine.state(), State::Running);
        for (operation, state) in [
            (Operation::Pause, State::Paused),
            (Operation::Save(SaveType::ToFile), State::Paused),
            (Operation::Resume, State::Running),
            (Operation::Pause, State::Paused),
            (Operation::Save(SaveType::AsTemplate), State::SavedAsTemplate),
        ] {
            machine.begin(operation).unwrap();
            machine.complete(operation).unwrap();
            assert_eq!(machine.state(), state);
        }
        machine.begin(Operation::Terminate).unwrap();
        assert!(machine.exit());
        assert!(!machine.exit());
    }

    #[test]
    fn before_the_start_nothing_but_start_and_terminate_is_legal() {
        let machine = Machine::new(SystemKind::VirtualMachine);
        for operation in OPERATIONS {
            let legal = matches!(
                operation,
                Operation::Start | Operation::Terminate | Operation::Properties
            );
            let expected = if legal {
                Ok(())
            } else {
                Err(HResult::INVALID_STATE)
            };
            assert_eq!(machine.check(operation), expected, "{operation:?}");
        }
    }

    #[test]
    fn after_the_exit_everything_but_properties_says_already_stopped() {
        let mut machine = running();
        machine.exit();
        for operation in OPERATIONS {
            let expected = if operation == Operation::Properties {
                Ok(())
            } else {
                Err(HResult::SYSTEM_ALREADY_STOPPED)
            };
            assert_eq!(machine.check(operation), expected, "{operation:?}");
        }
    }

    #[test]
    fn a_second_start_is_refused_while_the_first_is_under_way_and_after_it() {
        let mut machine = Machine::new(SystemKind::Container);
        machine.begin(Operation::Start).unwrap();
        assert_eq!(machine.begin(Operation::Start), Err(HResult::INVALID_STATE));
        machine.complete(Operation::Start).unwrap();
        assert_eq!(machine.begin(Operation::Start), Err(HResult::INVALID_STATE));
    }

    #[test]
    fn a_termination_during_the_start_wins() {
        for exit_before_completion in [true, false] {
            let mut machine = Machine::new(SystemKind::VirtualMachine);
            machine.begin(Operation::Start).unwrap();
            machine.begin(Operation::Terminate).unwrap();
            assert_eq!(machine.check(Operation::Modify), Err(HResult::INVALID_STATE));
            if exit_before_completion {
                assert!(machine.exit());
            }
            assert_eq!(
                machine.complete(Operation::Start),
                Err(HResult::TERMINATED_DURING_START)
            );
            assert_eq!(machine.exit(), !exit_before_completion);
            assert!(machine.is_stopped());
        }
    }

    #[test]
    fn a_failed_start_ends_the_system_once() {
        let mut machine = Machine::new(SystemKind::VirtualMachine);
        machine.begin(Operation::Start).unwrap();
        assert!(machine.fail(Operation::Start));
        assert!(!machine.exit());
        // A termination under way publishes the exit itself.
        let mut machine = Machine::new(SystemKind::VirtualMachine);
        machine.begin(Operation::Start).unwrap();
        machine.begin(Operation::Terminate).unwrap();
        assert!(!machine.fail(Operation::Start));
        assert!(machine.exit());
    }

    #[test]
    fn a_failed_pause_leaves_the_machine_running() {
        let mut machine = running();
        machine.begin(Operation::Pause).unwrap();
        assert_eq!(machine.check(Operation::Modify), Err(HResult::INVALID_STATE));
        assert!(!machine.fail(Operation::Pause));
        assert_eq!(machine.state(), State::Running);
        assert_eq!(machine.check(Operation::Modify), Ok(()));
    }

    #[test]
    fn containers_cannot_be_paused() {
        for kind in [SystemKind::Container, SystemKind::HostedSystem] {
            assert_eq!(
                check(kind, State::Running, Operation::Pause),
                Err(HResult::INVALID_STATE)
            );
        }
    }

    #[test]
    fn states_are_reported_in_the_words_of_the_properties() {
        assert_eq!(State::Starting.reported(), SystemState::Created);
        assert_eq!(State::SavedAsTemplate.reported().as_str(), "SavedAsTemplate");
    }
}
