//! Strictness of documents.

use hcs::{Document, HResult, SystemState};
use serde_json::json;

use super::session::{Session, Stop, ensure, fails, in_state};
use crate::ComputeError;

type Outcome = Result<(), Stop>;

/// Checks that a document was rejected and the result document names the field.
fn rejected<T>(what: &str, field: &str, result: Result<T, ComputeError>) -> Outcome {
    let Err(error) = result else {
        return Err(Stop::Violated(format!("{what} was accepted")));
    };
    let named = error.result().is_some_and(|result| {
        result.error.is(HResult::INVALID_JSON)
            && result
                .error_events
                .iter()
                .any(|event| event.message.contains(field))
    });
    ensure!(
        named,
        "the result document of {what} does not name {field}: {:?}",
        error.document
    );
    fails(what, HResult::INVALID_JSON, Err::<T, _>(error))
}

pub(super) async fn an_unknown_field_is_named_in_the_result(session: &Session<'_>) -> Outcome {
    let id = session.id();
    for pointer in [
        "",
        "/VirtualMachine",
        "/VirtualMachine/Devices",
        "/VirtualMachine/ComputeTopology/Memory",
        "/Container",
        "/Container/Storage",
    ] {
        let mut document = session.machine().to_value();
        let Some(place) = document.pointer_mut(pointer) else {
            continue;
        };
        place["Colour"] = json!("red");
        let created = session.service.create(&id, &document.to_string()).await;
        let created = created.map(|system| session.track(system));
        rejected(
            &format!("a document with an unknown field in {pointer:?}"),
            "Colour",
            created,
        )?;
    }
    fails(
        "open of the rejected system",
        HResult::SYSTEM_NOT_FOUND,
        session.service.open(&id).await,
    )
}

pub(super) async fn a_malformed_document_leaves_nothing_behind(session: &Session<'_>) -> Outcome {
    let id = session.id();
    let wrong_type = json!({ "VirtualMachine": { "StopOnReset": "yes" } }).to_string();
    for document in ["", "{", "[]", "null", &wrong_type] {
        let created = session
            .service
            .create(&id, document)
            .await
            .map(|system| session.track(system));
        fails(&format!("create of {document:?}"), HResult::INVALID_JSON, created)?;
    }
    // The id was not taken by any of them.
    session.create(&id, &session.machine()).await.map(drop)
}

pub(super) async fn an_ambiguous_document_is_rejected(session: &Session<'_>) -> Outcome {
    let both = hcs::ComputeSystem {
        virtual_machine: Some(Box::default()),
        container: Some(hcs::Container::default()),
        ..session.machine()
    };
    let neither = hcs::ComputeSystem {
        virtual_machine: None,
        container: None,
        ..session.machine()
    };
    for (what, document) in [
        ("a machine that is a container too", both),
        ("a system of no kind", neither),
    ] {
        let created = session.service.create(&session.id(), &document.to_json()).await;
        fails(
            what,
            HResult::INVALID_JSON,
            created.map(|system| session.track(system)),
        )?;
    }
    Ok(())
}

pub(super) async fn an_unknown_field_of_a_change_is_named_in_the_result(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    let add = session.harness.change(0).add;
    let mut outside = add.to_value();
    outside["Colour"] = json!("red");
    rejected(
        "a change with an unknown field",
        "Colour",
        system.modify(&outside.to_string()).await,
    )?;
    let mut inside = add.to_value();
    if let Some(settings) = inside.get_mut("Settings").filter(|settings| settings.is_object()) {
        settings["Colour"] = json!("red");
        let modified = system.modify(&inside.to_string()).await;
        rejected(
            "a change with an unknown field in its settings",
            "Colour",
            modified,
        )?;
    }
    fails(
        "a change that is no JSON",
        HResult::INVALID_JSON,
        system.modify("{").await,
    )
}

pub(super) async fn an_unknown_resource_is_rejected(session: &Session<'_>) -> Outcome {
    let system = session.running().await?;
    let request =
        json!({ "ResourcePath": "VirtualMachine/Devices/Toaster", "RequestType": "Add" }).to_string();
    let refused = system.modify(&request).await;
    ensure!(
        refused.is_err(),
        "a change of a resource that does not exist was accepted"
    );
    in_state("it made the state", SystemState::Running, &*system).await
}

pub(super) async fn an_unknown_property_is_rejected(session: &Session<'_>) -> Outcome {
    let system = session.created().await?;
    let query = json!({ "PropertyTypes": ["Moonphase"] }).to_string();
    fails(
        "a query of an unknown property",
        HResult::INVALID_JSON,
        system.properties(&query).await,
    )?;
    let query = json!({ "Properties": [] }).to_string();
    fails(
        "a query with an unknown field",
        HResult::INVALID_JSON,
        system.properties(&query).await,
    )
}
