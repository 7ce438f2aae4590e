//! `ctr-like diff`.

use api::message::ListChanges;
use api::{Containers, Context};
use clap::Args;
use futures_util::StreamExt;

use crate::connect::Session;
use crate::failure::Outcome;
use crate::render;

/// List what a container has added (A), changed (C) and deleted (D)
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Container
    container: String,
}

impl Diff {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        let container = self.container;
        let mut changes = client.changes(Context::new(), ListChanges { container }).await?;
        while let Some(change) = changes.next().await {
            let change = change?;
            render::line(&format!("{} {}", change.kind, change.path))?;
        }
        Ok(0)
    }
}
