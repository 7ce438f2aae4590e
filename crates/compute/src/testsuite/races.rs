//! Operations that meet.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use hcs::{Document, HResult, RequestType, SystemState};
use tokio::task::JoinSet;

use super::session::{Session, Stop, ensure, fails, in_state, ok, published_exit};
use crate::Result as Answer;

type Outcome = Result<(), Stop>;

/// How often a race is run: enough for both orders to occur.
const ROUNDS: usize = 8;

/// Whether an operation that met a termination ended in one of the ways it may.
fn overtaken<T>(what: &str, answer: &Answer<T>, codes: &[HResult]) -> Outcome {
    match answer {
        Ok(_) => Ok(()),
        Err(error) if codes.iter().any(|code| error.hresult.is(*code)) => Ok(()),
        Err(error) => Err(Stop::Violated(format!("{what} ended with {}", error.hresult))),
    }
}

pub(super) async fn a_termination_during_the_start_wins(session: &Session<'_>) -> Outcome {
    for round in 0..ROUNDS {
        let system = session.created().await?;
        let mut events = system.events();
        let (started, terminated) = if round % 2 == 0 {
            tokio::join!(system.start(), system.terminate())
        } else {
            let (terminated, started) = tokio::join!(system.terminate(), system.start());
            (started, terminated)
        };
        ok("terminate", terminated)?;
        let lost = [
            HResult::TERMINATED_DURING_START,
            HResult::SYSTEM_ALREADY_STOPPED,
            HResult::INVALID_STATE,
        ];
        overtaken("the start", &started, &lost)?;
        published_exit(&mut events)?;
        in_state("the state is", SystemState::Stopped, &*system).await?;
    }
    Ok(())
}

pub(super) async fn concurrent_terminations_are_one_exit(session: &Session<'_>) -> Outcome {
    for _ in 0..ROUNDS {
        let system = session.running().await?;
        let other = session.open(system.id()).await?;
        let mut events = system.events();
        let (first, second) = tokio::join!(system.terminate(), other.terminate());
        ensure!(first.is_ok() || second.is_ok(), "neither termination succeeded");
        overtaken("the first", &first, &[HResult::SYSTEM_ALREADY_STOPPED])?;
        overtaken("the second", &second, &[HResult::SYSTEM_ALREADY_STOPPED])?;
        published_exit(&mut events)?;
    }
    Ok(())
}

pub(super) async fn concurrent_starts_are_one_start(session: &Session<'_>) -> Outcome {
    for _ in 0..ROUNDS {
        let system = session.created().await?;
        let (first, second) = tokio::join!(system.start(), system.start());
        let refused = match (first, second) {
            (Ok(()), refused) | (refused, Ok(())) => refused,
            (Err(error), Err(_)) => return Err(Stop::Violated(format!("neither start succeeded: {error}"))),
        };
        fails("the other start", HResult::INVALID_STATE, refused)?;
        in_state("the state is", SystemState::Running, &*system).await?;
    }
    Ok(())
}

pub(super) async fn concurrent_creations_are_one_system(session: &Session<'_>) -> Outcome {
    for _ in 0..ROUNDS {
        let id = session.id();
        let document = session.machine().to_json();
        let (first, second) = tokio::join!(
            session.service.create(&id, &document),
            session.service.create(&id, &document)
        );
        let answers = [first, second].map(|answer| answer.map(|system| session.track(system)));
        let created = answers.iter().filter(|answer| answer.is_ok()).count();
        ensure!(created == 1, "{created} creations of one id succeeded");
        for refused in answers.into_iter().filter(Result::is_err) {
            fails("the other creation", HResult::SYSTEM_ALREADY_EXISTS, refused)?;
        }
    }
    Ok(())
}

pub(super) async fn concurrent_changes_all_happen(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    let changes: Vec<_> = (0..8).map(|number| session.harness.change(number)).collect();
    for half in ["add", "remove"] {
        let mut tasks = JoinSet::new();
        for change in &changes {
            let request = if half == "add" {
                change.add.to_json()
            } else {
                change.remove.to_json()
            };
            let system = std::sync::Arc::clone(&system);
            tasks.spawn(async move { system.modify(&request).await });
        }
        while let Some(modified) = tasks.join_next().await {
            let modified = modified.map_err(|error| Stop::Violated(format!("a change panicked: {error}")))?;
            ok(half, modified)?;
        }
        if half == "add" && changes[0].add.request_type == Some(RequestType::Add) {
            let again = system.modify(&changes[0].add.to_json()).await;
            ensure!(again.is_err(), "what was added could be added again");
        }
    }
    ok(
        "adding again after the removal",
        system.modify(&changes[0].add.to_json()).await,
    )
}

pub(super) async fn a_change_during_the_termination_ends(session: &Session<'_>) -> Outcome {
    for _ in 0..ROUNDS {
        let system = session.running().await?;
        let mut events = system.events();
        let change = session.harness.change(1).add.to_json();
        let (changed, terminated) = tokio::join!(system.modify(&change), system.terminate());
        ok("terminate", terminated)?;
        let lost = [
            HResult::SYSTEM_ALREADY_STOPPED,
            HResult::INVALID_STATE,
            HResult::TERMINATED,
        ];
        overtaken("the change", &changed, &lost)?;
        published_exit(&mut events)?;
    }
    Ok(())
}

pub(super) async fn a_dropped_start_leaves_a_usable_system(session: &Session<'_>) -> Outcome {
    let system = session.created().await?;
    let mut events = system.events();
    {
        let mut start = pin!(system.start());
        let poll = start.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let std::task::Poll::Ready(started) = poll {
            ok("start", started)?;
        }
    }
    // Whether the start was given up or goes on, a termination ends the system, and it ends once.
    ok("terminate", system.terminate().await)?;
    published_exit(&mut events)?;
    in_state("the state is", SystemState::Stopped, &*system).await?;
    fails("start", HResult::SYSTEM_ALREADY_STOPPED, system.start().await)
}
