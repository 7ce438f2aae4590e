//! `ctr-like daemon start|stop|status`.

use std::time::Duration;

use api::message::ShutdownRequest;
use api::{Code, Context, System};
use clap::{Args, Subcommand};

use crate::connect::Session;
use crate::failure::{Failure, Outcome};
use crate::render;

/// Start, stop or look for the daemon
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Daemon {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start it in the background, unless it runs
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
    /// Say whether it runs; the exit code is 1 when it does not
    Status,
}

/// How long a daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

impl Daemon {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self.verb {
            Verb::Start { arguments } => match session.connect_only().await {
                Ok(client) => {
                    let version = &client.server_version().version;
                    render::note(&format!("ctr-like: the daemon runs already (version {version})"));
                    Ok(0)
                }
                Err(status) if status.code == Code::Unavailable => {
                    session.start_daemon(&arguments).await?;
                    Ok(0)
                }
                Err(status) => Err(status.into()),
            },
            Verb::Stop { containers } => stop(session, containers).await,
            Verb::Status => {
                let client = session.connect_running().await?;
                let version = client.server_version();
                render::line(&format!(
                    "running, version {}, API {} to {}",
                    version.version, version.api.min, version.api.max
                ))?;
                Ok(0)
            }
        }
    }
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
    client
        .shutdown(Context::new(), ShutdownRequest { stop_containers })
        .await?;
    let gone = async {
        while session.connect_only().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, gone).await {
        Ok(()) => Ok(0),
        Err(_) => Err(Failure::new(format!(
            "the daemon still answers after {} seconds",
            PATIENCE.as_secs()
        ))),
    }
}
