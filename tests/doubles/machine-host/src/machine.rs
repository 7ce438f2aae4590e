//! One machine, as its connection tells.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use compute::{ComputeError, ComputeService, ComputeSystem, SystemEvent};
use emulator::Emulator;
use hcs::{Document, HResult, ResultError};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

use crate::console;
use crate::network::{Endpoint, Kind};
use crate::outside::Outside;
use crate::ports;

/// How long the rest of a console may take.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What all machines share.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) emulator: Emulator,
    pub(crate) endpoints: Kind,
    pub(crate) outside: Outside,
    /// For the sockets of consoles.
    pub(crate) directory: PathBuf,
}

/// What the requests of one connection share.
struct Machine {
    host: Host,
    system: Mutex<Option<Arc<dyn ComputeSystem>>>,
    /// What serves each port of the host.
    ports: Mutex<HashMap<u32, AbortHandle>>,
    /// What it is plugged into, by the path of the adapter.
    plugged: Mutex<HashMap<String, Endpoint>>,
    lines: mpsc::UnboundedSender<Value>,
}

/// Serves a connection to its end, which is that of the machine.
pub(crate) async fn serve(stream: TcpStream, host: Host) {
    let (reader, mut writer) = stream.into_split();
    let (lines, mut outgoing) = mpsc::unbounded_channel::<Value>();
    let machine = Arc::new(Machine {
        host,
        system: Mutex::default(),
        ports: Mutex::default(),
        plugged: Mutex::default(),
        lines,
    });
    tokio::spawn(async move {
        while let Some(line) = outgoing.recv().await {
            if writer.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut requests = BufReader::new(reader).lines();
    while let Ok(Some(line)) = requests.next_line().await {
        let request: Value = serde_json::from_str(&line).expect("the double speaks JSON");
        // Each by itself, so that a machine can be ended while it starts.
        tokio::spawn(Arc::clone(&machine).answer(request));
    }
    for port in machine.ports.lock().await.values() {
        port.abort();
    }
    if let Some(system) = machine.system.lock().await.take() {
        // One that has ended has ended.
        drop(system.terminate().await);
        system.close().await;
    }
    machine.plugged.lock().await.clear();
}

impl Machine {
    async fn answer(self: Arc<Self>, request: Value) {
        let number = request["number"].clone();
        let line = match self.act(&request).await {
            Ok(answer) => json!({ "number": number, "answer": answer }),
            Err(error) => {
                let document = error.document.clone().unwrap_or_else(|| {
                    ResultError::new(error.hresult, "machine-host", error.to_string()).to_json()
                });
                json!({ "number": number, "code": error.hresult.bits(), "document": document })
            }
        };
        // Whoever asked may have gone.
        drop(self.lines.send(line));
    }

    async fn act(self: &Arc<Self>, request: &Value) -> compute::Result<Value> {
        let (name, with) = (request["request"].as_str().unwrap(), &request["with"]);
        let document = with["document"].as_str().unwrap_or_default();
        if name == "create" {
            let id = with["id"].as_str().unwrap();
            let (document, console) = console::lead(id, document, &self.host.directory, &self.lines);
            let system = self.host.emulator.create(id, &document).await?;
            tokio::spawn(Arc::clone(self).tell_of_the_end(system.events(), console));
            *self.system.lock().await = Some(system);
            return Ok(Value::Null);
        }
        let system = self.system.lock().await.clone();
        let system =
            system.ok_or_else(|| ComputeError::new("ask", "no machine", HResult::SYSTEM_NOT_FOUND))?;
        let port = || u32::try_from(with["port"].as_u64().unwrap()).unwrap();
        match name {
            "start" => system.start().await?,
            "terminate" => system.terminate().await?,
            "pause" => system.pause().await?,
            "resume" => system.resume().await?,
            "save" => system.save(document).await?,
            "modify" => self.modify(&*system, document, &with["endpoint"]).await?,
            "properties" => return system.properties(document).await.map(Value::String),
            "listen" => {
                let at = u16::try_from(with["at"].as_u64().unwrap()).unwrap();
                let listener = system.listen(port()).await?;
                let serving = tokio::spawn(ports::serve(listener, at, self.host.outside.clone()));
                self.ports.lock().await.insert(port(), serving.abort_handle());
            }
            "forget" => {
                if let Some(serving) = self.ports.lock().await.remove(&port()) {
                    serving.abort();
                    while !serving.is_finished() {
                        tokio::task::yield_now().await;
                    }
                }
            }
            other => panic!("{other} is no request"),
        }
        Ok(Value::Null)
    }

    /// Applies a change. What an adapter is plugged into comes before it and goes after it.
    async fn modify(
        &self,
        system: &dyn ComputeSystem,
        document: &str,
        endpoint: &Value,
    ) -> compute::Result<()> {
        let request: Value = serde_json::from_str(document).unwrap();
        let path = request["ResourcePath"].as_str().unwrap_or_default();
        if !endpoint.is_null() {
            let made = Endpoint::new(self.host.endpoints, endpoint);
            let made = made.map_err(|error| {
                ComputeError::new("make an endpoint", format!("{error:#}"), HResult::E_FAIL)
            })?;
            self.plugged.lock().await.insert(path.to_owned(), made);
        }
        let modified = system.modify(document).await;
        let adds = request["RequestType"] == "Add";
        if adds == modified.is_err() {
            self.plugged.lock().await.remove(path);
        }
        modified
    }

    async fn tell_of_the_end(
        self: Arc<Self>,
        mut events: tokio::sync::broadcast::Receiver<SystemEvent>,
        mut console: Option<JoinHandle<()>>,
    ) {
        while let Ok(event) = events.recv().await {
            if let SystemEvent::Exited(status) = event {
                // Its last words come first.
                if let Some(console) = console.take() {
                    drop(tokio::time::timeout(LAST_WORDS, console).await);
                }
                // The connection may have gone first.
                drop(self.lines.send(json!({ "exited": status.exit_type })));
            }
        }
    }
}
