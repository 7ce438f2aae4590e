//! `ctr-like export`.

use std::path::PathBuf;

use api::message::ExportContainer;
use api::{Containers, Context};
use clap::Args;

use crate::connect::Session;
use crate::download;
use crate::failure::Outcome;

/// Write the files of a container to an archive
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Container
    container: String,
}

impl Export {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        if self.output.is_none() {
            download::refuse_terminal("export")?;
        }
        let client = session.connect().await?;
        let container = self.container;
        let stream = client
            .export(Context::new(), ExportContainer { container })
            .await?;
        let (_sender, receiver) = stream.split();
        match &self.output {
            None => download::receive(receiver, tokio::io::stdout()).await?,
            Some(path) => download::replace(path, receiver).await?,
        }
        Ok(0)
    }
}
