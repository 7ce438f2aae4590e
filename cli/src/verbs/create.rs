//! `ctr-like create`, and the part of `run` that makes the container.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use api::Client;
use api::message::CreateContainer;
use clap::{ArgAction, Args};

use crate::connect::Session;
use crate::failure::{ENGINE, Failure, Outcome};
use crate::flags::ContainerFlags;
use crate::pull::{self, Policy};
use crate::render;

/// Make a container and print its id
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "ctr-like create [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct Create {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    new: New,
}

impl Create {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let request = self.new.request()?;
        let id_file = self.new.id_file()?;
        let client = session.connect().await?;
        let id = self.new.make(&client, request, id_file).await?;
        render::line(&id)?;
        Ok(0)
    }
}

/// A container to be made, as `create` and `run` take it.
#[derive(Debug, Args)]
pub(super) struct New {
    #[command(flatten)]
    pub(super) flags: ContainerFlags,
    /// The image, the command and its arguments
    #[arg(
        value_name = "IMAGE [COMMAND] [ARG...]",
        required = true,
        trailing_var_arg = true
    )]
    image_and_command: Vec<String>,
}

impl New {
    /// What the daemon is asked for.
    pub(super) fn request(&self) -> Result<CreateContainer, Failure> {
        let (image, command) = self
            .image_and_command
            .split_first()
            .ok_or_else(|| Failure::usage("an image is required"))?;
        self.flags.request(image, command)
    }

    /// Makes the file for the id before there is an id that could be lost.
    pub(super) fn id_file(&self) -> Result<Option<IdFile>, Failure> {
        self.flags.cidfile.clone().map(IdFile::reserve).transpose()
    }

    /// Makes the container, brings its image first where that is wanted, and gives its id.
    pub(super) async fn make(
        &self,
        client: &Client,
        request: CreateContainer,
        id_file: Option<IdFile>,
    ) -> Result<String, Failure> {
        let policy = Policy {
            pull: &self.flags.pull,
            quiet: self.flags.quiet,
        };
        let id = pull::create(client, request, policy).await?.id;
        if let Some(file) = id_file {
            file.write(&id)?;
        }
        Ok(id)
    }
}

/// The file of `--cidfile`.
pub(super) struct IdFile {
    file: File,
    path: PathBuf,
}

impl IdFile {
    fn reserve(path: PathBuf) -> Result<Self, Failure> {
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::usage(format!(
                "container ID file found: {} exists",
                path.display()
            ))
            .hint("remove it, or make sure that the other container is not running")),
            Err(error) => Err(Failure::io(format!("cannot make {}", path.display()), &error).exit(ENGINE)),
        }
    }

    fn write(mut self, id: &str) -> Result<(), Failure> {
        self.file
            .write_all(id.as_bytes())
            .map_err(|error| Failure::io(format!("cannot write {}", self.path.display()), &error))
    }
}
