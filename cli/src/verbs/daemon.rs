//! `ctr-like daemon install|uninstall|start|stop|status`.
//!
//! What is about an installed service is done by [`crate::service`]; the rest here: a daemon of the user, which listens at the place of
//! the session.

use std::time::Duration;

use api::message::ShutdownRequest;
use api::{Code, Context, System};
use clap::{Args, Subcommand};

use crate::connect::Session;
use crate::failure::{Failure, Outcome};
use crate::render;
use crate::service::{self, Installation};

/// Install, start, stop or look for the daemon
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Daemon {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install it as a Windows service that starts with the system; again to change its arguments
    Install(Installation),
    /// Stop the Windows service with its containers and remove it; what it stored stays
    Uninstall {
        /// Remove what it stored, too
        #[arg(long)]
        purge: bool,
    },
    /// Start the service, or without one a daemon in the background, unless it runs
    Start {
        /// Arguments for the daemon, after --
        #[arg(last = true, value_name = "ARG")]
        arguments: Vec<String>,
    },
    /// Stop it; containers go on
    Stop {
        /// Stop the containers, too
        #[arg(long)]
        containers: bool,
    },
    /// Say whether it runs; the exit code is 3 when it does not, and 4 when on Windows there is no service either
    Status,
}

/// The exit code of `status` when nothing runs.
const NOT_RUNNING: i32 = if cfg!(windows) { 4 } else { 3 };

/// How long a daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

impl Daemon {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self.verb {
            Verb::Install(installation) => service::install(session, installation).await,
            Verb::Uninstall { purge } => service::uninstall(session, purge).await,
            Verb::Start { arguments } => start(session, &arguments).await,
            Verb::Stop { containers } => match service::stop(session, containers).await? {
                Some(code) => Ok(code),
                None => stop(session, containers).await,
            },
            Verb::Status => match service::status(session).await? {
                Some(code) => Ok(code),
                None => status(session).await,
            },
        }
    }
}

async fn start(session: &Session, arguments: &[String]) -> Outcome {
    // Arguments are for a daemon of this user: those of the service are in its definition.
    if arguments.is_empty()
        && let Some(code) = service::start(session).await?
    {
        return Ok(code);
    }
    match session.connect_only().await {
        Ok(client) => {
            let version = &client.server_version().version;
            render::note(&format!("ctr-like: the daemon runs already (version {version})"));
            Ok(0)
        }
        Err(status) if status.code == Code::Unavailable => {
            session.start_daemon(arguments).await?;
            Ok(0)
        }
        Err(status) => Err(status.into()),
    }
}

async fn status(session: &Session) -> Outcome {
    let client = session
        .connect_running()
        .await
        .map_err(|failure| failure.exit(NOT_RUNNING))?;
    let version = client.server_version();
    render::line(&format!(
        "running, version {}, API {} to {}",
        version.version, version.api.min, version.api.max
    ))?;
    Ok(0)
}

async fn stop(session: &Session, stop_containers: bool) -> Outcome {
    let client = match session.connect_only().await {
        Ok(client) => client,
        Err(status) if status.code == Code::Unavailable => {
            render::note("ctr-like: no daemon is running");
            return Ok(0);
        }
        Err(status) => return Err(status.into()),
    };
    let process = service::Listener::of(session);
    client
        .shutdown(Context::new(), ShutdownRequest { stop_containers })
        .await?;
    let gone = async {
        while session.connect_only().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, gone).await {
        Ok(()) if process.ended_within(PATIENCE) => Ok(0),
        Ok(()) => Err(Failure::new(format!(
            "the daemon listens no more, but its process is still there after {} seconds",
            PATIENCE.as_secs()
        ))),
        Err(_) => Err(Failure::new(format!(
            "the daemon still answers after {} seconds",
            PATIENCE.as_secs()
        ))),
    }
}
