//! Start, pause, stop, and which operation is legal when.

use hcs::{Document, ExitType, HResult, ModifySettingRequest, SystemState};

use super::session::{Session, Stop, ensure, exit, fails, in_state, ok, properties, published_exit};
use crate::ComputeSystem;

type Outcome = Result<(), Stop>;

pub(super) async fn a_created_system_is_there_and_does_not_run(session: &Session<'_>) -> Outcome {
    let id = session.id();
    let system = session.create(&id, &session.machine()).await?;
    ensure!(
        system.id() == id,
        "the handle has the id {} and not {id}",
        system.id()
    );
    let known = properties(&*system).await?;
    ensure!(
        known.id == id,
        "the properties have the id {:?} and not {id}",
        known.id
    );
    ensure!(known.owner == session.owner(), "the owner is {:?}", known.owner);
    ensure!(
        known.state == Some(SystemState::Created),
        "the state is {:?}",
        known.state
    );
    ensure!(
        known.system_type == Some(session.harness.kind()),
        "the type is {:?}",
        known.system_type
    );
    ensure!(!known.stopped, "it is said to have stopped");
    ensure!(
        known.runtime_id == system.runtime_id(),
        "the handle has the runtime id {} and the properties {}",
        system.runtime_id(),
        known.runtime_id
    );
    ensure!(
        is_guid(system.runtime_id()),
        "the runtime id {:?} is no lower-case GUID",
        system.runtime_id()
    );
    Ok(())
}

/// Whether the text is a GUID in lower case without braces.
fn is_guid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.concat().chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

pub(super) async fn start_makes_it_run(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    in_state("the state is", SystemState::Running, &*system).await
}

pub(super) async fn a_second_start_is_invalid(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    fails("a second start", HResult::INVALID_STATE, system.start().await)?;
    in_state("it made the state", SystemState::Running, &*system).await
}

pub(super) async fn before_the_start_nothing_else_is_valid(session: &Session<'_>) -> Outcome {
    let system = session.created().await?;
    all_fail(session, &*system, HResult::INVALID_STATE).await?;
    ok("start after all that", system.start().await)
}

/// Checks that every operation but start, terminate and properties fails with this code.
async fn all_fail(session: &Session<'_>, system: &dyn ComputeSystem, expected: HResult) -> Outcome {
    let change: ModifySettingRequest = session.harness.change(0).add;
    fails("modify", expected, system.modify(&change.to_json()).await)?;
    fails("shutdown", expected, system.shutdown("").await)?;
    fails("pause", expected, system.pause().await)?;
    fails("resume", expected, system.resume().await)?;
    let save = r#"{"SaveType":"ToFile","SaveStateFilePath":"state"}"#;
    fails("save", expected, system.save(save).await)?;
    fails("create process", expected, system.create_process("{}").await)?;
    fails("open process", expected, system.open_process(1).await)
}

pub(super) async fn termination_is_a_forced_exit(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    let mut events = system.events();
    ok("terminate", system.terminate().await)?;
    let status = published_exit(&mut events)?;
    ensure!(
        status.exit_type == Some(ExitType::ForcedExit),
        "the exit is {:?}",
        status.exit_type
    );
    let known = properties(&*system).await?;
    ensure!(known.stopped, "it is not said to have stopped");
    ensure!(
        known.state == Some(SystemState::Stopped),
        "the state is {:?}",
        known.state
    );
    ensure!(
        known.exit_type == Some(ExitType::ForcedExit),
        "the properties say {:?}",
        known.exit_type
    );
    Ok(())
}

pub(super) async fn a_system_that_was_never_started_can_be_terminated(session: &Session<'_>) -> Outcome {
    let system = session.created().await?;
    let mut events = system.events();
    ok("terminate", system.terminate().await)?;
    published_exit(&mut events).map(drop)
}

pub(super) async fn after_the_exit_everything_has_stopped_already(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    ok("terminate", system.terminate().await)?;
    fails(
        "terminate again",
        HResult::SYSTEM_ALREADY_STOPPED,
        system.terminate().await,
    )?;
    fails("start", HResult::SYSTEM_ALREADY_STOPPED, system.start().await)?;
    all_fail(session, &*system, HResult::SYSTEM_ALREADY_STOPPED).await
}

pub(super) async fn pause_and_resume_change_the_state(session: &Session<'_>) -> Outcome {
    if !session.harness.can_pause() {
        return Err(Stop::Skipped("the service cannot pause"));
    }
    let system = session.running().await?;
    fails(
        "resume of a running machine",
        HResult::INVALID_STATE,
        system.resume().await,
    )?;
    ok("pause", system.pause().await)?;
    in_state("the state is", SystemState::Paused, &*system).await?;
    fails("a second pause", HResult::INVALID_STATE, system.pause().await)?;
    let change = session.harness.change(0).add.to_json();
    fails(
        "a change while paused",
        HResult::INVALID_STATE,
        system.modify(&change).await,
    )?;
    ok("resume", system.resume().await)?;
    in_state("the state is", SystemState::Running, &*system).await?;
    ok("a change after the resume", system.modify(&change).await)
}

pub(super) async fn the_end_of_the_guest_is_a_graceful_exit(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    let mut events = system.events();
    session.harness.end_guest(&*system).await;
    let status = exit(&mut events).await?;
    ensure!(
        status.exit_type == Some(ExitType::GracefulExit),
        "the exit is {:?}",
        status.exit_type
    );
    fails(
        "terminate",
        HResult::SYSTEM_ALREADY_STOPPED,
        system.terminate().await,
    )
}
