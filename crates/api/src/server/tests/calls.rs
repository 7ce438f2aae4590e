//! Calls side by side: ids, limits, cancellation, deadlines, and handlers that fail.

use super::*;

#[tokio::test]
async fn calls_of_one_connection_run_concurrently() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.inspect(1, "x").await;
    raw.assert_answers(2).await;
    house.script.release.notify_one();
    assert_eq!(raw.reply().await["result"]["id"], "x");
}

#[tokio::test]
async fn id_in_flight_is_not_accepted_again() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.inspect(1, "x").await;
    assert_eq!(
        raw.call(r#"{"id":1,"method":"ctr.v1.System/Ping"}"#).await["error"]["code"],
        "INVALID_ARGUMENT"
    );
}

#[tokio::test]
async fn calls_above_the_cap_are_refused_and_the_others_live() {
    let house = house(Limits {
        calls: 4,
        ..Limits::default()
    });
    let mut raw = Raw::new(&house).await;
    for id in 0..10 {
        raw.inspect(id, "x").await;
    }
    for id in 4..10 {
        let reply = raw.reply().await;
        assert_eq!(
            (&reply["id"], &reply["error"]["code"]),
            (&json!(id), &json!("RESOURCE_EXHAUSTED"))
        );
    }
    for _ in 0..4 {
        house.script.release.notify_one();
        assert_eq!(raw.reply().await["result"]["id"], "x");
    }
    raw.assert_answers(1).await;
}

#[tokio::test]
async fn cancelled_call_is_dropped_and_answered() {
    let mut house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.inspect(1, "x").await;
    raw.assert_answers(2).await;
    assert_eq!(
        raw.call(r#"{"id":1,"cancel":true}"#).await["error"]["code"],
        "CANCELLED"
    );
    assert_eq!(house.dropped.recv().await, Some("inspect"));
    raw.send("{\"id\":99,\"cancel\":true}\n").await;
    raw.assert_answers(1).await;
}

#[tokio::test(start_paused = true)]
async fn deadline_is_enforced_by_the_server() {
    let mut house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let late = raw
        .call(r#"{"id":1,"method":"ctr.v1.System/Ping","deadline_ms":0}"#)
        .await;
    assert_eq!(late["error"]["code"], "DEADLINE_EXCEEDED");
    for deadline in [
        "",
        ",\"deadline_ms\":1500",
        ",\"deadline_ms\":99999999999999999999",
    ] {
        let reply = raw
            .call(&format!(
                r#"{{"id":1,"method":"ctr.v1.Containers/Inspect","params":{{"container":"x"}}{deadline}}}"#
            ))
            .await;
        assert_eq!(reply["error"]["code"], "DEADLINE_EXCEEDED", "{deadline}");
        assert_eq!(house.dropped.recv().await, Some("inspect"));
    }
}

#[tokio::test]
async fn panic_of_a_handler_is_an_answer() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let reply = raw.call(r#"{"id":1,"method":"ctr.v1.System/Info"}"#).await;
    assert_eq!(reply["error"]["code"], "INTERNAL");
    assert!(!reply.to_string().contains("a bug"), "{reply}");
    raw.assert_answers(1).await;
}

#[tokio::test]
async fn panic_in_the_middle_of_a_stream_is_its_end() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let first = raw
        .call(r#"{"id":7,"method":"ctr.v1.System/Events","params":{"since":"broken"}}"#)
        .await;
    assert!(first.get("item").is_some(), "{first}");
    let last = raw.reply().await;
    assert_eq!(
        (&last["id"], &last["error"]["code"]),
        (&json!(7), &json!("INTERNAL"))
    );
    // The id is free again, and so is the connection.
    raw.assert_answers(7).await;
}
