//! Files of containers: where a path leads, archives in and out, what changed, the whole root file system.
//!
//! The daemon calls these for `cp`, `diff` and `export`; each works on a container in any state (see `reach`). Archives are
//! streams: nothing here keeps more than a piece, and nothing here looks into them.
//!
//! A bind mount of a container that does not run is not mounted in its root. A path below its target is taken from the
//! mount's source instead; what cannot be had that way is refused.
//!
//! Not here: packing and unpacking (the guest's tools and the client), and what `cp` makes of names (the client).

mod target;

use serde::Deserialize;
use task::{FileWork, FilesSpec, Place};
use tokio::io::AsyncWrite;
use tokio::sync::{mpsc, oneshot};

use crate::container::Container;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::reach::{Input, Reach};
use crate::record::ContainerRecord;

use self::target::{Target, name_of, target, writable};

/// What is known of a path in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PathStat {
    /// The last part of the path; `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Permissions and kind, as Go's `FileMode` has them.
    pub mode: u32,
    /// When it was changed last (RFC 3339).
    pub mtime: String,
    /// Of a symbolic link: where it leads, absolute in the container.
    pub link_target: String,
}

/// How a path differs from the image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Change {
    /// `A` for added, `C` for changed, `D` for deleted.
    pub kind: String,
    /// The path.
    pub path: String,
}

/// How many changes wait for a slow reader.
const CHANGES: usize = 256;
/// The longest line about a change: a path and its escapes.
const LINE: usize = 64 << 10;

impl Engine {
    /// What is at a path; links in it are followed, but not the last part.
    ///
    /// # Errors
    /// The container or the path does not exist.
    pub async fn stat_path(&self, name: &str, path: &str) -> Result<PathStat> {
        let container = self.find(name)?;
        let target = target(&container, path)?;
        let mut reach = self.reach(&container, target.share.clone()).await?;
        let outcome = stat(&mut reach, &target, path).await;
        reach.close().await;
        outcome
    }

    /// Writes a tar of a path to `archive`, whose names begin with the last part of the path. What is there is told
    /// before the first byte.
    ///
    /// # Errors
    /// The container or the path does not exist, or the reader went away.
    pub async fn get_archive(
        &self,
        name: &str,
        path: &str,
        follow: bool,
        begun: oneshot::Sender<PathStat>,
        archive: impl AsyncWrite + Send + Unpin,
    ) -> Result<()> {
        let container = self.find(name)?;
        let target = target(&container, path)?;
        if target.exact && !path.ends_with("/.") {
            return Err(Error::new(
                Kind::FailedPrecondition,
                format!("{path} is mounted into container {name} only while that runs"),
            )
            .about("path", path)
            .hint(format!(
                "copy '{}/.', or start the container first",
                path.trim_end_matches('/')
            )));
        }
        let mut reach = self.reach(&container, target.share.clone()).await?;
        let work = async {
            let found = stat(&mut reach, &target, path).await?;
            let spec = FilesSpec {
                place: target.place,
                work: FileWork::Archive {
                    path: target.path.clone(),
                    follow,
                },
            };
            // Who waits may have left.
            let begun = || drop(begun.send(found));
            reach
                .run(spec, begun, None, archive)
                .await
                .map_err(|error| missing(error, path, &reach.record))
        };
        let outcome = work.await;
        reach.close().await;
        if outcome.is_ok() {
            self.publish_files(&container, "copy");
        }
        outcome
    }

    /// Unpacks a tar into a directory. With `keep_kinds`, a directory does not take the place of something else, nor the
    /// reverse.
    ///
    /// # Errors
    /// The container or the directory does not exist, the container may not be written to, or the archive is not one.
    pub async fn put_archive(&self, name: &str, path: &str, keep_kinds: bool, content: Input) -> Result<()> {
        let container = self.find(name)?;
        let target = target(&container, path)?;
        writable(&container.snapshot(), path)?;
        let mut reach = self.reach(&container, target.share.clone()).await?;
        let spec = FilesSpec {
            place: target.place,
            work: FileWork::Extract {
                path: target.path.clone(),
                owner: None,
                replace: !keep_kinds,
            },
        };
        let outcome = reach
            .run(spec, || {}, Some(content), tokio::io::sink())
            .await
            .map_err(|error| missing(error, path, &reach.record));
        reach.close().await;
        if outcome.is_ok() {
            self.publish_files(&container, "copy");
        }
        outcome
    }

    /// What differs from the image, in the order of the paths; ends with an error when it cannot be had.
    ///
    /// # Errors
    /// The container does not exist.
    pub fn changes(&self, name: &str) -> Result<mpsc::Receiver<Result<Change>>> {
        let container = self.find(name)?;
        let (sender, receiver) = mpsc::channel(CHANGES);
        let engine = self.clone();
        self.0.tracker.spawn(async move {
            let outcome = engine.send_changes(&container, &sender).await;
            if let Err(error) = outcome {
                // Nobody may listen any more.
                drop(sender.send(Err(error)).await);
            }
        });
        Ok(receiver)
    }

    async fn send_changes(
        &self,
        container: &std::sync::Arc<Container>,
        sender: &mpsc::Sender<Result<Change>>,
    ) -> Result<()> {
        let mut reach = self.reach(container, None).await?;
        let spec = FilesSpec {
            place: Place::Root,
            work: FileWork::Changes,
        };
        let (write, read) = tokio::io::duplex(LINE);
        let parsing = parse_changes(read, sender);
        let (ran, parsed) = tokio::join!(reach.run(spec, || {}, None, write), parsing);
        reach.close().await;
        ran.and(parsed)
    }

    /// Writes a tar of the root file system to `archive`; `begun` is told when it begins.
    ///
    /// # Errors
    /// The container does not exist, or the reader went away.
    pub async fn export(
        &self,
        name: &str,
        begun: oneshot::Sender<()>,
        archive: impl AsyncWrite + Send + Unpin,
    ) -> Result<()> {
        let container = self.find(name)?;
        let mut reach = self.reach(&container, None).await?;
        let spec = FilesSpec {
            place: Place::Root,
            work: FileWork::Export,
        };
        let begun = || {
            let _ = begun.send(());
        };
        let outcome = reach.run(spec, begun, None, archive).await;
        reach.close().await;
        if outcome.is_ok() {
            self.publish_files(&container, "export");
        }
        outcome
    }

    pub(crate) fn publish_files(&self, container: &Container, action: &str) {
        let record = container.snapshot();
        self.0
            .events
            .publish("container", action, &record.id, record.event_attributes());
    }
}

async fn stat(reach: &mut Reach, target: &Target, path: &str) -> Result<PathStat> {
    let spec = FilesSpec {
        place: target.place,
        work: FileWork::Stat {
            path: target.path.clone(),
        },
    };
    let answer = reach
        .ask(spec)
        .await
        .map_err(|error| missing(error, path, &reach.record))?;
    let mut found: PathStat = serde_json::from_slice(&answer).map_err(not_understood)?;
    if target.exact {
        found.name = name_of(path);
    }
    Ok(found)
}

async fn parse_changes(
    read: impl tokio::io::AsyncRead + Unpin,
    sender: &mpsc::Sender<Result<Change>>,
) -> Result<()> {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE).unwrap_or(u64::MAX);
        let count = (&mut read).take(limit).read_until(b'\n', &mut line).await;
        if count.is_err() || line.is_empty() {
            return Ok(());
        }
        let change = serde_json::from_slice(&line).map_err(not_understood)?;
        if sender.send(Ok(change)).await.is_err() {
            return Ok(());
        }
    }
}

fn not_understood(error: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "the guest's file tool cannot be understood").because(error)
}

/// Says which path was not found, in docker's words.
fn missing(error: Error, path: &str, record: &ContainerRecord) -> Error {
    if error.kind() != Kind::NotFound {
        return error;
    }
    Error::new(
        Kind::NotFound,
        format!("Could not find the file {path} in container {}", record.name),
    )
    .about("path", path)
    .because(error)
}
