//! `ctr-like run`: make, start and stay with a container.
//!
//! Foreground: the wait is asked for first, then the streams are attached, then it is started, so nothing of it is lost
//! and its exit code is ours. Requests share one connection and overlap where their order allows.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use api::message::{AttachContainer, RemoveContainer, StartContainer, WaitCondition, WaitContainer};
use api::{Client, Containers, Context, Status};
use clap::{ArgAction, Args};
use futures_util::poll;

use crate::connect::Session;
use crate::detach::DetachKeys;
use crate::failure::{ENGINE, Failure, Outcome};
use crate::flags::{self, ContainerFlags};
use crate::pull::{self, Policy};
use crate::render;
use crate::signals::Signals;
use crate::streams::{End, Foreground, check_terminal};

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
    container: ContainerFlags,
    /// The image, the command and its arguments
    #[arg(
        value_name = "IMAGE [COMMAND] [ARG...]",
        required = true,
        trailing_var_arg = true
    )]
    image_and_command: Vec<String>,
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
        let flags = &self.container;
        let (image, command) = self
            .image_and_command
            .split_first()
            .ok_or_else(|| Failure::usage("an image is required"))?;
        if self.detach && !flags.attach.is_empty() {
            return Err(Failure::usage("conflicting options: --detach and --attach"));
        }
        let streams = flags::streams(&flags.attach)?;
        let attached = |name: &str| streams.is_empty() || streams.iter().any(|stream| stream == name);
        let detach = DetachKeys::parse(&self.detach_keys)?;
        if !self.detach {
            check_terminal(flags.tty, flags.interactive && attached("stdin"))?;
        }
        let mut request = flags.request(image, command)?;
        if self.detach {
            (request.attach_stdin, request.attach_stdout, request.attach_stderr) = (false, false, false);
            request.stdin_once = false;
        }
        let tty = flags.tty;
        let signals = (!self.detach && (self.sig_proxy || tty)).then(Signals::new);
        let id_file = flags.cidfile.as_deref().map(reserve).transpose()?;

        let client = session.connect().await?;
        let policy = Policy {
            pull: &flags.pull,
            quiet: flags.quiet,
        };
        let id = pull::create(&client, request, policy).await?.id;
        if let Some((file, path)) = id_file {
            write_id(file, path, &id)?;
        }
        if self.detach {
            // The id is printed even when the start fails: the container exists.
            render::line(&id)?;
            return match client
                .start(
                    Context::new(),
                    StartContainer {
                        container: id.clone(),
                    },
                )
                .await
            {
                Ok(_) => Ok(0),
                Err(status) => Err(self.start_failed(&client, &id, status).await),
            };
        }

        let condition = if flags.rm {
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
        let started = client.start(
            Context::new(),
            StartContainer {
                container: id.clone(),
            },
        );
        let carried = foreground.carry(stream);
        tokio::pin!(started, carried);
        let end = tokio::select! {
            biased;
            started = &mut started => match started {
                Ok(_) => None,
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
        match end {
            End::Detached => Ok(0),
            End::GaveUp(code) => Ok(code),
            End::Over => Ok(exit.await?.exit_code),
        }
    }

    /// A container with `--rm` that could not be started is of no use to anybody.
    async fn start_failed(&self, client: &Client, id: &str, status: Status) -> Failure {
        if self.container.rm {
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

/// Makes the file for the id before there is an id that could be lost.
pub(super) fn reserve(path: &Path) -> Result<(File, &Path), Failure> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(file) => Ok((file, path)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::usage(format!(
            "container ID file found: {} exists",
            path.display()
        ))
        .hint("remove it, or make sure that the other container is not running")),
        Err(error) => Err(Failure::io(format!("cannot make {}", path.display()), &error).exit(ENGINE)),
    }
}

pub(super) fn write_id(mut file: File, path: &Path, id: &str) -> Result<(), Failure> {
    file.write_all(id.as_bytes())
        .map_err(|error| Failure::io(format!("cannot write {}", path.display()), &error))
}
