//! Standard streams of processes: pipes and terminals inside, connections to the host outside.
//!
//! A process of a container gets pipes before its streams are known; when it is started, each requested stream becomes
//! a connection and a task that copies. Copies use a buffer only while there is something to copy.
//!
//! The order at the end of an output is the protocol's: the pipe ends, we end our side of the connection, wait for the
//! host to end its side, and only then count the output as delivered ([`Streams::delivered`]); the exit is answered
//! after that. A terminal has no such exchange, its connection is closed. Input ends with the host's half-close, or
//! with the process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use gcs::message::StdioPorts;
use nix::sys::socket::Shutdown;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncWriteExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::link::{self, HostStream};

/// How much is copied at once: a pipe's capacity.
const CHUNK: usize = 64 << 10;
/// How long what a terminal's process wrote last may take to come out, when others keep the terminal open.
const LINGER: Duration = Duration::from_secs(1);
/// More than a terminal keeps of what was written and not read.
const KEPT: usize = 64 << 10;
/// A dial is repeated this often when the host is slow to accept.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// The connections of one process, as far as the host asked for them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) stdin: Option<HostStream>,
    pub(crate) stdout: Option<HostStream>,
    pub(crate) stderr: Option<HostStream>,
}

/// Which streams a process has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) stdin: Option<u32>,
    pub(crate) stdout: Option<u32>,
    pub(crate) stderr: Option<u32>,
}

impl Wanted {
    /// The ports of the streams that were asked for; the port of a stream that was not is ignored.
    pub(crate) fn new(parameters: &gcs::message::ProcessParameters, ports: StdioPorts) -> Self {
        Self {
            stdin: ports.stdin.filter(|_| parameters.create_std_in_pipe),
            stdout: ports.stdout.filter(|_| parameters.create_std_out_pipe),
            stderr: ports.stderr.filter(|_| parameters.create_std_err_pipe),
        }
    }

    /// Dials in the order the host expects. When one fails those already made are closed.
    pub(crate) async fn dial(self) -> io::Result<Connections> {
        Ok(Connections {
            stdin: connect(self.stdin).await?,
            stdout: connect(self.stdout).await?,
            stderr: connect(self.stderr).await?,
        })
    }
}

async fn connect(port: Option<u32>) -> io::Result<Option<HostStream>> {
    let Some(port) = port else { return Ok(None) };
    let mut attempt = 1;
    loop {
        match link::dial(port).await {
            Ok(stream) => return Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && attempt < ATTEMPTS => {}
            Err(error) => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("connect to host port {port}: {error}"),
                ));
            }
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The three pipes of a process, before it is known which streams it has.
#[derive(Debug)]
pub(crate) struct Pipes {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// The process's ends.
#[derive(Debug)]
pub(crate) struct Ends(pub(crate) [OwnedFd; 3]);

impl Pipes {
    /// Makes the pipes. `owner` is the user that the process will run as: it must be able to open its own streams
    /// again, through `/dev/stdout`.
    pub(crate) fn new(owner: (u32, u32)) -> io::Result<(Self, Ends)> {
        let (stdin, input) = {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            (ours, theirs)
        };
        let (stdout, output) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, errors) = pipe_with(PipeFlags::CLOEXEC)?;
        if owner != (0, 0) {
            for end in [&input, &output, &errors] {
                let user = rustix::fs::Uid::from_raw(owner.0);
                rustix::fs::fchown(end, Some(user), Some(rustix::fs::Gid::from_raw(owner.1)))?;
            }
        }
        Ok((
            Self {
                stdin,
                stdout,
                stderr,
            },
            Ends([input, output, errors]),
        ))
    }
}

/// A terminal's master.
pub(crate) type Terminal = Arc<AsyncFd<OwnedFd>>;

/// Takes a master into the runtime.
pub(crate) fn terminal(master: OwnedFd) -> io::Result<Terminal> {
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok(Arc::new(crate::sys::watched(master)?))
}

/// Sets rows and columns.
pub(crate) fn resize(terminal: &Terminal, rows: u16, columns: u16) -> io::Result<()> {
    let size = rustix::termios::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(terminal.get_ref(), size)?)
}

/// The copies of one process.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    outputs: TaskTracker,
    ended: CancellationToken,
}

impl Streams {
    /// Copies between pipes and connections. A pipe without a connection is closed: the process reads the end of its
    /// input, or fails to write.
    pub(crate) fn pipes(pipes: Pipes, connections: Connections, tasks: &TaskTracker) -> io::Result<Self> {
        let streams = Self::default();
        if let Some(stream) = connections.stdin {
            let sender = pipe::Sender::from_owned_fd(pipes.stdin)?;
            tasks.spawn(input_to_pipe(stream, sender, streams.ended.clone()));
        }
        for (fd, stream) in [
            (pipes.stdout, connections.stdout),
            (pipes.stderr, connections.stderr),
        ] {
            if let Some(stream) = stream {
                let receiver = pipe::Receiver::from_owned_fd(fd)?;
                streams.outputs.spawn(output_from_pipe(receiver, stream));
            }
        }
        streams.outputs.close();
        Ok(streams)
    }

    /// Copies between a terminal and connections.
    pub(crate) fn terminal(terminal: &Terminal, connections: Connections, tasks: &TaskTracker) -> Self {
        let streams = Self::default();
        if let Some(stream) = connections.stdin {
            tasks.spawn(input_to_terminal(
                stream,
                Arc::clone(terminal),
                streams.ended.clone(),
            ));
        }
        // Without a connection the output is still read: a terminal that nobody reads would stop its process.
        let (terminal, ended) = (Arc::clone(terminal), streams.ended.clone());
        streams
            .outputs
            .spawn(output_from_terminal(terminal, connections.stdout, ended));
        streams.outputs.close();
        streams
    }

    /// No copies: the process has its connections itself, or none.
    pub(crate) fn none() -> Self {
        let streams = Self::default();
        streams.outputs.close();
        streams
    }

    /// The process has ended: its input is over, what it wrote is still delivered.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// Resolves when the host has all output. Cancel-safe.
    pub(crate) async fn delivered(&self) {
        self.outputs.wait().await;
    }
}

async fn input_to_pipe(stream: HostStream, mut pipe: pipe::Sender, ended: CancellationToken) {
    let copy = async {
        loop {
            let Ok(Some(chunk)) = next(&stream).await else {
                break;
            };
            if pipe.write_all(&chunk).await.is_err() {
                break;
            }
        }
        // The process sees the end of its input; the connection stays until the process is gone.
        drop(pipe);
        ended.cancelled().await;
    };
    tokio::select! {
        () = copy => {}
        () = ended.cancelled() => {}
    }
    let _ = stream.shutdown(Shutdown::Read);
}

async fn input_to_terminal(stream: HostStream, terminal: Terminal, ended: CancellationToken) {
    let copy = async {
        while let Ok(Some(chunk)) = next(&stream).await {
            if write_terminal(&terminal, &chunk).await.is_err() {
                break;
            }
        }
        ended.cancelled().await;
    };
    tokio::select! {
        () = copy => {}
        () = ended.cancelled() => {}
    }
}

/// What has arrived, `None` at the end.
async fn next(stream: &HostStream) -> io::Result<Option<Vec<u8>>> {
    stream.readable().await?;
    let mut chunk = vec![0; CHUNK];
    let count = stream.read(&mut chunk).await?;
    chunk.truncate(count);
    Ok((count > 0).then_some(chunk))
}

async fn write_terminal(terminal: &Terminal, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut guard = terminal.writable().await?;
        if let Ok(written) =
            guard.try_io(|terminal| Ok(rustix::io::write(terminal.get_ref().as_fd(), bytes)?))
        {
            bytes = &bytes[written?..];
        }
    }
    Ok(())
}

async fn output_from_pipe(pipe: pipe::Receiver, stream: HostStream) {
    let copied = async {
        loop {
            pipe.readable().await?;
            let mut chunk = vec![0; CHUNK];
            loop {
                match pipe.try_read(&mut chunk) {
                    Ok(0) => return io::Result::Ok(()),
                    Ok(count) => stream.write_all(&chunk[..count]).await?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    };
    // The process must not outlive its reader unnoticed: the pipe is closed before anything is waited for.
    let copied: io::Result<()> = copied.await;
    drop(pipe);
    if copied.and_then(|()| stream.shutdown(Shutdown::Write)).is_ok() {
        // The host ends its side when it has read everything. Whatever it sends before is not for us.
        while let Ok(count) = stream.read(&mut [0; 64]).await
            && count > 0
        {}
    }
}

async fn output_from_terminal(terminal: Terminal, stream: Option<HostStream>, ended: CancellationToken) {
    let write = async |chunk: &[u8]| match &stream {
        Some(stream) => stream.write_all(chunk).await.is_ok(),
        None => true,
    };
    loop {
        let chunk = tokio::select! {
            chunk = read_terminal(&terminal) => chunk,
            () = ended.cancelled() => break,
        };
        match chunk {
            Some(chunk) if write(&chunk).await => {}
            _ => return,
        }
    }
    // Someone else may hold the terminal open. What this process wrote comes out at once, however long the host takes to read it.
    let mut left = KEPT;
    while left > 0 {
        match tokio::time::timeout(LINGER, read_terminal(&terminal)).await {
            Ok(Some(chunk)) if write(&chunk).await => left = left.saturating_sub(chunk.len()),
            _ => return,
        }
    }
}

/// What the terminal has, `None` when nobody has it open any more.
async fn read_terminal(terminal: &Terminal) -> Option<Vec<u8>> {
    loop {
        let mut guard = terminal.readable().await.ok()?;
        let mut chunk = vec![0; CHUNK / 16];
        match guard.try_io(|terminal| Ok(rustix::io::read(terminal.get_ref().as_fd(), &mut chunk)?)) {
            Ok(Ok(count)) if count > 0 => {
                chunk.truncate(count);
                return Some(chunk);
            }
            Ok(_) => return None,
            Err(_would_block) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use gcs::message::ProcessParameters;

    use super::*;

    #[test]
    fn only_requested_streams_have_ports() {
        let parameters = ProcessParameters {
            create_std_out_pipe: true,
            ..Default::default()
        };
        let ports = StdioPorts {
            stdin: Some(1),
            stdout: Some(2),
            stderr: Some(3),
        };
        assert_eq!(
            Wanted::new(&parameters, ports),
            Wanted {
                stdout: Some(2),
                ..Default::default()
            }
        );
    }

    #[tokio::test]
    async fn what_a_terminal_still_has_after_the_end_is_not_lost_when_the_host_reads_late() {
        let pty = nix::pty::openpty(None, None).unwrap();
        for end in [&pty.master, &pty.slave] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        let (host, agent) = std::os::unix::net::UnixStream::pair().unwrap();
        agent.set_nonblocking(true).unwrap();
        let stream = HostStream::of(agent.into()).unwrap();
        let terminal = Arc::new(crate::sys::watched(pty.master).unwrap());
        let ended = CancellationToken::new();
        let copy = tokio::spawn(output_from_terminal(terminal, Some(stream), ended.clone()));
        // Until everything on the way is full, and stays so.
        let (mut written, mut full) = (0, 0);
        while full < 20 {
            match rustix::io::write(&pty.slave, &[b'x'; 1000]) {
                Ok(count) => (written, full) = (written + count, 0),
                Err(_) => full += 1,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ended.cancel();
        tokio::time::sleep(LINGER * 2).await;
        let read = tokio::task::spawn_blocking(move || io::copy(&mut { host }, &mut io::sink()));
        assert_eq!(read.await.unwrap().unwrap(), u64::try_from(written).unwrap());
        copy.await.unwrap();
    }
}
