//! Whole connections: silent, idle, deaf or gone clients, the limit of connections, and the end of the server.

use super::*;

#[tokio::test(start_paused = true)]
async fn connection_that_says_nothing_in_time_is_closed() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.send("{\"id\"").await;
    assert_eq!(raw.reply().await["error"]["code"], "DEADLINE_EXCEEDED");
    assert!(raw.closed().await);
}

#[tokio::test(start_paused = true)]
async fn later_line_must_also_arrive_in_time() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.assert_answers(1).await;
    raw.send("{\"id\"").await;
    assert_eq!(raw.reply().await["error"]["code"], "DEADLINE_EXCEEDED");
    assert!(raw.closed().await);
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_closed_but_not_one_that_waits_for_a_call() {
    let house = house(Limits::default());
    let mut idle = Raw::new(&house).await;
    idle.assert_answers(1).await;
    let mut waiting = Raw::new(&house).await;
    waiting
        .send("{\"id\":1,\"method\":\"ctr.v1.System/Events\",\"params\":{\"since\":\"silent\"}}\n")
        .await;
    assert_eq!(idle.reply().await["error"]["code"], "UNAVAILABLE");
    assert!(idle.closed().await);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    waiting.assert_answers(2).await;
}

#[tokio::test]
async fn client_that_vanishes_leaves_nothing_behind() {
    let mut house = house(Limits {
        grace: Duration::from_millis(1),
        ..Limits::default()
    });
    let mut raw = Raw::new(&house).await;
    raw.inspect(1, "x").await;
    raw.assert_answers(2).await;
    raw.send("{\"id\":2,\"meth").await;
    drop(raw);
    assert_eq!(house.dropped.recv().await, Some("inspect"));
    house.stop.cancel();
    house.serving.await.unwrap();
}

#[tokio::test]
async fn client_that_only_stops_talking_still_gets_its_answer() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.send("{\"id\":1,\"method\":\"ctr.v1.System/Ping\"}\n").await;
    raw.writer.shutdown().await.unwrap();
    assert_eq!(raw.reply().await["id"], 1);
    assert!(raw.closed().await);
}

#[tokio::test(start_paused = true)]
async fn client_that_never_reads_is_cut_off_and_others_are_not() {
    let house = house(Limits::default());
    let mut deaf = Raw::new(&house).await;
    deaf.send("{\"id\":1,\"method\":\"ctr.v1.System/Events\",\"params\":{\"since\":\"endless\"}}\n")
        .await;
    let mut other = Raw::new(&house).await;
    other.assert_answers(1).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let mut rest = Vec::new();
    deaf.reader.read_to_end(&mut rest).await.unwrap();
    assert!(
        rest.len() <= 2 * 64 * 1024,
        "the rest is what was buffered: {}",
        rest.len()
    );
}

#[tokio::test]
async fn connections_above_the_limit_are_told_so() {
    let house = house(Limits {
        connections: 0,
        ..Limits::default()
    });
    let mut raw = Raw::new(&house).await;
    let reply = raw.reply().await;
    assert_eq!(
        (&reply["id"], &reply["error"]["code"]),
        (&Value::Null, &json!("RESOURCE_EXHAUSTED"))
    );
    assert!(raw.closed().await);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_streams_lets_calls_finish_and_then_gives_up() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.send("{\"id\":1,\"method\":\"ctr.v1.System/Events\",\"params\":{\"since\":\"silent\"}}\n")
        .await;
    raw.inspect(2, "a").await;
    raw.inspect(3, "b").await;
    raw.assert_answers(4).await;
    house.stop.cancel();
    let ended = raw.reply().await;
    assert_eq!(
        (&ended["id"], &ended["error"]["code"]),
        (&json!(1), &json!("UNAVAILABLE"))
    );
    house.script.release.notify_one();
    assert_eq!(raw.reply().await["result"]["id"], "a");
    let late = raw.reply().await;
    assert_eq!(
        (&late["id"], &late["error"]["code"]),
        (&json!(3), &json!("UNAVAILABLE"))
    );
    assert!(raw.closed().await);
    house.serving.await.unwrap();
}
