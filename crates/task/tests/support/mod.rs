//! A compute service in memory whose virtual machine is a scripted guest agent.
//!
//! Everything the host asks of the service and of the agent is written to one journal, in order, so that tests can
//! say what must come before what. A line of the journal can be made to fail. Programs are words the agent knows:
//! `echo TEXT`, `cat`, `exit N`, `hang`, `fill N`, `both`.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses a part of it"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compute::{
    ComputeError, ComputeService, ComputeSystem, GuestListener, GuestStream, Process, SystemEvent,
};
use gcs::guest::{Agent, AgentError, Exit};
use gcs::message::{
    ContainerConfig, ExecuteSettings, ModifyRequest, NotificationKind, PropertyQuery, RequestType,
    ResizeConsole, Resource, SignalProcess,
};
use gcs::{hresult, port};
use hcs::HResult;
use serde_json::{Value, json};
use task::{LogConfig, ProcessSpec, SandboxSpec, Share, TaskSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What happened, in order, and what is to go wrong.
#[derive(Default)]
pub(crate) struct Journal {
    lines: Mutex<Vec<String>>,
    failures: Mutex<Vec<String>>,
    holds: Mutex<HashMap<String, Arc<Notify>>>,
}

impl Journal {
    /// Writes a line; an error when a line like this is to fail.
    async fn enter(&self, line: String) -> Result<(), String> {
        let hold = self
            .holds
            .lock()
            .unwrap()
            .iter()
            .find(|(part, _)| line.contains(*part))
            .map(|(_, hold)| hold.clone());
        if let Some(hold) = hold {
            hold.notified().await;
        }
        let fails = self
            .failures
            .lock()
            .unwrap()
            .iter()
            .any(|part| line.contains(part));
        let note = if fails {
            format!("{line} FAILS")
        } else {
            line.clone()
        };
        self.lines.lock().unwrap().push(note);
        if fails { Err(line) } else { Ok(()) }
    }

    /// Lines that contain the text fail from now on.
    pub(crate) fn fail(&self, part: &str) {
        self.failures.lock().unwrap().push(part.to_owned());
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        self.failures.lock().unwrap().clear();
    }

    /// Lines that contain the text wait until [`Notify::notify_one`].
    pub(crate) fn hold(&self, part: &str) -> Arc<Notify> {
        let hold = Arc::new(Notify::new());
        self.holds.lock().unwrap().insert(part.to_owned(), hold.clone());
        hold
    }

    /// Everything since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }

    /// How many lines contain the text.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(part))
            .count()
    }
}

/// Where the first line with the text is.
pub(crate) fn position(lines: &[String], part: &str) -> usize {
    lines
        .iter()
        .position(|line| line.contains(part))
        .unwrap_or_else(|| panic!("no {part:?} in {lines:#?}"))
}

type Ports = Mutex<HashMap<u32, mpsc::UnboundedSender<GuestStream>>>;

/// The service.
#[derive(Default)]
pub(crate) struct FakeService {
    pub(crate) journal: Arc<Journal>,
    /// The VM that was made last.
    pub(crate) system: Mutex<Option<Arc<FakeSystem>>>,
    /// The VM ends while it boots.
    pub(crate) dies_at_boot: bool,
}

/// A virtual machine.
pub(crate) struct FakeSystem {
    id: String,
    journal: Arc<Journal>,
    ports: Arc<Ports>,
    events: broadcast::Sender<SystemEvent>,
    stopped: watch::Sender<bool>,
    power: CancellationToken,
    dies_at_boot: bool,
}

#[async_trait]
impl ComputeService for FakeService {
    async fn create(&self, id: &str, document: &str) -> compute::Result<Arc<dyn ComputeSystem>> {
        let _: Value = serde_json::from_str(document).unwrap();
        self.journal
            .enter("host create".to_owned())
            .await
            .map_err(|line| failure("create", &line))?;
        let system = Arc::new(FakeSystem {
            id: id.to_owned(),
            journal: self.journal.clone(),
            ports: Arc::default(),
            events: broadcast::channel(8).0,
            stopped: watch::Sender::new(false),
            power: CancellationToken::new(),
            dies_at_boot: self.dies_at_boot,
        });
        *self.system.lock().unwrap() = Some(system.clone());
        Ok(system)
    }

    async fn open(&self, id: &str) -> compute::Result<Arc<dyn ComputeSystem>> {
        Err(ComputeError::new("open", id, HResult::SYSTEM_NOT_FOUND))
    }

    async fn enumerate(&self, _: &str) -> compute::Result<String> {
        Ok("[]".to_owned())
    }
}

fn failure(operation: &'static str, line: &str) -> ComputeError {
    ComputeError::new(operation, line, HResult::from_i32(hresult::FAIL))
}

impl FakeSystem {
    /// The VM ends without being asked.
    pub(crate) fn crash(&self) {
        let first = self
            .stopped
            .send_if_modified(|stopped| !std::mem::replace(stopped, true));
        if first {
            self.power.cancel();
            self.ports.lock().unwrap().clear();
            let _ = self
                .events
                .send(SystemEvent::Exited(hcs::SystemExitStatus::default()));
        }
    }

    fn boot(&self) {
        let (ports, journal, power) = (self.ports.clone(), self.journal.clone(), self.power.clone());
        tokio::spawn(async move {
            let mut entropy = dial(&ports, port::ENTROPY).unwrap();
            let mut seed = Vec::new();
            entropy.read_to_end(&mut seed).await.unwrap();
            assert_eq!(seed.len(), port::ENTROPY_BYTES);
            let mut log = dial(&ports, port::LOG).unwrap();
            log.write_all(b"{\"level\":\"info\",\"msg\":\"hello from the guest\"}\n")
                .await
                .unwrap();
            let bridge = dial(&ports, port::BRIDGE).unwrap();
            let agent = Arc::new(FakeAgent {
                journal,
                ports,
                next_pid: AtomicU32::new(100),
                containers: Mutex::default(),
                processes: Mutex::default(),
                power: power.clone(),
            });
            let _ = power
                .run_until_cancelled(gcs::guest::serve(
                    Box::new(bridge),
                    agent,
                    CancellationToken::new(),
                ))
                .await;
            drop(log);
        });
    }
}

fn dial(ports: &Ports, port: u32) -> Result<DuplexStream, AgentError> {
    let (guest, host) = tokio::io::duplex(4 << 10);
    let ports = ports.lock().unwrap();
    let listener = ports
        .get(&port)
        .ok_or_else(|| AgentError::fail(format!("nobody listens on {port}")))?;
    listener
        .send(Box::new(host))
        .map_err(|_| AgentError::fail(format!("{port} is closed")))?;
    Ok(guest)
}

struct FakeListener(mpsc::UnboundedReceiver<GuestStream>);

#[async_trait]
impl GuestListener for FakeListener {
    async fn accept(&mut self) -> compute::Result<GuestStream> {
        self.0
            .recv()
            .await
            .ok_or_else(|| failure("accept", "VM has ended"))
    }
}

#[async_trait]
impl ComputeSystem for FakeSystem {
    fn id(&self) -> &str {
        &self.id
    }

    fn runtime_id(&self) -> &str {
        "22222222-2222-4222-8222-222222222222"
    }

    async fn start(&self) -> compute::Result<()> {
        self.journal
            .enter("host start".to_owned())
            .await
            .map_err(|line| failure("start", &line))?;
        if self.dies_at_boot {
            let mut log = dial(&self.ports, port::LOG).unwrap();
            log.write_all(b"panic: \x1b[31mno init found\n").await.unwrap();
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            self.crash();
        } else {
            self.boot();
        }
        Ok(())
    }

    async fn shutdown(&self, _: &str) -> compute::Result<()> {
        Ok(())
    }

    async fn terminate(&self) -> compute::Result<()> {
        if *self.stopped.borrow() {
            return Err(ComputeError::new(
                "terminate",
                &self.id,
                HResult::SYSTEM_ALREADY_STOPPED,
            ));
        }
        self.journal
            .enter("host terminate".to_owned())
            .await
            .map_err(|line| failure("terminate", &line))?;
        self.crash();
        Ok(())
    }

    async fn pause(&self) -> compute::Result<()> {
        Ok(())
    }

    async fn resume(&self) -> compute::Result<()> {
        Ok(())
    }

    async fn save(&self, _: &str) -> compute::Result<()> {
        Ok(())
    }

    async fn properties(&self, _: &str) -> compute::Result<String> {
        Ok(if *self.stopped.borrow() {
            json!({"Stopped": true})
        } else {
            json!({})
        }
        .to_string())
    }

    async fn modify(&self, request: &str) -> compute::Result<()> {
        let request: Value = serde_json::from_str(request).unwrap();
        let path = request["ResourcePath"].as_str().unwrap();
        let resource = path.rsplit_once("/Devices/").unwrap().1;
        let detail = request["Settings"]["Path"].as_str().unwrap_or_default();
        let line = format!(
            "host {} {resource} {detail}",
            request["RequestType"].as_str().unwrap()
        );
        self.journal
            .enter(line.trim_end().to_owned())
            .await
            .map_err(|line| failure("modify", &line))
    }

    async fn create_process(&self, _: &str) -> compute::Result<Box<dyn Process>> {
        Err(failure("create process", "not a container"))
    }

    async fn open_process(&self, _: u32) -> compute::Result<Box<dyn Process>> {
        Err(failure("open process", "not a container"))
    }

    fn events(&self) -> broadcast::Receiver<SystemEvent> {
        self.events.subscribe()
    }

    async fn listen(&self, port: u32) -> compute::Result<Box<dyn GuestListener>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.ports.lock().unwrap().insert(port, sender);
        Ok(Box::new(FakeListener(receiver)))
    }

    async fn close(&self) {}
}

/// The agent in the virtual machine.
struct FakeAgent {
    journal: Arc<Journal>,
    ports: Arc<Ports>,
    next_pid: AtomicU32,
    containers: Mutex<HashMap<String, Container>>,
    processes: Mutex<HashMap<u32, Arc<FakeProcess>>>,
    power: CancellationToken,
}

struct Container {
    args: Vec<String>,
    init: Option<u32>,
}

struct FakeProcess {
    signal: watch::Sender<Option<i32>>,
    exit: watch::Sender<Option<u32>>,
    announce: Mutex<bool>,
}

impl FakeAgent {
    async fn note(&self, line: String) -> Result<(), AgentError> {
        self.journal
            .enter(line)
            .await
            .map_err(|line| AgentError::fail(format!("told to fail: {line}")))
    }
}

fn words(args: &Value) -> Vec<String> {
    args.as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

/// Runs a program: writes and reads until it ends or is signalled.
async fn run(
    args: Vec<String>,
    stdin: Option<DuplexStream>,
    out: &mut Option<DuplexStream>,
    err: &mut Option<DuplexStream>,
) -> u32 {
    async fn put(stream: &mut Option<DuplexStream>, data: &[u8]) {
        if let Some(stream) = stream {
            let _ = stream.write_all(data).await;
        }
    }
    let argument = args.get(1).cloned().unwrap_or_default();
    match args[0].as_str() {
        "echo" => put(out, format!("{argument}\n").as_bytes()).await,
        "both" => {
            put(out, b"to stdout\n").await;
            put(err, b"to stderr\n").await;
        }
        "exit" => return argument.parse().unwrap(),
        "fill" => {
            let mut left: usize = argument.parse().unwrap();
            while left > 0 {
                let piece = left.min(1024);
                put(out, &vec![b'x'; piece]).await;
                left -= piece;
            }
        }
        "cat" => {
            let Some(mut stdin) = stdin else { return 0 };
            let mut buffer = vec![0; 1024];
            loop {
                match stdin.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => put(out, &buffer[..count]).await,
                }
            }
        }
        "hang" => {
            put(out, b"hanging\n").await;
            std::future::pending::<()>().await;
        }
        other => panic!("the agent does not know {other}"),
    }
    0
}

#[async_trait]
impl Agent for FakeAgent {
    async fn create(&self, id: &str, config: ContainerConfig) -> Result<(), AgentError> {
        let sources: Vec<&str> = config.oci_specification["mounts"]
            .as_array()
            .map(|mounts| {
                mounts
                    .iter()
                    .filter_map(|mount| mount["source"].as_str())
                    .collect()
            })
            .unwrap_or_default();
        self.note(
            format!("guest create {id} {}", sources.join(" "))
                .trim_end()
                .to_owned(),
        )
        .await?;
        let args = words(&config.oci_specification["process"]["args"]);
        self.containers
            .lock()
            .unwrap()
            .insert(id.to_owned(), Container { args, init: None });
        Ok(())
    }

    async fn start(&self, id: &str) -> Result<(), AgentError> {
        self.note(format!("guest start {id}")).await
    }

    async fn execute_process(&self, id: &str, settings: ExecuteSettings) -> Result<u32, AgentError> {
        let ExecuteSettings {
            process_parameters: parameters,
            vsock_stdio_relay_settings: ports,
        } = settings;
        let args = match &parameters.oci_process {
            Some(process) => words(&process["args"]),
            None => self.containers.lock().unwrap()[id].args.clone(),
        };
        let kind = if parameters.oci_process.is_some() {
            "exec"
        } else {
            "init"
        };
        self.note(format!("guest {kind} {id} {}", args.join(" "))).await?;
        let connect = |wanted: bool, port: Option<u32>| {
            wanted
                .then(|| dial(&self.ports, port.expect("a port for every stream")))
                .transpose()
        };
        let stdin = connect(parameters.create_std_in_pipe, ports.stdin)?;
        let mut out = connect(parameters.create_std_out_pipe, ports.stdout)?;
        let mut err = connect(parameters.create_std_err_pipe, ports.stderr)?;
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        let init = parameters.oci_process.is_none();
        let process = Arc::new(FakeProcess {
            signal: watch::Sender::new(None),
            exit: watch::Sender::new(None),
            announce: Mutex::new(init),
        });
        self.processes.lock().unwrap().insert(pid, process.clone());
        if init {
            self.containers.lock().unwrap().get_mut(id).unwrap().init = Some(pid);
        }
        let power = self.power.clone();
        tokio::spawn(power.run_until_cancelled_owned(async move {
            let mut signals = process.signal.subscribe();
            let code = tokio::select! {
                code = run(args, stdin, &mut out, &mut err) => code,
                signal = signals.wait_for(Option::is_some) => 128 + signal.unwrap().unwrap().unsigned_abs(),
            };
            // The end of the outputs, and then the host's end of them, come before the exit is told.
            for stream in [&mut out, &mut err].into_iter().flatten() {
                stream.shutdown().await.unwrap();
            }
            for stream in [&mut out, &mut err].into_iter().flatten() {
                let _ = stream.read_u8().await;
            }
            process.exit.send_replace(Some(code));
        }));
        Ok(pid)
    }

    async fn wait_for_process(&self, _: &str, pid: u32) -> Result<Exit, AgentError> {
        let process = self.processes.lock().unwrap().get(&pid).cloned();
        let process = process.ok_or_else(|| AgentError::new(hresult::NOT_FOUND, "no such process"))?;
        let code = process
            .exit
            .subscribe()
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .unwrap();
        let announce = std::mem::take(&mut *process.announce.lock().unwrap());
        Ok(Exit {
            code,
            announce: announce.then_some(NotificationKind::UnexpectedExit),
        })
    }

    async fn signal_process(&self, id: &str, request: SignalProcess) -> Result<(), AgentError> {
        self.note(format!("guest signal {id} {}", request.signal()))
            .await?;
        let process = self.processes.lock().unwrap().get(&request.process_id).cloned();
        let process = process.ok_or_else(|| AgentError::new(hresult::NOT_FOUND, "no such process"))?;
        process.signal.send_replace(Some(request.signal()));
        Ok(())
    }

    async fn resize_console(&self, id: &str, request: ResizeConsole) -> Result<(), AgentError> {
        self.note(format!("guest resize {id} {}x{}", request.width, request.height))
            .await
    }

    async fn shutdown(&self, id: &str, forced: bool) -> Result<(), AgentError> {
        self.note(format!("guest shutdown {id} forced={forced}")).await
    }

    async fn properties(&self, _: &str, query: PropertyQuery) -> Result<Value, AgentError> {
        assert!(query.wants("Statistics"));
        Ok(json!({"LCOWMetrics": {"pids": {"current": 1}}}))
    }

    async fn modify(&self, id: &str, request: ModifyRequest) -> Result<(), AgentError> {
        let verb = match request.request_type {
            RequestType::Add => "add",
            RequestType::Remove => "remove",
            _ => "update",
        };
        let line = match &request.resource {
            Resource::MappedVirtualDisk(disk) => {
                format!("guest {verb} disk {} {}", disk.lun, disk.mount_path)
            }
            Resource::ScsiDevice(device) => format!("guest unplug {}", device.lun),
            Resource::CombinedLayers(layers) => {
                let paths: Vec<&str> = layers.layers.iter().map(|layer| layer.path.as_str()).collect();
                format!(
                    "guest {verb} overlay {} {}",
                    layers.container_root_path,
                    paths.join(":")
                )
                .trim_end()
                .to_owned()
            }
            Resource::MappedDirectory(share) => {
                format!("guest {verb} share {} {}", share.share_name, share.mount_path)
            }
            Resource::ContainerConstraints(limits) => format!("guest {verb} limits {id} {}", limits.linux),
            other => panic!("unexpected {other:?}"),
        };
        self.note(line).await
    }

    async fn dump_stacks(&self) -> Result<String, AgentError> {
        Ok(String::new())
    }

    async fn delete_container_state(&self, id: &str) -> Result<(), AgentError> {
        self.note(format!("guest delete {id}")).await?;
        self.containers.lock().unwrap().remove(id);
        Ok(())
    }
}

/// A sandbox's spec in a directory.
pub(crate) fn sandbox_spec(run_dir: &Path, id: &str) -> SandboxSpec {
    SandboxSpec {
        id: id.to_owned(),
        run_dir: run_dir.to_owned(),
        ..SandboxSpec::default()
    }
}

/// A task that runs a program on two layers and logs into the directory.
pub(crate) fn task_spec(dir: &Path, id: &str, args: &[&str]) -> TaskSpec {
    TaskSpec {
        id: id.to_owned(),
        layers: vec![
            PathBuf::from("/layers/base.vhd"),
            PathBuf::from("/layers/top.vhd"),
        ],
        scratch: PathBuf::from(format!("/scratch/{id}.vhd")),
        oci_spec: json!({"ociVersion": "1.1.0", "process": {"args": args, "cwd": "/"}, "linux": {}}),
        shares: Vec::new(),
        terminal: false,
        stdin: false,
        stdin_once: false,
        log: LogConfig {
            path: dir.join(format!("{id}.log")),
            max_bytes: 0,
            max_files: 0,
        },
    }
}

/// An exec of a program.
pub(crate) fn process_spec(args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        oci_process: json!({"args": args, "cwd": "/"}),
        terminal: false,
        stdin: false,
        detached: false,
    }
}

/// A share of a directory or file.
pub(crate) fn share(source: &Path, read_only: bool, mount_index: usize) -> Share {
    Share {
        source: source.to_owned(),
        read_only,
        mount_index,
    }
}

/// Reads attach frames to the end: what came on each channel.
pub(crate) async fn read_frames(mut stream: gcs::Stream) -> (String, String) {
    let mut channels = [Vec::new(), Vec::new()];
    while let Ok(channel) = stream.read_u8().await {
        let length = stream.read_u32_le().await.unwrap();
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        channels[usize::from(channel) - 1].extend(payload);
    }
    let [out, err] = channels.map(|bytes| String::from_utf8(bytes).unwrap());
    (out, err)
}

/// The texts in a log file, with their streams.
pub(crate) fn logged(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .map(|record| {
            (
                record["stream"].as_str().unwrap().into(),
                record["log"].as_str().unwrap().into(),
            )
        })
        .collect()
}
