//! `ctr-like rename`.

use api::message::RenameContainer;
use api::{Containers, Context};
use clap::Args;

use crate::connect::Session;
use crate::failure::Outcome;

/// Give a container another name
#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// Container
    container: String,
    /// Its new name
    name: String,
}

impl Rename {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        client
            .rename(
                Context::new(),
                RenameContainer {
                    container: self.container,
                    name: self.name,
                },
            )
            .await?;
        Ok(0)
    }
}
