//! The real program against a scripted daemon on a real socket.

#![cfg(unix)]

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
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// A daemon with one image, `box`, whose containers do what their command says.
#[derive(Default)]
struct Script {
    /// What was asked, in order.
    calls: Mutex<Vec<String>>,
    /// `missing` becomes available by a pull.
    pulled: Mutex<bool>,
    command: Mutex<Vec<String>>,
    started: Notify,
    killed: Notify,
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

struct House {
    script: Arc<Script>,
    socket: PathBuf,
    stop: CancellationToken,
    dir: tempfile::TempDir,
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let script = Arc::new(Script::default());
    let daemon = Arc::new(Daemon(Arc::clone(&script)));
    let services = Services {
        system: daemon.clone(),
        containers: daemon.clone(),
        images: daemon,
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
    fn command(&self, arguments: &[&str]) -> Command {
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
    async fn run(&self, arguments: &[&str], input: &[u8]) -> (i32, String, String) {
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

    fn calls(&self) -> Vec<String> {
        self.script.calls.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn run_splits_the_outputs_and_reports_the_exit_code() {
    let house = house().await;
    let (code, out, err) = house.run(&["run", "--rm", "box", "both"], b"").await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (3, "to out\n", "WARNING: mind the gap\nto err\n")
    );
    assert_eq!(
        house.calls(),
        ["create box", "wait Removed", "attach stdin=false", "start"]
    );
}

#[tokio::test]
async fn run_hands_on_its_input() {
    let house = house().await;
    let input = vec![b'y'; 1 << 20];
    let (code, out, _) = house.run(&["run", "-i", "--rm", "box", "cat"], &input).await;
    assert_eq!((code, out.len()), (0, input.len()));
}

#[tokio::test]
async fn run_delivers_all_output_before_it_ends() {
    let house = house().await;
    let (code, out, _) = house.run(&["run", "box", "flood"], b"").await;
    assert_eq!((code, out.len()), (0, 4 << 20));
}

#[tokio::test]
async fn run_pulls_what_is_missing_and_tells_so_on_standard_error() {
    let house = house().await;
    let (code, out, err) = house.run(&["run", "missing", "both"], b"").await;
    assert_eq!((code, out.as_str()), (3, "to out\n"));
    insta::assert_snapshot!(err, @r"
    Unable to find image 'missing' locally
    aaaa: Downloading
    aaaa: Pull complete
    WARNING: mind the gap
    to err
    ");
    assert_eq!(
        house.calls()[..3],
        ["create missing", "pull missing", "create missing"]
    );
}

#[tokio::test]
async fn run_does_not_pull_when_told_so() {
    let house = house().await;
    let (code, out, err) = house.run(&["run", "--pull=never", "missing"], b"").await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (125, "", "ctr-like: No such image: missing\n")
    );
}

#[tokio::test]
async fn run_that_cannot_start_has_dockers_exit_codes() {
    let house = house().await;
    let (code, _, err) = house.run(&["run", "--rm", "box", "nope"], b"").await;
    assert!(
        code == 127 && err.contains("executable file not found"),
        "{code} {err}"
    );
    assert_eq!(house.calls().last().unwrap(), "remove");
    assert_eq!(house.run(&["run", "box", "/etc"], b"").await.0, 126);
    let (code, out, _) = house.run(&["run", "-d", "box", "nope"], b"").await;
    assert_eq!((code, out.as_str()), (127, "c0ffee\n"));
    assert_eq!(house.run(&["run", "--bogus", "box"], b"").await.0, 125);
}

#[tokio::test]
async fn run_hands_signals_on_to_the_container() {
    let house = house().await;
    let mut child = house.command(&["run", "box", "sleep"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(143));
    assert_eq!(house.calls().last().unwrap(), "kill TERM");
}

#[tokio::test]
async fn detached_run_prints_the_id_and_nothing_else() {
    let house = house().await;
    let file = house.dir.path().join("id");
    let (code, out, _) = house
        .run(&["run", "-d", "--cidfile", file.to_str().unwrap(), "box"], b"")
        .await;
    assert_eq!((code, out.as_str()), (0, "c0ffee\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "c0ffee");
    assert_eq!(house.calls(), ["create box", "start"]);
    assert_eq!(
        house
            .run(&["run", "-d", "--cidfile", file.to_str().unwrap(), "box"], b"")
            .await
            .0,
        125
    );
}

#[tokio::test]
async fn several_objects_succeed_and_fail_one_by_one() {
    let house = house().await;
    let (code, out, err) = house
        .run(&["container", "start", "one", "gone", "two"], b"")
        .await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (1, "one\ntwo\n", "ctr-like: No such container: gone\n")
    );
}

#[tokio::test]
async fn inspect_prints_what_exists_and_tells_what_does_not() {
    let house = house().await;
    let (code, out, err) = house.run(&["inspect", "web", "nothing"], b"").await;
    insta::assert_snapshot!(out, @r#"
    [
        {
            "Config": {
                "Labels": {
                    "a.b": "1"
                }
            },
            "Id": "c0ffee"
        }
    ]
    "#);
    assert_eq!((code, err.as_str()), (1, "ctr-like: No such object: nothing\n"));
    assert_eq!(house.run(&["inspect", "nothing"], b"").await.1, "[]\n");
    let (code, out, _) = house
        .run(
            &["container", "inspect", "--format", "{{json .}}", "web", "web"],
            b"",
        )
        .await;
    assert_eq!((code, out.lines().count()), (0, 2));
    let (_, out, _) = house
        .run(
            &["inspect", "-f", r#"{{index .Config.Labels "a.b"}}"#, "web"],
            b"",
        )
        .await;
    assert_eq!(out, "1\n");
    assert_eq!(house.run(&["inspect", "-f", "{{nope}}", "web"], b"").await.0, 64);
}

#[tokio::test]
async fn logs_are_exact() {
    let house = house().await;
    let child = house.command(&["logs", "web"]).output().await.unwrap();
    assert_eq!(
        (child.stdout, child.stderr),
        (b"one\r\n".to_vec(), b"\xfftwo\n".to_vec())
    );
    let (_, out, _) = house
        .run(&["container", "logs", "--timestamps", "web"], b"")
        .await;
    assert_eq!(out, "2026-01-02T03:04:05.000000006Z one\r\n");
}

#[tokio::test]
async fn pull_prints_one_line_and_the_rest_beside_it() {
    let house = house().await;
    let (code, out, err) = house.run(&["pull", "box"], b"").await;
    assert_eq!((code, out.as_str()), (0, "docker.io/library/box:latest\n"));
    assert!(
        err.starts_with("aaaa: Downloading\naaaa: Pull complete\n"),
        "{err}"
    );
    let (_, out, err) = house.run(&["image", "pull", "--quiet", "box"], b"").await;
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("docker.io/library/box:latest\n", "")
    );
    let (code, _, err) = house.run(&["pull", "nowhere"], b"").await;
    assert_eq!(
        (code, err.as_str()),
        (
            1,
            "ctr-like: manifest for nowhere not found\nhint: check the name\n"
        )
    );
}

#[tokio::test]
async fn archives_travel_through_pipes_and_files() {
    let house = house().await;
    let (code, out, _) = house.run(&["load"], &vec![0; 300_000]).await;
    assert_eq!((code, out.as_str()), (0, "Loaded image: box:300000\n"));
    assert_eq!(house.run(&["save", "box"], b"").await.1, "half of it");
    let file = house.dir.path().join("archive");
    std::fs::write(&file, "old").unwrap();
    let (code, _, err) = house
        .run(&["save", "-o", file.to_str().unwrap(), "broken"], b"")
        .await;
    assert_eq!((code, err.as_str()), (1, "ctr-like: the disk is on fire\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(
        house
            .run(&["save", "-o", file.to_str().unwrap(), "box"], b"")
            .await
            .0,
        0
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "half of it");
    assert_eq!(
        std::fs::read_dir(house.dir.path()).unwrap().count(),
        2,
        "the socket and the archive"
    );
}

#[tokio::test]
async fn version_has_both_sides_or_says_which_is_missing() {
    let house = house().await;
    let (code, out, _) = house
        .run(
            &["version", "--format", "{{.Server.Version}} {{.Server.Os}}"],
            b"",
        )
        .await;
    assert_eq!((code, out.as_str()), (0, "7.7.7 linux\n"));
    let (code, out, err) = house
        .run(&["-H", "unix:///nonexistent/s", "version", "-f", "json"], b"")
        .await;
    assert!(code == 1 && out.contains(r#""Server":null"#), "{code} {out}");
    assert!(err.starts_with("ctr-like: error during connect: "), "{err}");
}

#[tokio::test]
async fn no_daemon_is_an_error_that_says_what_to_do() {
    let house = house().await;
    let (code, out, err) = house.run(&["-H", "unix:///nonexistent/s", "ps"], b"").await;
    assert_eq!((code, out.as_str()), (1, ""));
    insta::assert_snapshot!(err, @r"
    ctr-like: error during connect: no daemon can be reached at unix:///nonexistent/s: No such file or directory (os error 2)
    hint: start it with: ctr-like daemon start
    ");
    let (code, _, err) = house.run(&["--host", "tcp://x", "ps"], b"").await;
    assert!(code == 125 && err.contains("unix:///PATH"), "{code} {err}");
}

#[tokio::test]
async fn version_line_needs_no_daemon() {
    let house = house().await;
    let (code, out, err) = house.run(&["--version"], b"").await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (
            0,
            concat!("ctr-like version ", env!("CARGO_PKG_VERSION"), "\n"),
            ""
        )
    );
}
