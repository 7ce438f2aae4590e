//! `ctr-like top`.

use api::message::TopContainer;
use api::{Containers, Context};
use clap::Args;

use crate::connect::Session;
use crate::failure::{Failure, Outcome};
use crate::render::{self, table};

/// List the processes of a container
#[derive(Debug, Args)]
#[command(
    override_usage = "ctr-like top CONTAINER [ps OPTIONS]",
    after_help = "Of a Linux container: what 'ps -ef' shows, with the process ids of its machine, the users of the container, and \
        times in UTC. For other options of ps, run the container's own with 'ctr-like exec'.\n\
        Of a Windows container: name, process id, processor time and private working set."
)]
pub(crate) struct Top {
    /// The container, and options of ps: -ef, or none
    #[arg(value_name = "CONTAINER [ps OPTIONS]", required = true, num_args = 1.., trailing_var_arg = true)]
    container_and_options: Vec<String>,
}

impl Top {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Some((container, options)) = self.container_and_options.split_first() else {
            return Err(Failure::usage("a container is required"));
        };
        let request = TopContainer {
            container: container.clone(),
            options: options.to_vec(),
        };
        let client = session.connect().await?;
        let found = client.top(Context::new(), request).await?;
        let titles: Vec<&str> = found.titles.iter().map(String::as_str).collect();
        for line in table::table(&titles, &found.processes) {
            render::line(&line)?;
        }
        Ok(0)
    }
}
