//! `ctr-like save`.

use std::path::PathBuf;

use api::message::SaveImages;
use api::{Context, Images};
use clap::Args;

use crate::connect::Session;
use crate::download;
use crate::failure::Outcome;

/// Write images to an archive
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only this platform, of several
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    platform: Option<String>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Save {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        if self.output.is_none() {
            download::refuse_terminal("save")?;
        }
        let client = session.connect().await?;
        let stream = client
            .save(
                Context::new(),
                SaveImages {
                    images: self.images,
                    platform: self.platform,
                },
            )
            .await?;
        let (_sender, receiver) = stream.split();
        match &self.output {
            None => download::receive(receiver, tokio::io::stdout()).await?,
            Some(path) => download::replace(path, receiver).await?,
        }
        Ok(0)
    }
}
