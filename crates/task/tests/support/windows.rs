//! The agent in a Windows machine, as strict as the real one about the order in which a container comes and goes.
//!
//! Every message is a line of the journal. Programs are those of the Linux agent; a command line is split at spaces.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use gcs::frame::{Codec, Frame, GUEST_LIMIT, HOST_LIMIT};
use gcs::message::MessageType;
use gcs::{NULL_ID, hresult};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;

use super::agent::run;
use super::journal::Journal;
use super::service::{Ports, dial};

/// What a message is answered with: members of the answer, or a code and a text.
type Answer = Result<Value, (i32, String)>;

/// The agent.
pub(super) struct WindowsAgent {
    journal: Arc<Journal>,
    ports: Arc<Ports>,
    power: CancellationToken,
    answers: mpsc::UnboundedSender<Frame>,
    processes: Mutex<HashMap<u32, Arc<Program>>>,
    containers: Mutex<HashMap<String, bool>>,
}

struct Program {
    container: String,
    signal: watch::Sender<Option<u32>>,
    exit: watch::Sender<Option<u32>>,
}

fn failed(text: impl Into<String>) -> (i32, String) {
    (hresult::FAIL, text.into())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Serves the host until the power is off.
pub(super) async fn serve(journal: Arc<Journal>, ports: Arc<Ports>, power: CancellationToken) {
    let bridge = dial(&ports, gcs::port::BRIDGE).unwrap();
    let (read, write) = tokio::io::split(bridge);
    let (answers, mut queue) = mpsc::unbounded_channel::<Frame>();
    let agent = Arc::new(WindowsAgent {
        journal,
        ports,
        power: power.clone(),
        answers,
        processes: Mutex::default(),
        containers: Mutex::default(),
    });
    let writing = async {
        let mut frames = FramedWrite::new(write, Codec::new(GUEST_LIMIT));
        while let Some(frame) = queue.recv().await {
            if frames.send(frame).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        let mut frames = FramedRead::new(read, Codec::new(HOST_LIMIT));
        while let Some(Ok(frame)) = frames.next().await {
            tokio::spawn(
                power
                    .clone()
                    .run_until_cancelled_owned(Arc::clone(&agent).handle(frame)),
            );
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
        () = power.cancelled() => {}
    }
}

impl WindowsAgent {
    async fn note(&self, line: String) -> Result<(), (i32, String)> {
        let entered = self.journal.enter(line).await;
        entered.map_err(|line| failed(format!("told to fail: {line}")))
    }

    async fn handle(self: Arc<Self>, frame: Frame) {
        let message = MessageType::from_request(frame.message).unwrap();
        let request: Value = serde_json::from_slice(&frame.payload).unwrap();
        let id = text(&request, "ContainerId").to_owned();
        let (mut answer, after) = match self.answer(message, &id, &request).await {
            Ok(members) => (members, None::<Frame>),
            Err((code, said)) => (json!({"Result": code, "ErrorMessage": said}), None),
        };
        let over = matches!(
            message,
            MessageType::ShutdownGraceful | MessageType::ShutdownForced
        );
        let after =
            after.or_else(|| (over && answer.get("Result").is_none()).then(|| self.end(&id, message)));
        if answer.get("Result").is_none() {
            answer["Result"] = json!(0);
        }
        let answer = Frame::new(message.response(), frame.id, serde_json::to_vec(&answer).unwrap());
        for frame in [Some(answer), after].into_iter().flatten() {
            // The host may be gone.
            let _ = self.answers.send(frame);
        }
    }

    /// Ends a container with its processes; what is told of it.
    fn end(&self, id: &str, message: MessageType) -> Frame {
        self.containers.lock().unwrap().remove(id);
        for process in self.processes.lock().unwrap().values() {
            if process.container == id {
                process.signal.send_replace(Some(0xC000_013A));
            }
        }
        let kind = match message {
            MessageType::ShutdownGraceful => "GracefulExit",
            _ => "ForcedExit",
        };
        let told = json!({"ContainerId": id, "Type": kind, "Operation": "None", "Result": 0});
        Frame::new(MessageType::NOTIFICATION, 0, serde_json::to_vec(&told).unwrap())
    }

    async fn answer(self: &Arc<Self>, message: MessageType, id: &str, request: &Value) -> Answer {
        let who = if id == NULL_ID { "machine" } else { id };
        match message {
            MessageType::NegotiateProtocol => {
                self.note("guest negotiate".to_owned()).await?;
                return Ok(json!({
                    "Version": 4,
                    "Capabilities": {
                        "SendHostCreateMessage": true,
                        "SendHostStartMessage": true,
                        "HvSocketConfigOnStartup": true,
                        "SupportedSchemaVersions": [{"Major": 2, "Minor": 1}],
                        "RuntimeOsType": "Windows",
                        "GuestDefinedCapabilities": {"NamespaceAddRequestSupported": true},
                    },
                }));
            }
            MessageType::Create => {
                let config: Value = serde_json::from_str(text(request, "ContainerConfig")).unwrap();
                let directories = config["Container"]["MappedDirectories"].as_array();
                let sources: Vec<&str> = directories
                    .into_iter()
                    .flatten()
                    .map(|directory| {
                        let path = text(directory, "HostPath");
                        path.rsplit_once('}').map_or(path, |(_, share)| share)
                    })
                    .collect();
                self.note(
                    format!("guest create {who} {}", sources.join(" "))
                        .trim_end()
                        .to_owned(),
                )
                .await?;
                if id == NULL_ID {
                    assert_eq!(config["SystemType"], "Container");
                } else {
                    assert_eq!(config["SchemaVersion"], json!({"Major": 2, "Minor": 1}));
                    self.containers.lock().unwrap().insert(id.to_owned(), false);
                }
            }
            MessageType::Start => {
                self.note(format!("guest start {who}")).await?;
                if let Some(started) = self.containers.lock().unwrap().get_mut(id) {
                    *started = true;
                }
            }
            MessageType::ModifySettings => {
                let change = &request["Request"];
                let resource = match text(change, "ResourceType") {
                    "" => text(change, "ResourcePath"),
                    resource => resource,
                };
                let inner = text(&change["Settings"], "RequestType");
                let line = format!("guest {} {resource} {inner}", text(change, "RequestType"));
                self.note(line.trim_end().to_owned()).await?;
            }
            MessageType::ExecuteProcess => return self.execute(id, &request["Settings"]).await,
            MessageType::WaitForProcess => {
                self.note(format!("guest wait {who}")).await?;
                let process = self.process(request)?;
                let mut exit = process.exit.subscribe();
                let code = exit.wait_for(Option::is_some).await.unwrap().unwrap();
                return Ok(json!({"ExitCode": code}));
            }
            MessageType::SignalProcess => {
                let signal = request["Options"]["Signal"].as_str().unwrap_or("terminate");
                self.note(format!("guest signal {who} {signal}")).await?;
                let process = self.process(request)?;
                process.signal.send_replace(Some(match signal {
                    "terminate" => 1,
                    _ => 0xC000_013A,
                }));
            }
            MessageType::ResizeConsole => {
                let line = format!("guest resize {who} {}x{}", request["Width"], request["Height"]);
                self.note(line).await?;
            }
            MessageType::ShutdownGraceful => {
                self.note(format!("guest shutdown {who} graceful")).await?;
            }
            MessageType::ShutdownForced => self.note(format!("guest shutdown {who} forced")).await?,
            MessageType::GetProperties => {
                self.note(format!("guest properties {who}")).await?;
                let query: Value = serde_json::from_str(text(request, "Query")).unwrap();
                assert_eq!(query["PropertyTypes"][0], "Statistics");
                let properties =
                    json!({"Statistics": {"Timestamp": "2026-01-01T00:00:00Z"}, "ProcessList": []});
                return Ok(json!({"Properties": properties.to_string()}));
            }
            other => panic!("a Windows guest does not know {other:?}"),
        }
        Ok(json!({}))
    }

    fn process(&self, request: &Value) -> Result<Arc<Program>, (i32, String)> {
        let pid = u32::try_from(request["ProcessId"].as_u64().unwrap()).unwrap();
        let found = self.processes.lock().unwrap().get(&pid).cloned();
        found.ok_or((hresult::NOT_FOUND, "no such process".to_owned()))
    }

    async fn execute(self: &Arc<Self>, id: &str, settings: &Value) -> Answer {
        let parameters: Value = serde_json::from_str(text(settings, "ProcessParameters")).unwrap();
        let line = text(&parameters, "CommandLine").to_owned();
        self.note(format!("guest execute {id} {line}")).await?;
        if self.containers.lock().unwrap().get(id) != Some(&true) {
            return Err(failed(format!("container {id} does not run")));
        }
        if line.starts_with("missing") {
            return Err((0x8007_0002_u32.cast_signed(), "the file is not there".to_owned()));
        }
        let services = &settings["StdioRelaySettings"];
        let connect = |pipe: &str, service: &str| {
            let wanted = parameters[pipe].as_bool().unwrap_or_default();
            assert_eq!(wanted, services[service].is_string(), "{settings}");
            wanted.then(|| {
                let service: uuid::Uuid = text(services, service).parse().unwrap();
                let port = hcs::hvsocket::service_port(service).unwrap();
                dial(&self.ports, port).unwrap()
            })
        };
        let stdin = connect("CreateStdInPipe", "StdIn");
        let mut out = connect("CreateStdOutPipe", "StdOut");
        let mut err = connect("CreateStdErrPipe", "StdErr");
        let process = Arc::new(Program {
            container: id.to_owned(),
            signal: watch::Sender::new(None),
            exit: watch::Sender::new(None),
        });
        let pid = {
            let mut processes = self.processes.lock().unwrap();
            let pid = 4240 + u32::try_from(processes.len()).unwrap();
            processes.insert(pid, Arc::clone(&process));
            pid
        };
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        tokio::spawn(self.power.clone().run_until_cancelled_owned(async move {
            let mut signals = process.signal.subscribe();
            let code = tokio::select! {
                code = run(args, stdin, &mut out, &mut err) => code,
                signal = signals.wait_for(Option::is_some) => signal.unwrap().unwrap(),
            };
            for stream in [&mut out, &mut err].into_iter().flatten() {
                stream.shutdown().await.unwrap();
                let _ = stream.read_u8().await;
            }
            process.exit.send_replace(Some(code));
        }));
        Ok(json!({"ProcessId": pid}))
    }
}
