//! `ctr-like cp`.
//!
//! Docker's rules for names and its words for what cannot be; see [`crate::files::names`]. Data goes to standard output only
//! where that is the destination; what was copied is told on standard error.

use std::path::{Path, PathBuf};

use api::message::{GetArchive, PathStat, PutArchive, StatPath};
use api::{Channel, Client, Containers, Context, Control, Frame, Status, StreamReceiver, StreamSender};
use bytes::{Bytes, BytesMut};
use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::connect::Session;
use crate::download::{self, cut};
use crate::failure::{Failure, Outcome};
use crate::files::names::{self, Destination, Side};
use crate::files::pack::{Source, pack};
use crate::files::unpack::{Unpacking, slash};
use crate::files::{Incoming, outgoing};
use crate::render::{self, human};

/// Copy files between a container and this host
///
/// Containers may be in any state. "-" reads a tar archive from standard input, or writes one to standard output.
#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Keep users and groups, by number; else files belong to root in a container, and to you here
    #[arg(short, long)]
    archive: bool,
    /// Follow SOURCE if it is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path of this host, or -
    #[arg(value_name = "SOURCE")]
    source: String,
    /// CONTAINER:PATH, a path of this host, or -
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

/// What separates paths of containers.
fn container_slash(letter: char) -> bool {
    letter == '/'
}

impl Cp {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        for (side, name) in [(&self.source, "source"), (&self.destination, "destination")] {
            if side.is_empty() {
                return Err(Failure::new(format!("{name} can not be empty")));
            }
        }
        let (source, destination) = (Side::parse(&self.source), Side::parse(&self.destination));
        match (source, destination) {
            (Side::Container { .. }, Side::Container { .. }) => {
                Err(Failure::new("copying between containers is not supported")
                    .hint("copy to this host first, or: ctr-like cp A:/path - | ctr-like cp - B:/directory"))
            }
            (Side::Local(_), Side::Local(_)) => {
                Err(Failure::new("must specify at least one container source")
                    .hint("a path in a container is CONTAINER:PATH"))
            }
            (Side::Container { container, path }, Side::Local("-")) => {
                let client = session.connect().await?;
                let path = names::in_container(path);
                download::receive(self.get(&client, container, &path).await?, tokio::io::stdout()).await?;
                Ok(0)
            }
            (Side::Container { container, path }, Side::Local(local)) => {
                self.copy_out(session, container, &names::in_container(path), local)
                    .await
            }
            (Side::Local(local), Side::Container { container, path }) => {
                self.copy_in(session, local, container, &names::in_container(path))
                    .await
            }
        }
    }

    async fn get(&self, client: &Client, container: &str, path: &str) -> Result<StreamReceiver, Failure> {
        let request = GetArchive {
            container: container.to_owned(),
            path: path.to_owned(),
            follow: self.follow_link,
        };
        let stream = client.get_archive(Context::new(), request).await?;
        Ok(stream.split().1)
    }

    async fn copy_out(&self, session: &Session, container: &str, path: &str, local: &str) -> Outcome {
        let destination = local_destination(local)?;
        let client = session.connect().await?;
        let receiver = self.get(&client, container, path).await?;
        let unpacking = Unpacking {
            name: names::base(path, container_slash),
            destination,
            owners: self.archive,
        };
        let (pieces, incoming) = Incoming::new();
        let unpacking = tokio::task::spawn_blocking(move || unpacking.run(incoming));
        // What was received is whole only if the daemon says so; the unpacker cannot know.
        let received = receive(receiver, pieces).await;
        let unpacked = joined(unpacking.await);
        let bytes = match (received, unpacked) {
            // The unpacker saw an archive that was cut short: why it was says more.
            (Err(failure), _) | (Ok(()), Err(failure)) => return Err(failure),
            (Ok(()), Ok(bytes)) => bytes,
        };
        self.tell(bytes, local);
        Ok(0)
    }

    async fn copy_in(&self, session: &Session, local: &str, container: &str, path: &str) -> Outcome {
        let source = match local {
            "-" => None,
            local => Some(LocalSource::look(local, self.follow_link)?),
        };
        let client = session.connect().await?;
        let destination = container_destination(&client, container, path).await?;
        let (directory, packing) = match source {
            None if destination.found != Some(true) => {
                return Err(Failure::new(format!(
                    "destination \"{container}:{path}\" must be a directory"
                )));
            }
            None => (destination.path, None),
            Some(source) => {
                let plan = names::plan(
                    source.name.as_deref(),
                    source.is_directory,
                    &destination,
                    container_slash,
                )?;
                let source = Source {
                    path: source.path,
                    name: plan.name,
                    owners: self.archive,
                };
                (plan.directory, Some(source))
            }
        };
        let request = PutArchive {
            container: container.to_owned(),
            path: directory,
            keep_kinds: true,
        };
        let (sender, receiver) = client.put_archive(Context::new(), request).await?.split();
        let sending = async {
            match packing {
                Some(source) => send_packed(source, &sender).await,
                None => send_stdin(&sender).await,
            }
        };
        let bytes = deliver(sending, receiver).await?;
        self.tell(bytes, &format!("{container}:{path}"));
        Ok(0)
    }

    fn tell(&self, bytes: u64, destination: &str) {
        if !self.quiet {
            render::note(&format!(
                "Successfully copied {} to {destination}",
                human::size(bytes)
            ));
        }
    }
}

/// A path of this host that is to be copied.
struct LocalSource {
    path: PathBuf,
    name: Option<String>,
    is_directory: bool,
}

impl LocalSource {
    fn look(local: &str, follow: bool) -> Result<Self, Failure> {
        let missing = |error: std::io::Error| Failure::io(format!("cannot copy {local}"), &error);
        let directory_meant = names::means_directory(local, slash);
        let mut path = PathBuf::from(local);
        let found = std::fs::symlink_metadata(&path).map_err(missing)?;
        if found.is_symlink() && (follow || directory_meant) {
            path = real(&path).map_err(missing)?;
        }
        let found = std::fs::symlink_metadata(&path).map_err(missing)?;
        if directory_meant && !found.is_dir() {
            return Err(Failure::new(format!("cannot copy {local}: not a directory")));
        }
        // `.` and `..` have names, too, unless their contents are meant.
        let name = names::base(local, slash);
        Ok(Self {
            path,
            name,
            is_directory: found.is_dir(),
        })
    }
}

/// The path without links.
fn real(path: &Path) -> std::io::Result<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the path is opened and never shown, so its verbatim form does no harm"
    )]
    std::fs::canonicalize(path)
}

/// What is known of a destination on this host.
fn local_destination(local: &str) -> Result<Destination, Failure> {
    let path = Path::new(local);
    let mut destination = Destination {
        path: local.to_owned(),
        found: None,
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => destination.found = Some(true),
        Ok(found) if found.is_file() && names::means_directory(local, slash) => {
            return Err(Failure::new(format!(
                "invalid output path: {local:?} is not a directory"
            )));
        }
        Ok(found) if found.is_file() => {
            destination.found = Some(false);
            // Over what a link leads to, not over the link.
            if let Some(real) = real(path).ok().and_then(|real| real.to_str().map(str::to_owned)) {
                destination.path = real;
            }
        }
        Ok(_) => {
            return Err(Failure::new(format!(
                "invalid output path: {local:?} must be a directory or a regular file"
            )));
        }
        Err(_) => {
            let trimmed = local.trim_end_matches(slash);
            let parent = Path::new(trimmed)
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
                return Err(Failure::new(format!(
                    "invalid output path: directory {:?} does not exist",
                    parent.display().to_string()
                )));
            }
        }
    }
    Ok(destination)
}

/// What is known of a destination in a container. A link is looked through once.
async fn container_destination(client: &Client, container: &str, path: &str) -> Result<Destination, Failure> {
    let look = async |path: &str| {
        let request = StatPath {
            container: container.to_owned(),
            path: path.to_owned(),
        };
        match client.stat_path(Context::new(), request).await {
            Ok(found) => Ok(Some(found)),
            // Not there: the copy may make it.
            Err(status) if is_about_a_path(&status) => Ok(None),
            Err(status) => Err(Failure::from(status)),
        }
    };
    let mut destination = Destination {
        path: path.to_owned(),
        found: None,
    };
    let mut found = look(path).await?;
    if let Some(link) = found.as_ref().filter(|found| found.is_link()) {
        destination.path = if link.link_target.starts_with('/') {
            link.link_target.clone()
        } else {
            let parent = path
                .trim_end_matches('/')
                .rfind('/')
                .map_or("/", |at| &path[..=at]);
            format!("{parent}{}", link.link_target)
        };
        found = look(&destination.path).await?;
    }
    destination.found = found.as_ref().map(PathStat::is_directory);
    Ok(destination)
}

fn is_about_a_path(status: &Status) -> bool {
    let about_path = status
        .resource
        .as_ref()
        .is_some_and(|resource| resource.kind == "path");
    status.code == api::Code::NotFound && about_path
}

fn joined<T>(outcome: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    outcome.unwrap_or_else(|error| Err(Failure::new(format!("the copy broke off: {error}"))))
}

/// Takes the archive from the daemon; it is whole when its channel ended.
async fn receive(mut receiver: StreamReceiver, pieces: mpsc::Sender<Bytes>) -> Result<(), Failure> {
    let mut wanted = true;
    while let Some(frame) = receiver.recv().await {
        match frame {
            Frame::Data(_, bytes) => {
                wanted = wanted && pieces.send(bytes).await.is_ok();
                if !wanted {
                    // The unpacker has failed and says why.
                    return Ok(());
                }
            }
            Frame::Control(Control::Error(status)) => return Err(status.into()),
            Frame::End(Channel::Stdout) => return Ok(()),
            Frame::Control(_) | Frame::End(_) => {}
        }
    }
    Err(cut())
}

/// Packs on a thread of its own and sends what comes; answers the bytes sent.
async fn send_packed(source: Source, sender: &StreamSender) -> Result<u64, Failure> {
    let (output, mut pieces) = outgoing();
    let packing = tokio::task::spawn_blocking(move || pack(&source, output));
    let mut sent = 0;
    while let Some(piece) = pieces.recv().await {
        sent += piece.len() as u64;
        if sender.send(Channel::Stdin, piece).await.is_err() {
            // The answer says why.
            return Ok(sent);
        }
    }
    let packed = packing.await.map_err(std::io::Error::other).flatten();
    let left_out = packed.map_err(|error| Failure::io("cannot pack the files", &error))?;
    for path in left_out {
        render::note(&format!("WARNING: sockets are not copied: {}", path.display()));
    }
    let _ = sender.end(Channel::Stdin).await;
    Ok(sent)
}

async fn send_stdin(sender: &StreamSender) -> Result<u64, Failure> {
    let mut stdin = tokio::io::stdin();
    let (mut buffer, mut sent) = (BytesMut::new(), 0);
    loop {
        buffer.reserve(64 << 10);
        let count = stdin
            .read_buf(&mut buffer)
            .await
            .map_err(|error| Failure::io("cannot read the archive", &error))?;
        sent += count as u64;
        let passed = match count {
            0 => sender.end(Channel::Stdin).await,
            _ => sender.send(Channel::Stdin, buffer.split().freeze()).await,
        };
        if count == 0 || passed.is_err() {
            return Ok(sent);
        }
    }
}

/// Sends and waits for the outcome; answers the bytes sent.
async fn deliver(
    sending: impl Future<Output = Result<u64, Failure>>,
    mut receiver: StreamReceiver,
) -> Result<u64, Failure> {
    let answer = async {
        while let Some(frame) = receiver.recv().await {
            match frame {
                Frame::Control(Control::Error(status)) => return Err(Failure::from(status)),
                Frame::Control(Control::Result(_)) => return Ok(()),
                Frame::Control(Control::Progress(_)) | Frame::Data(..) | Frame::End(_) => {}
            }
        }
        Err(cut())
    };
    tokio::pin!(sending, answer);
    let sent = tokio::select! {
        // The daemon may have its fill before we are done.
        answered = &mut answer => return answered.map(|()| 0),
        sent = &mut sending => sent?,
    };
    answer.await?;
    Ok(sent)
}
