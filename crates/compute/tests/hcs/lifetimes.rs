//! Calls that are given up, stuck or overtaken, and handles that are dropped.

use std::time::Duration;

use compute::hcs::HcsService;
use compute::{ComputeService, ComputeSystem, SystemEvent, wait_for_exit};
use hcs::{Document, HResult, SystemState};

use crate::host::{Host, code, container, end, id, machine, spawn, started};

async fn state(system: &dyn ComputeSystem) -> Option<SystemState> {
    let text = system.properties("").await.unwrap();
    hcs::Properties::from_json(&text).unwrap().state
}

/// Opens a system that somebody is just creating.
async fn opened(service: &HcsService, id: &str) -> std::sync::Arc<dyn ComputeSystem> {
    loop {
        match service.open(id).await {
            Ok(system) => return system,
            Err(error) => assert!(error.is_not_found(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_creation_that_nobody_waits_for_leaves_nothing() {
    let host = Host::new().await;
    let id = id();
    let document = machine("HcsCreateComputeSystem=hang").to_json();
    {
        let mut creation = std::pin::pin!(host.service.create(&id, &document));
        tokio::select! {
            biased;
            created = &mut creation => panic!("{:?}", code(created)),
            other = opened(&host.service, &id) => end(other).await,
        }
    }
    // What the creation made is there no more: not even for a moment does the double hold it when the test is over.
    host.finish().await;
}

#[tokio::test]
async fn a_creation_that_comes_too_late_is_undone() {
    let host = Host::new().await;
    let id = id();
    let document = container("HcsCreateComputeSystem=hang").to_json();
    assert_eq!(
        code(host.hasty.create(&id, &document).await),
        HResult::OPERATION_TIMEOUT
    );
    end(host.service.open(&id).await.unwrap()).await;
    host.finish().await;
}

#[tokio::test]
async fn a_stuck_start_holds_up_nobody_and_can_be_terminated() {
    let host = Host::new().await;
    let stuck = host
        .hasty
        .create(&id(), &machine("HcsStartComputeSystem=hang").to_json())
        .await
        .unwrap();
    let mut events = stuck.events();
    let (started, other) = tokio::join!(stuck.start(), host.container(""));
    assert_eq!(code(started), HResult::OPERATION_TIMEOUT);
    assert_eq!(state(&*other).await, Some(SystemState::Running));
    stuck.terminate().await.unwrap();
    assert!(matches!(events.try_recv(), Ok(SystemEvent::Exited(_))));
    end(other).await;
    stuck.close().await;
    host.finish().await;
}

#[tokio::test]
async fn many_calls_that_never_return_hold_up_nobody() {
    let host = Host::new().await;
    let stuck = started(&host.hasty, "HcsModifyComputeSystem=block").await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let stuck = std::sync::Arc::clone(&stuck);
        calls.spawn(async move { code(stuck.modify("{}").await) });
    }
    let other = host.container("").await;
    end(other).await;
    for answer in calls.join_all().await {
        assert_eq!(answer, HResult::OPERATION_TIMEOUT);
    }
    end(stuck).await;
    host.finish().await;
}

#[tokio::test]
async fn a_close_waits_for_no_call_and_ends_none() {
    let host = Host::new().await;
    let system = started(&host.hasty, "HcsModifyComputeSystem=hang").await;
    let other = host.service.open(system.id()).await.unwrap();
    assert_eq!(code(system.modify("{}").await), HResult::OPERATION_TIMEOUT);
    // The double takes down a handle that is closed while a request of it is under way.
    system.close().await;
    assert_eq!(code(system.modify("{}").await), HResult::E_HANDLE);
    end(other).await;
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_are_closed_while_the_exit_is_told() {
    let host = Host::new().await;
    for _ in 0..20 {
        let system = host.container("").await;
        let other = host.service.open(system.id()).await.unwrap();
        let (process, stdio) = spawn(&*system, "sleep").await;
        let exit = async {
            let exited = process.exited().await;
            drop(process);
            exited
        };
        let (terminated, (), exited) = tokio::join!(other.terminate(), system.close(), exit);
        terminated.unwrap();
        assert_ne!(exited.unwrap().code, 0);
        drop(stdio);
        other.close().await;
    }
    host.finish().await;
}

#[tokio::test]
async fn a_dropped_handle_is_closed() {
    let host = Host::new().await;
    let document = hcs::ComputeSystem {
        should_terminate_on_last_handle_closed: true,
        ..container("")
    };
    let system = host.service.create(&id(), &document.to_json()).await.unwrap();
    system.start().await.unwrap();
    let (process, stdio) = spawn(&*system, "sleep").await;
    drop((process, stdio, system));
    host.finish().await;
}

#[tokio::test]
async fn a_lost_service_is_no_exit_and_systems_are_opened_again() {
    let host = Host::new().await;
    let system = host.container("HcsModifyComputeSystem=disconnect").await;
    let (process, _stdio) = spawn(&*system, "sleep").await;
    let mut events = system.events();
    let (lost, waited, exited) = tokio::join!(system.modify("{}"), wait_for_exit(&*system), process.exited());
    for answer in [code(lost), code(waited), code(exited)] {
        assert_eq!(answer, HResult::SERVICE_DISCONNECT);
    }
    assert_eq!(events.recv().await.unwrap(), SystemEvent::ServiceDisconnected);
    assert_eq!(code(system.properties("").await), HResult::SERVICE_DISCONNECT);
    system.close().await;

    let again = host.service.open(system.id()).await.unwrap();
    assert_eq!(again.runtime_id(), system.runtime_id());
    assert_eq!(state(&*again).await, Some(SystemState::Running));
    let found = again.open_process(process.pid()).await.unwrap();
    found.terminate().await.unwrap();
    assert_ne!(found.exited().await.unwrap().code, 0);
    drop((found, process));
    end(again).await;
    host.finish().await;
}

#[tokio::test]
async fn another_program_finds_the_systems_of_an_owner() {
    let host = Host::new().await;
    let system = host.container("").await;
    let (process, _stdio) = spawn(&*system, "sleep").await;
    // As after a restart of the daemon: nothing is known but the owner.
    let restarted = HcsService::load().unwrap();
    let list = restarted.enumerate(r#"{"Owners":["test; "]}"#).await.unwrap();
    let list: Vec<hcs::Properties> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), 1);
    let again = restarted.open(&list[0].id).await.unwrap();
    let found = again.open_process(process.pid()).await.unwrap();
    again.terminate().await.unwrap();
    assert!(
        matches!(wait_for_exit(&*system).await, Ok(status) if status.exit_type == Some(hcs::ExitType::ForcedExit))
    );
    for handle in [&found, &process] {
        assert_ne!(handle.exited().await.unwrap().code, 0);
    }
    drop((found, process));
    again.close().await;
    system.close().await;
    host.finish().await;
}
