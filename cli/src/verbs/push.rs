//! `ctr-like push`.

use api::message::PushImage;
use api::{Context, Images};
use clap::Args;

use crate::connect::Session;
use crate::failure::Outcome;
use crate::{credentials, pull, render};

/// Send an image to its registry
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Say nothing on the way
    #[arg(short, long)]
    quiet: bool,
    /// Only this platform, of several
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    platform: Option<String>,
    /// Leave out layers that registries were asked not to distribute (of old Windows images)
    #[arg(long)]
    skip_foreign_layers: bool,
    /// Image
    #[arg(value_name = "NAME[:TAG]")]
    image: String,
}

impl Push {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        let auth = credentials::find(&self.image);
        let request = PushImage {
            reference: self.image,
            platform: self.platform,
            auth,
            skip_foreign_layers: self.skip_foreign_layers,
        };
        let pushed = pull::transfer(client.push(Context::new(), request).await?, self.quiet).await?;
        render::line(&pushed.reference)?;
        Ok(0)
    }
}
