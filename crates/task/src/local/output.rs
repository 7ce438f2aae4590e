//! Where the output of a process goes: the log file and the clients that are attached.
//!
//! The pumps ([`super::process`]) give every chunk to [`Output::write`]; [`Output::attach`] adds a client at any time.
//! One attached before the process starts misses nothing, one attached later gets what comes from then on.
//!
//! Each client has a short queue and a task that writes frames to it. A client that does not read fills its queue and
//! then holds the process up; once the process is being killed ([`Output::lose_patience`]) it is given up instead,
//! so that it cannot keep a killed process from ending. A client that went away is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Result;
use crate::log::{Channel, Log};

/// How many chunks wait for a client.
const QUEUE: usize = 4;
/// How long a client may hold up a process that is being killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client's end.
pub(crate) type Sink = Box<dyn AsyncWrite + Send + Unpin>;

type Chunk = (Channel, Bytes);

/// The output of one process.
pub(crate) struct Output {
    log: Option<Mutex<Log>>,
    /// `None` when the process has ended.
    clients: Mutex<Option<Arc<[mpsc::Sender<Chunk>]>>>,
    impatient: CancellationToken,
    tracker: TaskTracker,
}

impl Output {
    pub(crate) fn new(log: Option<Log>, tracker: TaskTracker) -> Self {
        Self {
            log: log.map(Mutex::new),
            clients: Mutex::new(Some(Arc::new([]))),
            impatient: CancellationToken::new(),
            tracker,
        }
    }

    /// Adds a client. `gone` says when it has left, should the sink not notice. After the end of the process the
    /// sink is closed at once.
    pub(crate) fn attach(&self, mut sink: Sink, gone: CancellationToken) {
        let (sender, mut queue) = mpsc::channel::<Chunk>(QUEUE);
        {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(list) = clients.as_mut() {
                *list = list.iter().cloned().chain([sender]).collect();
            }
        }
        self.tracker.spawn(async move {
            let deliver = async {
                while let Some((channel, payload)) = queue.recv().await {
                    write_frame(&mut sink, channel, &payload).await?;
                }
                sink.shutdown().await
            };
            tokio::select! {
                outcome = deliver => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "attached client went away");
                    }
                }
                () = gone.cancelled() => {}
            }
        });
    }

    /// Takes a chunk: to the log first, so that a slow client does not hold the log up.
    pub(crate) async fn write(&self, channel: Channel, chunk: Bytes) {
        if let Some(log) = &self.log {
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(channel, &chunk);
        }
        let clients = self
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(clients) = clients else { return };
        let mut lost = false;
        for client in clients.iter() {
            let chunk = (channel, chunk.clone());
            let sent = match client.try_send(chunk) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(chunk)) => tokio::select! {
                    sent = client.send(chunk) => sent.is_ok(),
                    () = self.out_of_patience() => false,
                },
            };
            lost |= !sent;
            if !sent {
                self.remove(client);
            }
        }
        if lost {
            tracing::debug!("attached client dropped");
        }
    }

    async fn out_of_patience(&self) {
        self.impatient.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    }

    fn remove(&self, client: &mpsc::Sender<Chunk>) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = clients.as_mut() {
            *list = list
                .iter()
                .filter(|other| !other.same_channel(client))
                .cloned()
                .collect();
        }
    }

    /// One stream has ended.
    pub(crate) fn end(&self, channel: Channel) {
        if let Some(log) = &self.log {
            log.lock().unwrap_or_else(PoisonError::into_inner).end(channel);
        }
    }

    /// The process has ended: clients get what is queued and then the end.
    pub(crate) fn finish(&self) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The process is being killed: clients that do not read are given up.
    pub(crate) fn lose_patience(&self) {
        self.impatient.cancel();
    }
}

/// Opens the log unless there is none.
pub(crate) fn open_log(config: &crate::LogConfig) -> Result<Option<Log>> {
    if config.path.as_os_str().is_empty() {
        Ok(None)
    } else {
        Log::open(config.clone()).map(Some)
    }
}

/// Writes one frame of an attach stream.
async fn write_frame(sink: &mut Sink, channel: Channel, payload: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(std::io::Error::other)?;
    let mut header = [channel.number(), 0, 0, 0, 0];
    header[1..].copy_from_slice(&length.to_le_bytes());
    let mut frame = bytes::Buf::chain(&header[..], payload);
    sink.write_all_buf(&mut frame).await?;
    sink.flush().await
}
