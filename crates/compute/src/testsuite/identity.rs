//! Ids, handles and enumeration.

use hcs::{Document, HResult, Properties, SystemQuery, SystemState, SystemType};

use super::session::{Session, Stop, ensure, fails, gone, in_state, ok, published_exit};

type Outcome = Result<(), Stop>;

pub(super) async fn an_id_is_used_once_in_any_case(session: &Session<'_>) -> Outcome {
    let id = session.id();
    let first = session.create(&id, &session.machine()).await?;
    let document = session.machine().to_json();
    for twin in [id.clone(), id.to_uppercase()] {
        let second = session.service.create(&twin, &document).await;
        let second = second.map(|system| session.track(system));
        fails(
            "a second system of the same id",
            HResult::SYSTEM_ALREADY_EXISTS,
            second,
        )?;
    }
    ok("start of the first one", first.start().await)
}

pub(super) async fn an_unknown_id_cannot_be_opened(session: &Session<'_>) -> Outcome {
    fails(
        "open",
        HResult::SYSTEM_NOT_FOUND,
        session.service.open(&session.id()).await,
    )
}

pub(super) async fn two_handles_are_one_system(session: &Session<'_>) -> Outcome {
    let first = session.created().await?;
    let second = session.open(&first.id().to_uppercase()).await?;
    ensure!(
        second.runtime_id() == first.runtime_id(),
        "the handles have two runtime ids"
    );
    let mut events = first.events();
    ok("start", second.start().await)?;
    in_state("the first handle sees", SystemState::Running, &*first).await?;
    ok("terminate", second.terminate().await)?;
    published_exit(&mut events).map(drop)
}

pub(super) async fn an_id_is_free_again_after_the_exit(session: &Session<'_>) -> Outcome {
    let id = session.id();
    let first = session.create(&id, &session.machine()).await?;
    ok("start", first.start().await)?;
    ok("terminate", first.terminate().await)?;
    first.close().await;
    gone(&*session.service, &id).await?;
    let second = session.create(&id, &session.machine()).await?;
    ensure!(
        second.runtime_id() != first.runtime_id(),
        "the new system has the old runtime id"
    );
    ok("start of the new one", second.start().await)
}

pub(super) async fn enumeration_filters_by_owner_id_and_type(session: &Session<'_>) -> Outcome {
    let mine = session.created().await?;
    let stranger = hcs::ComputeSystem {
        owner: "somebody else".to_owned(),
        ..session.machine()
    };
    let other = session.create(&session.id(), &stranger).await?;
    let all = listed(session, "").await?;
    for id in [mine.id(), other.id()] {
        ensure!(
            all.iter().any(|entry| entry == id),
            "{id} is missing among all: {all:?}"
        );
    }
    let owned = listed(session, &SystemQuery::owned_by(session.owner()).to_json()).await?;
    ensure!(
        owned == [mine.id()],
        "of this owner are {owned:?} and not {}",
        mine.id()
    );
    let by_id = SystemQuery {
        ids: vec![other.id().to_uppercase()],
        ..Default::default()
    };
    let found = listed(session, &by_id.to_json()).await?;
    ensure!(
        found == [other.id()],
        "of this id are {found:?} and not {}",
        other.id()
    );
    let others = match session.harness.kind() {
        SystemType::Container => SystemType::VirtualMachine,
        _ => SystemType::Container,
    };
    let of_others = SystemQuery {
        types: vec![others],
        ..by_id
    };
    let found = listed(session, &of_others.to_json()).await?;
    ensure!(found.is_empty(), "among systems of another type is {found:?}");
    fails("a query with an unknown field", HResult::INVALID_JSON, {
        session.service.enumerate(r#"{"Colours":["red"]}"#).await
    })
}

/// The ids that a query finds, sorted.
async fn listed(session: &Session<'_>, query: &str) -> Result<Vec<String>, Stop> {
    let text = ok("enumerate", session.service.enumerate(query).await)?;
    let entries: Vec<Properties> = serde_json::from_str(&text)
        .map_err(|error| Stop::Violated(format!("the enumeration is no list of properties: {error}")))?;
    let mut ids: Vec<String> = entries.into_iter().map(|entry| entry.id).collect();
    ids.sort();
    Ok(ids)
}
