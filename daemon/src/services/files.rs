//! The part of `ctr.v1.Containers` that is about files: copies in and out, differences, export, commit.
//!
//! The work goes on in a task of its own, to its end: a client that vanishes ends its archive, and the engine then kills the
//! tool and takes down what was mounted for it. What fails before the first byte is the answer of the call itself.

use api::message::*;
use api::{ByteStream, Channel, Control, Frame, ItemStream, Status};
use bytes::Bytes;
use engine::CommitOptions;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{House, relay};
use crate::status::status;

/// Pieces of an archive that wait for the engine.
const PIECES: usize = 8;

impl House {
    pub(super) async fn path_stat(&self, request: StatPath) -> Result<PathStat, Status> {
        let engine = self.engine.clone();
        let found = self
            .complete(async move { engine.stat_path(&request.container, &request.path).await })
            .await?;
        Ok(PathStat {
            name: found.name,
            size: found.size,
            mode: found.mode,
            mtime: found.mtime,
            link_target: found.link_target,
        })
    }

    pub(super) async fn archive_of(&self, request: GetArchive) -> Result<ByteStream, Status> {
        let engine = self.engine.clone();
        let (begun, begins) = oneshot::channel();
        let (write, read) = relay::pipe();
        let work = self.tracker.spawn(async move {
            let GetArchive {
                container,
                path,
                follow,
            } = request;
            engine.get_archive(&container, &path, follow, begun, write).await
        });
        self.download(work, begins, read).await
    }

    pub(super) async fn export_of(&self, request: ExportContainer) -> Result<ByteStream, Status> {
        let engine = self.engine.clone();
        let (begun, begins) = oneshot::channel();
        let (write, read) = relay::pipe();
        let work = self
            .tracker
            .spawn(async move { engine.export(&request.container, begun, write).await });
        self.download(work, begins, read).await
    }

    /// Sends an archive to the client once `work` has begun it.
    async fn download<T>(
        &self,
        work: JoinHandle<engine::Result<()>>,
        begins: oneshot::Receiver<T>,
        archive: DuplexStream,
    ) -> Result<ByteStream, Status> {
        if begins.await.is_err() {
            finished(work.await)?;
            return Err(Status::internal("the archive ended before it began"));
        }
        let (ours, theirs) = ByteStream::pair();
        self.tracker.spawn(async move {
            let (sender, _receiver) = ours.split();
            let sent = tokio::select! {
                sent = relay::download(archive, &sender) => sent,
                () = sender.closed() => Err(Status::new(api::Code::Cancelled, "the client went away")),
            };
            let control = match (finished(work.await), sent) {
                (Err(error), _) | (Ok(()), Err(error)) => Control::Error(error),
                (Ok(()), Ok(())) => {
                    sender.end(Channel::Stdout).await.ok();
                    Control::Result(json!({}))
                }
            };
            sender.control(control).await.ok();
        });
        Ok(theirs)
    }

    pub(super) fn archive_into(&self, request: PutArchive) -> Result<ByteStream, Status> {
        // A container that does not exist is better told before the first byte.
        self.engine
            .inspect(&request.container)
            .map_err(|error| status(&error))?;
        let (ours, theirs) = ByteStream::pair();
        let (pieces, content) = mpsc::channel(PIECES);
        let engine = self.engine.clone();
        let work = self.tracker.spawn(async move {
            let PutArchive {
                container,
                path,
                keep_kinds,
            } = request;
            engine.put_archive(&container, &path, keep_kinds, content).await
        });
        self.tracker.spawn(async move {
            let (sender, receiver) = ours.split();
            let uploading = async {
                upload(receiver, pieces).await;
                std::future::pending::<()>().await;
            };
            let outcome = tokio::select! {
                outcome = work => finished(outcome),
                () = uploading => return,
            };
            let control = match outcome {
                Ok(()) => Control::Result(json!({})),
                Err(error) => Control::Error(error),
            };
            sender.control(control).await.ok();
        });
        Ok(theirs)
    }

    pub(super) fn changes_of(&self, request: ListChanges) -> Result<ItemStream<PathChange>, Status> {
        let changes = self.engine.changes(&request.container);
        let mut changes = changes.map_err(|error| status(&error))?;
        let items = stream::poll_fn(move |context| changes.poll_recv(context)).map(|change| {
            let change = change.map_err(|error| status(&error))?;
            Ok(PathChange {
                kind: change.kind,
                path: change.path,
            })
        });
        Ok(Box::pin(items))
    }

    pub(super) async fn commit_of(&self, request: CommitContainer) -> Result<CommittedImage, Status> {
        let engine = self.engine.clone();
        let options = CommitOptions {
            reference: request.reference,
            author: request.author,
            comment: request.comment,
            changes: request.changes,
            pause: request.pause,
        };
        let container = request.container;
        let made = self
            .complete(async move { engine.commit(&container, options).await })
            .await?;
        Ok(CommittedImage {
            id: made.id.to_string(),
            warnings: made.warnings,
        })
    }
}

/// How the engine's work ended.
fn finished(outcome: Result<engine::Result<()>, tokio::task::JoinError>) -> Result<(), Status> {
    match outcome {
        Ok(outcome) => outcome.map_err(|error| status(&error)),
        Err(error) => Err(Status::internal("the request failed unexpectedly").caused_by(&error)),
    }
}

/// The client's channel 0. A client that goes away before its end has cut the archive short.
async fn upload(mut receiver: api::StreamReceiver, pieces: mpsc::Sender<std::io::Result<Bytes>>) {
    loop {
        let piece = match receiver.recv().await {
            Some(Frame::Data(Channel::Stdin, bytes)) => Ok(bytes),
            Some(Frame::End(Channel::Stdin)) => return,
            Some(_) => continue,
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        };
        let cut = piece.is_err();
        // When the engine takes no more, its outcome is on the way.
        if pieces.send(piece).await.is_err() || cut {
            return;
        }
    }
}
