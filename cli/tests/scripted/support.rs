//! A scripted daemon on a real socket, and the program that talks to it.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use api::message::*;
use api::transport::Access;
use api::{
    ByteStream, Channel, Containers, Context, Control, Endpoint, Frame, Images, ItemStream, Limits, Listener,
    Server, Services, Status, StreamSender, System, items,
};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// A daemon with one image, `box`, whose containers do what their command says.
#[derive(Default)]
pub struct Script {
    /// What was asked, in order.
    calls: Mutex<Vec<String>>,
    /// `missing` becomes available by a pull.
    pulled: Mutex<bool>,
    command: Mutex<Vec<String>>,
    started: Notify,
    killed: Notify,
    pub resized: Notify,
    exit: watch::Sender<Option<i32>>,
}

/// The script, as the server holds it.
#[derive(Clone)]
struct Daemon(Arc<Script>);

impl std::ops::Deref for Daemon {
    type Target = Script;

    fn deref(&self) -> &Script {
        &self.0
    }
}

impl Script {
    fn note(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }

    /// Plays the container after its start.
    async fn play(self: Arc<Self>, stream: ByteStream) {
        let (sender, mut receiver) = stream.split();
        self.started.notified().await;
        let command = self.command.lock().unwrap().clone();
        let code = match command.first().map(String::as_str) {
            Some("cat") => {
                while let Some(Frame::Data(Channel::Stdin, bytes)) = receiver.recv().await {
                    out(&sender, Channel::Stdout, bytes).await;
                }
                0
            }
            Some("keys") => {
                out(&sender, Channel::Stdout, "ready\r\n").await;
                while let Some(Frame::Data(_, bytes)) = receiver.recv().await {
                    let shown = format!("{:02x?}", &bytes[..]);
                    out(&sender, Channel::Stdout, shown).await;
                    if bytes.contains(&b'!') {
                        break;
                    }
                }
                9
            }
            Some("both") => {
                out(&sender, Channel::Stdout, "to out\n").await;
                out(&sender, Channel::Stderr, "to err\n").await;
                3
            }
            Some("flood") => {
                for _ in 0..64 {
                    out(&sender, Channel::Stdout, vec![b'x'; 64 * 1024]).await;
                }
                0
            }
            Some("sleep") => {
                out(&sender, Channel::Stdout, "ready\n").await;
                self.killed.notified().await;
                143
            }
            _ => 0,
        };
        self.exit.send_replace(Some(code));
    }
}

async fn out(sender: &StreamSender, channel: Channel, bytes: impl Into<Bytes>) {
    let _ = sender.send(channel, bytes.into()).await;
}

#[async_trait]
impl System for Daemon {
    async fn version(&self, _: Context, _: VersionRequest) -> Result<Version, Status> {
        Ok(Version {
            version: "7.7.7".to_owned(),
            os: "linux".to_owned(),
            ..Version::default()
        })
    }
}

#[async_trait]
impl Containers for Daemon {
    async fn create(&self, _: Context, request: CreateContainer) -> Result<Created, Status> {
        self.note(format!("create {}", request.image));
        if request.image == "missing" && !*self.pulled.lock().unwrap() {
            return Err(Status::not_found("No such image: missing").about("image", "missing"));
        }
        *self.command.lock().unwrap() = request.command;
        Ok(Created {
            id: "c0ffee".to_owned(),
            warnings: vec!["mind the gap".to_owned()],
        })
    }

    async fn attach(&self, _: Context, request: AttachContainer) -> Result<ByteStream, Status> {
        self.note(format!("attach stdin={}", request.stdin));
        let (ours, theirs) = ByteStream::pair();
        tokio::spawn(Arc::clone(&self.0).play(ours));
        Ok(theirs)
    }

    async fn start(&self, _: Context, request: StartContainer) -> Result<Empty, Status> {
        self.note("start");
        match self.command.lock().unwrap().first().map(String::as_str) {
            Some("nope") => {
                return Err(
                    Status::not_found("exec: \"nope\": executable file not found in $PATH")
                        .about("command", "nope"),
                );
            }
            Some("/etc") => {
                return Err(
                    Status::new(api::Code::PermissionDenied, "exec: \"/etc\": is a directory")
                        .about("command", "/etc"),
                );
            }
            _ => {}
        }
        if request.container == "gone" {
            return Err(Status::not_found("No such container: gone").about("container", "gone"));
        }
        self.started.notify_one();
        Ok(Empty {})
    }

    async fn wait(&self, _: Context, request: WaitContainer) -> Result<Exited, Status> {
        self.note(format!("wait {:?}", request.condition));
        let mut exit = self.exit.subscribe();
        let code = exit
            .wait_for(Option::is_some)
            .await
            .map(|code| code.unwrap_or(0))
            .unwrap_or(0);
        Ok(Exited {
            exit_code: code,
            error: None,
        })
    }

    async fn kill(&self, _: Context, request: KillContainer) -> Result<Empty, Status> {
        self.note(format!("kill {}", request.signal.unwrap_or_default()));
        self.killed.notify_one();
        Ok(Empty {})
    }

    async fn resize(&self, _: Context, request: ResizeTerminal) -> Result<Empty, Status> {
        self.note(format!("resize {}x{}", request.width, request.height));
        self.resized.notify_one();
        Ok(Empty {})
    }

    async fn remove(&self, _: Context, _: RemoveContainer) -> Result<Empty, Status> {
        self.note("remove");
        Ok(Empty {})
    }

    async fn inspect(&self, _: Context, request: InspectContainer) -> Result<ContainerInspection, Status> {
        match request.container.as_str() {
            "web" => Ok(ContainerInspection {
                id: "c0ffee".to_owned(),
                document: json!({"Id": "c0ffee", "Config": {"Labels": {"a.b": "1"}}}),
                ..ContainerInspection::default()
            }),
            name => Err(Status::not_found(format!("No such container: {name}")).about("container", name)),
        }
    }

    async fn logs(&self, _: Context, _: ReadLogs) -> Result<ItemStream<LogItem>, Status> {
        let time = "2026-01-02T03:04:05.000000006Z";
        Ok(items(vec![
            LogItem::new(time, LogStream::Stdout, b"one\r\n"),
            LogItem::new(time, LogStream::Stderr, b"\xfftwo\n"),
        ]))
    }
}

impl api::Machines for Daemon {}

impl api::Networks for Daemon {}

#[async_trait]
impl Images for Daemon {
    async fn pull(&self, _: Context, request: PullImage) -> Result<ItemStream<TransferItem>, Status> {
        self.note(format!("pull {}", request.reference));
        if request.reference == "nowhere" {
            return Err(Status::not_found("manifest for nowhere not found").hint("check the name"));
        }
        *self.pulled.lock().unwrap() = true;
        let progress = |status: &str| {
            TransferItem::Progress(Progress {
                id: "aaaa".to_owned(),
                status: status.to_owned(),
                ..Progress::default()
            })
        };
        let done = TransferItem::Done(Transferred {
            reference: format!("docker.io/library/{}:latest", request.reference),
            digest: "sha256:dd".to_owned(),
            ..Transferred::default()
        });
        Ok(items(vec![
            progress("Downloading"),
            progress("Downloading"),
            progress("Pull complete"),
            done,
        ]))
    }

    async fn inspect(&self, _: Context, request: InspectImage) -> Result<ImageInspection, Status> {
        Err(Status::not_found(format!("No such image: {}", request.image)).about("image", request.image))
    }

    async fn load(&self, _: Context, _: LoadImages) -> Result<ByteStream, Status> {
        let (ours, theirs) = ByteStream::pair();
        tokio::spawn(async move {
            let (sender, mut receiver) = ours.split();
            let mut count = 0;
            while let Some(Frame::Data(_, bytes)) = receiver.recv().await {
                count += bytes.len();
            }
            let _ = sender
                .control(Control::Result(json!({"loaded": [format!("box:{count}")]})))
                .await;
        });
        Ok(theirs)
    }

    async fn save(&self, _: Context, request: SaveImages) -> Result<ByteStream, Status> {
        let (ours, theirs) = ByteStream::pair();
        tokio::spawn(async move {
            let (sender, _receiver) = ours.split();
            out(&sender, Channel::Stdout, "half of it").await;
            let _ = match request.images[0].as_str() {
                "broken" => {
                    sender
                        .control(Control::Error(Status::internal("the disk is on fire")))
                        .await
                }
                _ => sender.end(Channel::Stdout).await,
            };
        });
        Ok(theirs)
    }
}

pub struct House {
    pub script: Arc<Script>,
    socket: PathBuf,
    stop: CancellationToken,
    pub dir: tempfile::TempDir,
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let script = Arc::new(Script::default());
    let daemon = Arc::new(Daemon(Arc::clone(&script)));
    let services = Services {
        system: daemon.clone(),
        containers: daemon.clone(),
        images: daemon.clone(),
        networks: daemon.clone(),
        machines: daemon,
    };
    let listener = Listener::bind(&Endpoint::Unix(socket.clone()), &Access::default())
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        Server::new(services, Limits::default())
            .serve(listener, token)
            .await
    });
    House {
        script,
        socket,
        stop,
        dir,
    }
}

impl House {
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctr-like"));
        command
            .env_clear()
            .env("CTR_LIKE_HOST", format!("unix://{}", self.socket.display()))
            .env("CTR_LIKE_NO_START", "1")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Exit code, standard output and standard error.
    pub async fn run(&self, arguments: &[&str], input: &[u8]) -> (i32, String, String) {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        tokio::spawn(async move { stdin.write_all(&input).await });
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(output.stdout),
            text(output.stderr),
        )
    }

    pub fn calls(&self) -> Vec<String> {
        self.script.calls.lock().unwrap().clone()
    }
}
