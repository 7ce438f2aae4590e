//! Exits, and what is not one.

use hcs::{ExitType, HResult, SystemState};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::session::{Session, Stop, ensure, fails, gone, in_state, ok, published_exit};
use crate::{SystemEvent, wait_for_exit};

type Outcome = Result<(), Stop>;

pub(super) async fn an_exit_is_published_once_and_last(session: &Session<'_>) -> Outcome {
    let system = session.created().await?;
    let mut events = system.events();
    ok("start", system.start().await)?;
    ensure!(
        !matches!(events.try_recv(), Ok(SystemEvent::Exited(_))),
        "an exit was published by the start"
    );
    ok("terminate", system.terminate().await)?;
    fails(
        "a second terminate",
        HResult::SYSTEM_ALREADY_STOPPED,
        system.terminate().await,
    )?;
    system.close().await;
    published_exit(&mut events).map(drop)
}

pub(super) async fn every_subscriber_gets_the_exit(session: &Session<'_>) -> Outcome {
    let system = session.created().await?;
    let other = session.open(system.id()).await?;
    let mut receivers = vec![system.events(), system.events(), other.events()];
    ok("start", system.start().await)?;
    receivers.push(other.events());
    ok("terminate", system.terminate().await)?;
    receivers
        .iter_mut()
        .try_for_each(|events| published_exit(events).map(drop))
}

pub(super) async fn a_late_waiter_learns_of_the_exit(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    ok("terminate", system.terminate().await)?;
    let mut late = system.events();
    ensure!(
        !matches!(late.try_recv(), Ok(SystemEvent::Exited(_))),
        "a subscription after the exit got the exit again"
    );
    let status = ok("wait", wait_for_exit(&*system).await)?;
    ensure!(
        status.exit_type == Some(ExitType::ForcedExit),
        "the exit is {:?}",
        status.exit_type
    );
    Ok(())
}

pub(super) async fn a_close_is_not_an_exit(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    let other = session.open(system.id()).await?;
    let mut closed = system.events();
    let mut kept = other.events();
    system.close().await;
    loop {
        match closed.recv().await {
            Ok(event) => {
                ensure!(
                    !matches!(event, SystemEvent::Exited(_)),
                    "closing a handle published an exit"
                );
            }
            Err(RecvError::Closed) => break,
            Err(RecvError::Lagged(missed)) => ensure!(false, "{missed} events were lost"),
        }
    }
    ensure!(
        kept.try_recv() == Err(TryRecvError::Empty),
        "the other handle heard of the close"
    );
    in_state("the state is", SystemState::Running, &*other).await?;
    other.close().await;
    let again = session.open(system.id()).await?;
    in_state("without handles the state is", SystemState::Running, &*again).await
}

pub(super) async fn the_last_close_ends_a_system_that_is_tied_to_it(session: &Session<'_>) -> Outcome {
    let tied = hcs::ComputeSystem {
        should_terminate_on_last_handle_closed: true,
        ..session.machine()
    };
    let first = session.create(&session.id(), &tied).await?;
    let second = session.open(first.id()).await?;
    ok("start", first.start().await)?;
    first.close().await;
    in_state("the first close made the state", SystemState::Running, &*second).await?;
    second.close().await;
    gone(&*session.service, first.id()).await
}

pub(super) async fn a_closed_handle_is_dead(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    system.close().await;
    // Closing again does nothing.
    system.close().await;
    fails("terminate", HResult::E_HANDLE, system.terminate().await)?;
    fails("properties", HResult::E_HANDLE, system.properties("").await)?;
    let change = hcs::Document::to_json(&session.harness.change(0).add);
    fails("modify", HResult::E_HANDLE, system.modify(&change).await)?;
    fails("wait", HResult::E_HANDLE, wait_for_exit(&*system).await)
}
