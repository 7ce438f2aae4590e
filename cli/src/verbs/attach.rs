//! `ctr-like attach`.

use api::message::{AttachContainer, InspectContainer, WaitCondition, WaitContainer};
use api::{Containers, Context};
use clap::{ArgAction, Args};
use futures_util::poll;

use crate::connect::Session;
use crate::detach::DetachKeys;
use crate::failure::{Failure, Outcome};
use crate::signals::Signals;
use crate::streams::{End, Foreground, check_terminal};

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
        let id = found.id;
        let stdin = found.stdin && !self.no_stdin;
        check_terminal(found.tty, stdin)?;
        let signals = (self.sig_proxy || found.tty).then(Signals::new);
        let condition = if found.auto_remove {
            WaitCondition::Removed
        } else {
            WaitCondition::NotRunning
        };
        let mut exit = Box::pin(client.wait(
            Context::new(),
            WaitContainer {
                container: id.clone(),
                condition,
            },
        ));
        let _ = poll!(exit.as_mut());
        let wanted = AttachContainer {
            container: id.clone(),
            stdin,
            stdout: true,
            stderr: true,
        };
        let stream = client.attach(Context::new(), wanted).await?;
        let foreground = Foreground {
            client: &client,
            target: &id,
            tty: found.tty,
            stdin,
            detach,
            signals,
            redraw: true,
        };
        match foreground.carry(stream).await? {
            End::Over => Ok(exit.await?.exit_code),
            End::Detached => Ok(0),
            End::GaveUp(code) => Ok(code),
        }
    }
}
