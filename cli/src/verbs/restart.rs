//! `ctr-like restart`.

use api::{Containers, Context};
use clap::Args;

use super::each;
use super::stop::How;
use crate::connect::Session;
use crate::failure::Outcome;

/// Stop and start containers
#[derive(Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    how: How,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Restart {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        each(&self.containers, |container| async {
            client
                .restart(Context::new(), self.how.request(&container))
                .await
                .map(|_| container)
        })
        .await
    }
}
