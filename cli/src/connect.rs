//! Finding the daemon, and starting one where none listens.
//!
//! Order of places: `--host` or `CTR_LIKE_HOST`; the socket in `CTR_LIKE_RUN_DIR`; this user's own daemon; the system's.
//! When nobody listens at any of them, the daemon beside this program is started for this user, unless `--no-start` or
//! `CTR_LIKE_NO_START=1` forbid it, or the place is that of an installed service; it outlives this process. Its log goes to a file that is named when it fails.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::transport::EndpointError;
use api::{Client, Code, Endpoint, Status};

use crate::environment as env;
use crate::failure::Failure;
use crate::render;
use crate::service;

const NAME: &str = concat!("ctr-like/", env!("CARGO_PKG_VERSION"));

/// How long a new daemon may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the daemon is, and whether it may be started.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    places: Vec<Endpoint>,
    /// The place was named, so a daemon must be told of it.
    named: bool,
    start: bool,
}

impl Session {
    /// `host` is the flag or its environment variable.
    pub(crate) fn new(host: Option<&str>, start: bool) -> Result<Self, Failure> {
        let start = start && env::var(env::NO_START).is_none_or(|value| value == "0");
        if let Some(host) = host {
            let endpoint = host
                .parse()
                .map_err(|error: EndpointError| Failure::usage(error.to_string()))?;
            return Ok(Self {
                places: vec![endpoint],
                named: true,
                start,
            });
        }
        if let Some(dir) = env::var(env::RUN_DIR).filter(|_| cfg!(unix)) {
            return Ok(Self {
                places: vec![Endpoint::Unix(PathBuf::from(dir).join("ctr-like.sock"))],
                named: false,
                start,
            });
        }
        let user = env::var(env::XDG_RUNTIME_DIR).map(PathBuf::from);
        Ok(Self {
            places: Endpoint::defaults(is_root(), user.as_deref()),
            named: false,
            start,
        })
    }

    /// A connection to the daemon; starts one where that is allowed.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        match self.connect_only().await {
            Err(status) if self.start && nobody_listens(&status) => {
                if service::keeps_the_place(self) {
                    let failure = self.unreachable(status);
                    return Err(failure.hint(
                        "the service is installed and does not run; start it with: ctr-like daemon start",
                    ));
                }
                Ok(self.start_daemon(&[]).await?)
            }
            outcome => outcome.map_err(|status| self.unreachable(status)),
        }
    }

    /// A connection to a daemon that runs.
    pub(crate) async fn connect_running(&self) -> Result<Client, Failure> {
        self.connect_only()
            .await
            .map_err(|status| self.unreachable(status))
    }

    /// As [`Self::connect_running`], with the plain status: the caller tells "no daemon" from other failures.
    pub(crate) async fn connect_only(&self) -> Result<Client, Status> {
        let mut first = None;
        for place in &self.places {
            match Client::connect(place.clone(), NAME).await {
                Ok(client) => return Ok(client),
                Err(status) if nobody_listens(&status) || status.code == Code::PermissionDenied => {
                    // What matters is the daemon that we could not reach, not the one that is not there.
                    if first.is_none() || status.code == Code::PermissionDenied {
                        first = Some(status);
                    }
                }
                Err(status) => return Err(status),
            }
        }
        Err(first.unwrap_or_else(|| Status::unavailable("there is no place where a daemon could listen")))
    }

    /// Where a daemon that this user starts listens.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.places.first()
    }

    /// The place, if it was named.
    #[cfg_attr(
        not(windows),
        expect(dead_code, reason = "services have places of their own on Windows only")
    )]
    pub(crate) fn named_endpoint(&self) -> Option<&Endpoint> {
        self.places.first().filter(|_| self.named)
    }

    /// Starts a daemon and waits until it answers.
    pub(crate) async fn start_daemon(&self, arguments: &[String]) -> Result<Client, Failure> {
        let program = daemon_program()?;
        let (log, log_path) = self.log_file();
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_or_else(Stdio::null, Stdio::from));
        if self.named
            && let Some(endpoint) = self.endpoint()
        {
            command.arg("--host").arg(endpoint.to_string());
        }
        let mut child = spawn_detached(&mut command)
            .map_err(|error| Failure::io(format!("cannot start the daemon {}", program.display()), &error))?;
        let client = self.await_daemon(&mut child).await.map_err(|reason| {
            let failure = Failure::new(reason);
            match &log_path {
                Some(path) => failure.hint(format!("its log is {}", path.display())),
                None => failure.hint(format!("run {} by hand to see why", program.display())),
            }
        })?;
        let place = self.endpoint().map(ToString::to_string).unwrap_or_default();
        render::note(&format!(
            "ctr-like: started the daemon (pid {}) at {place}",
            child.id()
        ));
        Ok(client)
    }

    async fn await_daemon(&self, child: &mut Child) -> Result<Client, String> {
        let end = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(2);
        loop {
            // There is no event for "a socket appeared" on all systems.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
            let status = match self.connect_only().await {
                Ok(client) => return Ok(client),
                Err(status) => status,
            };
            if let Ok(Some(exit)) = child.try_wait() {
                // Perhaps another process was faster: then its daemon answers.
                return self
                    .connect_only()
                    .await
                    .map_err(|_| format!("the daemon ended at once ({exit})"));
            }
            if Instant::now() > end {
                return Err(format!(
                    "the daemon did not answer within {} seconds: {status}",
                    PATIENCE.as_secs()
                ));
            }
        }
    }

    /// The log of a daemon that we start: beside its socket, else in the temporary directory.
    fn log_file(&self) -> (Option<File>, Option<PathBuf>) {
        let beside = match self.endpoint() {
            Some(Endpoint::Unix(path)) => path.parent().map(|dir| dir.join("ctr-liked.log")),
            _ => Some(std::env::temp_dir().join("ctr-liked.log")),
        };
        let opened = beside.and_then(|path| {
            std::fs::create_dir_all(path.parent()?).ok()?;
            Some((File::options().create(true).append(true).open(&path).ok()?, path))
        });
        opened.map_or((None, None), |(file, path)| (Some(file), Some(path)))
    }

    fn unreachable(&self, mut status: Status) -> Failure {
        if !nobody_listens(&status) && status.code != Code::PermissionDenied {
            return status.into();
        }
        let reason = status
            .causes
            .first()
            .map_or_else(String::new, |cause| format!(": {cause}"));
        let place = self.endpoint().map(ToString::to_string).unwrap_or_default();
        // One that has a hint already listens to us and is not trusted.
        let denied = status.code == Code::PermissionDenied && status.hints.is_empty();
        let distrusted = status.code == Code::PermissionDenied && !denied;
        status.message = format!("error during connect: no daemon can be reached at {place}{reason}");
        status.causes.clear();
        let failure = Failure::from(status);
        match (denied, self.start || distrusted) {
            (true, _) if cfg!(windows) => failure.hint(
                "open a terminal with \"Run as administrator\", or have an administrator let a group of yours in: \
                 ctr-like daemon install --group NAME",
            ),
            (true, _) => {
                failure.hint("run as root, or as a member of the group that the daemon's socket belongs to")
            }
            (false, true) => failure,
            (false, false) => failure.hint("start it with: ctr-like daemon start"),
        }
    }
}

fn nobody_listens(status: &Status) -> bool {
    status.code == Code::Unavailable
}

/// `ctr-liked` beside this program.
pub(crate) fn daemon_program() -> Result<PathBuf, Failure> {
    if let Some(path) = env::var(env::DAEMON) {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(|error| Failure::io("cannot find the daemon", &error))?;
    let program = own.with_file_name(format!("ctr-liked{}", std::env::consts::EXE_SUFFIX));
    if program.exists() {
        return Ok(program);
    }
    Err(
        Failure::new("error during connect: no daemon is running, and there is none to start").hint(format!(
            "install ctr-liked as {}, or name it in {}",
            program.display(),
            env::DAEMON
        )),
    )
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(windows)]
fn is_root() -> bool {
    false
}

/// Starts a process that does not end with us or with our terminal.
#[cfg(unix)]
fn spawn_detached(command: &mut Command) -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt;
    command.current_dir("/").process_group(0).spawn()
}

/// Starts a process that does not end with us, our console or our job.
#[cfg(windows)]
fn spawn_detached(command: &mut Command) -> std::io::Result<Child> {
    use std::os::windows::process::CommandExt;
    command.creation_flags(win32::process::DETACHED_OUTSIDE_JOB);
    match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            command.creation_flags(win32::process::DETACHED).spawn()
        }
        outcome => outcome,
    }
}
