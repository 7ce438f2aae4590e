//! `ctr-like pull`.

use clap::Args;

use crate::connect::Session;
use crate::failure::Outcome;
use crate::{pull, render};

/// Bring an image from its registry
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Say nothing on the way
    #[arg(short, long)]
    quiet: bool,
    /// Platform, of several
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    platform: Option<String>,
    /// Image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    image: String,
}

impl Pull {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        let pulled = pull::pull(&client, &self.image, self.platform.as_deref(), self.quiet).await?;
        render::line(&pulled.reference)?;
        Ok(0)
    }
}
