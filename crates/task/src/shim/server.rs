//! The shim's end: listens, boots the sandbox, serves it on the socket, ends with it.
//!
//! Connections are independent; calls on one run at the same time. A daemon that vanishes ends its connections and
//! nothing else: a change that it asked for is made to its end. The `hello` of the next one waits for that, and nothing of
//! the old one is begun after it, so that what the next one sees is what there is. The process goes on while the sandbox lives; of a sandbox that ended it stays until a daemon has
//! fetched the exits and says `shutdown`, or until nothing is left to fetch.
//!
//! Whether the start worked is told on standard output in one line, and then that is closed: the daemon that started
//! the shim waits for it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compute::ComputeService;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{RwLock, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calm::Calm;
use super::directory;
use super::protocol::{
    Call, Hello, Opened, Request, Response, VERSION, line, read_header, read_line, unreadable,
};
use super::transport::{Connection, OPEN_FILES_STAY, Sockets, detach};
use crate::error::{ErrorKind, Result, TaskError};
use crate::local::{self, LocalConfig};
use crate::{AttachStreams, Sandbox, SandboxSpec, TaskStatus};

/// Buffers of a connection; a shim has many that idle.
const BUFFER: usize = 1 << 10;
/// The largest piece of a stream.
const PIECE: usize = 32 << 10;
/// How long a daemon may take to fetch what it wants of a sandbox that ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the spec of the sandbox that a shim was started for.
pub fn load_spec(dir: &Path) -> Result<SandboxSpec> {
    let path = directory::spec(dir);
    let text = std::fs::read(&path)
        .map_err(|error| TaskError::io(format_args!("read {}", path.display()), error))?;
    serde_json::from_slice(&text).map_err(unreadable)
}

/// Runs the sandbox of a directory and serves it until it ends: the whole of a shim process, apart from making the
/// compute service and the sockets. `rest` is called, on a thread that may block, when nothing has been asked for some seconds.
pub async fn serve(
    dir: &Path,
    sockets: &Sockets,
    compute: Arc<dyn ComputeService>,
    config: LocalConfig,
    rest: impl Fn() + Send + Sync + Clone + 'static,
) -> Result<()> {
    detach();
    let started = async {
        let spec = load_spec(dir)?;
        // Before the boot: who connects meanwhile waits for an answer, and knows whom it waits for.
        let listener = sockets
            .listen(dir)
            .map_err(|error| TaskError::io(format_args!("listen in {}", dir.display()), error))?;
        let sandbox = local::open(compute, spec, config).await?;
        Ok((sandbox, listener))
    };
    let outcome = started.await;
    report(&outcome);
    let (sandbox, mut listener) = outcome?;
    let (finished, tracker) = (CancellationToken::new(), TaskTracker::new());
    let server = Arc::new(Server {
        sandbox,
        calm: Calm::begin(rest, &tracker, finished.clone()),
        finished,
        daemons: AtomicUsize::new(0),
        heard: Mutex::default(),
        changes: Arc::default(),
        tracker,
    });
    let leaving = server.tracker.spawn(Arc::clone(&server).leave());
    loop {
        tokio::select! {
            () = server.finished.cancelled() => break,
            connection = listener.accept() => match connection {
                Ok(connection) => {
                    server.tracker.spawn(Arc::clone(&server).connection(connection));
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    // Out of descriptors: at once again would only spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    leaving.abort();
    // Answers that are on their way, the one to `shutdown` among them.
    server.tracker.close();
    if tokio::time::timeout(Duration::from_secs(2), server.tracker.wait())
        .await
        .is_err()
    {
        tracing::debug!("connections outlive the sandbox");
    }
    if !OPEN_FILES_STAY {
        directory::remove(dir);
    }
    Ok(())
}

/// Tells who started us how it went.
fn report<T>(outcome: &Result<T>) {
    let text = match outcome {
        Ok(_) => "{}\n".to_owned(),
        Err(error) => serde_json::to_string(error).unwrap_or_default() + "\n",
    };
    let mut stdout = io::stdout();
    // Nobody may be there any more.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

struct Server {
    sandbox: Arc<dyn Sandbox>,
    calm: Calm,
    /// The process can end.
    finished: CancellationToken,
    /// Connections that carry calls.
    daemons: AtomicUsize,
    /// The connection of the daemon that said hello last is heard until this is cancelled.
    heard: Mutex<CancellationToken>,
    /// Read by every change while it is made.
    changes: Arc<RwLock<()>>,
    tracker: TaskTracker,
}

/// The calls of one connection that run, and how to cancel them.
type Running = Arc<Mutex<HashMap<u64, CancellationToken>>>;

impl Server {
    /// Ends the process when the sandbox has ended and there is nothing left to ask. A daemon that is connected is
    /// asking: it learns of the end and says when it has what it wants.
    async fn leave(self: Arc<Self>) {
        let reason = self.sandbox.wait_closed().await;
        let left = self.sandbox.tasks().await.unwrap_or_default();
        tracing::info!(reason, tasks = left.len(), "sandbox ended");
        if self.daemons.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(PATIENCE).await;
        }
        if left.is_empty() {
            self.finished.cancel();
        }
    }

    async fn connection(self: Arc<Self>, connection: Connection) {
        self.calm.stir();
        let (read, write) = tokio::io::split(connection);
        let mut reader = BufReader::with_capacity(BUFFER, read);
        // A connection begins with a call; the first decides what it is.
        let first = match read_line::<Request>(&mut reader).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => return tracing::debug!(%error, "connection without a call"),
        };
        let outcome = match first {
            Request::Call {
                id,
                call: Call::Attach { id: task, exec },
            } => {
                let opened = self
                    .sandbox
                    .attach(&task, exec.as_deref())
                    .await
                    .map(|streams| (None, streams));
                stream(id, opened, reader, write).await
            }
            Request::Call {
                id,
                call:
                    Call::Exec {
                        id: task,
                        exec,
                        process,
                    },
            } if !process.detached => {
                let change = self.changes.read().await;
                let opened = self.sandbox.exec(&task, &exec, *process).await;
                drop(change);
                let opened = opened.and_then(|(pid, streams)| {
                    let missing = || TaskError::new(ErrorKind::Shim, "exec without streams");
                    Ok((Some(pid), streams.ok_or_else(missing)?))
                });
                stream(id, opened, reader, write).await
            }
            Request::Call {
                id,
                call: Call::Files { id: task, exec, spec },
            } => {
                let change = self.changes.read().await;
                let opened = self.sandbox.files(&task, &exec, *spec).await;
                drop(change);
                stream(id, opened.map(|streams| (None, streams)), reader, write).await
            }
            first => {
                let heard = self.take_over().await;
                self.daemons.fetch_add(1, Ordering::AcqRel);
                let outcome = Arc::clone(&self).calls(first, heard, reader, write).await;
                self.daemons.fetch_sub(1, Ordering::AcqRel);
                outcome
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "connection broke");
        }
    }

    /// From now on another daemon is listened to. Returns when every change that the one before asked for is made.
    async fn take_over(&self) -> CancellationToken {
        let mine = self.finished.child_token();
        let before = std::mem::replace(
            &mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner),
            mine.clone(),
        );
        before.cancel();
        drop(self.changes.write().await);
        mine
    }

    /// Serves calls until the daemon hangs up, or another one takes over.
    async fn calls(
        self: Arc<Self>,
        first: Request,
        heard: CancellationToken,
        mut reader: BufReader<ReadHalf<Connection>>,
        mut writer: WriteHalf<Connection>,
    ) -> io::Result<()> {
        let (answers, mut queue) = mpsc::channel::<Vec<u8>>(8);
        let hung_up = CancellationToken::new();
        let writing = async {
            while let Some(answer) = queue.recv().await {
                writer.write_all(&answer).await?;
                writer.flush().await?;
            }
            Ok(())
        };
        let reading = async {
            let _guard = hung_up.clone().drop_guard();
            let answers = answers;
            let running = Running::default();
            let mut next = Some(first);
            while let Some(request) = next {
                self.calm.stir();
                match request {
                    Request::Cancel { id, .. } => {
                        let token = running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                        token.inspect(CancellationToken::cancel);
                    }
                    Request::Call { id, call } => {
                        let change = match call.changes_something() {
                            true => Some(Arc::clone(&self.changes).read_owned().await),
                            false => None,
                        };
                        if heard.is_cancelled() {
                            break;
                        }
                        let token = hung_up.child_token();
                        running
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(id, token.clone());
                        let (server, running, answers) =
                            (Arc::clone(&self), Arc::clone(&running), answers.clone());
                        self.tracker.spawn(async move {
                            let outcome = match &change {
                                Some(_) => Some(server.call(&call).await),
                                None => token.run_until_cancelled(server.call(&call)).await,
                            };
                            drop(change);
                            running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                            if let Some(outcome) = outcome {
                                let answer = line(&Response::new(id, outcome)).unwrap_or_default();
                                // The daemon may be gone.
                                let _ = answers.send(answer).await;
                            }
                            if matches!(call, Call::Shutdown) {
                                server.finished.cancel();
                            }
                        });
                    }
                }
                next = match heard.run_until_cancelled(read_line(&mut reader)).await {
                    Some(request) => request?,
                    None => None,
                };
            }
            Ok::<_, io::Error>(())
        };
        tokio::try_join!(reading, writing).map(drop)
    }

    async fn call(&self, call: &Call) -> Result<Value> {
        let sandbox = self.sandbox.as_ref();
        let value = match call {
            Call::Hello => serde_json::to_value(Hello {
                protocol: VERSION,
                pid: std::process::id(),
            }),
            Call::Create(task) => serde_json::to_value(sandbox.create((**task).clone()).await?),
            Call::Start { id } => serde_json::to_value(sandbox.start(id).await?),
            Call::Exec { id, exec, process } => {
                let (pid, _) = sandbox.exec(id, exec, (**process).clone()).await?;
                serde_json::to_value(Opened {
                    pid: Some(pid),
                    stdin: false,
                })
            }
            Call::DeleteExec { id, exec } => serde_json::to_value(sandbox.delete_exec(id, exec).await?),
            Call::Signal { id, exec, signal } => {
                serde_json::to_value(sandbox.signal(id, exec.as_deref(), *signal).await?)
            }
            Call::Resize {
                id,
                exec,
                height,
                width,
            } => serde_json::to_value(sandbox.resize(id, exec.as_deref(), *height, *width).await?),
            Call::Attach { .. } | Call::Files { .. } => {
                let text = "a call that opens streams needs a connection of its own";
                return Err(TaskError::new(ErrorKind::Shim, text));
            }
            Call::Wait { id, exec } => serde_json::to_value(sandbox.wait(id, exec.as_deref()).await?),
            Call::State { id } => serde_json::to_value(sandbox.state(id).await?),
            Call::Tasks => serde_json::to_value(sandbox.tasks().await?),
            Call::Stats { id } => serde_json::to_value(sandbox.stats(id).await?),
            Call::Update { id, resources } => {
                serde_json::to_value(sandbox.update(id, resources.clone()).await?)
            }
            Call::Delete { id } => serde_json::to_value(sandbox.delete(id).await?),
            Call::Trim => serde_json::to_value(sandbox.trim().await?),
            Call::Retire => serde_json::to_value(sandbox.retire().await?),
            Call::Shutdown => serde_json::to_value(sandbox.shutdown().await?),
            Call::Closed => serde_json::to_value(closed(sandbox).await),
        };
        value.map_err(unreadable)
    }
}

/// The reason of the end, once every task has its exit, so that who asks next finds them.
async fn closed(sandbox: &dyn Sandbox) -> String {
    let reason = sandbox.wait_closed().await;
    for task in sandbox.tasks().await.unwrap_or_default() {
        if task.state.status == TaskStatus::Running {
            // Deleted meanwhile is as good.
            let _ = sandbox.wait(&task.id, None).await;
        }
    }
    reason
}

/// Serves the streams of a process. The end of the connection detaches.
async fn stream(
    id: u64,
    opened: Result<(Option<u32>, AttachStreams)>,
    mut reader: BufReader<ReadHalf<Connection>>,
    mut writer: WriteHalf<Connection>,
) -> io::Result<()> {
    let (opened, streams) = match opened {
        Ok((pid, streams)) => (
            Ok(Opened {
                pid,
                stdin: streams.stdin.is_some(),
            }),
            Some(streams),
        ),
        Err(error) => (Err(error), None),
    };
    let opened = opened.and_then(|opened| serde_json::to_value(opened).map_err(unreadable));
    let answer = line(&Response::new(id, opened)).map_err(io::Error::other)?;
    writer.write_all(&answer).await?;
    let Some(AttachStreams {
        mut stdin,
        mut output,
    }) = streams
    else {
        return writer.shutdown().await;
    };
    let input = async {
        let mut piece = Vec::new();
        while let Some((_, length)) = read_header(&mut reader).await? {
            if length > PIECE {
                return Err(io::Error::other("frame of input is too large"));
            }
            piece.resize(length, 0);
            reader.read_exact(&mut piece).await?;
            let Some(target) = &mut stdin else { continue };
            if piece.is_empty() {
                target.shutdown().await?;
                continue;
            }
            if target.write_all(&piece).await.is_err() {
                // The process takes no more; what still comes is read and dropped.
                stdin = None;
            }
        }
        Ok(())
    };
    let output = async {
        // In frames already.
        tokio::io::copy_buf(&mut BufReader::with_capacity(PIECE, &mut output), &mut writer).await?;
        writer.shutdown().await
    };
    tokio::select! {
        outcome = output => outcome,
        outcome = input => outcome,
    }
}
