//! Byte streams: what attach, exec, load and save carry besides JSON.
//!
//! A [`ByteStream`] is one end of a two-way stream of [`Frame`]s. A handler makes a [`ByteStream::pair`], keeps one end
//! with a task of its own and returns the other; the server connects that to the second connection of the client. The
//! client's methods return the same type. Between the ends are bounded queues, so a peer that does not read stops the
//! writer and nothing else.
//!
//! Each direction of a channel ends by a [`Frame::End`] (on the wire a frame of length zero); the whole stream ends
//! when one end is dropped, which the other sees as `None` from [`StreamReceiver::recv`] and as an error from
//! [`StreamSender::send`]. A client that has gone is therefore seen at once, also by a handler that waits for output.
//!
//! Not here: the size of a terminal (`Containers/Resize`) and exit codes (`Containers/Wait`, `ExecWait`).

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::Status;
use crate::message::Progress;

/// Frames that wait between the two ends, per direction.
const QUEUE: usize = 8;

/// The largest payload that is sent in one frame; longer data is split.
pub const CHUNK: usize = 64 * 1024;

/// What a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Towards the process, or the archive of `Images/Load`. Client to server.
    Stdin,
    /// Standard output, everything of a terminal, or the archive of `Images/Save`. Server to client.
    Stdout,
    /// Standard error. Server to client.
    Stderr,
}

/// A message on the control channel (3): JSON, server to client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// How far the work has come.
    Progress(Progress),
    /// The outcome, for methods that have one. The last frame but for the end.
    Result(serde_json::Value),
    /// The failure, instead of a result. The last frame.
    Error(Status),
}

/// One unit of a byte stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Bytes of a channel, never empty.
    Data(Channel, Bytes),
    /// Nothing follows on this channel in this direction.
    End(Channel),
    /// A control message.
    Control(Control),
}

/// The other end has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the other end of the stream has gone")]
pub struct StreamClosed;

/// One end of a two-way stream of frames.
#[derive(Debug)]
pub struct ByteStream {
    /// Towards the other end.
    pub sender: StreamSender,
    /// From the other end.
    pub receiver: StreamReceiver,
}

impl ByteStream {
    /// Two connected ends.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let (left_sender, right_receiver) = mpsc::channel(QUEUE);
        let (right_sender, left_receiver) = mpsc::channel(QUEUE);
        let end = |sender, receiver| Self {
            sender: StreamSender(sender),
            receiver: StreamReceiver(receiver),
        };
        (end(left_sender, left_receiver), end(right_sender, right_receiver))
    }

    /// The two directions.
    #[must_use]
    pub fn split(self) -> (StreamSender, StreamReceiver) {
        (self.sender, self.receiver)
    }
}

/// The writing direction of a [`ByteStream`]. The direction ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct StreamSender(mpsc::Sender<Frame>);

impl StreamSender {
    /// Sends bytes, in several frames where they are many. Empty bytes send nothing. Cancel-safe between frames only.
    ///
    /// # Errors
    /// The other end has gone.
    pub async fn send(&self, channel: Channel, mut bytes: Bytes) -> Result<(), StreamClosed> {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(CHUNK));
            self.frame(Frame::Data(channel, chunk)).await?;
        }
        Ok(())
    }

    /// Says that nothing follows on `channel`.
    ///
    /// # Errors
    /// The other end has gone.
    pub async fn end(&self, channel: Channel) -> Result<(), StreamClosed> {
        self.frame(Frame::End(channel)).await
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// The other end has gone.
    pub async fn control(&self, control: Control) -> Result<(), StreamClosed> {
        self.frame(Frame::Control(control)).await
    }

    /// Sends a control message if there is room for it now; says whether it was sent. For progress, of which only the
    /// newest matters.
    #[must_use]
    pub fn try_control(&self, control: Control) -> bool {
        self.0.try_send(Frame::Control(control)).is_ok()
    }

    /// Sends one frame as it is. Cancel-safe.
    ///
    /// # Errors
    /// The other end has gone.
    pub async fn frame(&self, frame: Frame) -> Result<(), StreamClosed> {
        self.0.send(frame).await.map_err(|_| StreamClosed)
    }

    /// Resolves when the other end has gone. Cancel-safe.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// The reading direction of a [`ByteStream`].
#[derive(Debug)]
pub struct StreamReceiver(mpsc::Receiver<Frame>);

impl StreamReceiver {
    /// The next frame; `None` when the other end has gone. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Frame> {
        self.0.recv().await
    }
}
