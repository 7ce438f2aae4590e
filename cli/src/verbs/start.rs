//! `ctr-like start`.

use api::message::{InspectContainer, StartContainer, WaitCondition};
use api::{Client, Containers, Context, Status};
use clap::Args;

use super::each;
use crate::connect::Session;
use crate::detach::DetachKeys;
use crate::failure::{Failure, Outcome};
use crate::streams::Visit;

/// Start containers
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Attach to output, and hand signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach to input
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave the container
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Start {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        if !self.attach && !self.interactive {
            return each(&self.containers, |container| async {
                start(&client, &container).await.map(|()| container)
            })
            .await;
        }
        let [container] = self.containers.as_slice() else {
            return Err(Failure::usage(
                "you cannot start and attach multiple containers at once",
            ));
        };
        self.foreground(&client, container).await
    }

    async fn foreground(&self, client: &Client, container: &str) -> Outcome {
        let detach = DetachKeys::parse(&self.detach_keys)?;
        let inspect = InspectContainer {
            container: container.to_owned(),
            size: false,
        };
        let found = Containers::inspect(client, Context::new(), inspect).await?;
        let id = found.id.clone();
        let visit = Visit {
            stdin: self.interactive && found.stdin,
            container: found,
            detach,
            sig_proxy: true,
            until: WaitCondition::NextExit,
            redraw: false,
        };
        let begin = async {
            start(client, &id)
                .await
                .map_err(|status| Failure::of_start(status, 1))
        };
        visit.stay(client, begin).await
    }
}

/// Starts one container.
pub(super) async fn start(client: &Client, container: &str) -> Result<(), Status> {
    let request = StartContainer {
        container: container.to_owned(),
    };
    client.start(Context::new(), request).await.map(drop)
}
