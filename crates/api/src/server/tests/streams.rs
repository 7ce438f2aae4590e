//! Byte streams: opened by a token, carrying frames, ended by whoever breaks the rules or leaves.

use super::*;

async fn ticket(raw: &mut Raw) -> String {
    let reply = raw
        .call(r#"{"id":1,"method":"ctr.v1.Containers/Attach","params":{"container":"x"}}"#)
        .await;
    reply["result"]["token"].as_str().unwrap().to_owned()
}

async fn open(house: &House, token: &str) -> (Raw, Value) {
    let mut raw = Raw::new(house).await;
    let reply = raw
        .call(&format!(
            r#"{{"id":5,"method":"ctr.v1.Streams/Open","params":{{"token":"{token}"}}}}"#
        ))
        .await;
    (raw, reply)
}

#[tokio::test]
async fn byte_stream_carries_frames_both_ways() {
    let mut house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let token = ticket(&mut raw).await;
    let (mut stream, reply) = open(&house, &token).await;
    assert_eq!(reply, json!({"id": 5, "result": {}}));
    stream.send(b"\0\x02\0\0\0hi\0\0\0\0\0").await;
    let mut bytes = Vec::new();
    stream.reader.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(
        bytes,
        b"\x01\x02\0\0\0HI\x02\x02\0\0\0hi\x03\x10\0\0\0{\"result\":\"bye\"}"
    );
    assert_eq!(house.dropped.recv().await, Some("attach"));
    let (mut again, reply) = open(&house, &token).await;
    assert_eq!(reply["error"]["code"], "PERMISSION_DENIED");
    assert!(again.closed().await);
}

#[tokio::test(start_paused = true)]
async fn byte_stream_that_is_never_opened_is_dropped() {
    let mut house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let token = ticket(&mut raw).await;
    assert_eq!(house.dropped.recv().await, Some("attach"));
    assert_eq!(open(&house, &token).await.1["error"]["code"], "PERMISSION_DENIED");
}

#[tokio::test]
async fn frames_that_break_the_rules_end_their_stream_with_the_reason() {
    for (bytes, code) in [
        (&b"\0\xff\xff\xff\xff"[..], "RESOURCE_EXHAUSTED"),
        (b"\x07\x01\0\0\0x", "INVALID_ARGUMENT"),
        (b"\x03\x02\0\0\0{}", "INVALID_ARGUMENT"),
    ] {
        let mut house = house(Limits::default());
        let mut raw = Raw::new(&house).await;
        let token = ticket(&mut raw).await;
        let (mut stream, _) = open(&house, &token).await;
        stream.send(bytes).await;
        let mut answer = Vec::new();
        stream.reader.read_to_end(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer).contains(code), "{answer:?}");
        assert_eq!(house.dropped.recv().await, Some("attach"));
    }
}

#[tokio::test]
async fn byte_stream_ends_when_its_client_vanishes() {
    let mut house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let token = ticket(&mut raw).await;
    let (stream, _) = open(&house, &token).await;
    drop(stream);
    assert_eq!(house.dropped.recv().await, Some("attach"));
}
