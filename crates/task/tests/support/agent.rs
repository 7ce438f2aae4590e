//! The guest agent, and the programs that it knows.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gcs::guest::{Agent, AgentError, Exit};
use gcs::hresult;
use gcs::message::{
    ContainerConfig, ExecuteSettings, ModifyRequest, NotificationKind, PropertyQuery, RequestType,
    ResizeConsole, Resource, SignalProcess,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::journal::Journal;
use super::service::{Ports, dial};

/// The agent in the virtual machine.
pub(super) struct FakeAgent {
    journal: Arc<Journal>,
    ports: Arc<Ports>,
    next_pid: AtomicU32,
    containers: Mutex<HashMap<String, Container>>,
    processes: Mutex<HashMap<u32, Arc<FakeProcess>>>,
    /// Namespaces that have adapters.
    networks: Mutex<HashSet<String>>,
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
    pub(super) fn new(journal: Arc<Journal>, ports: Arc<Ports>, power: CancellationToken) -> Self {
        Self {
            journal,
            ports,
            next_pid: AtomicU32::new(100),
            containers: Mutex::default(),
            processes: Mutex::default(),
            networks: Mutex::default(),
            power,
        }
    }

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
pub(super) async fn run(
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
        "ctr-like-files" => match argument.as_str() {
            "extract" => {
                let mut read = Vec::new();
                stdin.unwrap().read_to_end(&mut read).await.unwrap();
                put(out, format!("{} bytes", read.len()).as_bytes()).await;
            }
            "stat" => {
                put(err, b"{\"code\":\"NOT_FOUND\",\"message\":\"gone\"}\n").await;
                return 1;
            }
            _ => {
                put(out, b"begun").await;
                std::future::pending::<()>().await;
            }
        },
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
        let mut line = format!("guest create {id} {}", sources.join(" "))
            .trim_end()
            .to_owned();
        let namespace = &config.oci_specification["windows"]["network"]["networkNamespace"];
        let namespace = namespace.as_str().unwrap();
        if self.networks.lock().unwrap().contains(namespace) {
            line += &format!(" in {namespace}");
        }
        self.note(line).await?;
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
        let tool = id == gcs::NULL_ID;
        let mut args = match &parameters.oci_process {
            Some(process) => words(&process["args"]),
            None if tool => parameters.command_args.clone(),
            None => self.containers.lock().unwrap()[id].args.clone(),
        };
        let kind = if parameters.oci_process.is_some() {
            "exec"
        } else if tool {
            "tool"
        } else {
            "init"
        };
        self.note(format!("guest {kind} {id} {}", args.join(" "))).await?;
        if args.first().is_some_and(|word| word == "again") {
            // The first attempt looked like a failure from here; the host has taken it.
            args.remove(0);
            let attempted = [ports.stdin, ports.stdout, ports.stderr].into_iter().flatten();
            let first = attempted
                .map(|port| dial(&self.ports, port))
                .collect::<Result<Vec<_>, _>>()?;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            drop(first);
        }
        let connect = |wanted: bool, port: Option<u32>| {
            wanted
                .then(|| dial(&self.ports, port.expect("a port for every stream")))
                .transpose()
        };
        let stdin = connect(parameters.create_std_in_pipe, ports.stdin)?;
        let mut out = connect(parameters.create_std_out_pipe, ports.stdout)?;
        let mut err = connect(parameters.create_std_err_pipe, ports.stderr)?;
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        let init = parameters.oci_process.is_none() && !tool;
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
            Resource::Network(network) => format!(
                "guest {verb} network {} {} {}",
                network.namespace_id, network.mac_address, network.dns_server_list
            )
            .trim_end()
            .to_owned(),
            Resource::ContainerConstraints(limits) => format!("guest {verb} limits {id} {}", limits.linux),
            other => panic!("unexpected {other:?}"),
        };
        self.note(line).await?;
        if let (RequestType::Add, Resource::Network(network)) = (&request.request_type, &request.resource) {
            self.networks.lock().unwrap().insert(network.namespace_id.clone());
        }
        Ok(())
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
