//! Single lines: what is answered, what is refused, and which limits they have.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[tokio::test]
async fn call_is_answered_by_its_id() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let reply = raw.call(r#"{"id":7,"method":"ctr.v1.System/Ping"}"#).await;
    assert_eq!(reply, json!({"id": 7, "result": {}}));
    let reply = raw
        .call("{\"method\":\"ctr.v1.System/Ping\",\"params\":{},\"id\":9007199254740992}\r")
        .await;
    assert_eq!(reply, json!({"id": 9_007_199_254_740_992_u64, "result": {}}));
}

#[tokio::test]
async fn stream_has_items_and_an_end() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let first = raw.call(r#"{"id":1,"method":"ctr.v1.System/Events"}"#).await;
    assert_eq!(first["item"]["action"], "start");
    assert!(raw.reply().await["item"].is_object());
    assert_eq!(raw.reply().await, json!({"id": 1, "end": {}}));
}

#[tokio::test]
async fn bad_lines_are_answered_and_the_connection_goes_on() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let deep = format!(
        r#"{{"id":1,"method":"m","params":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    for (line, id, code) in [
        ("nonsense", json!(null), "INVALID_ARGUMENT"),
        ("\u{feff}{}", json!(null), "INVALID_ARGUMENT"),
        ("{\"id\":1,\"method\":\"\0\"}", json!(null), "INVALID_ARGUMENT"),
        (
            r#"{"method":"ctr.v1.System/Ping"}"#,
            json!(null),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":null,"method":"ctr.v1.System/Ping"}"#,
            json!(null),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":-1,"method":"ctr.v1.System/Ping"}"#,
            json!(null),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":"7","method":"ctr.v1.System/Ping"}"#,
            json!(null),
            "INVALID_ARGUMENT",
        ),
        (r#"{"id":3}"#, json!(3), "INVALID_ARGUMENT"),
        (r#"{"id":4,"method":7}"#, json!(4), "INVALID_ARGUMENT"),
        (
            r#"{"id":5,"method":"ctr.v1.System/Ping","more":1}"#,
            json!(5),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":6,"method":"ctr.v1.System/Ping","params":{"more":1}}"#,
            json!(6),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":6,"method":"ctr.v1.System/Ping","params":[]}"#,
            json!(6),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":6,"method":"ctr.v1.Containers/Wait","params":{"container":"x","condition":"soon"}}"#,
            json!(6),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":6,"method":"ctr.v1.Containers/Create","params":{"image":"a","image":"b"}}"#,
            json!(6),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":8,"method":"ctr.v1.System/Nope"}"#,
            json!(8),
            "UNIMPLEMENTED",
        ),
        (r#"{"id":8,"method":"Ping"}"#, json!(8), "UNIMPLEMENTED"),
        (
            r#"{"id":8,"method":"ctr.v1.Images/List"}"#,
            json!(8),
            "UNIMPLEMENTED",
        ),
        (
            r#"{"id":9,"method":"ctr.v1.System/Ping","deadline_ms":-1}"#,
            json!(9),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":9,"method":"ctr.v1.System/Ping","deadline_ms":1.5}"#,
            json!(9),
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"id":9,"method":"ctr.v1.Streams/Open","params":{"token":""}}"#,
            json!(9),
            "FAILED_PRECONDITION",
        ),
        (&deep, json!(null), "INVALID_ARGUMENT"),
    ] {
        let reply = raw.call(line).await;
        assert_eq!(
            (&reply["id"], &reply["error"]["code"]),
            (&id, &json!(code)),
            "{line:.100} {reply}"
        );
    }
    raw.send([0xff, 0xfe, b'\n']).await;
    assert_eq!(raw.reply().await["error"]["code"], "INVALID_ARGUMENT");
    assert_eq!(
        raw.call("\n\n{\"id\":1,\"method\":\"ctr.v1.System/Ping\"}").await["id"],
        1
    );
}

#[tokio::test]
async fn line_over_the_limit_is_refused_and_ends_the_connection() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.assert_answers(1).await;
    let flood = vec![b'x'; 5 << 20];
    let Raw { reader, mut writer } = raw;
    let flooding = tokio::spawn(async move {
        let _ = writer.write_all(&flood).await;
        writer
    });
    let mut raw = Raw {
        reader,
        writer: tokio::io::split(house.connector.connect().await.unwrap().io).1,
    };
    assert_eq!(raw.reply().await["error"]["code"], "RESOURCE_EXHAUSTED");
    assert!(raw.closed().await);
    let _ = flooding.await;
    let mut other = Raw::new(&house).await;
    other.assert_answers(1).await;
}

#[tokio::test]
async fn answer_over_the_limit_becomes_an_error() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let reply = raw
        .call(r#"{"id":1,"method":"ctr.v1.Containers/List","params":{"limit":5000000}}"#)
        .await;
    assert_eq!(reply["error"]["code"], "RESOURCE_EXHAUSTED");
}

#[tokio::test]
async fn versions_that_do_not_meet_are_refused_with_the_older_side_named() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let newer = raw
        .call(r#"{"id":1,"method":"ctr.v1.System/Version","params":{"api":{"min":5,"max":6}}}"#)
        .await;
    assert_eq!(
        newer["error"]["message"],
        "the client speaks API versions 5 to 6, the daemon 1 to 1"
    );
    assert_eq!(newer["error"]["hints"], json!(["update the daemon"]));
    let older = raw
        .call(r#"{"id":1,"method":"ctr.v1.System/Version","params":{"api":{"min":0,"max":0}}}"#)
        .await;
    assert_eq!(older["error"]["hints"], json!(["update the client"]));
    let plain = raw.call(r#"{"id":1,"method":"ctr.v1.System/Version"}"#).await;
    assert_eq!(plain["result"]["version"], "1.2.3");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_of_a_client_break_the_server(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..12),
        cut in any::<Index>(),
    ) {
        let mut bytes = concat!(
            r#"{"id":1,"method":"ctr.v1.System/Version","params":{"api":{"min":1,"max":1}}}"#, "\n",
            r#"{"id":2,"method":"ctr.v1.System/Events"}"#, "\n",
            r#"{"id":3,"method":"ctr.v1.Containers/List","params":{"limit":50}}"#, "\n",
            r#"{"id":4,"method":"ctr.v1.System/Ping","deadline_ms":1000}"#, "\r\n",
            r#"{"id":2,"cancel":true}"#, "\n",
            r#"{"id":5,"method":"ctr.v1.Streams/Open","params":{"token":"x"}}"#, "\n",
        )
        .as_bytes()
        .to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() * 2));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let house = house(Limits::default());
            let mut raw = Raw::new(&house).await;
            raw.send(&bytes).await;
            raw.writer.shutdown().await.unwrap();
            let mut replies = String::new();
            raw.reader.read_to_string(&mut replies).await.unwrap();
            for reply in replies.lines() {
                let reply: Value = serde_json::from_str(reply).unwrap();
                let refused = reply["error"]["message"].as_str().is_some_and(|message| !message.is_empty());
                assert!(refused || ["result", "item", "end"].iter().any(|part| reply[part].is_object()), "{reply}");
            }
            Raw::new(&house).await.assert_answers(1).await;
        });
    }
}
