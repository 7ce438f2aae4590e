//! A server whose services do what the test at hand needs, and a client that writes what it likes.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::*;
use crate::message::*;
use crate::stream::{Channel, Control, Frame};
use crate::transport::{Duplex, memory};
use crate::{ByteStream, Connector, Containers, Context, Images, ItemStream, System, items};

/// Services that do what the test at hand needs.
#[derive(Default)]
pub(super) struct Script {
    /// A call of `Inspect` waits for this.
    pub(super) release: Notify,
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

    async fn explain(&self, _: Context, _: ExplainRequest) -> Result<CodeExplanation, Status> {
        Ok(CodeExplanation::default())
    }

    async fn doctor(&self, _: Context, _: DoctorRequest) -> Result<DoctorReport, Status> {
        Ok(DoctorReport::default())
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
            Some("broken") => {
                let events = futures_util::stream::unfold(0, |count| async move {
                    assert!(count < 1, "a bug");
                    Some((Ok(Event::default()), count + 1))
                });
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

impl crate::Machines for Script {}

impl crate::Networks for Script {}

pub(super) struct House {
    pub(super) connector: Connector,
    pub(super) stop: CancellationToken,
    pub(super) script: Arc<Script>,
    pub(super) dropped: mpsc::UnboundedReceiver<&'static str>,
    pub(super) serving: JoinHandle<()>,
}

pub(super) fn house(limits: Limits) -> House {
    let (sender, dropped) = mpsc::unbounded_channel();
    let script = Arc::new(Script {
        dropped: Some(sender),
        ..Script::default()
    });
    let services = Services {
        system: script.clone(),
        containers: script.clone(),
        images: script.clone(),
        networks: script.clone(),
        machines: script.clone(),
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
pub(super) struct Raw {
    pub(super) reader: BufReader<ReadHalf<Box<dyn Duplex>>>,
    pub(super) writer: WriteHalf<Box<dyn Duplex>>,
}

impl Raw {
    pub(super) async fn new(house: &House) -> Self {
        let (reader, writer) = tokio::io::split(house.connector.connect().await.unwrap().io);
        Self {
            reader: BufReader::new(reader),
            writer,
        }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.writer.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(super) async fn call(&mut self, line: &str) -> Value {
        self.send(format!("{line}\n")).await;
        self.reply().await
    }

    pub(super) async fn reply(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    /// A call with this id is answered.
    pub(super) async fn assert_answers(&mut self, id: u64) {
        let reply = self
            .call(&format!(r#"{{"id":{id},"method":"ctr.v1.System/Ping"}}"#))
            .await;
        assert_eq!(reply, json!({"id": id, "result": {}}));
    }

    /// Sends a call that waits for the release.
    pub(super) async fn inspect(&mut self, id: u64, container: &str) {
        let params = json!({"container": container});
        let call = json!({"id": id, "method": "ctr.v1.Containers/Inspect", "params": params});
        self.send(format!("{call}\n")).await;
    }

    pub(super) async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).await.is_ok() && rest.is_empty()
    }
}
