//! The helper's side: one request, libcontainer, one answer.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use tracing_subscriber::filter::LevelFilter;

use super::program::{END, Program};
use super::{Process, Reply, Request, filter, wire};
use crate::cgroup::slots;

/// How much of libcontainer's own log is kept for an error message.
const DETAIL: usize = 4096;

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error(transparent)]
    Container(#[from] libcontainer::error::LibcontainerError),
    #[error(transparent)]
    Filter(#[from] filter::FilterError),
    #[error("control groups: {0}")]
    Groups(#[source] io::Error),
    #[error("standard streams are missing")]
    Streams,
    #[error("the container has no pid")]
    Pid,
    #[error("terminal: {0}")]
    Terminal(#[source] io::Error),
    #[error("seccomp program: {0}")]
    Program(#[source] io::Error),
}

/// Enters the control groups of a slot and serves one request that comes over standard input.
pub(crate) fn run(slot: &str) -> ExitCode {
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let entered = slot
        .parse()
        .map_err(io::Error::other)
        .and_then(slots::enter)
        .map_err(HelperError::Groups);
    let Ok(Some((request, fds))) = wire::receive::<Request>(socket.as_fd()) else {
        return ExitCode::SUCCESS;
    };
    let mut log = collect_errors();
    let (reply, master) = match entered.and_then(|()| serve(request, fds)) {
        Ok((pid, master)) => (Reply::Done { pid }, master),
        Err(error) => (
            Reply::Failed {
                message: explain(&crate::chain(&error), &detail(&mut log)),
            },
            None,
        ),
    };
    let fds: Vec<_> = master.iter().map(AsFd::as_fd).collect();
    match wire::send(socket.as_fd(), &reply, &fds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(request: Request, fds: Vec<OwnedFd>) -> Result<(i32, Option<OwnedFd>), HelperError> {
    match request {
        Request::Create {
            id,
            state,
            bundle,
            no_pivot,
            process,
        } => {
            let (builder, console) = builder(&id, &state, &bundle, process, true, fds)?;
            let builder = builder.as_init(&bundle).with_systemd(false).with_detach(true);
            let container = builder.with_no_pivot(no_pivot).build()?;
            let pid = container.pid().ok_or(HelperError::Pid)?;
            Ok((pid.as_raw(), console.map(master).transpose()?))
        }
        Request::Exec {
            id,
            group,
            state,
            document,
            process,
        } => {
            slots::join(&group).map_err(HelperError::Groups)?;
            let place = document.parent().unwrap_or(Path::new("/")).to_owned();
            let (builder, console) = builder(&id, &state, &place, process, false, fds)?;
            let pid = builder
                .as_tenant()
                .with_detach(true)
                .with_process(Some(document))
                .build()?;
            Ok((pid.as_raw(), console.map(master).transpose()?))
        }
    }
}

/// What both kinds of process have in common. With a terminal, the listener receives its master.
fn builder(
    id: &str,
    state: &Path,
    place: &Path,
    process: Process,
    init: bool,
    fds: Vec<OwnedFd>,
) -> Result<(ContainerBuilder, Option<UnixListener>), HelperError> {
    let filter = process.filter.as_ref().map(load).transpose()?;
    let terminal = process.terminal;
    let builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(state)?
        .with_executor(Program {
            process,
            filter,
            init,
        })
        .validate_id()?;
    if terminal {
        let path = place.join(format!("console.{}", std::process::id()));
        let listener = UnixListener::bind(&path).map_err(HelperError::Terminal)?;
        return Ok((builder.with_console_socket(Some(path)), Some(listener)));
    }
    let [stdin, stdout, stderr]: [OwnedFd; 3] = fds.try_into().map_err(|_| HelperError::Streams)?;
    Ok((
        builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr),
        None,
    ))
}

fn load(filter: &super::Filter) -> Result<(Vec<u8>, u32), HelperError> {
    if let Some(profile) = &filter.profile {
        filter::compile(profile, &filter.program)?;
    }
    Ok((
        fs::read(&filter.program).map_err(HelperError::Program)?,
        filter.flags,
    ))
}

/// Takes the terminal's master that libcontainer sent.
fn master(listener: UnixListener) -> Result<OwnedFd, HelperError> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let (connection, _) = listener.accept().map_err(HelperError::Terminal)?;
    if let Some(path) = listener
        .local_addr()
        .ok()
        .as_ref()
        .and_then(|address| address.as_pathname())
    {
        let _ = fs::remove_file(path);
    }
    let mut name = [0; 64];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [io::IoSliceMut::new(&mut name)];
    recvmsg(&connection, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|error| HelperError::Terminal(error.into()))?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.ok_or_else(|| HelperError::Terminal(io::ErrorKind::NotConnected.into()))
}

/// libcontainer names causes only in its log. Its processes write errors into a pipe, read when a request fails.
fn collect_errors() -> Option<io::PipeReader> {
    let (reader, writer) = io::pipe().ok()?;
    rustix::io::ioctl_fionbio(&reader, true).ok()?;
    rustix::io::ioctl_fionbio(&writer, true).ok()?;
    let started = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::ERROR)
        .with_writer(Mutex::new(writer))
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_ansi(false)
        .try_init();
    started.ok().map(|()| reader)
}

fn detail(log: &mut Option<io::PipeReader>) -> String {
    let mut bytes = vec![0; DETAIL];
    let count = log
        .as_mut()
        .and_then(|log| log.read(&mut bytes).ok())
        .unwrap_or(0);
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

/// The message for the user: what the program check said, or the error with libcontainer's first log line, which is
/// closest to the cause.
fn explain(error: &str, detail: &str) -> String {
    let own = error
        .find("exec: \"")
        .or_else(|| error.starts_with("exec ").then_some(0));
    if let (Some(start), true) = (own, error.contains(END)) {
        let text = &error[start..];
        return text.split(END).next().unwrap_or(text).to_owned();
    }
    let error = error.trim_end_matches('\0').trim();
    match detail
        .lines()
        .next()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        Some(line) => format!("{error}: {line}"),
        None => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_checks_own_words_reach_the_user() {
        let error = "failed to create container: exec process failed with error exec: \"x\": executable file not \
                     found in $PATH\n";
        assert_eq!(
            explain(error, "log"),
            "exec: \"x\": executable file not found in $PATH"
        );
        assert_eq!(
            explain("exec /x: exec format error\n\0r", ""),
            "exec /x: exec format error"
        );
    }

    #[test]
    fn other_errors_bring_the_first_line_of_the_log() {
        assert_eq!(
            explain("failed to prepare rootfs", "\n"),
            "failed to prepare rootfs"
        );
        assert_eq!(
            explain("failed", " first err=ENOENT\nsecond\n"),
            "failed: first err=ENOENT"
        );
    }
}
