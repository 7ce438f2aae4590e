//! The server against clients of all manners, over in-memory connections.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::message::*;
use crate::stream::{Channel, Control, Frame};
use crate::transport::{Duplex, memory};
use crate::{ByteStream, Connector, Containers, Context, Images, ItemStream, System, items};

/// Services that do what the test at hand needs.
#[derive(Default)]
struct Script {
    /// A call of `Inspect` waits for this.
    release: Notify,
    /// Dropped handlers tell here.
    dropped: Option<mpsc::UnboundedSender<&'static str>>,
}

struct TellDrop(Option<mpsc::UnboundedSender<&'static str>>, &'static str);

impl Drop for TellDrop {
    fn drop(&mut self) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(self.1);
        }
    }
}

#[async_trait]
impl System for Script {
    async fn version(&self, _: Context, _: VersionRequest) -> Result<Version, Status> {
        Ok(Version {
            version: "1.2.3".to_owned(),
            ..Version::default()
        })
    }

    async fn ping(&self, _: Context, _: PingRequest) -> Result<Pong, Status> {
        Ok(Pong {})
    }

    async fn info(&self, _: Context, _: InfoRequest) -> Result<Info, Status> {
        panic!("a bug")
    }

    async fn events(&self, _: Context, request: EventsRequest) -> Result<ItemStream<Event>, Status> {
        match request.since.as_deref() {
            Some("endless") => {
                let events =
                    futures_util::stream::unfold((), |()| async { Some((Ok(Event::default()), ())) });
                Ok(Box::pin(events))
            }
            Some("silent") => Ok(Box::pin(futures_util::stream::pending())),
            _ => Ok(items(vec![
                Event {
                    action: "start".to_owned(),
                    ..Event::default()
                },
                Event::default(),
            ])),
        }
    }
}

#[async_trait]
impl Containers for Script {
    async fn inspect(&self, _: Context, request: InspectContainer) -> Result<ContainerInspection, Status> {
        let told = TellDrop(self.dropped.clone(), "inspect");
        self.release.notified().await;
        std::mem::forget(told);
        Ok(ContainerInspection {
            id: request.container,
            ..ContainerInspection::default()
        })
    }

    async fn attach(&self, _: Context, request: AttachContainer) -> Result<ByteStream, Status> {
        if request.container == "missing" {
            return Err(Status::not_found("No such container: missing").about("container", "missing"));
        }
        let (ours, theirs) = ByteStream::pair();
        let told = TellDrop(self.dropped.clone(), "attach");
        // Echoes in upper case to both outputs until the input ends.
        let _detached = TaskTracker::new().spawn(async move {
            let _told = told;
            let (sender, mut receiver) = ours.split();
            while let Some(frame) = receiver.recv().await {
                let Frame::Data(_, bytes) = frame else { break };
                let _ = sender
                    .send(Channel::Stdout, bytes.to_ascii_uppercase().into())
                    .await;
                let _ = sender.send(Channel::Stderr, bytes).await;
            }
            let _ = sender.control(Control::Result(json!("bye"))).await;
        });
        Ok(theirs)
    }

    async fn list(&self, _: Context, request: ListContainers) -> Result<ContainerList, Status> {
        let name = "x".repeat(usize::try_from(request.limit).unwrap());
        Ok(ContainerList {
            containers: vec![ContainerSummary {
                name,
                ..ContainerSummary::default()
            }],
        })
    }
}

impl Images for Script {}

struct House {
    connector: Connector,
    stop: CancellationToken,
    script: Arc<Script>,
    dropped: mpsc::UnboundedReceiver<&'static str>,
    serving: JoinHandle<()>,
}

fn house(limits: Limits) -> House {
    let (sender, dropped) = mpsc::unbounded_channel();
    let script = Arc::new(Script {
        dropped: Some(sender),
        ..Script::default()
    });
    let services = Services {
        system: script.clone(),
        containers: script.clone(),
        images: script.clone(),
    };
    let (listener, connector) = memory();
    let stop = CancellationToken::new();
    let server = Server::new(services, limits);
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { server.serve(listener, stop).await }
    });
    House {
        connector,
        stop,
        script,
        dropped,
        serving,
    }
}

/// A client that writes what it likes.
struct Raw {
    reader: BufReader<ReadHalf<Box<dyn Duplex>>>,
    writer: WriteHalf<Box<dyn Duplex>>,
}

impl Raw {
    async fn new(house: &House) -> Self {
        let (reader, writer) = tokio::io::split(house.connector.connect().await.unwrap().io);
        Self {
            reader: BufReader::new(reader),
            writer,
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.writer.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn call(&mut self, line: &str) -> Value {
        self.send(format!("{line}\n")).await;
        self.reply().await
    }

    async fn reply(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).await.is_ok() && rest.is_empty()
    }
}

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
    assert_eq!(
        raw.call(r#"{"id":1,"method":"ctr.v1.System/Ping"}"#).await["id"],
        1
    );
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
    assert_eq!(
        other.call(r#"{"id":1,"method":"ctr.v1.System/Ping"}"#).await["id"],
        1
    );
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
    raw.call(r#"{"id":1,"method":"ctr.v1.System/Ping"}"#).await;
    raw.send("{\"id\"").await;
    assert_eq!(raw.reply().await["error"]["code"], "DEADLINE_EXCEEDED");
    assert!(raw.closed().await);
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_closed_but_not_one_that_waits_for_a_call() {
    let house = house(Limits::default());
    let mut idle = Raw::new(&house).await;
    idle.call(r#"{"id":1,"method":"ctr.v1.System/Ping"}"#).await;
    let mut waiting = Raw::new(&house).await;
    waiting
        .send("{\"id\":1,\"method\":\"ctr.v1.System/Events\",\"params\":{\"since\":\"silent\"}}\n")
        .await;
    assert_eq!(idle.reply().await["error"]["code"], "UNAVAILABLE");
    assert!(idle.closed().await);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        waiting.call(r#"{"id":2,"method":"ctr.v1.System/Ping"}"#).await["id"],
        2
    );
}

#[tokio::test]
async fn calls_of_one_connection_run_concurrently() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.send("{\"id\":1,\"method\":\"ctr.v1.Containers/Inspect\",\"params\":{\"container\":\"x\"}}\n")
        .await;
    assert_eq!(
        raw.call(r#"{"id":2,"method":"ctr.v1.System/Ping"}"#).await["id"],
        2
    );
    house.script.release.notify_one();
    assert_eq!(raw.reply().await["result"]["id"], "x");
}

#[tokio::test]
async fn id_in_flight_is_not_accepted_again() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.send("{\"id\":1,\"method\":\"ctr.v1.Containers/Inspect\",\"params\":{\"container\":\"x\"}}\n")
        .await;
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
        raw.send(format!(
            "{{\"id\":{id},\"method\":\"ctr.v1.Containers/Inspect\",\"params\":{{\"container\":\"x\"}}}}\n"
        ))
        .await;
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
    assert_eq!(
        raw.call(r#"{"id":1,"method":"ctr.v1.System/Ping"}"#).await["id"],
        1
    );
}

#[tokio::test]
async fn cancelled_call_is_dropped_and_answered() {
    let mut house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    raw.send("{\"id\":1,\"method\":\"ctr.v1.Containers/Inspect\",\"params\":{\"container\":\"x\"}}\n")
        .await;
    assert_eq!(
        raw.call(r#"{"id":2,"method":"ctr.v1.System/Ping"}"#).await["id"],
        2
    );
    assert_eq!(
        raw.call(r#"{"id":1,"cancel":true}"#).await["error"]["code"],
        "CANCELLED"
    );
    assert_eq!(house.dropped.recv().await, Some("inspect"));
    raw.send("{\"id\":99,\"cancel\":true}\n").await;
    assert_eq!(
        raw.call(r#"{"id":1,"method":"ctr.v1.System/Ping"}"#).await["id"],
        1
    );
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
async fn client_that_vanishes_leaves_nothing_behind() {
    let mut house = house(Limits {
        grace: Duration::from_millis(1),
        ..Limits::default()
    });
    let mut raw = Raw::new(&house).await;
    raw.send("{\"id\":1,\"method\":\"ctr.v1.Containers/Inspect\",\"params\":{\"container\":\"x\"}}\n")
        .await;
    assert_eq!(
        raw.call(r#"{"id":2,"method":"ctr.v1.System/Ping"}"#).await["id"],
        2
    );
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
    assert_eq!(
        other.call(r#"{"id":1,"method":"ctr.v1.System/Ping"}"#).await["id"],
        1
    );
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
async fn panic_of_a_handler_is_an_answer() {
    let house = house(Limits::default());
    let mut raw = Raw::new(&house).await;
    let reply = raw.call(r#"{"id":1,"method":"ctr.v1.System/Info"}"#).await;
    assert_eq!(reply["error"]["code"], "INTERNAL");
    assert!(!reply.to_string().contains("a bug"), "{reply}");
    assert_eq!(
        raw.call(r#"{"id":1,"method":"ctr.v1.System/Ping"}"#).await["id"],
        1
    );
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
    raw.send("{\"id\":2,\"method\":\"ctr.v1.Containers/Inspect\",\"params\":{\"container\":\"a\"}}\n")
        .await;
    raw.send("{\"id\":3,\"method\":\"ctr.v1.Containers/Inspect\",\"params\":{\"container\":\"b\"}}\n")
        .await;
    assert_eq!(
        raw.call(r#"{"id":4,"method":"ctr.v1.System/Ping"}"#).await["id"],
        4
    );
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
