//! `ctr-like exec`.

use std::path::PathBuf;

use api::message::{CreateExec, ExecId};
use api::{Containers, Context};
use clap::Args;

use crate::connect::Session;
use crate::detach::DetachKeys;
use crate::failure::{Failure, Outcome};
use crate::flags::environment;
use crate::signals::Signals;
use crate::streams::{End, Foreground, check_terminal};
use crate::terminal;

/// Run a command in a running container
#[derive(Debug, Args)]
#[command(override_usage = "ctr-like exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub(crate) struct Exec {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable; without a value, take it from this environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// User, and group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Allow everything
    #[arg(long)]
    privileged: bool,
    /// Keys that leave the command
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// The container, the command and its arguments
    #[arg(value_name = "CONTAINER COMMAND [ARG...]", required = true, num_args = 2.., trailing_var_arg = true)]
    container_and_command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Some((container, command)) = self
            .container_and_command
            .split_first()
            .filter(|(_, command)| !command.is_empty())
        else {
            return Err(Failure::usage("a container and a command are required"));
        };
        let stdin = self.interactive && !self.detach;
        if !self.detach {
            check_terminal(self.tty, stdin)?;
        }
        let detach = DetachKeys::parse(&self.detach_keys)?;
        let request = CreateExec {
            container: container.clone(),
            command: command.to_vec(),
            env: environment::variables(&self.env_file, &self.env)?,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            tty: self.tty,
            stdin,
            privileged: self.privileged,
            console_size: terminal::size().filter(|_| self.tty),
        };
        let client = session.connect().await?;
        let exec = client.exec_create(Context::new(), request).await?.id;
        let id = || ExecId { exec: exec.clone() };
        let failed = |status| Failure::of_start(status, 1);
        if self.detach {
            client
                .exec_start_detached(Context::new(), id())
                .await
                .map_err(failed)?;
            return Ok(0);
        }
        let signals = self.tty.then(Signals::new);
        let stream = client.exec_start(Context::new(), id()).await.map_err(failed)?;
        let foreground = Foreground {
            client: &client,
            target: &exec,
            tty: self.tty,
            stdin,
            detach,
            signals,
            redraw: false,
        };
        match foreground.carry(stream).await? {
            End::Over => Ok(client.exec_wait(Context::new(), id()).await?.exit_code),
            End::Detached => Ok(0),
            End::GaveUp(code) => Ok(code),
        }
    }
}
