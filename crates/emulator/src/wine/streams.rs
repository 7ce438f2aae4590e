//! The host's ends of a process's standard streams: pipes, or one terminal.
//!
//! The input is shared between its writer and the process handle, because a document may ask to close it while somebody still
//! holds the writer.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use compute::Stdio;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

use crate::kernel;

/// Height and width of a console.
pub(crate) type Size = (u16, u16);

/// What a process is given, and what stays here.
pub(crate) struct Streams {
    /// Input, output and errors of the process.
    pub(crate) theirs: [OwnedFd; 3],
    /// The host's ends.
    pub(crate) ours: Stdio,
    /// To close the input with.
    pub(crate) input: Option<Input>,
}

impl Streams {
    /// Pipes for those of input, output and errors that are wanted; the others lead nowhere. Needs a runtime.
    pub(crate) fn pipes(input: bool, output: bool, errors: bool) -> io::Result<Self> {
        let mut ours = Stdio::default();
        let mut closer = None;
        let stdin = if input {
            let (theirs, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            let shared = Input::new(Writer::Pipe(pipe::Sender::from_owned_fd(writer)?));
            ours.stdin = Some(Box::new(shared.clone()));
            closer = Some(shared);
            theirs
        } else {
            nowhere()?
        };
        let outward = |wanted: bool| -> io::Result<(OwnedFd, Option<pipe::Receiver>)> {
            if !wanted {
                return Ok((nowhere()?, None));
            }
            let (reader, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
            Ok((theirs, Some(pipe::Receiver::from_owned_fd(reader)?)))
        };
        let (stdout, reader) = outward(output)?;
        ours.stdout = reader.map(|reader| Box::new(reader) as _);
        let (stderr, reader) = outward(errors)?;
        ours.stderr = reader.map(|reader| Box::new(reader) as _);
        Ok(Self {
            theirs: [stdin, stdout, stderr],
            ours,
            input: closer,
        })
    }

    /// A terminal for all three. Needs a runtime.
    pub(crate) fn terminal(input: bool, size: Size) -> io::Result<Self> {
        let pair = nix::pty::openpty(None, None)?;
        let mut modes = tcgetattr(&pair.slave)?;
        // The console inside does everything itself; until it runs, nothing is to be echoed.
        modes.make_raw();
        // Wine leaves it to the terminal to turn Ctrl+C into a signal, and knows no other signal of terminals.
        modes.local_modes |= LocalModes::ISIG;
        for key in [SpecialCodeIndex::VQUIT, SpecialCodeIndex::VSUSP] {
            modes.special_codes[key] = 0;
        }
        tcsetattr(&pair.slave, OptionalActions::Now, &modes)?;
        let (rows, columns) = size;
        let winsize = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&pair.master, winsize)?;
        for end in [&pair.master, &pair.slave] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        }
        rustix::io::ioctl_fionbio(&pair.master, true)?;
        let master = Arc::new(kernel::watched(pair.master)?);
        let mut ours = Stdio {
            stdout: Some(Box::new(Terminal(Arc::clone(&master)))),
            ..Default::default()
        };
        let mut closer = None;
        if input {
            let shared = Input::new(Writer::Terminal(Terminal(master)));
            ours.stdin = Some(Box::new(shared.clone()));
            closer = Some(shared);
        }
        Ok(Self {
            theirs: [pair.slave.try_clone()?, pair.slave.try_clone()?, pair.slave],
            ours,
            input: closer,
        })
    }
}

/// A stream that is empty and forgets.
fn nowhere() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, Mode::empty())?)
}

/// The master of a terminal.
struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let space = buffer.initialize_unfilled();
            match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *space)?)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // Nobody has the other side any more.
                Ok(Err(error)) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::IO) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

enum Writer {
    Pipe(pipe::Sender),
    Terminal(Terminal),
}

/// The input of a process. Clones are the same input; it ends when it is closed, or with the last of them.
#[derive(Clone)]
pub(crate) struct Input(Arc<Mutex<Option<Writer>>>);

impl Input {
    fn new(writer: Writer) -> Self {
        Self(Arc::new(Mutex::new(Some(writer))))
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the input. False when that was done before.
    pub(crate) fn close(&self) -> bool {
        self.writer().take().is_some()
    }
}

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self.writer() {
            Some(Writer::Pipe(writer)) => Pin::new(writer).poll_write(cx, bytes),
            Some(Writer::Terminal(writer)) => Pin::new(writer).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}
