//! Client and server together.

mod misbehaving;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::message::*;
use crate::stream::{Channel, Control, Frame};
use crate::transport::memory;
use crate::{Containers, Images, Limits, Server, Services, System, items};

/// A daemon with one container called `web`.
struct Daemon {
    cancelled: mpsc::UnboundedSender<()>,
}

struct OnDrop(mpsc::UnboundedSender<()>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[async_trait]
impl System for Daemon {
    async fn version(&self, _: Context, request: VersionRequest) -> Result<Version, Status> {
        assert_eq!(request.client.as_deref(), Some("test 1"));
        Ok(Version {
            version: "9.9.9".to_owned(),
            ..Version::default()
        })
    }
}

#[async_trait]
impl Containers for Daemon {
    async fn create(&self, _: Context, request: CreateContainer) -> Result<Created, Status> {
        let id = format!("{}+{}", request.image, request.env.join(","));
        Ok(Created {
            id,
            warnings: vec![format!("{:?}", request.entrypoint)],
        })
    }

    async fn inspect(&self, _: Context, request: InspectContainer) -> Result<ContainerInspection, Status> {
        if request.container != "web" {
            let status = Status::not_found(format!("No such container: {}", request.container));
            return Err(status
                .about("container", request.container)
                .hint("ctr-like ps -a lists containers"));
        }
        Ok(ContainerInspection {
            name: "web".to_owned(),
            document: json!({"Id": 1}),
            ..ContainerInspection::default()
        })
    }

    async fn wait(&self, _: Context, _: WaitContainer) -> Result<Exited, Status> {
        let _told = OnDrop(self.cancelled.clone());
        std::future::pending().await
    }

    async fn logs(&self, _: Context, request: ReadLogs) -> Result<ItemStream<LogItem>, Status> {
        if request.follow {
            let told = OnDrop(self.cancelled.clone());
            let lines = futures_util::stream::unfold(told, |told| async {
                Some((Ok(LogItem::new("t", LogStream::Stdout, b"tick\n")), told))
            });
            return Ok(Box::pin(lines));
        }
        let line = |number: u8| LogItem::new("t", LogStream::Stdout, &[number, 0xff]);
        Ok(items((0..60).map(line).collect()))
    }

    async fn attach(&self, _: Context, _: AttachContainer) -> Result<ByteStream, Status> {
        let (ours, theirs) = ByteStream::pair();
        let told = OnDrop(self.cancelled.clone());
        TaskTracker::new().spawn(async move {
            let _told = told;
            let (sender, mut receiver) = ours.split();
            let mut count = 0_usize;
            while let Some(frame) = receiver.recv().await {
                match frame {
                    Frame::Data(_, bytes) => {
                        count += bytes.len();
                        let _ = sender.send(Channel::Stdout, bytes).await;
                    }
                    _ => break,
                }
            }
            let _ = sender.control(Control::Result(json!(count))).await;
        });
        Ok(theirs)
    }
}

impl Images for Daemon {}

impl crate::Machines for Daemon {}

impl crate::Networks for Daemon {}

struct Setup {
    client: Client,
    cancelled: mpsc::UnboundedReceiver<()>,
    stop: CancellationToken,
}

async fn setup() -> Setup {
    let (sender, cancelled) = mpsc::unbounded_channel();
    let daemon = Arc::new(Daemon { cancelled: sender });
    let services = Services {
        system: daemon.clone(),
        containers: daemon.clone(),
        images: daemon.clone(),
        networks: daemon.clone(),
        machines: daemon,
    };
    let (listener, connector) = memory();
    let stop = CancellationToken::new();
    let server = Server::new(services, Limits::default());
    let token = stop.clone();
    tokio::spawn(async move { server.serve(listener, token).await });
    let client = Client::connect(connector, "test 1").await.unwrap();
    Setup {
        client,
        cancelled,
        stop,
    }
}

fn attach() -> AttachContainer {
    AttachContainer {
        container: "web".to_owned(),
        ..AttachContainer::default()
    }
}

fn wait() -> WaitContainer {
    WaitContainer {
        container: "web".to_owned(),
        ..WaitContainer::default()
    }
}

fn logs(follow: bool) -> ReadLogs {
    ReadLogs {
        container: "web".to_owned(),
        follow,
        ..ReadLogs::default()
    }
}

async fn inspect(client: &Client) -> ContainerInspection {
    let request = InspectContainer {
        container: "web".to_owned(),
        size: false,
    };
    Containers::inspect(client, Context::new(), request)
        .await
        .unwrap()
}

#[tokio::test]
async fn messages_and_errors_arrive_as_they_were_sent() {
    let Setup { client, .. } = setup().await;
    assert_eq!(client.server_version().version, "9.9.9");
    let request = CreateContainer {
        image: "busybox".to_owned(),
        env: vec!["A=1\n2".to_owned(), "B".to_owned()],
        entrypoint: Some(Vec::new()),
        ..CreateContainer::default()
    };
    let created = client.create(Context::new(), request).await.unwrap();
    assert_eq!(
        created,
        Created {
            id: "busybox+A=1\n2,B".to_owned(),
            warnings: vec!["Some([])".to_owned()]
        }
    );
    let error = Containers::inspect(
        &client,
        Context::new(),
        InspectContainer {
            container: "x".to_owned(),
            size: false,
        },
    )
    .await
    .unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert_eq!(error.resource.unwrap().kind, "container");
    assert_eq!(error.hints, ["ctr-like ps -a lists containers"]);
    let error = Images::list(&client, Context::new(), ListImages::default())
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Unimplemented);
}

#[tokio::test]
async fn stream_brings_every_item_and_other_calls_go_on() {
    let Setup { client, .. } = setup().await;
    let mut logs = client.logs(Context::new(), logs(false)).await.unwrap();
    let first = logs.next().await.unwrap().unwrap();
    assert_eq!(first.bytes(), [0, 0xff].as_slice());
    let inspected = inspect(&client).await;
    assert_eq!(inspected.document, json!({"Id": 1}));
    assert_eq!(logs.count().await, 59);
}

#[tokio::test]
async fn dropped_call_is_cancelled_in_the_daemon() {
    let Setup {
        client,
        mut cancelled,
        ..
    } = setup().await;
    let wait = client.wait(Context::new(), wait());
    tokio::select! {
        _ = wait => unreachable!("the container runs for ever"),
        _ = inspect(&client) => {}
    }
    cancelled.recv().await.unwrap();
    let mut logs = client.logs(Context::new(), logs(true)).await.unwrap();
    logs.next().await.unwrap().unwrap();
    drop(logs);
    cancelled.recv().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn deadline_of_a_call_is_its_own() {
    let Setup { client, .. } = setup().await;
    let context = Context::with_timeout(Duration::from_secs(3));
    let error = client.wait(context, wait()).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
}

#[tokio::test]
async fn byte_stream_delivers_everything_under_back_pressure() {
    let Setup {
        client,
        mut cancelled,
        ..
    } = setup().await;
    let (sender, mut receiver) = client.attach(Context::new(), attach()).await.unwrap().split();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let bytes = Bytes::from(sent.clone());
    let writing = tokio::spawn(async move {
        sender.send(Channel::Stdin, bytes).await.unwrap();
        sender.end(Channel::Stdin).await.unwrap();
    });
    let (mut received, mut result) = (Vec::new(), None);
    while let Some(frame) = receiver.recv().await {
        match frame {
            Frame::Data(Channel::Stdout, bytes) => received.extend_from_slice(&bytes),
            Frame::Control(Control::Result(value)) => result = Some(value),
            frame => panic!("{frame:?}"),
        }
    }
    writing.await.unwrap();
    assert!(received == sent);
    assert_eq!(result, Some(json!(3_000_000)));
    cancelled.recv().await.unwrap();
}

#[tokio::test]
async fn dropping_a_byte_stream_detaches() {
    let Setup {
        client,
        mut cancelled,
        ..
    } = setup().await;
    let stream = client.attach(Context::new(), attach()).await.unwrap();
    drop(stream);
    cancelled.recv().await.unwrap();
}

#[tokio::test]
async fn daemon_that_goes_away_fails_the_calls_in_flight_and_the_next() {
    let Setup { client, stop, .. } = setup().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move {
            client
                .logs(Context::new(), logs(true))
                .await
                .unwrap()
                .count()
                .await
        }
    });
    inspect(&client).await;
    stop.cancel();
    assert!(waiting.await.unwrap() > 0);
    let error = Containers::list(&client, Context::new(), ListContainers::default())
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
}
