//! Containers by a program with runc's command line.
//!
//! Each command is a child that runs to its end; its errors are read from its log. A process that it makes inherits the
//! pipes that the command is given, or sends the master of its terminal over a socket.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use gcs::guest::AgentError;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

use super::runtime::{Launched, failed, owner, pipes, work};
use super::{Inner, RUN};
use crate::reaper::{self, Ended};
use crate::spec::{self, Prepared};
use crate::stdio::{self, Ends};

/// Has the program make a container's init.
pub(super) async fn create(
    inner: &Inner,
    id: &str,
    prepared: &Prepared,
    program: &Path,
    group: &str,
    work: &Path,
) -> Result<Launched, AgentError> {
    let mut config = spec::complete(prepared);
    config["linux"]["cgroupsPath"] = group.into();
    fs::write(work.join("config.json"), config.to_string()).map_err(failed("write specification"))?;
    let mut words = vec![
        "create".to_owned(),
        "--bundle".to_owned(),
        work.display().to_string(),
    ];
    if inner.initial_root {
        words.push("--no-pivot".to_owned());
    }
    let owner = owner(&prepared.config["process"]["user"]);
    make(
        inner,
        program,
        id,
        &work.join("init"),
        words,
        prepared.process.terminal,
        owner,
    )
    .await
}

/// Runs a command about a container that makes no process.
pub(super) async fn command(
    inner: &Inner,
    id: &str,
    program: &Path,
    words: &[&str],
) -> Result<(), AgentError> {
    let log = work(id).join("command.log");
    let mut command = base(program, &log);
    command
        .args(words)
        .arg(id)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    finish(inner, command, &log).await
}

/// The program with what every command has.
fn base(program: &Path, log: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/sbin:/usr/sbin:/bin:/usr/bin");
    command.arg("--root").arg(Path::new(RUN).join("state"));
    command.arg("--log").arg(log).args(["--log-format", "json"]);
    command
}

/// Has the program make a process. `place` is where files about it go.
pub(super) async fn make(
    inner: &Inner,
    program: &Path,
    id: &str,
    place: &Path,
    words: Vec<String>,
    terminal: bool,
    owner: (u32, u32),
) -> Result<Launched, AgentError> {
    let log = place.with_added_extension("log");
    let pid_file = place.with_added_extension("pid");
    let console = place.with_added_extension("sock");
    let mut command = base(program, &log);
    command.args(words).arg("--pid-file").arg(&pid_file);
    let (pipes, ends) = pipes(terminal, owner)?;
    let listener = match ends {
        Some(Ends([stdin, stdout, stderr])) => {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
            None
        }
        None => {
            command.arg("--console-socket").arg(&console);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            Some(tokio::net::UnixListener::bind(&console).map_err(failed("terminal"))?)
        }
    };
    command.arg(id);
    // Held over the whole: the process may end before its pid has been read.
    let birth = inner.reaper.birth();
    finish(inner, command, &log).await?;
    let text = fs::read_to_string(&pid_file).map_err(failed("pid file"))?;
    let pid = text
        .trim()
        .parse()
        .map_err(|_| AgentError::fail("the runtime has written no pid"))?;
    let exit = birth.adopt(pid);
    let terminal = match listener {
        Some(listener) => Some(
            receive(&listener)
                .await
                .and_then(stdio::terminal)
                .map_err(failed("terminal"))?,
        ),
        None => None,
    };
    for file in [pid_file, console, log] {
        let _ = fs::remove_file(file);
    }
    Ok(Launched {
        pid,
        exit,
        terminal,
        pipes,
    })
}

/// Takes the terminal's master that a runtime sends.
async fn receive(listener: &tokio::net::UnixListener) -> io::Result<OwnedFd> {
    let (connection, _) = listener.accept().await?;
    loop {
        connection.readable().await?;
        let received = connection.try_io(tokio::io::Interest::READABLE, || {
            let mut name = [0; 64];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut buffers = [io::IoSliceMut::new(&mut name)];
            recvmsg(&connection, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let master = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            });
            master.ok_or_else(|| io::ErrorKind::NotConnected.into())
        });
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

/// Runs a command of the program to its end. Its own streams are not read: errors are in the log.
async fn finish(inner: &Inner, mut command: Command, log: &Path) -> Result<(), AgentError> {
    let birth = inner.reaper.birth();
    let child = command.spawn().map_err(failed("container runtime"))?;
    // The command holds the process's ends of its streams.
    drop(command);
    let exit = birth.adopt(i32::try_from(child.id()).unwrap_or_default());
    match reaper::ended(exit).await {
        Ended::Code(0) => Ok(()),
        ended => {
            let text = fs::read_to_string(log).unwrap_or_default();
            Err(AgentError::fail(
                last_error(&text).unwrap_or_else(|| format!("container runtime ended: {ended:?}")),
            ))
        }
    }
}

/// The message of the last error in a runtime's log.
fn last_error(log: &str) -> Option<String> {
    let lines = log
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut errors = lines.filter(|line| line["level"] == "error" || line["level"] == "fatal");
    errors
        .next()
        .and_then(|line| line["msg"].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_runtimes_log_is_its_message() {
        let log = "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"second\"}\n\
                   {\"level\":\"warning\",\"msg\":\"third\"}\ngarbage\n";
        assert_eq!(last_error(log).as_deref(), Some("second"));
        assert_eq!(last_error(""), None);
    }
}
