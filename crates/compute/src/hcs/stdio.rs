//! The pipes of a process as streams.

use std::io;
use std::os::windows::io::OwnedHandle;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::windows::named_pipe::NamedPipeClient;
use win32::hcs::{ProcessInformation, pipe_stream};

use crate::Stdio;

/// ERROR_HANDLE_EOF, ERROR_NO_DATA and ERROR_PIPE_NOT_CONNECTED: other words for the end, from pipes of other kinds.
const ENDS: [i32; 3] = [38, 232, 233];

/// What a process writes.
struct Reader(NamedPipeClient);

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(context, buffer) {
            Poll::Ready(Err(error))
                if error.kind() == io::ErrorKind::BrokenPipe
                    || error.raw_os_error().is_some_and(|code| ENDS.contains(&code)) =>
            {
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

/// The streams of new pipes. Needs a runtime.
pub(super) fn streams(information: ProcessInformation) -> io::Result<Stdio> {
    let reader = |pipe: OwnedHandle| -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        Ok(Box::new(Reader(pipe_stream(pipe)?)))
    };
    let writer = |pipe: OwnedHandle| -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
        Ok(Box::new(pipe_stream(pipe)?))
    };
    Ok(Stdio {
        stdin: information.stdin.map(writer).transpose()?,
        stdout: information.stdout.map(reader).transpose()?,
        stderr: information.stderr.map(reader).transpose()?,
    })
}
