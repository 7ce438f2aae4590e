//! The bridge against guests that are silent, old, or do not keep to the protocol.

use std::time::Duration;

use gcs::GcsError;
use gcs::error::CloseReason;
use gcs::host::{Bridge, Config};
use gcs::message::MessageType;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::kit::{answer, misbehave, negotiated, read_frame, write_frame};

#[tokio::test(start_paused = true)]
async fn a_silent_guest_costs_a_call_its_deadline_and_a_late_answer_is_dropped() {
    let (bridge, mut guest) = negotiated().await;
    let error = bridge.start("c1").await.unwrap_err();
    assert!(
        matches!(error, GcsError::Timeout { operation: "Start", after } if after == Duration::from_secs(60)),
        "{error}"
    );
    let (_, id, _) = read_frame(&mut guest).await;
    answer(&mut guest, MessageType::Start, id, &json!({"Result": 0})).await;
    // A wait has no deadline, and the bridge still works.
    let waiting = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.wait("c1", 3).await }
    });
    let (_, id, _) = read_frame(&mut guest).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    answer(
        &mut guest,
        MessageType::WaitForProcess,
        id,
        &json!({"Result": 0, "ExitCode": 3}),
    )
    .await;
    assert_eq!(waiting.await.unwrap().unwrap(), 3);
}

fn protocol(reason: &CloseReason) -> &str {
    let CloseReason::Protocol(text) = reason else {
        panic!("{reason}")
    };
    text
}

#[tokio::test]
async fn guests_that_break_the_protocol_lose_the_bridge() {
    let wait = MessageType::WaitForProcess;
    let reason = misbehave(async |guest| answer(guest, wait, 9, &json!({"Result": 0})).await).await;
    assert_eq!(
        protocol(&reason),
        "answer 0x20100601 to call 9, which is not pending"
    );
    let reason =
        misbehave(async |guest| answer(guest, MessageType::Start, 1, &json!({"Result": 0})).await).await;
    assert_eq!(
        protocol(&reason),
        "answer 0x20100201 to call 1, which is WaitForProcess"
    );
    let reason = misbehave(async |guest| write_frame(guest, wait.response(), 1, b"[]").await).await;
    assert!(protocol(&reason).contains("cannot be read"), "{reason}");
    let reason =
        misbehave(async |guest| answer(guest, wait, 1, &json!({"Result": 0, "ExitCode": -1})).await).await;
    assert!(protocol(&reason).contains("cannot be read"), "{reason}");
    let reason =
        misbehave(async |guest| answer(guest, wait, 1, &json!({"Result": 2_147_942_487_u32})).await).await;
    assert!(protocol(&reason).contains("cannot be read"), "{reason}");
    let reason = misbehave(async |guest| guest.write_all(&[0xff; 16]).await.unwrap()).await;
    assert_eq!(
        protocol(&reason),
        "frame of 4294967295 bytes, expected 16 to 65536"
    );
    let notification =
        json!({"ContainerId": "other", "Type": "UnexpectedExit", "Operation": "None", "Result": 0});
    let (notification, number) = (notification.to_string(), MessageType::NOTIFICATION);
    let reason = misbehave(async |guest| write_frame(guest, number, 0, notification.as_bytes()).await).await;
    assert_eq!(
        protocol(&reason),
        "notification for container other, which does not live"
    );
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_told_from_a_close() {
    let reason = misbehave(async |guest| {
        guest
            .write_all(&[0x01, 0x06, 0x10, 0x20, 0x40, 0, 0, 0])
            .await
            .unwrap();
        guest.shutdown().await.unwrap();
    })
    .await;
    assert!(
        protocol(&reason).starts_with("stream ended inside a frame"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_guest_with_another_version_is_not_used() {
    let (host, mut guest) = tokio::io::duplex(1 << 20);
    let connecting = tokio::spawn(Bridge::connect(Box::new(host), Config::default()));
    let (_, id, request) = read_frame(&mut guest).await;
    assert_eq!(request["MaximumVersion"], 4);
    answer(
        &mut guest,
        MessageType::NegotiateProtocol,
        id,
        &json!({"Result": 0, "Version": 5}),
    )
    .await;
    assert!(matches!(
        connecting.await.unwrap(),
        Err(GcsError::Version { version: 5 })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_of_a_guest_break_the_bridge(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let reason = misbehave(async |guest| {
                guest.write_all(&bytes).await.unwrap();
                guest.shutdown().await.unwrap();
            })
            .await;
            assert_ne!(reason, CloseReason::Local);
        });
    }

    #[test]
    fn changed_answers_are_taken_or_close_the_bridge(
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (bridge, mut guest) = negotiated().await;
            let waiting = tokio::spawn({
                let bridge = bridge.clone();
                async move { bridge.wait("c1", 3).await }
            });
            let (_, id, _) = read_frame(&mut guest).await;
            let mut payload = json!({
                "Result": -5, "ActivityId": "0f0e0d0c-1111-4222-8333-444455556666", "ErrorMessage": "no\u{1b}[2J",
                "ErrorRecords": [{"Result": -5, "Message": "no", "ModuleName": "gcs", "Line": 1}], "ExitCode": 3,
            })
            .to_string()
            .into_bytes();
            for (at, byte) in changes {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            write_frame(&mut guest, MessageType::WaitForProcess.response(), id, &payload).await;
            guest.shutdown().await.unwrap();
            // Either the answer is believed or the bridge says what is wrong with it.
            if let Err(error) = waiting.await.unwrap() {
                let text = error.to_string();
                assert!(!text.is_empty() && !text.contains('\u{1b}'), "{text}");
            }
            assert_ne!(bridge.closed().await, CloseReason::Local);
        });
    }
}
