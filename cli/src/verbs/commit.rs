//! `ctr-like commit`.

use api::message::CommitContainer;
use api::{Containers, Context};
use clap::Args;
use clap::builder::BoolishValueParser;

use crate::connect::Session;
use crate::failure::Outcome;
use crate::render;

/// Make an image of a container
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Who made it, for example "Jane Roe <jane@example.org>"
    #[arg(
        short,
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    author: String,
    /// Why
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    message: String,
    /// An instruction of a Dockerfile that changes the image's configuration, for example 'CMD ["sh"]'; repeatable
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Have the container's processes stand still meanwhile [default: where that is possible]
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new())]
    pause: Option<bool>,
    /// Container
    container: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

impl Commit {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        let request = CommitContainer {
            container: self.container,
            reference: self.reference,
            author: self.author,
            comment: self.message,
            changes: self.change,
            pause: self.pause,
        };
        let made = client.commit(Context::new(), request).await?;
        for warning in &made.warnings {
            render::note(&format!("WARNING: {warning}"));
        }
        render::line(&made.id)?;
        Ok(0)
    }
}
