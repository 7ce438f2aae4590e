//! `ctr-like wait`.

use api::message::{WaitCondition, WaitContainer};
use api::{Containers, Context};
use clap::Args;

use super::each;
use crate::connect::Session;
use crate::failure::Outcome;

/// Wait until containers end, and print their exit codes
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Wait {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        each(&self.containers, |container| async {
            let request = WaitContainer {
                container,
                condition: WaitCondition::NotRunning,
            };
            client
                .wait(Context::new(), request)
                .await
                .map(|exited| exited.exit_code)
        })
        .await
    }
}
