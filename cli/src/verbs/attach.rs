//! `ctr-like attach`.

use api::message::{InspectContainer, WaitCondition};
use api::{Containers, Context};
use clap::{ArgAction, Args};

use crate::connect::Session;
use crate::detach::DetachKeys;
use crate::failure::{Failure, Outcome};
use crate::streams::Visit;

/// Take over the streams of a running container
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Do not attach to input
    #[arg(long)]
    no_stdin: bool,
    /// Hand signals on to the container
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = ArgAction::Set, hide_possible_values = true)]
    sig_proxy: bool,
    /// Keys that leave the container
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// Container
    container: String,
}

impl Attach {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let detach = DetachKeys::parse(&self.detach_keys)?;
        let client = session.connect().await?;
        let inspect = InspectContainer {
            container: self.container.clone(),
            size: false,
        };
        let found = Containers::inspect(&client, Context::new(), inspect).await?;
        match found.state.as_str() {
            "running" => {}
            "paused" => {
                return Err(Failure::new(
                    "You cannot attach to a paused container, unpause it first",
                ));
            }
            "restarting" => {
                return Err(Failure::new(
                    "You cannot attach to a restarting container, wait until it is running",
                ));
            }
            _ => {
                return Err(
                    Failure::new("You cannot attach to a stopped container, start it first")
                        .hint(format!("ctr-like start -a {}", self.container)),
                );
            }
        }
        let visit = Visit {
            stdin: found.stdin && !self.no_stdin,
            container: found,
            detach,
            sig_proxy: self.sig_proxy,
            until: WaitCondition::NotRunning,
            redraw: true,
        };
        visit.stay(&client, async { Ok(()) }).await
    }
}
