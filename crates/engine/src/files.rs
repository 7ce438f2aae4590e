//! Files of containers: where a path leads, archives in and out, what changed, the whole root file system.
//!
//! The daemon calls these for `cp`, `diff` and `export`; each works on a container in any state (see `reach`). Archives are
//! streams: nothing here keeps more than a piece, and nothing here looks into them.
//!
//! A bind mount of a container that does not run is not mounted in its root. A path below its target is taken from the
//! mount's source instead; what cannot be had that way is refused.
//!
//! Not here: packing and unpacking (the guest's tools and the client), and what `cp` makes of names (the client).

use serde::Deserialize;
use task::{FileWork, FilesSpec, Place, Share};
use tokio::io::AsyncWrite;
use tokio::sync::{mpsc, oneshot};

use crate::container::Container;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::reach::{Input, Reach};
use crate::record::{ContainerRecord, Status};
use crate::spec;

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

/// A path in a container and where it is taken from.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    place: Place,
    path: String,
    share: Option<Share>,
    /// The mount that is the path itself.
    exact: bool,
}

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

/// The parts of a path that mean something; `..` does not leave the root.
fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

fn name_of(path: &str) -> String {
    parts(path)
        .last()
        .map_or_else(|| "/".to_owned(), |name| (*name).to_owned())
}

/// An absolute path with the parts; what the given one ends with, a slash or a dot, is kept because it means something.
fn joined(parts: &[&str], given: &str) -> String {
    let mut path = format!("/{}", parts.join("/"));
    let ending = match given {
        "." => "/.",
        given if given.ends_with("/.") => "/.",
        given if given.ends_with('/') && !parts.is_empty() => "/",
        _ => return path,
    };
    if path == "/" {
        path.clear();
    }
    path.push_str(ending);
    path
}

/// Where a path of a container is taken from.
fn target(container: &Container, path: &str) -> Result<Target> {
    if path.contains('\0') {
        return Err(Error::invalid("a path cannot contain a zero byte"));
    }
    let record = container.snapshot();
    if matches!(record.state.status, Status::Running | Status::Paused) {
        return Ok(Target {
            place: Place::Root,
            path: absolute(path),
            share: None,
            exact: false,
        });
    }
    stopped_target(&record, path)
}

/// A path as it was given, from the root on.
fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

fn stopped_target(record: &ContainerRecord, path: &str) -> Result<Target> {
    let wanted = parts(path);
    let below = |target: &str| wanted.starts_with(&parts(target));
    let tmpfs = record.options.tmpfs.keys().filter(|target| below(target));
    let tmpfs = tmpfs.map(|target| parts(target).len()).max().unwrap_or(0);
    let (_, binds) = spec::linux(record)?;
    let mounts = record.options.mounts.iter().zip(binds);
    let bind = mounts
        .filter(|(mount, _)| below(&mount.target))
        .max_by_key(|(mount, _)| parts(&mount.target).len());
    let depth = bind.as_ref().map_or(0, |(mount, _)| parts(&mount.target).len());
    if tmpfs > depth {
        return Err(unreachable(
            path,
            "is in a tmpfs, which exists only while the container runs",
        ));
    }
    let Some((mount, bind)) = bind else {
        return Ok(Target {
            place: Place::Root,
            path: absolute(path),
            share: None,
            exact: false,
        });
    };
    if !mount.source.is_dir() {
        let text = format!(
            "is the host's {}, mounted only while the container runs",
            mount.source.display()
        );
        return Err(unreachable(path, &text));
    }
    let rest = &wanted[depth..];
    Ok(Target {
        place: Place::Share(bind.mount_index),
        path: joined(rest, path),
        exact: rest.is_empty(),
        share: Some(Share {
            source: bind.source,
            read_only: bind.read_only,
            mount_index: bind.mount_index,
        }),
    })
}

fn unreachable(path: &str, why: &str) -> Error {
    Error::new(Kind::FailedPrecondition, format!("{path} {why}"))
        .about("path", path)
        .hint("start the container first")
}

/// Refuses what the container itself could not write.
fn writable(record: &ContainerRecord, path: &str) -> Result<()> {
    let wanted = parts(path);
    let below = |target: &str| wanted.starts_with(&parts(target));
    let mount = record
        .options
        .mounts
        .iter()
        .filter(|mount| below(&mount.target))
        .max_by_key(|mount| parts(&mount.target).len());
    let refused = match mount {
        Some(mount) if mount.read_only => "mounted volume is marked read-only",
        None if record.options.read_only && !record.options.tmpfs.keys().any(|target| below(target)) => {
            "container rootfs is marked read-only"
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::PermissionDenied, refused).about("container", &record.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::MountOption;
    use crate::tests::running;

    fn record(folder: &std::path::Path) -> ContainerRecord {
        let mut record = running("s");
        let mount = |target: &str, source: std::path::PathBuf, read_only| MountOption {
            source,
            target: target.to_owned(),
            read_only,
            create_source: false,
        };
        std::fs::write(folder.join("file"), "x").unwrap();
        record.options.mounts = vec![
            mount("/data", folder.to_owned(), false),
            mount("/data/deep/", folder.to_owned(), true),
            mount("/etc/one", folder.join("file"), false),
        ];
        record.options.tmpfs.insert("/tmp".to_owned(), String::new());
        record
    }

    #[test]
    fn paths_of_a_stopped_container_are_taken_from_where_its_processes_would_find_them() {
        let folder = tempfile::tempdir().unwrap();
        let record = record(folder.path());
        let look = |path: &str| stopped_target(&record, path).unwrap();
        assert_eq!(look("etc/passwd").path, "/etc/passwd");
        assert_eq!(look("/").place, Place::Root);
        assert_eq!(look("/database").place, Place::Root);
        let data = look("/x/../data/a//b/");
        assert_eq!(data.path, "/a/b/");
        assert!(matches!(data.place, Place::Share(_)) && !data.exact);
        let deep = look("/data/deep/.");
        assert_eq!((deep.path.as_str(), deep.exact), ("/.", true));
        assert!(deep.share.unwrap().read_only && deep.place != data.place);
        for path in ["/tmp/x", "/etc/one"] {
            let refused = stopped_target(&record, path).unwrap_err();
            assert_eq!(refused.kind(), Kind::FailedPrecondition, "{path}");
        }
    }

    #[test]
    fn what_is_read_only_for_the_container_is_so_for_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = record(folder.path());
        assert!(writable(&record, "/x").is_ok());
        record.options.read_only = true;
        let refused = |path: &str| writable(&record, path).map_err(|error| error.to_string());
        assert_eq!(refused("/x").unwrap_err(), "container rootfs is marked read-only");
        assert_eq!(
            refused("/data/deep/y").unwrap_err(),
            "mounted volume is marked read-only"
        );
        assert!(refused("/data/y").is_ok() && refused("/tmp/y").is_ok());
    }

    #[test]
    fn the_end_of_a_path_is_kept_because_it_means_something() {
        assert_eq!(joined(&[], "/data"), "/");
        assert_eq!(joined(&[], "/data/"), "/");
        assert_eq!(joined(&[], "/data/."), "/.");
        assert_eq!(joined(&["a"], "/data/a/."), "/a/.");
        assert_eq!(joined(&["a"], "/data/a/"), "/a/");
        assert_eq!(name_of("/a/b/"), "b");
        assert_eq!(name_of("/"), "/");
    }
}
