//! `ctr-like kill`.

use api::message::KillContainer;
use api::{Containers, Context};
use clap::Args;

use super::each;
use crate::connect::Session;
use crate::failure::Outcome;

/// Send a signal to containers
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Signal, as a name or a number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Kill {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        each(&self.containers, |container| async {
            let request = KillContainer {
                container: container.clone(),
                signal: Some(self.signal.clone()),
            };
            client.kill(Context::new(), request).await.map(|_| container)
        })
        .await
    }
}
