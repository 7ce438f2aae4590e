//! `ctr-like run`: make, start and stay with a container.
//!
//! Foreground: the wait is asked for first, then the streams are attached, then it is started, so nothing of it is lost
//! and its exit code is ours. Requests share one connection and overlap where their order allows.

use api::message::{AttachContainer, RemoveContainer, WaitCondition};
use api::{Client, Containers, Context, Status};
use clap::{ArgAction, Args};

use super::create::New;
use super::start::start;
use crate::connect::Session;
use crate::detach::DetachKeys;
use crate::failure::{ENGINE, Failure, Outcome};
use crate::flags;
use crate::render;
use crate::signals::Signals;
use crate::streams::{End, Exit, Foreground, check_terminal};

/// Run a command in a new container
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "ctr-like run [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct Run {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// Hand signals on to the container
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = ArgAction::Set, hide_possible_values = true)]
    sig_proxy: bool,
    /// Keys that leave the container
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    #[command(flatten)]
    new: New,
}

impl Run {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        self.attempt(session).await.map_err(|failure| match failure.code {
            // Whatever goes wrong before the container's own code counts as the engine's failure.
            1 if failure.status.is_some() => failure.exit(ENGINE),
            _ => failure,
        })
    }

    async fn attempt(self, session: &Session) -> Outcome {
        let flags = &self.new.flags;
        if self.detach && !flags.attach.is_empty() {
            return Err(Failure::usage("conflicting options: --detach and --attach"));
        }
        let streams = flags::streams(&flags.attach)?;
        let attached = |name: &str| streams.is_empty() || streams.iter().any(|stream| stream == name);
        let detach = DetachKeys::parse(&self.detach_keys)?;
        if !self.detach {
            check_terminal(flags.tty, flags.interactive && attached("stdin"))?;
        }
        let mut request = self.new.request()?;
        if self.detach {
            (request.attach_stdin, request.attach_stdout, request.attach_stderr) = (false, false, false);
            request.stdin_once = false;
        }
        let tty = flags.tty;
        let signals = (!self.detach && (self.sig_proxy || tty)).then(Signals::new);
        let id_file = self.new.id_file()?;

        let client = session.connect().await?;
        let id = self.new.make(&client, request, id_file).await?;
        if self.detach {
            // The id is printed even when the start fails: the container exists.
            render::line(&id)?;
            return match start(&client, &id).await {
                Ok(()) => Ok(0),
                Err(status) => Err(self.start_failed(&client, &id, status).await),
            };
        }

        let exit = Exit::ask(&client, &id, flags.rm, WaitCondition::NextExit).await;
        let wanted = AttachContainer {
            container: id.clone(),
            stdin: flags.interactive && attached("stdin"),
            stdout: attached("stdout"),
            stderr: attached("stderr"),
        };
        let foreground = Foreground {
            client: &client,
            target: &id,
            tty,
            stdin: wanted.stdin,
            detach,
            signals,
            redraw: false,
        };
        let stream = client.attach(Context::new(), wanted).await?;
        let started = start(&client, &id);
        let carried = foreground.carry(stream);
        tokio::pin!(started, carried);
        let end = tokio::select! {
            biased;
            started = &mut started => match started {
                Ok(()) => None,
                Err(status) => return Err(self.start_failed(&client, &id, status).await),
            },
            end = &mut carried => Some(end?),
        };
        let end = match end {
            Some(End::Over) => {
                if let Err(status) = started.await {
                    return Err(self.start_failed(&client, &id, status).await);
                }
                End::Over
            }
            Some(end) => end,
            None => carried.await?,
        };
        exit.after(end).await
    }

    /// A container with `--rm` that could not be started is of no use to anybody.
    async fn start_failed(&self, client: &Client, id: &str, status: Status) -> Failure {
        if self.new.flags.rm {
            let request = RemoveContainer {
                container: id.to_owned(),
                force: true,
                volumes: true,
            };
            // The daemon may have done it.
            let _ = client.remove(Context::new(), request).await;
        }
        Failure::of_start(status, ENGINE)
    }
}
