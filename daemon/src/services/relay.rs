//! Between a client's byte stream and the streams of a process or an archive.
//!
//! Both sides have bounded queues, so a client that does not read slows down only the process it is attached to. The relay
//! ends when the output ends or the client goes away; standard input that is still open then is closed only if it was
//! opened for this client alone.

use api::{ByteStream, Channel, Frame, Status};
use bytes::{Bytes, BytesMut};
use engine::Attachment;
use task::AttachStreams;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

use crate::status::status;

/// Which streams the client wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

/// Frames of the shim: channel, length, payload.
const HEADER: usize = 5;
const STDOUT: u8 = 1;

/// Relays until the output ends or the client is gone.
pub(super) async fn attach(attachment: Attachment, client: ByteStream, wanted: Wanted) {
    let (sender, mut receiver) = client.split();
    let streams = tokio::select! {
        streams = attachment.streams() => streams,
        () = sender.closed() => return,
    };
    let AttachStreams { stdin, output } = match streams {
        Ok(streams) => streams,
        Err(error) => {
            // The call that failed tells the client why; the stream just ends.
            tracing::debug!(%error, "attachment without streams");
            return;
        }
    };
    let output = pump_output(output, &sender, wanted);
    let input = async {
        let Some(mut stdin) = stdin.filter(|_| wanted.stdin) else {
            return std::future::pending().await;
        };
        loop {
            match receiver.recv().await {
                Some(Frame::Data(Channel::Stdin, bytes)) => {
                    if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
                        break;
                    }
                }
                Some(Frame::End(Channel::Stdin)) => {
                    drop(stdin.shutdown().await);
                    break;
                }
                Some(_) => {}
                None => return,
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        () = output => {}
        () = input => {}
        () = sender.closed() => {}
    }
}

async fn pump_output(mut output: impl AsyncRead + Unpin, sender: &api::StreamSender, wanted: Wanted) {
    let mut header = [0_u8; HEADER];
    loop {
        if output.read_exact(&mut header).await.is_err() {
            break;
        }
        let [channel, length @ ..] = header;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > api::stream::CHUNK * 16 {
            tracing::warn!(length, "frame of the shim is too long");
            break;
        }
        let mut payload = BytesMut::zeroed(length);
        if output.read_exact(&mut payload).await.is_err() {
            break;
        }
        let (channel, wants) = if channel == STDOUT {
            (Channel::Stdout, wanted.stdout)
        } else {
            (Channel::Stderr, wanted.stderr)
        };
        if wants && sender.send(channel, payload.freeze()).await.is_err() {
            return;
        }
    }
    for (channel, wants) in [(Channel::Stdout, wanted.stdout), (Channel::Stderr, wanted.stderr)] {
        if wants && sender.end(channel).await.is_err() {
            return;
        }
    }
}

/// Bytes between a client and an archive.
const ARCHIVE_BUFFER: usize = 256 << 10;

/// A pipe whose one end the engine reads or writes.
pub(super) fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(ARCHIVE_BUFFER)
}

/// The client's channel 0 into `archive`. Says whether the client ended it properly.
pub(super) async fn upload(receiver: &mut api::StreamReceiver, mut archive: impl AsyncWrite + Unpin) -> bool {
    loop {
        match receiver.recv().await {
            Some(Frame::Data(Channel::Stdin, bytes)) => {
                if archive.write_all(&bytes).await.is_err() {
                    // The reader has seen enough; its outcome says whether that is good.
                    return true;
                }
            }
            Some(Frame::End(Channel::Stdin)) => {
                drop(archive.shutdown().await);
                return true;
            }
            Some(_) => {}
            None => return false,
        }
    }
}

/// `archive` to the client's channel 1, without its end.
pub(super) async fn download(
    mut archive: impl AsyncRead + Unpin,
    sender: &api::StreamSender,
) -> Result<(), Status> {
    let mut buffer = BytesMut::with_capacity(api::stream::CHUNK);
    loop {
        let read = archive.read_buf(&mut buffer).await;
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {
                let bytes: Bytes = buffer.split().freeze();
                buffer.reserve(api::stream::CHUNK);
                sender
                    .send(Channel::Stdout, bytes)
                    .await
                    .map_err(|_| Status::new(api::Code::Cancelled, "the client went away"))?;
            }
            Err(error) => return Err(Status::internal("cannot read the archive").caused_by(&error)),
        }
    }
}

/// The outcome of the engine as the last control message.
pub(super) fn outcome(result: engine::Result<serde_json::Value>) -> api::Control {
    match result {
        Ok(value) => api::Control::Result(value),
        Err(error) => api::Control::Error(status(&error)),
    }
}
