//! The ends of attach streams that clients hold, for sandboxes in this process and behind a shim alike.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{DropGuard, PollSender};

/// The largest piece of input.
pub(crate) const PIECE: usize = 16 << 10;

/// A client's end of a standard input. Pieces go through a short queue; an empty piece is the end of input. Writing
/// waits while the queue is full.
pub(crate) struct InputWriter {
    sender: PollSender<Bytes>,
    ends: bool,
    ended: bool,
}

impl InputWriter {
    /// A writer to the queue; with `ends` its shutdown is the end of input.
    pub(crate) fn new(sender: mpsc::Sender<Bytes>, ends: bool) -> Self {
        Self {
            sender: PollSender::new(sender),
            ends,
            ended: false,
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<()>> {
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.sender.poll_reserve(context)).map_err(closed)?;
        Poll::Ready(
            self.sender
                .send_item(Bytes::copy_from_slice(piece))
                .map_err(closed),
        )
    }
}

impl AsyncWrite for InputWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = &data[..data.len().min(PIECE)];
        if piece.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_send(context, piece))?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ends && !self.ended {
            // A process that takes no more input has ended it already.
            let _ = ready!(self.poll_send(context, &[]));
        }
        self.ended = true;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for InputWriter {
    /// There is nothing to read.
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A client's end of an output. Dropping it tells the other end that the client has left.
pub(crate) struct OutputReader<R> {
    reader: R,
    _left: DropGuard,
}

impl<R> OutputReader<R> {
    pub(crate) fn new(reader: R, left: DropGuard) -> Self {
        Self { reader, _left: left }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for OutputReader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl<R: Unpin> AsyncWrite for OutputReader<R> {
    /// Nothing is to be written to an output.
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
