//! The files of a container, within reach of the guest's tools, whatever the container does.
//!
//! [`Engine::reach`] is the beginning of each copy, difference, export and commit. A container that runs is reached where it
//! runs. Of one that does not, layers and scratch are mounted in a service sandbox for as long as the work takes, and
//! its turn is kept meanwhile: the scratch is written by one kernel at a time, so a start or a removal waits.
//!
//! [`Reach::run`] runs one tool to its end, whatever becomes of its reader or writer. [`Reach::close`] takes everything
//! down; a `Reach` that is dropped does that in the background.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::pending;
use serde_json::Value;
use task::{AttachStreams, ERRORS_KEPT, FilesSpec, LogConfig, Sandbox, Share, TaskSpec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedMutexGuard;

use crate::container::Container;
use crate::convert;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::record::{ContainerRecord, Status};
use crate::sandboxes::{Scope, Ticket};

/// Bytes that are read from a tool at once.
const PIECE: usize = 64 << 10;
/// The longest frame that a sandbox sends.
const FRAME: usize = 1 << 20;
/// The channel of a tool's result.
const RESULT: u8 = 1;
/// How long a tool that is not needed any more may take to end.
const KILLED: Duration = Duration::from_secs(10);

/// Bytes that go into a tool, and why they ended early.
pub(crate) type Input = tokio::sync::mpsc::Receiver<std::io::Result<bytes::Bytes>>;

/// A container whose files are within reach.
pub(crate) struct Reach {
    engine: Engine,
    pub(crate) record: ContainerRecord,
    sandbox: Arc<dyn Sandbox>,
    /// Kept to the end, or until a tool runs in a container that runs.
    turn: Option<OwnedMutexGuard<()>>,
    /// What was made for this work, when the container does not run.
    service: Option<Ticket>,
    /// What tools wanted the user to know.
    pub(crate) warnings: Vec<String>,
    /// How long a tool may take; without it, as long as it wants.
    pub(crate) patience: Option<Duration>,
}

impl Engine {
    /// Brings the files of a container within reach; with `share`, also this one of its mounts.
    pub(crate) async fn reach(&self, container: &Arc<Container>, share: Option<Share>) -> Result<Reach> {
        let turn = container.turn_to_keep().await;
        let record = container.snapshot();
        match record.state.status {
            Status::Running | Status::Paused => Ok(Reach {
                engine: self.clone(),
                sandbox: self.sandbox_of(&record).await?,
                record,
                turn: Some(turn),
                service: None,
                warnings: Vec::new(),
                patience: None,
            }),
            Status::Created | Status::Exited => self.reach_by_service(record, share, turn).await,
            Status::Removing | Status::Dead => {
                Err(Error::new(Kind::FailedPrecondition, "container is being removed")
                    .about("container", &record.name))
            }
        }
    }

    async fn reach_by_service(
        &self,
        record: ContainerRecord,
        share: Option<Share>,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Reach> {
        let isolated = record.options.isolation.as_deref() == Some("hyperv");
        let scope = match record.is_windows() {
            true => Scope::Windows,
            false => self.0.sandboxes.service(isolated),
        };
        let task = TaskSpec {
            oci_spec: Value::Null,
            shares: share.into_iter().collect(),
            stdin: false,
            terminal: false,
            log: LogConfig {
                path: std::path::PathBuf::new(),
                max_bytes: 0,
                max_files: 0,
            },
            ..self.task_spec(&record, None).await?
        };
        let ticket = self.0.sandboxes.get(scope).await?;
        let sandbox = ticket.sandbox.clone();
        let failed = |error| convert::task(error, &record.name);
        if let Err(error) = sandbox.create(task).await {
            self.0.sandboxes.give_up(&*sandbox).await;
            return Err(failed(error));
        }
        let reach = Reach {
            engine: self.clone(),
            sandbox,
            record: record.clone(),
            turn: Some(turn),
            service: Some(ticket),
            warnings: Vec::new(),
            patience: None,
        };
        if reach.sandbox.spec().dedicated {
            self.refill_pool();
            // From now on it ends with this work, whatever becomes of the daemon.
            reach.sandbox.retire().await.map_err(failed)?;
        }
        Ok(reach)
    }
}

impl Reach {
    /// Runs a tool to its end. `begun` is called when it runs. The result goes to `output`; `input`, for a tool that
    /// reads, ends properly with the channel, or with an error.
    pub(crate) async fn run(
        &mut self,
        spec: FilesSpec,
        begun: impl FnOnce() + Send,
        input: Option<Input>,
        mut output: impl AsyncWrite + Send + Unpin,
    ) -> Result<()> {
        let (id, tool) = (self.record.id.clone(), names::new_id());
        let streams = self
            .sandbox
            .files(&id, &tool, spec)
            .await
            .map_err(|error| self.explain(error))?;
        if self.service.is_none() {
            // A tool that runs does not mind what becomes of the container, but the container's end would wait for us.
            self.turn = None;
        }
        begun();
        let AttachStreams {
            stdin,
            output: frames,
        } = streams;
        let mut errors = Vec::new();
        let carried = {
            let carrying = carry(frames, &mut output, &mut errors);
            let feeding = async {
                match (stdin, input) {
                    (Some(stdin), Some(input)) => match feed(stdin, input).await {
                        Ok(()) => pending().await,
                        Err(error) => error,
                    },
                    _ => pending().await,
                }
            };
            tokio::select! {
                carried = carrying => carried,
                error = feeding => Err(error),
                error = late(self.patience) => Err(error),
            }
        };
        if carried.is_err()
            && let Err(error) = self.sandbox.signal(&id, Some(&tool), crate::signal::KILL).await
        {
            tracing::debug!(container = id, %error, "tool not killed");
        }
        let ended = self.sandbox.wait(&id, Some(&tool));
        let ended = match carried.is_err() {
            true => tokio::time::timeout(KILLED, ended).await.ok(),
            false => Some(ended.await),
        };
        if let Err(error) = self.sandbox.delete_exec(&id, &tool).await {
            tracing::debug!(container = id, %error, "tool not forgotten");
        }
        carried?;
        match ended {
            Some(Ok(status)) if status.code == 0 => {
                self.warnings.extend(task::files_warnings(&errors));
                Ok(())
            }
            Some(Ok(status)) if status.reason.is_some() || status.code < 0 => Err(self.ended()),
            Some(Ok(status)) => Err(self.explain(task::files_failure(status.code, &errors))),
            _ => Err(self.ended()),
        }
    }

    /// Runs a tool whose result is short.
    pub(crate) async fn ask(&mut self, spec: FilesSpec) -> Result<Vec<u8>> {
        let mut answer = std::io::Cursor::new(Vec::new());
        self.run(spec, || {}, None, &mut answer).await?;
        Ok(answer.into_inner())
    }

    fn explain(&self, error: task::TaskError) -> Error {
        let unsupported = error.kind == task::ErrorKind::Unsupported;
        let error = convert::task(error, &self.record.name);
        if unsupported {
            return error.hint("boot the machine with ctr-like's own initrd.img: run scripts/build-uvm");
        }
        error
    }

    fn ended(&self) -> Error {
        Error::new(
            Kind::Aborted,
            format!("container {} ended while its files were in use", self.record.name),
        )
        .about("container", &self.record.name)
        .hint("try again: the files of a container that has ended are still there")
    }

    /// Takes down what was made for this work.
    pub(crate) async fn close(mut self) {
        if let Some(work) = self.take_down() {
            // Runs to its end even when the caller is dropped.
            drop(self.engine.0.tracker.spawn(work).await);
        }
    }

    fn take_down(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let ticket = self.service.take()?;
        let (engine, sandbox, turn) = (self.engine.clone(), self.sandbox.clone(), self.turn.take());
        let id = self.record.id.clone();
        Some(async move {
            if let Err(error) = sandbox.delete(&id).await {
                // Of a sandbox that is gone there is nothing left to unmount.
                tracing::warn!(container = id, %error, "files of a container not unmounted");
                engine.0.sandboxes.give_up(&*sandbox).await;
            }
            drop((ticket, turn));
            if let Some(patience) = engine.0.sandboxes.patience(&*sandbox) {
                let id = sandbox.id().to_owned();
                // Not tracked: who closes the engine does not wait for it.
                tokio::spawn(async move {
                    tokio::time::sleep(patience).await;
                    engine.0.sandboxes.end_idle(&id).await;
                });
            }
        })
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        if let Some(work) = self.take_down() {
            self.engine.0.tracker.clone().spawn(work);
        }
    }
}

/// The end of patience.
async fn late(patience: Option<Duration>) -> Error {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => pending().await,
    }
    Error::new(
        Kind::DeadlineExceeded,
        "the guest's tool takes too long and was ended",
    )
}

/// Puts what comes in into the tool.
async fn feed(mut stdin: task::Stream, mut input: Input) -> Result<(), Error> {
    while let Some(piece) = input.recv().await {
        let piece = piece
            .map_err(|error| Error::new(Kind::Cancelled, "the archive ended too early").because(error))?;
        if stdin.write_all(&piece).await.is_err() {
            // The tool takes no more; how it ended says whether that is good.
            return Ok(());
        }
    }
    // Dropping it would leave the input open.
    drop(stdin.shutdown().await);
    Ok(())
}

/// Takes the frames of a tool: its result to `output`, and the end of its errors.
async fn carry(
    mut frames: impl AsyncRead + Unpin,
    output: &mut (impl AsyncWrite + Unpin),
    errors: &mut Vec<u8>,
) -> Result<(), Error> {
    let left = |error: std::io::Error| Error::new(Kind::Cancelled, "the reader went away").because(error);
    let mut buffer = vec![0; PIECE];
    while let Ok(channel) = frames.read_u8().await {
        let Ok(length) = frames.read_u32_le().await else {
            break;
        };
        let mut rest = usize::try_from(length).unwrap_or(usize::MAX);
        if rest > FRAME {
            return Err(Error::new(
                Kind::Internal,
                format!("frame of {length} bytes from a sandbox"),
            ));
        }
        while rest > 0 {
            let piece = rest.min(buffer.len());
            let piece = &mut buffer[..piece];
            if frames.read_exact(piece).await.is_err() {
                return Ok(());
            }
            rest -= piece.len();
            if channel == RESULT {
                output.write_all(piece).await.map_err(left)?;
            } else {
                errors.extend_from_slice(piece);
                let surplus = errors.len().saturating_sub(ERRORS_KEPT);
                errors.drain(..surplus);
            }
        }
    }
    output.shutdown().await.map_err(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(channel: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![channel];
        frame.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        frame.extend(payload);
        frame
    }

    #[tokio::test]
    async fn results_and_errors_are_told_apart_and_errors_are_bounded() {
        let noise = frame(2, &[b'x'; ERRORS_KEPT]);
        let stream = [frame(1, b"one"), noise, frame(2, b"the end"), frame(1, b" two")].concat();
        let (mut output, mut errors) = (std::io::Cursor::new(Vec::new()), Vec::new());
        carry(&stream[..], &mut output, &mut errors).await.unwrap();
        assert_eq!(output.into_inner(), b"one two");
        assert_eq!(errors.len(), ERRORS_KEPT);
        assert!(errors.ends_with(b"the end"));
    }

    #[tokio::test]
    async fn a_frame_without_measure_is_refused() {
        let stream = [1, 0xff, 0xff, 0xff, 0xff];
        let mut output = std::io::Cursor::new(Vec::new());
        let refused = carry(&stream[..], &mut output, &mut Vec::new()).await;
        assert_eq!(refused.unwrap_err().kind(), Kind::Internal);
    }
}
