//! Guests that send too much, too little, or not what they announced: the harm stays on their own bridge.

use std::time::Duration;

use gcs::GcsError;
use gcs::error::CloseReason;
use gcs::host::{Bridge, Config};
use gcs::message::MessageType;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::kit::{answer, misbehave, negotiated, read_frame, write_frame};

const LARGEST: usize = 0x1_0000;

/// A call on a bridge is answered.
async fn works(bridge: &Bridge, guest: &mut DuplexStream) {
    let calling = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.start("c1").await }
    });
    let (_, id, _) = read_frame(guest).await;
    answer(guest, MessageType::Start, id, &json!({"Result": 0})).await;
    calling.await.unwrap().unwrap();
}

/// The header of a frame.
fn header(number: u32, size: u32, id: u64) -> Vec<u8> {
    [&number.to_le_bytes()[..], &size.to_le_bytes(), &id.to_le_bytes()].concat()
}

fn refused(reason: &CloseReason) -> &str {
    match reason {
        CloseReason::Protocol(text) => text,
        other => panic!("{other}"),
    }
}

/// An answer to a wait, filled up to a size.
fn filled(size: usize) -> Vec<u8> {
    let mut payload = br#"{"Result":0,"ExitCode":3,"Filler":""#.to_vec();
    payload.resize(size - 16 - 2, b'x');
    payload.extend(b"\"}");
    payload
}

#[tokio::test]
async fn the_largest_frame_is_taken_and_one_byte_more_is_not() {
    let (bridge, mut guest) = negotiated().await;
    let waiting = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.wait("c1", 3).await }
    });
    let (_, id, _) = read_frame(&mut guest).await;
    let wait = MessageType::WaitForProcess.response();
    write_frame(&mut guest, wait, id, &filled(LARGEST)).await;
    assert_eq!(waiting.await.unwrap().unwrap(), 3);
    for size in [0, 15, 0x1_0001, u32::MAX] {
        let reason = misbehave(async |guest| guest.write_all(&header(wait, size, 1)).await.unwrap()).await;
        assert_eq!(
            refused(&reason),
            format!("frame of {size} bytes, expected 16 to 65536")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_never_comes_whole_costs_its_call_and_no_other_machine() {
    let (bridge, mut guest) = negotiated().await;
    let (other, mut other_guest) = negotiated().await;
    let calling = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.start("c1").await }
    });
    let (_, id, _) = read_frame(&mut guest).await;
    let mut begun = header(MessageType::Start.response(), 0x1_0000, id);
    begun.extend(b"{\"Result\":");
    guest.write_all(&begun).await.unwrap();
    works(&other, &mut other_guest).await;
    let error = calling.await.unwrap().unwrap_err();
    assert!(matches!(error, GcsError::Timeout { .. }), "{error}");
    // Whatever comes now belongs to that frame.
    drop(guest);
    assert!(refused(&bridge.closed().await).starts_with("stream ended inside a frame"));
    works(&other, &mut other_guest).await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_read_costs_its_own_calls() {
    // Room for the negotiation and a few calls.
    let (host, mut guest) = tokio::io::duplex(512);
    let connecting = tokio::spawn(Bridge::connect(Box::new(host), Config::default()));
    let (_, id, _) = read_frame(&mut guest).await;
    let agreed = json!({"Result": 0, "Version": 4, "Capabilities": {}});
    answer(&mut guest, MessageType::NegotiateProtocol, id, &agreed).await;
    let bridge = connecting.await.unwrap().unwrap();
    let (other, mut other_guest) = negotiated().await;
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let bridge = bridge.clone();
            tokio::spawn(async move { bridge.start("c1").await })
        })
        .collect();
    works(&other, &mut other_guest).await;
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(
            matches!(error, GcsError::Timeout { after, .. } if after == Duration::from_secs(60)),
            "{error}"
        );
    }
    works(&other, &mut other_guest).await;
}

#[tokio::test]
async fn a_flood_of_answers_ends_with_the_first_that_nobody_asked_for() {
    let reason = misbehave(async |guest| {
        let payload = json!({"Result": 0}).to_string();
        let mut flood = Vec::new();
        for id in 2..20_000_u64 {
            let size = u32::try_from(16 + payload.len()).unwrap();
            flood.extend(header(MessageType::Start.response(), size, id));
            flood.extend(payload.bytes());
        }
        // The host stops reading: it may not be possible to write everything.
        let _ = guest.write_all(&flood).await;
    })
    .await;
    assert_eq!(
        refused(&reason),
        "answer 0x20100201 to call 2, which is not pending"
    );
}

#[tokio::test]
async fn a_container_ends_once() {
    let (bridge, mut guest) = negotiated().await;
    let creating = tokio::spawn({
        let bridge = bridge.clone();
        async move {
            bridge
                .create("c1", &gcs::message::ContainerConfig::default())
                .await
        }
    });
    let (_, id, _) = read_frame(&mut guest).await;
    answer(&mut guest, MessageType::Create, id, &json!({"Result": 0})).await;
    creating.await.unwrap().unwrap();
    let mut notifications = bridge.notifications();
    let exit = json!({"ContainerId": "c1", "Type": "UnexpectedExit", "Operation": "None", "Result": 0});
    for _ in 0..2 {
        let exit = exit.to_string();
        write_frame(&mut guest, MessageType::NOTIFICATION, 0, exit.as_bytes()).await;
    }
    assert_eq!(notifications.recv().await.unwrap().container_id, "c1");
    assert_eq!(
        refused(&bridge.closed().await),
        "notification for container c1, which does not live"
    );
}

#[tokio::test]
async fn an_endless_error_is_cut_and_endless_nesting_is_refused() {
    let (bridge, mut guest) = negotiated().await;
    let calling = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.start("c1").await }
    });
    let (_, id, _) = read_frame(&mut guest).await;
    let text = "\u{1b}]0;".repeat(10_000);
    let failed = json!({"Result": -5, "ErrorMessage": text.get(..40_000)});
    answer(&mut guest, MessageType::Start, id, &failed).await;
    let message = calling.await.unwrap().unwrap_err().to_string();
    assert!(message.len() < 40_000 && !message.contains('\u{1b}'), "{message}");

    let nested = [vec![b'['; 60_000], br#"{"Result":0}"#.to_vec()].concat();
    let wait = MessageType::WaitForProcess.response();
    let reason = misbehave(async |guest| write_frame(guest, wait, 1, &nested).await).await;
    assert!(refused(&reason).contains("cannot be read"), "{reason}");
    let inside = json!({"Result": 0, "ExitCode": 3, "Properties": Value::Null}).to_string();
    let inside = inside.replace("null", &format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)));
    let reason = misbehave(async |guest| write_frame(guest, wait, 1, inside.as_bytes()).await).await;
    assert!(refused(&reason).contains("cannot be read"), "{reason}");
}
