//! Host bridge and guest server against each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gcs::error::CloseReason;
use gcs::message::{
    ContainerConfig, ModifyRequest, NotificationKind, ProcessParameters, PropertyQuery, Resource,
    SchemaVersion, ScsiDevice, StdioPorts,
};
use gcs::{GcsError, NULL_ID, hresult};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::kit::{Script, connected};

fn config(spec: Value) -> ContainerConfig {
    ContainerConfig {
        schema_version: SchemaVersion::V2_1,
        oci_specification: spec,
        ..Default::default()
    }
}

fn remote(error: &GcsError) -> (i32, &str) {
    let GcsError::Remote { hresult, message, .. } = error else {
        panic!("not an answer: {error}")
    };
    (*hresult, message)
}

#[tokio::test]
async fn a_container_runs_and_its_exit_is_announced_after_the_wait() {
    let agent = Script::new();
    let (bridge, _stop) = connected(Arc::clone(&agent)).await;
    let mut notifications = bridge.notifications();
    bridge.create("c1", &config(json!({}))).await.unwrap();
    bridge.start("c1").await.unwrap();
    let ports = StdioPorts {
        stdout: Some(12),
        ..Default::default()
    };
    let pid = bridge
        .execute("c1", &ProcessParameters::default(), ports)
        .await
        .unwrap();
    assert_eq!(pid, 12);
    let waiting = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.wait("c1", 12).await }
    });
    // Other calls go through while the wait is parked.
    assert_eq!(
        bridge
            .properties("c1", &PropertyQuery::statistics())
            .await
            .unwrap(),
        json!({"asked": ["Statistics"]})
    );
    assert!(notifications.try_recv().is_err());
    bridge.signal("c1", 12, Some(15)).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 143);
    let notification = notifications.recv().await.unwrap();
    assert_eq!(
        (notification.container_id.as_str(), notification.kind),
        ("c1", NotificationKind::UnexpectedExit)
    );
}

#[tokio::test]
async fn an_exit_code_above_the_signed_range_is_minus_one() {
    let agent = Script::new();
    agent.exit(5, u32::MAX);
    agent.announced.store(1, Ordering::SeqCst);
    let (bridge, _stop) = connected(agent).await;
    assert_eq!(bridge.wait(NULL_ID, 5).await.unwrap(), -1);
}

#[tokio::test]
async fn failures_keep_their_code_and_their_text_cannot_reach_a_terminal_raw() {
    let (bridge, _stop) = connected(Script::new()).await;
    let error = bridge.create("c1", &config(json!("bad"))).await.unwrap_err();
    assert_eq!(
        remote(&error),
        (hresult::INVALID_ARGUMENT, "c1\\u{1b}[31m is bad")
    );
    assert_eq!(
        error.to_string(),
        "guest: Create failed with 0x80070057: c1\\u{1b}[31m is bad"
    );
    let error = bridge.wait("c1", 99).await.unwrap_err();
    assert_eq!(remote(&error).0, hresult::NOT_FOUND);
    let error = bridge.resize("c1", 99, 1, 1).await.unwrap_err();
    assert_eq!(
        remote(&error),
        (hresult::FAIL, "pid: 99, is not a tty and cannot be resized")
    );
}

#[tokio::test]
async fn an_old_schema_is_refused() {
    let (bridge, _stop) = connected(Script::new()).await;
    let old = ContainerConfig {
        schema_version: SchemaVersion { major: 2, minor: 0 },
        ..Default::default()
    };
    assert_eq!(
        remote(&bridge.create("c1", &old).await.unwrap_err()).0,
        hresult::INVALID_JSON
    );
}

#[tokio::test]
async fn a_container_under_creation_takes_no_other_message() {
    let agent = Arc::new(Script {
        creates: Semaphore::new(0),
        ..Arc::into_inner(Script::new()).unwrap()
    });
    let (bridge, _stop) = connected(Arc::clone(&agent)).await;
    let creating = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.create("c1", &config(json!({}))).await }
    });
    // Another container's create cannot overtake the first: both are in flight when this answers.
    let modify = ModifyRequest::remove(Resource::ScsiDevice(ScsiDevice::default()));
    bridge.modify(NULL_ID, &modify).await.unwrap();
    assert_eq!(
        remote(&bridge.start("c1").await.unwrap_err()).0,
        hresult::INVALID_STATE
    );
    let again = bridge.create("c1", &config(json!({}))).await.unwrap_err();
    assert_eq!(remote(&again).0, hresult::SYSTEM_ALREADY_EXISTS);
    agent.creates.add_permits(1);
    creating.await.unwrap().unwrap();
    bridge.start("c1").await.unwrap();
}

#[tokio::test]
async fn answers_stay_within_the_host_limit() {
    let (bridge, _stop) = connected(Script::new()).await;
    let huge = PropertyQuery {
        property_types: vec!["Huge".to_owned()],
    };
    let error = bridge.properties("c1", &huge).await.unwrap_err();
    assert_eq!(
        remote(&error),
        (hresult::FAIL, "answer of 100084 bytes is too large")
    );
    assert_eq!(bridge.dump_stacks().await.unwrap().len(), 24 << 10);
}

#[tokio::test]
async fn unknown_resources_and_messages_are_refused() {
    let (bridge, _stop) = connected(Script::new()).await;
    let unknown = Resource::Unknown {
        resource_type: "Teapot".to_owned(),
        settings: json!({"Cups": 2}),
    };
    let error = bridge
        .modify(NULL_ID, &ModifyRequest::add(unknown))
        .await
        .unwrap_err();
    assert_eq!(
        remote(&error),
        (hresult::FAIL, "unknown resource type \"Teapot\"")
    );
}

#[tokio::test]
async fn a_wait_that_was_dropped_does_not_disturb_the_bridge() {
    let agent = Script::new();
    let (bridge, _stop) = connected(Arc::clone(&agent)).await;
    agent.exits.lock().unwrap().entry(4).or_default();
    let mut dropped = Box::pin(bridge.wait("c1", 4));
    assert!(futures_util::poll!(dropped.as_mut()).is_pending());
    bridge.start("c1").await.unwrap();
    drop(dropped);
    agent.announced.store(1, Ordering::SeqCst);
    agent.exit(4, 0);
    assert_eq!(bridge.wait("c1", 4).await.unwrap(), 0);
}

#[tokio::test]
async fn a_guest_that_closes_fails_every_call_with_the_reason() {
    let agent = Script::new();
    let (bridge, stop) = connected(Arc::clone(&agent)).await;
    agent.exits.lock().unwrap().entry(4).or_default();
    let waiting = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.wait("c1", 4).await }
    });
    bridge.start("c1").await.unwrap();
    stop.cancel();
    assert_eq!(bridge.closed().await, CloseReason::Peer);
    assert!(matches!(
        waiting.await.unwrap(),
        Err(GcsError::Closed(CloseReason::Peer))
    ));
    assert!(matches!(
        bridge.start("c1").await,
        Err(GcsError::Closed(CloseReason::Peer))
    ));
}
