//! `ctr-like image ...`: the verbs of images under their noun.

use clap::{Args, Subcommand};

use super::{images, inspect, load, prune, pull, push, rmi, save, tag};
use crate::connect::Session;
use crate::failure::Outcome;

/// Manage images
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Image {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Inspect(inspect::InspectImages),
    Load(load::Load),
    #[command(visible_alias = "list")]
    Ls(images::Images),
    Prune(prune::PruneImages),
    Pull(pull::Pull),
    Push(push::Push),
    #[command(visible_aliases = ["remove", "delete"])]
    Rm(rmi::Rmi),
    Save(save::Save),
    Tag(tag::Tag),
}

impl Image {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self.verb {
            Verb::Inspect(verb) => verb.run(session).await,
            Verb::Load(verb) => verb.run(session).await,
            Verb::Ls(verb) => verb.run(session).await,
            Verb::Prune(verb) => verb.run(session).await,
            Verb::Pull(verb) => verb.run(session).await,
            Verb::Push(verb) => verb.run(session).await,
            Verb::Rm(verb) => verb.run(session).await,
            Verb::Save(verb) => verb.run(session).await,
            Verb::Tag(verb) => verb.run(session).await,
        }
    }
}
