//! A handle of a system in memory.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use compute::state::Operation;
use compute::{ComputeSystem, GuestListener, GuestStream, Process, Result, SystemEvent};
use hcs::{
    Document, ExitType, HResult, ModifySettingRequest, Plan9Share, ProcessParameters, PropertyQuery,
    RequestType, Resource, SaveOptions, SaveType, SystemExitStatus,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{broadcast, mpsc};

use super::process::{ProcessHandle, Running};
use super::{Breach, Memory, System};

/// A handle.
pub(crate) struct Handle {
    system: Arc<System>,
    service: Arc<Memory>,
    number: u64,
    events: Mutex<Option<broadcast::Sender<SystemEvent>>>,
}

impl Handle {
    pub(crate) fn open(system: Arc<System>, service: Arc<Memory>) -> Arc<dyn ComputeSystem> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (sender, _) = broadcast::channel(64);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        system.handles.lock().unwrap().push((number, sender.clone()));
        Arc::new(Self {
            system,
            service,
            number,
            events: Mutex::new(Some(sender)),
        })
    }

    fn is(&self, breach: Breach) -> bool {
        self.system.breach == breach
    }

    /// Begins an operation: the handle is open and the state allows it.
    fn begin(&self, name: &'static str, operation: Operation) -> Result<()> {
        if self.events.lock().unwrap().is_none() && !self.is(Breach::ClosedHandlesWork) {
            return Err(self.system.error(name, HResult::E_HANDLE));
        }
        let mut machine = self.system.machine.lock().unwrap();
        match machine.begin(operation) {
            Ok(()) => Ok(()),
            Err(HResult::SYSTEM_ALREADY_STOPPED) if self.is(Breach::InvalidStateAfterExit) => {
                Err(self.system.error(name, HResult::INVALID_STATE))
            }
            Err(_) if self.is(Breach::SecondStartSucceeds) && operation == Operation::Start => Ok(()),
            Err(_) if self.is(Breach::ChangesBeforeStart) && operation == Operation::Modify => Ok(()),
            Err(code) => Err(self.system.error(name, code)),
        }
    }

    /// Ends an operation, after others had their chance.
    async fn complete(&self, name: &'static str, operation: Operation) -> Result<()> {
        tokio::task::yield_now().await;
        let completed = self.system.machine.lock().unwrap().complete(operation);
        completed.map_err(|code| self.system.error(name, code))
    }
}

#[async_trait]
impl ComputeSystem for Handle {
    fn id(&self) -> &str {
        &self.system.id
    }

    fn runtime_id(&self) -> &str {
        &self.system.runtime_id
    }

    async fn start(&self) -> Result<()> {
        if self.is(Breach::StartDoesNothing) {
            return Ok(());
        }
        if self.is(Breach::StartChecksLate) {
            self.system
                .machine
                .lock()
                .unwrap()
                .check(Operation::Start)
                .map_err(|code| self.system.error("start", code))?;
            tokio::task::yield_now().await;
            drop(self.begin("start", Operation::Start));
            drop(self.complete("start", Operation::Start).await);
            return Ok(());
        }
        self.begin("start", Operation::Start)?;
        if self.is(Breach::StartWins) {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            *self.system.machine.lock().unwrap() = super::Machine::new(hcs::SystemKind::VirtualMachine);
            self.begin("start", Operation::Start)?;
            return self.complete("start", Operation::Start).await;
        }
        if self.is(Breach::DroppedStartBlocks) {
            return self.complete("start", Operation::Start).await;
        }
        // Goes on when the caller gives up.
        let system = Arc::clone(&self.system);
        let start = tokio::spawn(async move {
            tokio::task::yield_now().await;
            system.machine.lock().unwrap().complete(Operation::Start)
        });
        start
            .await
            .expect("a start does not panic")
            .map_err(|code| self.system.error("start", code))
    }

    async fn shutdown(&self, _options: &str) -> Result<()> {
        self.begin("shutdown", Operation::Shutdown)?;
        self.system.end(ExitType::GracefulExit);
        Ok(())
    }

    async fn terminate(&self) -> Result<()> {
        let state = self.system.machine.lock().unwrap().state();
        let refused = match state {
            compute::state::State::Created => self.is(Breach::NoTerminationBeforeStart),
            compute::state::State::Starting => self.is(Breach::DroppedStartBlocks),
            _ => false,
        };
        if refused {
            return Err(self.system.error("terminate", HResult::INVALID_STATE));
        }
        self.begin("terminate", Operation::Terminate)?;
        tokio::task::yield_now().await;
        let graceful = self.is(Breach::TerminationIsGraceful);
        self.system.end(if graceful {
            ExitType::GracefulExit
        } else {
            ExitType::ForcedExit
        });
        Ok(())
    }

    async fn pause(&self) -> Result<()> {
        if self.is(Breach::PauseDoesNothing) {
            return Ok(());
        }
        self.begin("pause", Operation::Pause)?;
        self.complete("pause", Operation::Pause).await
    }

    async fn resume(&self) -> Result<()> {
        self.begin("resume", Operation::Resume)?;
        self.complete("resume", Operation::Resume).await
    }

    async fn save(&self, options: &str) -> Result<()> {
        let options = SaveOptions::from_json(options).map_err(|error| self.system.invalid("save", &error))?;
        let operation = Operation::Save(options.save_type.unwrap_or(SaveType::ToFile));
        self.begin("save", operation)?;
        self.complete("save", operation).await
    }

    async fn properties(&self, query: &str) -> Result<String> {
        self.begin("properties", Operation::Properties)?;
        if !query.is_empty()
            && let Err(error) = PropertyQuery::from_json(query)
            && !self.is(Breach::UnknownPropertiesAreIgnored)
        {
            return Err(self.system.invalid("properties", &error));
        }
        Ok(self.system.properties().to_json())
    }

    async fn modify(&self, request: &str) -> Result<()> {
        self.begin("modify", Operation::Modify)?;
        let invalid = |error| match self.system.invalid("modify", &error) {
            error if self.is(Breach::FieldsOfChangesAreNotNamed) => compute::ComputeError {
                document: None,
                ..error
            },
            error => error,
        };
        let request = ModifySettingRequest::from_json(request).map_err(invalid)?;
        if request.resource_path.parse::<Resource>() != Ok(Resource::Plan9Shares) {
            return match self.system.breach {
                Breach::UnknownResourcesAreIgnored => Ok(()),
                _ => Err(self.system.error("modify", HResult::INVALID_JSON)),
            };
        }
        let settings = request.settings.unwrap_or_default();
        let share = Plan9Share::from_value(&settings).map_err(invalid)?;
        let others = std::mem::replace(&mut *self.system.changing.lock().unwrap(), 1);
        if others > 0 && self.is(Breach::ChangesExcludeEachOther) {
            return Err(self.system.error("modify", HResult::INVALID_STATE));
        }
        tokio::task::yield_now().await;
        *self.system.changing.lock().unwrap() = 0;
        let over = self.system.machine.lock().unwrap().check(Operation::Modify);
        if over.is_err() && self.is(Breach::ChangeHangsInTermination) {
            std::future::pending::<()>().await;
        }
        if !self.is(Breach::ChangesBeforeStart) {
            over.map_err(|code| self.system.error("modify", code))?;
        }
        let mut shares = self.system.shares.lock().unwrap();
        let done = match request.request_type {
            Some(RequestType::Add) => shares.insert(share.name),
            Some(RequestType::Remove) => shares.remove(&share.name),
            _ => false,
        };
        if done {
            Ok(())
        } else {
            Err(self.system.error("modify", HResult::E_INVALIDARG))
        }
    }

    async fn create_process(&self, parameters: &str) -> Result<Box<dyn Process>> {
        static NEXT: AtomicU32 = AtomicU32::new(100);
        self.begin("create process", Operation::CreateProcess)?;
        let parameters = ProcessParameters::from_json(parameters)
            .map_err(|error| self.system.invalid("create process", &error))?;
        let pid = NEXT.fetch_add(1, Ordering::Relaxed);
        let (running, stdio) = Running::spawn(pid, &parameters.command_line, &self.system);
        self.system
            .processes
            .lock()
            .unwrap()
            .insert(pid, Arc::clone(&running));
        Ok(Box::new(ProcessHandle::new(
            running,
            stdio,
            Arc::clone(&self.system),
        )))
    }

    async fn open_process(&self, pid: u32) -> Result<Box<dyn Process>> {
        self.begin("open process", Operation::OpenProcess)?;
        let mut found = self.system.processes.lock().unwrap().get(&pid).cloned();
        if found.is_none() && self.is(Breach::UnknownProcessesOpen) {
            found = Some(Running::spawn(pid, "sleep", &self.system).0);
        }
        let running = found.ok_or_else(|| self.system.error("open process", HResult::ELEMENT_NOT_FOUND))?;
        Ok(Box::new(ProcessHandle::new(
            running,
            compute::Stdio::default(),
            Arc::clone(&self.system),
        )))
    }

    fn events(&self) -> broadcast::Receiver<SystemEvent> {
        match &*self.events.lock().unwrap() {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    async fn listen(&self, port: u32) -> Result<Box<dyn GuestListener>> {
        if self.is(Breach::NoListeningBeforeStart) {
            self.begin("listen", Operation::Modify)?;
        }
        let mut listeners = self.system.listeners.lock().unwrap();
        let taken = listeners.get(&port).is_some_and(|sender| !sender.is_closed());
        if taken && !self.is(Breach::ListenersSteal) {
            return Err(self.system.error("listen", HResult::E_INVALIDARG));
        }
        let (sender, connections) = mpsc::channel(4);
        listeners.insert(port, sender);
        Ok(Box::new(Listener {
            system: Arc::clone(&self.system),
            connections,
        }))
    }

    async fn close(&self) {
        let closed = self.events.lock().unwrap().take();
        let Some(events) = closed else { return };
        if self.is(Breach::CloseIsAnExit) {
            drop(events.send(SystemEvent::Exited(SystemExitStatus::default())));
        }
        let last = {
            let mut handles = self.system.handles.lock().unwrap();
            handles.retain(|(number, _)| *number != self.number);
            handles.is_empty()
        };
        if last {
            self.service.last_close(&self.system);
        }
    }
}

struct Listener {
    system: Arc<System>,
    connections: mpsc::Receiver<GuestStream>,
}

#[async_trait]
impl GuestListener for Listener {
    async fn accept(&mut self) -> Result<GuestStream> {
        let gone = || self.system.error("accept", HResult::SYSTEM_ALREADY_STOPPED);
        self.connections.recv().await.ok_or_else(gone)
    }
}

/// A stream whose end in one direction ends the other one too.
pub(crate) struct FullClose(Option<DuplexStream>);

impl FullClose {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        Self(Some(stream))
    }
}

impl AsyncRead for FullClose {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Some(stream) => Pin::new(stream).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for FullClose {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(stream) => Pin::new(stream).poll_write(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0
            .as_mut()
            .map_or(Poll::Ready(Ok(())), |stream| Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}
