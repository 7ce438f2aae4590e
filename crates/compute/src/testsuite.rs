//! The contract suite: what every compute service guarantees, as tests that any service can run.
//!
//! A back end implements [`Harness`] and calls [`run`] in its own tests. Each guarantee gets a fresh service.
//!
//! * lifecycle: a created system does not run; start, pause and resume do what they say; a second start, and any
//!   change before the start or while paused, is `HCS_E_INVALID_STATE`; after the exit everything but properties is
//!   `HCS_E_SYSTEM_ALREADY_STOPPED`; the end of the guest is a graceful exit, a termination a forced one.
//! * identity: an id in use, in any case, is `HCS_E_SYSTEM_ALREADY_EXISTS`, an unknown one `HCS_E_SYSTEM_NOT_FOUND`;
//!   handles of one system see one system; enumeration filters; an id is free again when its system is gone.
//! * documents: malformed documents and unknown fields are `HCS_E_INVALID_JSON`, the result document names the field,
//!   and nothing is left behind.
//! * events: an exit is published once, last, to everybody, and before `terminate` returns; a close is not an exit.
//! * races: terminate against start, start against start, create against create, changes against each other, and
//!   dropped futures leave one consistent system.
//! * listeners: a port can be listened on before the start; streams end one direction at a time.
//! * processes, where the service runs them: output, exit codes, input, and that they do not outlive their system.

mod documents;
mod events;
mod identity;
mod lifecycle;
mod listeners;
mod processes;
mod races;
mod session;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{ComputeService, ComputeSystem, GuestStream};
use session::{Session, Stop};

/// What a back end supplies to the suite.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A service without systems.
    async fn service(&self) -> Arc<dyn ComputeService>;

    /// A document of a virtual machine, or of a container where the service runs those, that once started runs until it is
    /// stopped. The suite sets the owner and whether it ends with its last handle.
    fn machine(&self) -> hcs::ComputeSystem;

    /// What [`Harness::machine`] describes.
    fn kind(&self) -> hcs::SystemType {
        hcs::SystemType::VirtualMachine
    }

    /// A change that a running machine accepts, and the one that undoes it; different for every number below 8.
    fn change(&self, number: u32) -> Change;

    /// Makes the guest of a running machine end by itself.
    async fn end_guest(&self, system: &dyn ComputeSystem);

    /// Lets the guest of a running machine connect to a port of its host.
    async fn connect_from_guest(&self, system: &dyn ComputeSystem, port: u32)
    -> std::io::Result<GuestStream>;

    /// Whether machines can be paused.
    fn can_pause(&self) -> bool {
        true
    }

    /// Whether guests can connect to ports of the host.
    fn can_listen(&self) -> bool {
        true
    }

    /// How the service runs processes; none when it runs only machines whose guests do that.
    fn processes(&self) -> Option<&dyn ProcessHarness> {
        None
    }

    /// How long one guarantee may take.
    fn deadline(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// What a back end that runs processes supplies in addition.
pub trait ProcessHarness: Send + Sync {
    /// A document of a system in which processes run.
    fn system(&self) -> hcs::ComputeSystem;

    /// The parameters of a process that does this. The suite sets the pipes.
    fn parameters(&self, script: Script) -> hcs::ProcessParameters;
}

/// A change of a running machine, and its opposite.
#[derive(Debug, Clone)]
pub struct Change {
    /// The change.
    pub add: hcs::ModifySettingRequest,
    /// What undoes it.
    pub remove: hcs::ModifySettingRequest,
}

/// What a process of the suite does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Ends with this code.
    Exit(u32),
    /// Writes this text to its output and ends with 0.
    Print(&'static str),
    /// Copies its input to its output until the input ends, then ends with 0.
    Cat,
    /// Runs until it is stopped.
    Sleep,
}

type Check = for<'a> fn(&'a Session<'a>) -> Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>>;

/// One guarantee.
#[derive(Clone, Copy)]
pub struct Guarantee {
    /// The name, a sentence with underscores.
    pub name: &'static str,
    check: Check,
}

impl fmt::Debug for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Lists functions as guarantees.
macro_rules! guarantees {
    ($($module:ident: $($name:ident),+;)+) => {
        /// Every guarantee, in the order of the header.
        pub const GUARANTEES: &[Guarantee] = &[
            $($(Guarantee { name: stringify!($name), check: |session| Box::pin($module::$name(session)) },)+)+
        ];
    };
}

guarantees! {
    lifecycle:
        a_created_system_is_there_and_does_not_run,
        start_makes_it_run,
        a_second_start_is_invalid,
        before_the_start_nothing_else_is_valid,
        termination_is_a_forced_exit,
        a_system_that_was_never_started_can_be_terminated,
        after_the_exit_everything_has_stopped_already,
        pause_and_resume_change_the_state,
        the_end_of_the_guest_is_a_graceful_exit;
    identity:
        an_id_is_used_once_in_any_case,
        an_unknown_id_cannot_be_opened,
        two_handles_are_one_system,
        an_id_is_free_again_after_the_exit,
        enumeration_filters_by_owner_id_and_type;
    documents:
        an_unknown_field_is_named_in_the_result,
        a_malformed_document_leaves_nothing_behind,
        an_ambiguous_document_is_rejected,
        an_unknown_field_of_a_change_is_named_in_the_result,
        an_unknown_resource_is_rejected,
        an_unknown_property_is_rejected;
    events:
        an_exit_is_published_once_and_last,
        every_subscriber_gets_the_exit,
        a_late_waiter_learns_of_the_exit,
        a_close_is_not_an_exit,
        the_last_close_ends_a_system_that_is_tied_to_it,
        a_closed_handle_is_dead;
    races:
        a_termination_during_the_start_wins,
        concurrent_terminations_are_one_exit,
        concurrent_starts_are_one_start,
        concurrent_creations_are_one_system,
        concurrent_changes_all_happen,
        a_change_during_the_termination_ends,
        a_dropped_start_leaves_a_usable_system;
    listeners:
        a_port_listened_on_before_the_start_is_reached,
        each_direction_of_a_stream_ends_by_itself,
        a_port_has_one_listener_at_a_time;
    processes:
        the_exit_code_and_output_arrive,
        closing_the_input_ends_it,
        the_end_of_a_process_is_not_the_end_of_the_system,
        an_ended_process_has_stopped_already,
        a_terminated_process_ends,
        an_unknown_process_cannot_be_opened,
        processes_end_with_their_system;
}

/// What became of one guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The service keeps it.
    Kept,
    /// The service cannot be asked, and why.
    Skipped(&'static str),
    /// The service does not keep it, and how that showed.
    Violated(String),
}

/// What became of all guarantees.
#[derive(Debug, Clone)]
pub struct Report {
    /// Name and verdict.
    pub verdicts: Vec<(&'static str, Verdict)>,
}

impl Report {
    /// Panics with the list of violations, if there are any.
    ///
    /// # Panics
    ///
    /// When a guarantee is violated.
    pub fn assert_kept(&self) {
        let violations: Vec<String> = self
            .verdicts
            .iter()
            .filter_map(|(name, verdict)| match verdict {
                Verdict::Violated(how) => Some(format!("{name}: {how}")),
                Verdict::Kept | Verdict::Skipped(_) => None,
            })
            .collect();
        assert!(
            violations.is_empty(),
            "the compute contract is violated:\n{}",
            violations.join("\n")
        );
    }
}

/// Checks every guarantee.
pub async fn run(harness: &dyn Harness) -> Report {
    let mut verdicts = Vec::new();
    for guarantee in GUARANTEES {
        verdicts.push((guarantee.name, guarantee.verdict(harness).await));
    }
    Report { verdicts }
}

impl Guarantee {
    /// Checks this guarantee alone, and cleans up behind it.
    pub async fn verdict(&self, harness: &dyn Harness) -> Verdict {
        let session = Session::new(harness, self.name).await;
        let outcome = tokio::time::timeout(harness.deadline(), (self.check)(&session)).await;
        let cleaned = tokio::time::timeout(harness.deadline(), session.clean_up()).await;
        match outcome {
            Ok(Err(Stop::Violated(how))) => Verdict::Violated(how),
            Ok(Err(Stop::Skipped(why))) => Verdict::Skipped(why),
            Err(_) => Verdict::Violated("it did not end in time".to_owned()),
            Ok(Ok(())) if cleaned.is_err() => {
                Verdict::Violated("its systems could not be terminated in time".to_owned())
            }
            Ok(Ok(())) => Verdict::Kept,
        }
    }
}
