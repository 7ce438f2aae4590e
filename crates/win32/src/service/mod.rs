//! Windows services: being one ([`dispatch`]) and looking after one ([`ServiceManager`]).
//!
//! `daemon` runs as a service through [`dispatch`]; `cli` installs, starts, stops and removes it. Both name the service.
//!
//! A service is *starting*, *running*, *stopping* or *stopped*, in this order and never back ([`Reporter`]). It is stopped by
//! the service manager, which also says so before the system goes down.
//!
//! Calls block for as long as the service manager takes to answer, which is short; none waits for a service to do what it was
//! told. Errors are [`std::io::Error`] with the Win32 code.
//!
//! Written here and not taken from the crate `windows-service` (0.8.1): that frees the context of its control handler at the first stop,
//! although the service manager may call it again until the service has stopped; it reads answers from unaligned memory; and it can
//! neither empty a list of dependencies nor read back a delayed start. Not here: which services there are, and what they do.

mod dispatcher;
mod ledger;
mod manager;

pub use dispatcher::{Reporter, dispatch};
pub use manager::{Definition, Service, ServiceAccess, ServiceConfig, ServiceManager, ServiceStatus};

use windows_sys::Win32::System::Services::{
    SERVICE_CONTINUE_PENDING, SERVICE_PAUSE_PENDING, SERVICE_PAUSED, SERVICE_RUNNING, SERVICE_START_PENDING,
    SERVICE_STATUS_CURRENT_STATE, SERVICE_STOP_PENDING, SERVICE_STOPPED,
};

/// The state of a service by its name; none where there is no such service. Needs no rights.
///
/// # Errors
/// The service manager does not answer.
pub fn state(name: &str) -> std::io::Result<Option<ServiceState>> {
    let service = ServiceManager::connect(false)?.open(name, ServiceAccess::Look)?;
    let status = service.map(|service| service.status()).transpose()?;
    Ok(status.map(|status| status.state))
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// No process.
    Stopped,
    /// Its process does what comes before the work.
    Starting,
    /// It works.
    Running,
    /// It was told to stop and has not yet.
    Stopping,
    /// Not used by services that cannot pause.
    Paused,
}

impl ServiceState {
    /// As the service manager has it; a number that it does not document counts as stopped.
    fn from_raw(state: SERVICE_STATUS_CURRENT_STATE) -> Self {
        match state {
            SERVICE_START_PENDING => Self::Starting,
            SERVICE_RUNNING => Self::Running,
            SERVICE_STOP_PENDING => Self::Stopping,
            SERVICE_PAUSED | SERVICE_PAUSE_PENDING | SERVICE_CONTINUE_PENDING => Self::Paused,
            _ => Self::Stopped,
        }
    }

    fn raw(self) -> SERVICE_STATUS_CURRENT_STATE {
        match self {
            Self::Stopped => SERVICE_STOPPED,
            Self::Starting => SERVICE_START_PENDING,
            Self::Running => SERVICE_RUNNING,
            Self::Stopping => SERVICE_STOP_PENDING,
            Self::Paused => SERVICE_PAUSED,
        }
    }

    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Paused => "paused",
        }
    }
}
