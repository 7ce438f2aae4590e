//! Starting, stopping and looking at the installed service.

use std::time::Duration;

use api::message::ShutdownRequest;
use api::{Context, Endpoint, System as _};
use win32::process::Watched;
use win32::service::{Service, ServiceAccess, ServiceState, ServiceStatus};

use super::manager::{Definition, NAME, PARAMETERS, open, refused, wait_for};
use crate::connect::Session;
use crate::failure::Failure;
use crate::render;

/// The exit code of `status` for a service that does not run.
const NOT_RUNNING: i32 = 3;

/// How long the process may take to end after the service has said that it stopped.
const PROCESS_END: Duration = Duration::from_secs(30);

/// Windows' number for "the service has a number of its own for this failure".
const ERROR_SERVICE_SPECIFIC_ERROR: u32 = 1066;
const ERROR_SERVICE_NEVER_STARTED: u32 = 1077;
const ERROR_SERVICE_ALREADY_RUNNING: i32 = 1056;

/// The installed service, its definition and how it is, if it is what this session is about.
fn meant(doing: &str, session: &Session) -> Result<Option<(Service, Definition, ServiceStatus)>, Failure> {
    let Some(service) = open(doing, ServiceAccess::Look)? else {
        return Ok(None);
    };
    let about = |error| refused(doing, &error);
    let definition = Definition::of(&service.config().map_err(about)?);
    if !definition.is_meant(session) {
        return Ok(None);
    }
    let status = service.status().map_err(about)?;
    Ok(Some((service, definition, status)))
}

/// Starts the service and waits until it serves.
pub(crate) async fn start(session: &Session) -> Result<Option<i32>, Failure> {
    const DOING: &str = "starting the service";
    let Some((service, definition, status)) = meant(DOING, session)? else {
        return Ok(None);
    };
    if status.state == ServiceState::Running {
        render::note("ctr-like: the service runs already");
        return Ok(Some(0));
    }
    drop(service);
    let Some(service) = open(DOING, ServiceAccess::Start)? else {
        return Ok(None);
    };
    if status.state == ServiceState::Stopping {
        wait_for(&service, ServiceState::Stopped, DOING).await?;
    }
    // The reason of an older failure must not be told as that of this one; there may be none.
    drop(win32::registry::delete(PARAMETERS));
    match service.start() {
        Err(error) if error.raw_os_error() != Some(ERROR_SERVICE_ALREADY_RUNNING) => {
            // One that fails at once may be gone before the service manager looks at it.
            return Err(match (reason(), service.status()) {
                (Some(_), Ok(status)) => ended(&status, &definition),
                _ => refused(DOING, &error),
            });
        }
        _ => {}
    }
    let status = wait_for(&service, ServiceState::Running, DOING).await?;
    if status.state != ServiceState::Running {
        return Err(ended(&status, &definition));
    }
    let pid = status.pid.unwrap_or_default();
    render::note(&format!("ctr-like: started the service (pid {pid})"));
    Ok(Some(0))
}

/// How a service that does not run has failed, if it has.
fn failure(status: &ServiceStatus) -> Option<String> {
    match status.exit {
        _ if status.state != ServiceState::Stopped => None,
        0 | ERROR_SERVICE_NEVER_STARTED => None,
        ERROR_SERVICE_SPECIFIC_ERROR => Some(format!("it ended with its code {}", status.exit_own)),
        code => Some(std::io::Error::from_raw_os_error(code.cast_signed()).to_string()),
    }
}

/// What the daemon says about its last failure.
fn reason() -> Option<String> {
    // Without it the code of the service is told.
    win32::registry::text(PARAMETERS, "LastFailure").unwrap_or_default()
}

/// It stopped instead of serving.
fn ended(status: &ServiceStatus, definition: &Definition) -> Failure {
    let reason = reason().or_else(|| failure(status));
    let reason = reason.unwrap_or_else(|| "it ended at once and said nothing".to_owned());
    Failure::new(format!("the service did not start: {reason}"))
        .hint(format!(
            "its log is {}",
            definition.root().join("daemon.log").display()
        ))
        .hint("its events are in Event Viewer under Windows Logs, Application, source ctr-like")
}

/// Stops the service and waits for its end, if it is the daemon that this session reaches.
pub(crate) async fn stop(session: &Session, containers: bool) -> Result<Option<i32>, Failure> {
    const DOING: &str = "stopping the service";
    let Some((service, _, status)) = meant(DOING, session)? else {
        return Ok(None);
    };
    if status.state == ServiceState::Stopped || !listens(&status, session) {
        return Ok(None);
    }
    drop(service);
    if let Some(service) = open(DOING, ServiceAccess::Stop)? {
        end(&service, session, containers).await?;
    }
    render::note("ctr-like: stopped the service");
    Ok(Some(0))
}

/// Whether the process of the service is the one at the pipe.
fn listens(status: &ServiceStatus, session: &Session) -> bool {
    let Some(Endpoint::Pipe(name)) = session.endpoint() else {
        return false;
    };
    // Nobody who answers, or one who may not be asked: the service, which runs, is all there is to stop.
    win32::pipe_server_process(name).map_or(true, |pid| status.pid == Some(pid))
}

/// The process at the pipe of a session. Until it has ended, its program can be neither removed nor replaced.
#[derive(Debug)]
pub(crate) struct Listener(Option<Watched>);

impl Listener {
    pub(crate) fn of(session: &Session) -> Self {
        let Some(Endpoint::Pipe(name)) = session.endpoint() else {
            return Self(None);
        };
        // One that may not be watched is taken to end with its pipe.
        Self(win32::pipe_server_process(name).and_then(Watched::open).ok())
    }

    /// Blocks until it has ended, or for `time`; whether it has.
    pub(crate) fn ended_within(&self, time: Duration) -> bool {
        self.0.as_ref().is_none_or(|process| process.ended_within(time))
    }
}

/// Ends a service that may run; `containers` as well, which the daemon does before.
pub(super) async fn end(service: &Service, session: &Session, containers: bool) -> Result<(), Failure> {
    const DOING: &str = "stopping the service";
    let about = |error| refused(DOING, &error);
    let mut status = service.status().map_err(about)?;
    if status.state == ServiceState::Starting {
        // It takes no controls before it runs.
        status = wait_for(service, ServiceState::Running, DOING).await?;
    }
    if status.state == ServiceState::Stopped {
        return Ok(());
    }
    let process = status.pid.and_then(|pid| Watched::open(pid).ok());
    if containers {
        let client = session.connect_running().await?;
        let request = ShutdownRequest {
            stop_containers: true,
        };
        client.shutdown(Context::new(), request).await?;
    } else if status.state != ServiceState::Stopping {
        service.stop().map_err(about)?;
    }
    wait_for(service, ServiceState::Stopped, DOING).await?;
    match process {
        Some(process) if !process.ended_within(PROCESS_END) => Err(Failure::new(format!(
            "the service has stopped, but its process is still there after {} seconds",
            PROCESS_END.as_secs()
        ))),
        _ => Ok(()),
    }
}

/// Prints how the service is. The exit code says whether it runs.
pub(crate) async fn status(session: &Session) -> Result<Option<i32>, Failure> {
    const DOING: &str = "looking at the service";
    let Some((service, _, status)) = meant(DOING, session)? else {
        return Ok(None);
    };
    let config = service.config().map_err(|error| refused(DOING, &error))?;
    render::line(&format!("service  {NAME}"))?;
    render::line(&format!("state    {}", status.state.word()))?;
    if let Some(pid) = status.pid {
        render::line(&format!("pid      {pid}"))?;
    }
    if let Some(failure) = failure(&status) {
        render::line(&format!("failed   {failure}"))?;
    }
    // Not every system keeps it.
    let delayed = config.start == "automatic" && service.delayed_start().unwrap_or(false);
    let delayed = if delayed { " (delayed)" } else { "" };
    render::line(&format!("start    {}{delayed}", config.start))?;
    if !config.dependencies.is_empty() {
        render::line(&format!("after    {}", config.dependencies.join(", ")))?;
    }
    render::line(&format!("path     {}", config.command_line))?;
    Ok(Some(match status.state {
        ServiceState::Running => 0,
        _ => NOT_RUNNING,
    }))
}

/// Whether the place belongs to a service that does not run: nobody else should listen there.
pub(crate) fn keeps_the_place(session: &Session) -> bool {
    // Who cannot even look at services is no reason to start nothing.
    matches!(meant("looking at the service", session), Ok(Some(_)))
}
