//! One compute system and its events.

use async_trait::async_trait;
use hcs::{CrashReport, HResult, Properties, SystemExitStatus};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{ComputeError, Process, Result};

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// A connection the guest opened to a port of the host.
pub type GuestStream = Box<dyn Duplex>;

/// Something that happened to a compute system.
#[derive(Debug, Clone, PartialEq)]
pub enum SystemEvent {
    /// The system ended. Published once, and the last event apart from [`SystemEvent::ServiceDisconnected`].
    Exited(SystemExitStatus),
    /// The guest began to crash.
    CrashInitiated(CrashReport),
    /// The guest crashed and left a report.
    Crashed(CrashReport),
    /// The guest connection that the service itself holds was lost.
    GuestConnectionClosed,
    /// The compute service died: every handle is dead.
    ServiceDisconnected,
}

/// A handle of one compute system: a container or a virtual machine.
///
/// Which operation is legal in which state is written down in [`crate::state`]. Documents are JSON text; an empty
/// text stands for an absent document. Operations run to completion when their future is dropped.
#[async_trait]
pub trait ComputeSystem: Send + Sync {
    /// The id given at creation.
    fn id(&self) -> &str;

    /// The runtime id, a lower-case GUID: for a virtual machine the address of its sockets.
    fn runtime_id(&self) -> &str;

    /// Starts the system. Completes when it is powered on; a termination meanwhile is
    /// `HCS_E_TERMINATED_DURING_START`.
    async fn start(&self) -> Result<()>;

    /// Asks the guest to end; the end itself is the event [`SystemEvent::Exited`].
    async fn shutdown(&self, options: &str) -> Result<()>;

    /// Ends the system by force. When this returns, [`SystemEvent::Exited`] has been published.
    async fn terminate(&self) -> Result<()>;

    /// Stops the virtual processors. Containers cannot be paused.
    async fn pause(&self) -> Result<()>;

    /// Continues a paused system.
    async fn resume(&self) -> Result<()>;

    /// Writes a paused system to a file; takes a `SaveOptions` document.
    async fn save(&self, options: &str) -> Result<()>;

    /// Answers a `PropertyQuery` (empty text: the basics only) with a `Properties` document.
    async fn properties(&self, query: &str) -> Result<String>;

    /// Changes a running system; takes a `ModifySettingRequest` document.
    async fn modify(&self, request: &str) -> Result<()>;

    /// Starts a process; takes a `ProcessParameters` document.
    async fn create_process(&self, parameters: &str) -> Result<Box<dyn Process>>;

    /// Opens a handle of a running process. It carries no stdio: that belongs to who created the process.
    async fn open_process(&self, pid: u32) -> Result<Box<dyn Process>>;

    /// The events from now on.
    ///
    /// A receiver taken after the exit gets nothing: read the properties once after subscribing, or use
    /// [`wait_for_exit`]. After [`ComputeSystem::close`] the channel closes without an event.
    fn events(&self) -> broadcast::Receiver<SystemEvent>;

    /// Listens on a socket port of the virtual machine, before or after its start. The guest may connect as soon as
    /// this returns. Dropping the listener frees the port.
    async fn listen(&self, port: u32) -> Result<Box<dyn GuestListener>>;

    /// As [`ComputeSystem::listen`] for a service that stands for no port, as Windows guests know them. Only machines of
    /// Hyper-V have those; elsewhere it fails with `ERROR_NOT_SUPPORTED`.
    async fn listen_service(&self, service: Uuid) -> Result<Box<dyn GuestListener>> {
        let source = format!("service {service} stands for no port, and this machine has only ports");
        Err(ComputeError::new("listen", self.id(), HResult::NOT_SUPPORTED).with_source(source))
    }

    /// Lets the virtual machine open a file that no document names, such as the disk below a disk, until this handle is closed.
    /// Where machines need no leave, nothing happens.
    async fn grant(&self, path: &str) -> Result<()> {
        let _ = path;
        Ok(())
    }

    /// Releases the handle. That is not an exit: the system goes on unless its document ties it to the last handle
    /// (`ShouldTerminateOnLastHandleClosed`). Later calls on this handle fail with `E_HANDLE`.
    async fn close(&self);
}

/// Accepts the connections of the guest to one port.
#[async_trait]
pub trait GuestListener: Send + Sync {
    /// The next connection. Cancel-safe.
    async fn accept(&mut self) -> Result<GuestStream>;
}

/// Waits until the system has ended, also when it ended before the call. Cancel-safe.
///
/// A handle that is closed meanwhile is an error (`E_HANDLE`), and so is a service that died
/// (`HCS_E_SERVICE_DISCONNECT`): neither is an exit.
pub async fn wait_for_exit(system: &dyn ComputeSystem) -> Result<SystemExitStatus> {
    const OPERATION: &str = "wait for exit";
    let mut events = system.events();
    match system.properties("").await {
        Ok(text) => {
            if let Ok(properties) = serde_json::from_str::<Properties>(&text)
                && properties.stopped
            {
                return Ok(SystemExitStatus {
                    exit_type: properties.exit_type,
                    ..Default::default()
                });
            }
        }
        Err(error) if error.is_not_found() => {
            return Ok(SystemExitStatus::default());
        }
        Err(error) => return Err(error),
    }
    loop {
        match events.recv().await {
            Ok(SystemEvent::Exited(status)) => return Ok(status),
            Ok(SystemEvent::ServiceDisconnected) => {
                return Err(ComputeError::new(
                    OPERATION,
                    system.id(),
                    HResult::SERVICE_DISCONNECT,
                ));
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => {
                return Err(ComputeError::new(OPERATION, system.id(), HResult::E_HANDLE));
            }
        }
    }
}
