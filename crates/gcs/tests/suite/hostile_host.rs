//! The guest server against hosts that do not keep to the protocol.

use std::sync::LazyLock;

use gcs::hresult;
use gcs::message::MessageType;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::golden::{Recorded, recorded, travelling};
use crate::kit::{negotiate, read_frame, request, served, write_frame};

#[tokio::test]
async fn nothing_is_answered_before_the_negotiation_and_a_second_one_fails() {
    let (mut host, _serving) = served();
    write_frame(
        &mut host,
        MessageType::Start.request(),
        5,
        br#"{"ContainerId":"c1"}"#,
    )
    .await;
    let (number, id, body) = read_frame(&mut host).await;
    assert_eq!((number, id), (MessageType::Start.response(), 5));
    assert_eq!(body["Result"], hresult::NOT_SUPPORTED);
    assert_eq!(
        body["ErrorMessage"],
        "bridge: function not supported, header type: Start"
    );
    let versions = |low: u32, high: u32| json!({"MinimumVersion": low, "MaximumVersion": high}).to_string();
    let negotiate = MessageType::NegotiateProtocol.request();
    write_frame(&mut host, negotiate, 6, versions(5, 6).as_bytes()).await;
    assert_eq!(
        read_frame(&mut host).await.2["Result"],
        hresult::UNSUPPORTED_PROTOCOL
    );
    write_frame(&mut host, negotiate, 7, versions(4, 4).as_bytes()).await;
    assert_eq!(read_frame(&mut host).await.2["Version"], 4);
    write_frame(&mut host, negotiate, 8, versions(4, 4).as_bytes()).await;
    assert_eq!(read_frame(&mut host).await.2["Result"], hresult::NOT_SUPPORTED);
    write_frame(&mut host, 0x1010_ff01, 9, b"{}").await;
    let (number, _, body) = read_frame(&mut host).await;
    assert_eq!(number, 0x2010_ff01);
    assert_eq!(
        body["ErrorMessage"],
        "bridge: function not supported, header type: 269549313"
    );
}

#[tokio::test]
async fn activity_ids_are_echoed_when_they_are_guids_and_a_timeout_is_answered() {
    let (mut host, _serving) = served();
    let negotiate = MessageType::NegotiateProtocol.request();
    let activity = "0f0e0d0c-1111-4222-8333-444455556666";
    let body = json!({"ActivityId": activity, "MinimumVersion": 4, "MaximumVersion": 4});
    write_frame(&mut host, negotiate, 0, format!("{body}\n").as_bytes()).await;
    assert_eq!(read_frame(&mut host).await.2["ActivityId"], activity);
    let execute = json!({"ContainerId": "c1", "ActivityId": "", "Settings": {"ProcessParameters": ""}});
    request(&mut host, MessageType::ExecuteProcess, 1, &execute).await;
    let (_, _, body) = read_frame(&mut host).await;
    assert_eq!((&body["ProcessId"], body.get("ActivityId")), (&json!(7), None));
    let wait = json!({"ContainerId": "c1", "ProcessId": 7, "TimeoutInMs": 1});
    request(&mut host, MessageType::WaitForProcess, 2, &wait).await;
    let (_, _, body) = read_frame(&mut host).await;
    assert_eq!(body["Result"], hresult::TIMEOUT);
    assert_eq!(body["ErrorRecords"][0]["ModuleName"], "gcs");
}

#[tokio::test]
async fn documents_that_do_not_decode_are_answered() {
    let (mut host, _serving) = served();
    negotiate(&mut host).await;
    read_frame(&mut host).await;
    let bodies: [&[u8]; 4] = [b"", b"\xff\xfe", b"[]", br#"{"ProcessId":-1,"Settings":{"ProcessParameters":"{"},"ContainerConfig":"[]","Request":1,"Query":"{"}"#];
    for message in MessageType::ALL {
        for (index, body) in bodies.iter().enumerate() {
            write_frame(&mut host, message.request(), 1000 + index as u64, body).await;
            let (number, id, answer) = read_frame(&mut host).await;
            assert_eq!((number, id), (message.response(), 1000 + index as u64));
            assert!(answer["Result"].is_i64(), "{message:?}: {answer}");
        }
    }
}

static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(recorded);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_of_a_host_break_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..2048), size in 16_u32..300) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut host, serving) = served();
            negotiate(&mut host).await;
            for (index, chunk) in bytes.chunks(usize::try_from(size).unwrap()).enumerate() {
                let message = MessageType::ALL[index % MessageType::ALL.len()];
                write_frame(&mut host, message.request(), 1, chunk).await;
            }
            host.write_all(&bytes).await.unwrap();
            let (mut read, mut write) = tokio::io::split(host);
            write.shutdown().await.unwrap();
            let mut rest = Vec::new();
            read.read_to_end(&mut rest).await.unwrap();
            // Framing that is broken is an error, never a panic.
            let _ = serving.await.unwrap();
        });
    }

    #[test]
    fn changed_requests_are_answered(
        choices in proptest::collection::vec(any::<Index>(), 1..6),
        changes in proptest::collection::vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..8),
    ) {
        let mut requests: Vec<(u32, Vec<u8>)> = choices
            .iter()
            .map(|choice| {
                let recorded = &RECORDED[choice.index(RECORDED.len())];
                (recorded.number, travelling(&recorded.message).to_string().into_bytes())
            })
            .collect();
        for (request, at, byte) in changes {
            let payload = &mut requests[request.index(choices.len())].1;
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut host, serving) = served();
            negotiate(&mut host).await;
            assert_eq!(read_frame(&mut host).await.2["Version"], 4);
            for (id, (number, payload)) in requests.iter().enumerate() {
                write_frame(&mut host, *number, id as u64, payload).await;
                // A process that runs keeps its wait; the end of the connection drops it.
                if MessageType::from_request(*number) != Some(MessageType::WaitForProcess) {
                    let (_, _, answer) = read_frame(&mut host).await;
                    assert!(answer["Result"].is_i64(), "{answer}");
                    assert!(answer["Result"] == 0 || answer["ErrorMessage"].is_string(), "{answer}");
                }
            }
            drop(host);
            let _ = serving.await.unwrap();
        });
    }
}
