//! `ctr-like create`.

use clap::{ArgAction, Args};

use super::run::{reserve, write_id};
use crate::connect::Session;
use crate::failure::{Failure, Outcome};
use crate::flags::ContainerFlags;
use crate::pull::{self, Policy};
use crate::render;

/// Make a container and print its id
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "ctr-like create [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct Create {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    container: ContainerFlags,
    /// The image, the command and its arguments
    #[arg(
        value_name = "IMAGE [COMMAND] [ARG...]",
        required = true,
        trailing_var_arg = true
    )]
    image_and_command: Vec<String>,
}

impl Create {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let flags = &self.container;
        let (image, command) = self
            .image_and_command
            .split_first()
            .ok_or_else(|| Failure::usage("an image is required"))?;
        let request = flags.request(image, command)?;
        let id_file = flags.cidfile.as_deref().map(reserve).transpose()?;
        let client = session.connect().await?;
        let id = pull::create(
            &client,
            request,
            Policy {
                pull: &flags.pull,
                quiet: flags.quiet,
            },
        )
        .await?
        .id;
        if let Some((file, path)) = id_file {
            write_id(file, path, &id)?;
        }
        render::line(&id)?;
        Ok(0)
    }
}
