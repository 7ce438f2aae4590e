//! `ctr-like tag`.

use api::message::TagImage;
use api::{Context, Images};
use clap::Args;

use crate::connect::Session;
use crate::failure::Outcome;

/// Give an image another name
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// Image
    source: String,
    /// Its other name
    target: String,
}

impl Tag {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        client
            .tag(
                Context::new(),
                TagImage {
                    source: self.source,
                    target: self.target,
                },
            )
            .await?;
        Ok(0)
    }
}
