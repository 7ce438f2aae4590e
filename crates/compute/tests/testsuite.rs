//! The contract suite passes on a service that keeps the contract, and notices each way of breaking it.

#[expect(
    clippy::unwrap_used,
    reason = "a test double: a poisoned lock is a failed test"
)]
mod memory;

use std::collections::BTreeSet;

use compute::testsuite::{GUARANTEES, Verdict, run};
use memory::{Breach, MemoryHarness};

/// Each breach, the guarantee that has to notice it, and whether it shows by something that never comes.
const BREACHES: &[(Breach, &str, bool)] = &[
    (
        Breach::RunsAtOnce,
        "a_created_system_is_there_and_does_not_run",
        false,
    ),
    (Breach::StartDoesNothing, "start_makes_it_run", false),
    (Breach::SecondStartSucceeds, "a_second_start_is_invalid", false),
    (
        Breach::ChangesBeforeStart,
        "before_the_start_nothing_else_is_valid",
        false,
    ),
    (
        Breach::TerminationIsGraceful,
        "termination_is_a_forced_exit",
        false,
    ),
    (
        Breach::NoTerminationBeforeStart,
        "a_system_that_was_never_started_can_be_terminated",
        false,
    ),
    (
        Breach::InvalidStateAfterExit,
        "after_the_exit_everything_has_stopped_already",
        false,
    ),
    (
        Breach::PauseDoesNothing,
        "pause_and_resume_change_the_state",
        false,
    ),
    (
        Breach::GuestEndIsForced,
        "the_end_of_the_guest_is_a_graceful_exit",
        false,
    ),
    (Breach::CaseSensitiveIds, "an_id_is_used_once_in_any_case", false),
    (
        Breach::UnknownIdIsAnotherError,
        "an_unknown_id_cannot_be_opened",
        false,
    ),
    (
        Breach::EachHandleHasItsSystem,
        "two_handles_are_one_system",
        false,
    ),
    (
        Breach::IdsAreNeverFree,
        "an_id_is_free_again_after_the_exit",
        true,
    ),
    (
        Breach::EnumerationIgnoresOwners,
        "enumeration_filters_by_owner_id_and_type",
        false,
    ),
    (
        Breach::UnknownFieldsAreIgnored,
        "an_unknown_field_is_named_in_the_result",
        false,
    ),
    (
        Breach::MalformedDocumentsTakeTheId,
        "a_malformed_document_leaves_nothing_behind",
        false,
    ),
    (Breach::FirstKindWins, "an_ambiguous_document_is_rejected", false),
    (
        Breach::FieldsOfChangesAreNotNamed,
        "an_unknown_field_of_a_change_is_named_in_the_result",
        false,
    ),
    (
        Breach::UnknownResourcesAreIgnored,
        "an_unknown_resource_is_rejected",
        false,
    ),
    (
        Breach::UnknownPropertiesAreIgnored,
        "an_unknown_property_is_rejected",
        false,
    ),
    (Breach::ExitsTwice, "an_exit_is_published_once_and_last", false),
    (
        Breach::OnlyOneHandleHears,
        "every_subscriber_gets_the_exit",
        false,
    ),
    (
        Breach::StoppedIsForgotten,
        "a_late_waiter_learns_of_the_exit",
        true,
    ),
    (Breach::CloseIsAnExit, "a_close_is_not_an_exit", false),
    (
        Breach::TieIsIgnored,
        "the_last_close_ends_a_system_that_is_tied_to_it",
        true,
    ),
    (Breach::ClosedHandlesWork, "a_closed_handle_is_dead", false),
    (Breach::StartWins, "a_termination_during_the_start_wins", false),
    (
        Breach::TerminationsPublishEach,
        "concurrent_terminations_are_one_exit",
        false,
    ),
    (Breach::StartChecksLate, "concurrent_starts_are_one_start", false),
    (
        Breach::CreateChecksLate,
        "concurrent_creations_are_one_system",
        false,
    ),
    (
        Breach::ChangesExcludeEachOther,
        "concurrent_changes_all_happen",
        false,
    ),
    (
        Breach::ChangeHangsInTermination,
        "a_change_during_the_termination_ends",
        true,
    ),
    (
        Breach::DroppedStartBlocks,
        "a_dropped_start_leaves_a_usable_system",
        false,
    ),
    (
        Breach::NoListeningBeforeStart,
        "a_port_listened_on_before_the_start_is_reached",
        false,
    ),
    (
        Breach::HalfCloseIsFull,
        "each_direction_of_a_stream_ends_by_itself",
        false,
    ),
    (Breach::ListenersSteal, "a_port_has_one_listener_at_a_time", false),
    (Breach::ExitCodesAreLost, "the_exit_code_and_output_arrive", false),
    (Breach::CloseOfInputIsIgnored, "closing_the_input_ends_it", true),
    (
        Breach::LastProcessEndsTheSystem,
        "the_end_of_a_process_is_not_the_end_of_the_system",
        false,
    ),
    (
        Breach::SignalsReachTheDead,
        "an_ended_process_has_stopped_already",
        false,
    ),
    (Breach::KillIsASuccess, "a_terminated_process_ends", false),
    (
        Breach::UnknownProcessesOpen,
        "an_unknown_process_cannot_be_opened",
        false,
    ),
    (
        Breach::ProcessesOutliveTheSystem,
        "processes_end_with_their_system",
        true,
    ),
];

#[tokio::test]
async fn a_service_that_keeps_the_contract_passes() {
    let report = run(&MemoryHarness::new(Breach::None, false)).await;
    report.assert_kept();
    let kept = report
        .verdicts
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Kept)
        .count();
    assert_eq!(
        kept,
        GUARANTEES.len(),
        "the service in memory can show every guarantee: {report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_passes_on_several_threads_too() {
    run(&MemoryHarness::new(Breach::None, false)).await.assert_kept();
}

#[tokio::test]
async fn each_breach_is_noticed_by_its_guarantee() {
    for (breach, name, hangs) in BREACHES {
        let guarantee = GUARANTEES
            .iter()
            .find(|guarantee| guarantee.name == *name)
            .unwrap_or_else(|| panic!("there is no guarantee {name}"));
        let verdict = guarantee.verdict(&MemoryHarness::new(*breach, *hangs)).await;
        let Verdict::Violated(how) = &verdict else {
            panic!("{breach:?} went unnoticed by {name}: {verdict:?}");
        };
        assert!(
            *hangs || !how.contains("in time"),
            "{breach:?} was noticed by a timeout only"
        );
    }
}

#[test]
fn each_guarantee_can_be_broken() {
    let broken: BTreeSet<&str> = BREACHES.iter().map(|(_, name, _)| *name).collect();
    for guarantee in GUARANTEES {
        assert!(
            broken.contains(guarantee.name),
            "no breach of {} is tried",
            guarantee.name
        );
    }
    assert_eq!(broken.len(), BREACHES.len());
}
