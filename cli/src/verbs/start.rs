//! `ctr-like start`.

use api::message::{AttachContainer, InspectContainer, StartContainer, WaitCondition, WaitContainer};
use api::{Client, Containers, Context};
use clap::Args;
use futures_util::poll;

use super::each;
use crate::connect::Session;
use crate::detach::DetachKeys;
use crate::failure::{Failure, Outcome};
use crate::signals::Signals;
use crate::streams::{End, Foreground, check_terminal};

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
                client
                    .start(
                        Context::new(),
                        StartContainer {
                            container: container.clone(),
                        },
                    )
                    .await
                    .map(|_| container)
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
        let inspect = InspectContainer {
            container: container.to_owned(),
            size: false,
        };
        let found = Containers::inspect(client, Context::new(), inspect).await?;
        let id = found.id;
        let stdin = self.interactive && found.stdin;
        check_terminal(found.tty, stdin)?;
        let signals = Some(Signals::new());
        let condition = if found.auto_remove {
            WaitCondition::Removed
        } else {
            WaitCondition::NextExit
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
        let detach = DetachKeys::parse(&self.detach_keys)?;
        let stream = client.attach(Context::new(), wanted).await?;
        client
            .start(
                Context::new(),
                StartContainer {
                    container: id.clone(),
                },
            )
            .await
            .map_err(|status| Failure::of_start(status, 1))?;
        let foreground = Foreground {
            client,
            target: &id,
            tty: found.tty,
            stdin,
            detach,
            signals,
            redraw: false,
        };
        match foreground.carry(stream).await? {
            End::Over => Ok(exit.await?.exit_code),
            End::Detached => Ok(0),
            End::GaveUp(code) => Ok(code),
        }
    }
}
