//! `ctr-like stop`.

use api::message::StopContainer;
use api::{Containers, Context};
use clap::Args;

use super::each;
use crate::connect::Session;
use crate::failure::Outcome;

/// Stop containers
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    how: How,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// How a container is asked to end; `restart` has the same flags.
#[derive(Debug, Args)]
pub(super) struct How {
    /// Signal to send instead of the container's own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds until it is killed; -1 is without limit
    #[arg(
        short,
        long,
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
}

impl How {
    pub(super) fn request(&self, container: &str) -> StopContainer {
        StopContainer {
            container: container.to_owned(),
            signal: self.signal.clone(),
            timeout: self.timeout,
        }
    }
}

impl Stop {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        each(&self.containers, |container| async {
            client
                .stop(Context::new(), self.how.request(&container))
                .await
                .map(|_| container)
        })
        .await
    }
}
