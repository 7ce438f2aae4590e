//! `ctr-like container prune` and `image prune`.

use std::io::{self, BufRead, IsTerminal};

use api::message::{PruneContainers as ContainersRequest, PruneImages as ImagesRequest, Pruned};
use api::{Containers, Context, Images};
use clap::Args;

use crate::connect::Session;
use crate::failure::{Failure, Outcome};
use crate::filters;
use crate::render::{self, human};

/// Remove containers that do not run
#[derive(Debug, Args)]
pub(crate) struct PruneContainers {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that meet a condition
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
}

/// Remove images that nothing uses
#[derive(Debug, Args)]
pub(crate) struct PruneImages {
    /// All images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that meet a condition
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
}

impl PruneContainers {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let filters = filters::parse(&self.filter)?;
        if !self.force && !confirm("This will remove all stopped containers.")? {
            return Ok(0);
        }
        let client = session.connect().await?;
        report(
            "Deleted Containers:",
            &Containers::prune(&client, Context::new(), ContainersRequest { filters }).await?,
        )
    }
}

impl PruneImages {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let filters = filters::parse(&self.filter)?;
        let what = if self.all {
            "all images that no container uses"
        } else {
            "all dangling images"
        };
        if !self.force && !confirm(&format!("This will remove {what}."))? {
            return Ok(0);
        }
        let client = session.connect().await?;
        let request = ImagesRequest {
            all: self.all,
            filters,
        };
        report(
            "Deleted Images:",
            &Images::prune(&client, Context::new(), request).await?,
        )
    }
}

fn confirm(warning: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("nobody is there to confirm").hint("write --force"));
    }
    render::note(&format!(
        "WARNING! {warning}\nAre you sure you want to continue? [y/N]"
    ));
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::io("cannot read the answer", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn report(header: &str, pruned: &Pruned) -> Outcome {
    if !pruned.removed.is_empty() {
        render::line(header)?;
        for name in &pruned.removed {
            render::line(name)?;
        }
        render::line("")?;
    }
    render::line(&format!(
        "Total reclaimed space: {}",
        human::size(pruned.reclaimed)
    ))?;
    Ok(0)
}
