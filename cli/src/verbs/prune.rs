//! `ctr-like container prune`, `image prune`, `network prune` and `system prune`.

use std::io::{self, BufRead, IsTerminal};

use api::message::{
    PruneContainers as ContainersRequest, PruneImages as ImagesRequest, PruneNetworks as NetworksRequest,
    Pruned,
};
use api::{Containers, Context, Images, Networks};
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

/// Remove networks that no container is attached to
#[derive(Debug, Args)]
pub(crate) struct PruneNetworks {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that meet a condition
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
}

/// Remove containers that do not run, and networks and images that nothing uses
#[derive(Debug, Args)]
pub(crate) struct Prune {
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

impl PruneNetworks {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let filters = filters::parse(&self.filter)?;
        if !self.force
            && !confirm("This will remove all custom networks not used by at least one container.")?
        {
            return Ok(0);
        }
        let client = session.connect().await?;
        let pruned = Networks::prune(&client, Context::new(), NetworksRequest { filters }).await?;
        list("Deleted Networks:", &pruned)?;
        Ok(0)
    }
}

impl Prune {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let filters = filters::parse(&self.filter)?;
        let images = if self.all {
            "all images that no container uses"
        } else {
            "all dangling images"
        };
        let warning = format!(
            "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - {images}\n"
        );
        if !self.force && !confirm(&warning)? {
            return Ok(0);
        }
        let client = session.connect().await?;
        let containers = ContainersRequest {
            filters: filters.clone(),
        };
        let containers = Containers::prune(&client, Context::new(), containers).await?;
        list("Deleted Containers:", &containers)?;
        let networks = NetworksRequest {
            filters: filters.clone(),
        };
        let networks = Networks::prune(&client, Context::new(), networks).await?;
        list("Deleted Networks:", &networks)?;
        let images = ImagesRequest {
            all: self.all,
            filters,
        };
        let images = Images::prune(&client, Context::new(), images).await?;
        list("Deleted Images:", &images)?;
        total(containers.reclaimed + images.reclaimed)
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
    list(header, pruned)?;
    total(pruned.reclaimed)
}

fn list(header: &str, pruned: &Pruned) -> Result<(), Failure> {
    if !pruned.removed.is_empty() {
        render::line(header)?;
        for name in &pruned.removed {
            render::line(name)?;
        }
        render::line("")?;
    }
    Ok(())
}

fn total(bytes: u64) -> Outcome {
    render::line(&format!("Total reclaimed space: {}", human::size(bytes)))?;
    Ok(0)
}
