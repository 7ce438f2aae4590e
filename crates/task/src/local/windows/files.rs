//! Tools on the files of a Windows container, in this process.
//!
//! A guest's agent runs its tools as processes; here each is a thread with the same three streams, and for those who asked it
//! is a process as well: it has an exit, can be killed, and says at the end of its errors what went wrong, or, when all went
//! well, what the user should know ([`crate::files_failure`], [`crate::files_warnings`]).

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use snapshot::SnapshotError;
use snapshot::windows::{Activation, Difference, FilesError, FilesErrorKind, WindowsFiles};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;

use super::super::process::{Lost, Setup};
use super::super::stdin::Stdin;
use super::task::{Stage, Task};
use super::{Shared, attach};
use crate::error::{ErrorKind, Result, TaskError};
use crate::{AttachStreams, ExitStatus, FileWork, FilesSpec, Place};

/// How much waits between a tool and its reader.
const BUFFER: usize = 64 << 10;
/// How long tools may take to end once they are killed.
const KILLED: Duration = Duration::from_secs(5);

/// What a tool works on.
struct Rooms {
    activation: Arc<Activation>,
    /// Instead of the container's root: a share, and whether it is read-only.
    share: Option<(PathBuf, bool)>,
}

/// Why a tool failed.
enum Failure {
    Files(FilesError),
    Snapshot(SnapshotError),
}

impl From<FilesError> for Failure {
    fn from(error: FilesError) -> Self {
        Self::Files(error)
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}

impl Failure {
    /// The last line of the tool's errors.
    fn line(&self) -> String {
        let (code, error): (_, &dyn std::error::Error) = match self {
            Self::Files(error) => {
                let code = match error.kind() {
                    FilesErrorKind::NotFound => "NOT_FOUND",
                    FilesErrorKind::InvalidArgument => "INVALID_ARGUMENT",
                    FilesErrorKind::Precondition => "FAILED_PRECONDITION",
                    _ => "INTERNAL",
                };
                (code, error)
            }
            Self::Snapshot(error) => ("INTERNAL", error),
        };
        let mut message = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            next = cause.source();
        }
        format!("{}\n", json!({"code": code, "message": message}))
    }
}

impl Shared {
    /// Starts a tool. The task cannot be deleted meanwhile; who deletes it later ends the tool.
    pub(super) async fn files(&self, id: &str, exec_id: &str, spec: FilesSpec) -> Result<AttachStreams> {
        let task = self.task(id)?;
        if spec.work == FileWork::Processes {
            return Err(TaskError::new(
                ErrorKind::Unsupported,
                "processes of a Windows container are listed by the compute service, in its statistics",
            ));
        }
        let stage = task.turn.lock().await;
        if stage.system.is_some() && !Difference::WHILE_RUNNING && spec.work.compares() {
            let text =
                format!("container {id} runs, and Windows compares only one that does not; stop it first");
            return Err(TaskError::new(ErrorKind::InvalidState, text));
        }
        let rooms = rooms(&task, &stage, spec.place)?;
        let process = self.process(
            gcs::NULL_ID,
            Setup {
                terminal: false,
                stdin: matches!(spec.work, FileWork::Extract { .. }).then(|| Stdin::new(true)),
                log: None,
            },
        );
        task.execs.add(exec_id, &process)?;
        let streams = attach(process.as_process());
        let (stdin, input) = tokio::io::duplex(BUFFER);
        let (output, stdout) = tokio::io::duplex(BUFFER);
        let (errors, stderr) = tokio::io::duplex(BUFFER);
        let cancelled = process.cancelled.clone();
        let working = tokio::task::spawn_blocking(move || {
            let input = Cancellable::new(input, cancelled.clone());
            let output = Cancellable::new(output, cancelled);
            let mut errors = SyncIoBridge::new(errors);
            let (code, said) = match work(&rooms, &spec.work, input, output) {
                Ok(warnings) if warnings.is_empty() => (0, String::new()),
                Ok(warnings) => (0, format!("{}\n", json!({"warnings": warnings}))),
                Err(failure) => (1, failure.line()),
            };
            // Nobody may listen any more.
            let _ = errors.write_all(said.as_bytes());
            code
        });
        let ending = async move {
            match working.await {
                Ok(code) => Ok(ExitStatus::now(code, None)),
                Err(error) => Err(Lost::Process(format!("file tool broke off: {error}"))),
            }
        };
        process.shared().began(
            0,
            Some(stdin),
            [Some(stdout), Some(stderr)],
            ending,
            self.watcher(|_| {}),
        );
        Ok(streams)
    }
}

/// Ends the tools of a task that is being deleted: they hold its files.
pub(super) async fn end_tools(task: &Task) {
    for tool in task.tools() {
        tool.cancelled.cancel();
        if tokio::time::timeout(KILLED, tool.as_process().exited())
            .await
            .is_err()
        {
            tracing::warn!(task = task.id, "tool of a task does not end");
        }
    }
}

fn rooms(task: &Task, stage: &Stage, place: Place) -> Result<Rooms> {
    if stage.hosted.is_some() {
        let text = format!(
            "the files of container {} are in its machine, and cannot be reached from the host while it runs: stop it first, or read and write them with exec or in a mounted directory",
            task.id
        );
        return Err(TaskError::new(ErrorKind::InvalidState, text));
    }
    let Some(activation) = &stage.activation else {
        return Err(TaskError::new(
            ErrorKind::InvalidState,
            format!("task {} has no file system any more", task.id),
        ));
    };
    let share = match place {
        Place::Root => None,
        Place::Share(index) => Some(task.share(index).ok_or_else(|| {
            TaskError::new(
                ErrorKind::InvalidArgument,
                format!("task {} has no share {index}", task.id),
            )
        })?),
    };
    Ok(Rooms {
        activation: Arc::clone(activation),
        share,
    })
}

/// Does the work and returns what the user should know.
fn work(
    rooms: &Rooms,
    work: &FileWork,
    input: impl Read,
    output: impl Write,
) -> std::result::Result<Vec<String>, Failure> {
    // A share is what it is, whatever becomes of the layers.
    let held = || match &rooms.share {
        Some(_) => Ok(None),
        None => rooms.activation.hold().map(Some),
    };
    let files = || match &rooms.share {
        Some((path, read_only)) => WindowsFiles::open(path, *read_only),
        None => WindowsFiles::drive(&rooms.activation.files()),
    };
    let _held = match work.compares() {
        true => None,
        false => held()?,
    };
    let difference = || rooms.activation.difference();
    match work {
        FileWork::Stat { path } => files()?.stat(path, output)?,
        FileWork::Archive { path, follow } => files()?.archive(path, *follow, output)?,
        FileWork::Extract { path, replace, .. } => files()?.extract(path, *replace, input)?,
        FileWork::Export => files()?.export(output)?,
        FileWork::Changes => difference()?.write_changes(output)?,
        FileWork::Layer { .. } => {
            let report = difference()?.layer(output)?;
            let mut warnings = report.warnings;
            if !report.registry.is_empty() {
                warnings.push(
                    "changes of the registry are not part of the image: Wine keeps it in another form than Windows"
                        .to_owned(),
                );
            }
            return Ok(warnings);
        }
        // Not work on files; refused above.
        FileWork::Processes => {}
    }
    Ok(Vec::new())
}

/// A stream for a thread that blocks; it fails once the tool is to end.
struct Cancellable<S> {
    stream: SyncIoBridge<S>,
    cancelled: CancellationToken,
}

impl<S> Cancellable<S> {
    fn new(stream: S, cancelled: CancellationToken) -> Self
    where
        S: Unpin,
    {
        Self {
            stream: SyncIoBridge::new(stream),
            cancelled,
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.cancelled.is_cancelled() {
            true => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the work was given up",
            )),
            false => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> Read for Cancellable<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.read(out)
    }
}

impl<S: AsyncWrite + Unpin> Write for Cancellable<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
