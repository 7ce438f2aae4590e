//! `ctr-like container ...`: the verbs of containers under their noun.

use clap::{Args, Subcommand};

use super::{
    attach, create, exec, inspect, kill, logs, prune, ps, rename, restart, rm, run, start, stop, wait,
};
use crate::connect::Session;
use crate::failure::Outcome;

/// Manage containers
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Container {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Attach(attach::Attach),
    Create(create::Create),
    Exec(exec::Exec),
    Inspect(inspect::InspectContainers),
    Kill(kill::Kill),
    Logs(logs::Logs),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Ps),
    Prune(prune::PruneContainers),
    Rename(rename::Rename),
    Restart(restart::Restart),
    #[command(visible_aliases = ["remove", "delete"])]
    Rm(rm::Rm),
    Run(run::Run),
    Start(start::Start),
    Stop(stop::Stop),
    Wait(wait::Wait),
}

impl Container {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self.verb {
            Verb::Attach(verb) => verb.run(session).await,
            Verb::Create(verb) => verb.run(session).await,
            Verb::Exec(verb) => verb.run(session).await,
            Verb::Inspect(verb) => verb.run(session).await,
            Verb::Kill(verb) => verb.run(session).await,
            Verb::Logs(verb) => verb.run(session).await,
            Verb::Ls(verb) => verb.run(session).await,
            Verb::Prune(verb) => verb.run(session).await,
            Verb::Rename(verb) => verb.run(session).await,
            Verb::Restart(verb) => verb.run(session).await,
            Verb::Rm(verb) => verb.run(session).await,
            Verb::Run(verb) => verb.run(session).await,
            Verb::Start(verb) => verb.run(session).await,
            Verb::Stop(verb) => verb.run(session).await,
            Verb::Wait(verb) => verb.run(session).await,
        }
    }
}
