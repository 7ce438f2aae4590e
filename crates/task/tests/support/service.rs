//! The compute service and its virtual machine, whose guest is the scripted agent.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compute::{
    ComputeError, ComputeService, ComputeSystem, GuestListener, GuestStream, Process, SystemEvent,
};
use gcs::guest::AgentError;
use gcs::{hresult, port};
use hcs::HResult;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::agent::FakeAgent;
use super::journal::Journal;

/// Where the host listens for the guest.
pub(super) type Ports = Mutex<HashMap<u32, mpsc::UnboundedSender<GuestStream>>>;

/// The service.
#[derive(Default)]
pub(crate) struct FakeService {
    pub(crate) journal: Arc<Journal>,
    /// The VM that was made last.
    pub(crate) system: Mutex<Option<Arc<FakeSystem>>>,
    /// The VM ends while it boots.
    pub(crate) dies_at_boot: bool,
    /// The VM's sockets are closed as a whole when the host ends its direction.
    pub(crate) loses_half_close: bool,
    /// The VM boots when this file exists.
    pub(crate) boots_with: Option<PathBuf>,
    /// The guest never connects.
    pub(crate) stays_silent: bool,
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
    loses_half_close: bool,
    boots_with: Option<PathBuf>,
    stays_silent: bool,
    /// Its guest is a Windows one.
    windows: AtomicBool,
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
            loses_half_close: self.loses_half_close,
            boots_with: self.boots_with.clone(),
            stays_silent: self.stays_silent,
            windows: AtomicBool::new(false),
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
        if self.stays_silent {
            return;
        }
        if self.windows.load(Ordering::Relaxed) {
            let guest = super::windows::serve(self.journal.clone(), self.ports.clone(), self.power.clone());
            tokio::spawn(guest);
            return;
        }
        let (ports, journal, power) = (self.ports.clone(), self.journal.clone(), self.power.clone());
        let loses_half_close = self.loses_half_close;
        tokio::spawn(async move {
            let mut entropy = dial(&ports, port::ENTROPY).unwrap();
            let mut seed = Vec::new();
            entropy.read_to_end(&mut seed).await.unwrap();
            assert_eq!(seed.len(), port::ENTROPY_BYTES);
            let mut log = dial(&ports, port::LOG).unwrap();
            log.write_all(b"{\"level\":\"info\",\"msg\":\"hello from the guest\"}\n")
                .await
                .unwrap();
            if loses_half_close {
                let nothing = log.read(&mut [0; 1]).await.unwrap();
                assert_eq!(nothing, 0);
                drop(log);
                return power.cancelled().await;
            }
            let bridge = dial(&ports, port::BRIDGE).unwrap();
            let agent = Arc::new(FakeAgent::new(journal, ports, power.clone()));
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

/// Connects to the host.
pub(super) fn dial(ports: &Ports, port: u32) -> Result<DuplexStream, AgentError> {
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
        while self.boots_with.as_ref().is_some_and(|file| !file.exists()) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if self.dies_at_boot && self.windows.load(Ordering::Relaxed) {
            self.crash();
        } else if self.dies_at_boot {
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
        let mut resource = path.rsplit_once("/Devices/").unwrap().1;
        let mut detail = request["Settings"]["Path"].as_str().unwrap_or_default();
        if let Some((kind, id)) = resource
            .split_once('/')
            .filter(|(kind, _)| *kind == "NetworkAdapters")
        {
            // A fresh id each time.
            assert_eq!(id.len(), 36, "{path}");
            resource = kind;
            detail = request["Settings"]["EndpointId"].as_str().unwrap();
        }
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

    async fn listen_service(&self, service: Uuid) -> compute::Result<Box<dyn GuestListener>> {
        assert_eq!(service.to_string(), port::WINDOWS_BRIDGE);
        self.windows.store(true, Ordering::Relaxed);
        self.listen(port::BRIDGE).await
    }

    async fn grant(&self, path: &str) -> compute::Result<()> {
        self.journal
            .enter(format!("host grant {path}"))
            .await
            .map_err(|line| failure("grant", &line))
    }

    async fn close(&self) {}
}
