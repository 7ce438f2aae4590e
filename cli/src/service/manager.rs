//! What the verbs share: finding the service, reading its definition, waiting for it, and telling failures.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hcs::command_line;
use win32::service::{Service, ServiceAccess, ServiceConfig, ServiceManager, ServiceState, ServiceStatus};

use crate::connect::Session;
use crate::environment as env;
use crate::failure::Failure;

/// The name of the service and of its event source; the daemon knows it, too.
pub(super) const NAME: &str = "ctr-like";

/// Where the daemon leaves the reason of its last failure: below the key of the service, as `LastFailure`.
pub(super) const PARAMETERS: &str = r"SYSTEM\CurrentControlSet\Services\ctr-like\Parameters";

/// Where a daemon listens when nothing is said.
const DEFAULT_HOST: &str = "npipe:////./pipe/ctr-like";

/// How long a service may do nothing that can be seen while it starts or stops.
const PATIENCE: Duration = Duration::from_secs(90);

const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_SERVICE_DISABLED: i32 = 1058;
const ERROR_SERVICE_MARKED_FOR_DELETE: i32 = 1072;

/// The service, if it is installed.
pub(super) fn open(doing: &str, access: ServiceAccess) -> Result<Option<Service>, Failure> {
    ServiceManager::connect(false)
        .and_then(|manager| manager.open(NAME, access))
        .map_err(|error| refused(doing, &error))
}

/// A call about the service failed. `doing` is what was being done, as in "installing the service".
pub(super) fn refused(doing: &str, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(ERROR_ACCESS_DENIED) => Failure::new(format!("{doing} needs administrator rights"))
            .hint("open a terminal with \"Run as administrator\" and type the command again"),
        Some(ERROR_SERVICE_MARKED_FOR_DELETE) => {
            Failure::new(format!("{doing} failed: the service is being removed and a program still has it open"))
                .hint("close the Services window, Task Manager and Event Viewer, then try again; a restart helps in any case")
        }
        Some(ERROR_SERVICE_DISABLED) => Failure::new(format!("{doing} failed: the service is disabled"))
            .hint("sc.exe config ctr-like start= delayed-auto"),
        _ => Failure::io(format!("{doing} failed"), error),
    }
}

/// What the definition of the service says of its daemon.
#[derive(Debug)]
pub(super) struct Definition {
    arguments: Vec<String>,
}

impl Definition {
    pub(super) fn of(config: &ServiceConfig) -> Self {
        Self {
            arguments: command_line::split(&config.command_line),
        }
    }

    fn value(&self, flag: &str) -> Option<&str> {
        let assigned = format!("{flag}=");
        self.arguments.iter().enumerate().find_map(|(index, argument)| {
            if argument == flag {
                self.arguments.get(index + 1).map(String::as_str)
            } else {
                argument.strip_prefix(&assigned)
            }
        })
    }

    /// Where it listens.
    pub(super) fn host(&self) -> &str {
        self.value("--host").unwrap_or(DEFAULT_HOST)
    }

    /// Where everything that lasts is.
    pub(super) fn root(&self) -> PathBuf {
        self.value("--root").map_or_else(program_data, PathBuf::from)
    }

    /// What does not last.
    pub(super) fn run_dir(&self) -> PathBuf {
        self.value("--run-dir")
            .map_or_else(|| self.root().join("run"), PathBuf::from)
    }

    /// Whether a command for this session is about the service: it names no other place.
    pub(super) fn is_meant(&self, session: &Session) -> bool {
        session
            .named_endpoint()
            .is_none_or(|endpoint| endpoint.to_string() == self.host())
    }
}

/// The daemon's folder where nothing else is said; the settings file is in it in any case.
pub(super) fn program_data() -> PathBuf {
    env::var(env::PROGRAM_DATA)
        .map_or_else(|| r"C:\ProgramData".into(), PathBuf::from)
        .join("ctr-like")
}

/// Waits until the service is in a state, or has stopped instead.
pub(super) async fn wait_for(
    service: &Service,
    state: ServiceState,
    doing: &str,
) -> Result<ServiceStatus, Failure> {
    let mut seen = None;
    let mut end = Instant::now() + PATIENCE;
    loop {
        let status = service.status().map_err(|error| refused(doing, &error))?;
        if status.state == state || status.state == ServiceState::Stopped {
            return Ok(status);
        }
        let now = (status.state, status.checkpoint);
        if seen != Some(now) {
            seen = Some(now);
            end = Instant::now() + PATIENCE;
        }
        if Instant::now() > end {
            return Err(Failure::new(format!(
                "{doing} failed: the service is still {} after {} seconds without progress",
                status.state.word(),
                PATIENCE.as_secs()
            )));
        }
        // The service manager's own notification needs a thread that waits alertably, and this process lives for one verb.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(line: &str) -> Definition {
        Definition::of(&ServiceConfig {
            display_name: String::new(),
            command_line: line.to_owned(),
            dependencies: Vec::new(),
            start: "automatic",
        })
    }

    #[test]
    fn the_definition_says_where_the_daemon_is() {
        let plain = definition(r#""C:\Program Files\ctr-like\ctr-liked.exe" --service"#);
        assert_eq!(plain.host(), DEFAULT_HOST);
        assert_eq!(plain.root(), program_data());
        let named = definition(
            r#"C:\x\ctr-liked.exe --service --host npipe:////./pipe/other --root "D:\my data\\" --run-dir=D:\run"#,
        );
        assert_eq!(named.host(), "npipe:////./pipe/other");
        assert_eq!(named.root(), PathBuf::from(r"D:\my data\"));
        assert_eq!(named.run_dir(), PathBuf::from(r"D:\run"));
        let session = |host| Session::new(Some(host), false).unwrap();
        assert!(named.is_meant(&session("npipe:////./pipe/other")));
        assert!(!named.is_meant(&session(DEFAULT_HOST)));
    }

    #[test]
    fn whoever_may_not_is_told_what_to_do() {
        let failure = refused(
            "installing the service",
            &io::Error::from_raw_os_error(ERROR_ACCESS_DENIED),
        );
        let lines = crate::failure::lines(&failure.status.unwrap());
        assert_eq!(
            lines,
            [
                "ctr-like: installing the service needs administrator rights",
                "hint: open a terminal with \"Run as administrator\" and type the command again"
            ]
        );
    }
}
