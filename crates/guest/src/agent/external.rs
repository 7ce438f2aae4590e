//! External processes: programs that run in the machine itself, outside of containers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use gcs::guest::AgentError;
use gcs::hresult;
use gcs::message::{ProcessParameters, StdioPorts};

use super::process::Process;
use super::{Inner, lock};
use crate::cgroup::freezer::Still;
use crate::link::HostStream;
use crate::stdio::{self, Streams, Wanted};

/// Where programs are looked up: the agent's own search path, not the process's.
const PATH: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];

/// This program.
const OWN: &str = "/proc/self/exe";

/// Starts a program with its connections as standard streams.
pub(super) async fn run(
    inner: &Arc<Inner>,
    mut parameters: ProcessParameters,
    ports: StdioPorts,
) -> Result<i32, AgentError> {
    let arguments = if parameters.command_args.is_empty() {
        words(&parameters.command_line)
            .ok_or_else(|| AgentError::new(hresult::INVALID_ARGUMENT, "command line has an open quote"))?
    } else {
        parameters.command_args.clone()
    };
    let Some((name, rest)) = arguments.split_first() else {
        return Err(AgentError::new(
            hresult::INVALID_ARGUMENT,
            "there is no program to run",
        ));
    };
    let (program, first) = program(name)
        .ok_or_else(|| AgentError::fail(format!("exec: {name:?}: executable file not found in $PATH")))?;
    let failed = |error: io::Error| AgentError::fail(format!("exec {name}: {error}"));
    let frozen = match parameters.environment.remove(gcs::FREEZE) {
        Some(id) => Some(freeze(inner, &id).await?),
        None => None,
    };
    let connections = Wanted::new(&parameters, ports).dial().await.map_err(failed)?;
    let mut command = if parameters.emulate_console {
        // A terminal needs a session of its own, which the program gets from this one.
        let mut command = Command::new(OWN);
        command.arg(crate::console::COMMAND).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    command
        .args(first)
        .args(rest)
        .env_clear()
        .envs(&parameters.environment);
    if !parameters.working_directory.is_empty() {
        command.current_dir(&parameters.working_directory);
    }
    let birth = inner.reaper.birth();
    let (child, streams, terminal) = if parameters.emulate_console {
        let (master, slave) = pair().map_err(failed)?;
        let terminal = stdio::terminal(master).map_err(failed)?;
        let end = || slave.as_fd().try_clone_to_owned().map(Stdio::from);
        command
            .stdin(end().map_err(failed)?)
            .stdout(end().map_err(failed)?)
            .stderr(end().map_err(failed)?);
        let child = command.spawn().map_err(failed)?;
        let streams = Streams::terminal(&terminal, connections, &inner.tasks);
        (child, streams, Some(terminal))
    } else {
        let end = |stream: Option<HostStream>| -> io::Result<Stdio> {
            Ok(stream
                .map(HostStream::into_blocking)
                .transpose()?
                .map_or_else(Stdio::null, Stdio::from))
        };
        command.stdin(end(connections.stdin).map_err(failed)?);
        command.stdout(end(connections.stdout).map_err(failed)?);
        command.stderr(end(connections.stderr).map_err(failed)?);
        (command.spawn().map_err(failed)?, Streams::none(), None)
    };
    // The command still holds the process's streams; they end with the process only when it is gone.
    drop(command);
    let pid = i32::try_from(child.id()).map_err(|error| failed(io::Error::other(error)))?;
    let process = Process::new(pid, birth.adopt(pid), streams, terminal);
    lock(&inner.external).insert(pid, Arc::clone(&process));
    inner.tasks.spawn(async move {
        process.end_input().await;
        // Thawing is a matter of files and of a lock.
        let thawed = tokio::task::spawn_blocking(move || drop(frozen)).await;
        if let Err(error) = thawed {
            tracing::warn!(%error, "thread that thaws a container failed");
        }
    });
    Ok(pid)
}

/// Freezes a container until the value is dropped.
async fn freeze(inner: &Arc<Inner>, id: &str) -> Result<Still, AgentError> {
    let container = lock(&inner.containers).get(id).cloned().flatten();
    let container = container.ok_or_else(|| {
        AgentError::new(
            hresult::NOT_FOUND,
            format!("there is no container {id} to freeze"),
        )
    })?;
    container.freeze().await
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    Ok((master, slave))
}

/// What is run for a name, and the word before the arguments: the file tools are in this program, whatever the search
/// path has.
fn program(name: &str) -> Option<(PathBuf, Option<&'static str>)> {
    if name == crate::files::COMMAND {
        return Some((PathBuf::from(OWN), Some(crate::files::COMMAND)));
    }
    find(name).map(|found| (found, None))
}

fn find(name: &str) -> Option<PathBuf> {
    let runs = |path: &Path| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| runs(path));
    }
    PATH.iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| runs(path))
}

/// Splits a command line as a shell does, quotes and backslashes only. `None` when a quote stays open.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, Some(open)) if character == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            (_, None) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_does() {
        assert_eq!(
            words("ls  -l 'a b' \"c \\\" d\"e f\\ g").unwrap(),
            ["ls", "-l", "a b", "c \" de", "f g"]
        );
        assert_eq!(words("a '' b").unwrap(), ["a", "", "b"]);
        assert_eq!(words("a 'b"), None);
        assert_eq!(words("  ").unwrap(), [""; 0]);
    }

    #[test]
    fn the_file_tools_are_this_program() {
        assert_eq!(
            program("ctr-like-files"),
            Some((PathBuf::from(OWN), Some("ctr-like-files")))
        );
        assert_eq!(program("/bin/sh"), Some((PathBuf::from("/bin/sh"), None)));
    }

    #[test]
    fn programs_are_found_in_the_agents_own_path() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program"), None);
        assert_eq!(find("/etc"), None);
    }
}
