//! Carries a [`ByteStream`] over a connection.
//!
//! Used by the server after `Streams/Open` and by the client for its second connections. Runs until the stream is over;
//! there are no time limits here: a peer that does not read (a terminal stopped by Ctrl-S) holds up its own stream only.
//!
//! * Server: over when the handler drops its end (what it sent is delivered first), or when the client has gone.
//! * Client: over when the server closes, or when the receiver is dropped, which is how a client detaches.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Status;
use crate::frame::{self, Decoder, Direction};
use crate::stream::{ByteStream, Control, Frame, StreamReceiver, StreamSender};

const READ: usize = 64 * 1024;

/// How long the server waits for the client to take the last frames and close.
const LINGER: Duration = Duration::from_secs(5);

/// The server's side. `rest` was read from the connection already; `half_close` as in [`crate::transport::Connection`].
pub(crate) async fn serve<R, W>(
    mut reader: R,
    mut writer: W,
    rest: BytesMut,
    stream: ByteStream,
    frame_limit: usize,
    half_close: bool,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (sender, mut receiver) = stream.split();
    let mut decoder = Decoder::new(Direction::ToServer, frame_limit);
    let fault = {
        let inward = inward(&mut reader, rest, &mut decoder, &sender);
        let outward = outward(&mut writer, &mut receiver);
        tokio::pin!(inward, outward);
        tokio::select! {
            inward = &mut inward => match inward {
                // The handler no longer listens; what it still says is delivered.
                Ok(Inward::Unheard) => { let _ = outward.await; None }
                Ok(Inward::End) => return,
                Err(Fault::Io(_)) => return,
                Err(Fault::Frame(status)) => Some(status),
            },
            outward = &mut outward => {
                if outward.is_err() {
                    return;
                }
                None
            }
        }
    };
    drop((sender, receiver));
    if let Some(status) = fault {
        tracing::info!(code = %status.code, message = %status.message, "byte stream refused");
        let mut buffer = BytesMut::new();
        let rest = frame::encode(Frame::Control(Control::Error(status)), &mut buffer);
        buffer.extend_from_slice(&rest);
        if !matches!(
            tokio::time::timeout(LINGER, writer.write_all(&buffer)).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
    if !half_close {
        return;
    }
    // A socket closed with unread input reports a reset to the client, perhaps before it has taken the output.
    let _ = writer.shutdown().await;
    let mut sink = tokio::io::sink();
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut reader, &mut sink)).await;
}

/// The client's side.
pub(crate) async fn attend<R, W>(
    mut reader: R,
    mut writer: W,
    rest: BytesMut,
    stream: ByteStream,
    frame_limit: usize,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (sender, mut receiver) = stream.split();
    let mut decoder = Decoder::new(Direction::ToClient, frame_limit);
    let inward = inward(&mut reader, rest, &mut decoder, &sender);
    let outward = async {
        let _ = outward(&mut writer, &mut receiver).await;
        // Nothing more to say, or nobody to say it to: the answer still comes.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = inward => if let Err(Fault::Frame(status)) = result {
            let _ = sender.control(Control::Error(status)).await;
        },
        () = outward => {}
        () = sender.closed() => {}
    }
}

enum Fault {
    Io(
        #[expect(
            dead_code,
            reason = "kept for debuggers: an I/O failure ends a stream like its end does"
        )]
        io::Error,
    ),
    Frame(Status),
}

enum Inward {
    /// The peer has closed.
    End,
    /// Our end takes no more.
    Unheard,
}

async fn inward<R: AsyncRead + Unpin>(
    reader: &mut R,
    mut buffer: BytesMut,
    decoder: &mut Decoder,
    sender: &StreamSender,
) -> Result<Inward, Fault> {
    loop {
        while let Some(frame) = decoder
            .take(&mut buffer)
            .map_err(|error| Fault::Frame(error.into()))?
        {
            if sender.frame(frame).await.is_err() {
                return Ok(Inward::Unheard);
            }
        }
        buffer.reserve(READ);
        if reader.read_buf(&mut buffer).await.map_err(Fault::Io)? == 0 {
            return Ok(Inward::End);
        }
    }
}

async fn outward<W: AsyncWrite + Unpin>(writer: &mut W, receiver: &mut StreamReceiver) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = receiver.recv().await {
        let payload = frame::encode(frame, &mut buffer);
        if payload.is_empty() {
            writer.write_all_buf(&mut buffer).await?;
        } else {
            use bytes::Buf;
            writer.write_all_buf(&mut (&mut buffer).chain(payload)).await?;
        }
        buffer.clear();
        writer.flush().await?;
    }
    Ok(())
}
