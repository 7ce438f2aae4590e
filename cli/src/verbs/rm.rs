//! `ctr-like rm`.

use api::message::RemoveContainer;
use api::{Code, Containers, Context, Status};
use clap::Args;

use crate::connect::Session;
use crate::failure::{self, Outcome};
use crate::render;

/// Remove containers
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Also when they run: they are killed first. One that does not exist is no failure
    #[arg(short, long)]
    force: bool,
    /// With their anonymous volumes
    #[arg(short, long)]
    volumes: bool,
    /// Remove a link instead
    #[arg(short, long)]
    link: bool,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Rm {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        if self.link {
            let status = Status::unimplemented("links between containers are not supported");
            return Err(status
                .hint("join the containers to one network: they find each other by name")
                .into());
        }
        let client = session.connect().await?;
        let mut code = 0;
        for container in self.containers {
            let request = RemoveContainer {
                container: container.clone(),
                force: self.force,
                volumes: self.volumes,
            };
            match client.remove(Context::new(), request).await {
                Ok(_) => render::line(&container)?,
                Err(status) if status.code == Code::Unavailable => return Err(status.into()),
                Err(status) => {
                    // By force, what was asked for is true of one that does not exist.
                    let harmless = self.force && status.code == Code::NotFound;
                    let failed = failure::report(Err(status.into()));
                    code = if harmless { code } else { failed };
                }
            }
        }
        Ok(code)
    }
}
