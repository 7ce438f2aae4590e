//! The last steps of a container's process, inside the container: checks, privileges, exec.
//!
//! [`Program`] is libcontainer's executor. Its checks run while the container is being created, so that a missing
//! program fails the creation with the words that engines look for; the rest runs when the container is started.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::termios::{Winsize, tcsetwinsize};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::Process;
use crate::spec::capabilities::{Masks, Set};

/// Exit codes of an init whose exec fails after it was started: a shell's.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
/// Ends the text that libcontainer reads from an exec; what it puts behind is not ours.
pub(super) const END: char = '\n';

/// How a process is started.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) process: Process,
    /// Compiled filter and its flags.
    pub(super) filter: Option<(Vec<u8>, u32)>,
    /// The container's init: nobody hears its errors any more once it is started.
    pub(super) init: bool,
}

/// Why a program cannot be run, in the words of the reference runtime.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ProgramError {
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    #[error("exec: {0:?}: stat {0}: {1}")]
    Stat(String, String),
    #[error("exec: {0:?}: is a directory")]
    Directory(String),
    #[error("exec: {0:?}: permission denied")]
    Permission(String),
}

impl Executor for Program {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let error = match self.replace(spec) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        let text = format!(
            "exec {}: {}",
            arguments(spec).first().map_or("", String::as_str),
            describe(&error)
        );
        if !self.init {
            return Err(ExecutorError::Other(format!("{text}{END}")));
        }
        let _ = io::Write::write_all(&mut io::stderr(), format!("{text}\n").as_bytes());
        let missing = error.kind() == io::ErrorKind::NotFound;
        #[allow(
            clippy::exit,
            reason = "this is the container's process; returning would lead into the library again"
        )]
        std::process::exit(if missing { NOT_FOUND } else { NOT_EXECUTABLE })
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let invalid = |text: String| ExecutorValidationError::ArgValidationError(format!("{text}{END}"));
        if self.process.loopback {
            crate::netlink::loopback_up().map_err(|error| invalid(format!("loopback interface: {error}")))?;
        }
        let arguments = arguments(spec);
        let name = arguments
            .first()
            .ok_or_else(|| invalid("no program".to_owned()))?;
        find(name, search_path(spec))
            .map(drop)
            .map_err(|error| invalid(error.to_string()))
    }

    fn setup_envs(&self, _: std::collections::HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The environment is passed to the exec; this process keeps its own until then.
        Ok(())
    }
}

impl Program {
    /// Gives up what the process must not have and becomes the program.
    fn replace(&self, spec: &Spec) -> io::Result<Infallible> {
        let arguments = arguments(spec);
        let name = arguments.first().ok_or(io::ErrorKind::InvalidInput)?;
        let path = find(name, search_path(spec)).map_err(|error| {
            let kind = match error {
                ProgramError::NotInPath(_) | ProgramError::Stat(..) => io::ErrorKind::NotFound,
                _ => io::ErrorKind::PermissionDenied,
            };
            io::Error::new(kind, error)
        })?;
        let environment = spec
            .process()
            .as_ref()
            .and_then(|process| process.env().as_deref())
            .unwrap_or_default();
        let (arguments, environment) = (strings(arguments)?, strings(environment)?);
        let path = CString::new(path.as_os_str().as_bytes())?;
        // The agent gives an init's terminal its size before the start; an exec runs before the agent has the terminal.
        if let (false, true, Some((rows, columns))) = (self.init, self.process.terminal, self.process.size) {
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tcsetwinsize(io::stdin(), size)?;
        }
        // Without "no new privileges" only a privileged process may install a filter; with it the filter comes last,
        // so that it need not allow what comes before.
        if !self.process.no_new_privileges {
            self.install_filter()?;
        }
        apply(&self.process.masks)?;
        if self.process.no_new_privileges {
            rustix::thread::set_no_new_privs(true)?;
            self.install_filter()?;
        }
        crate::sys::default_broken_pipe()?;
        // Not the library's `execvp`: that one runs whatever the kernel does not know as a shell script.
        match nix::unistd::execve(&path, &arguments, &environment)? {}
    }

    fn install_filter(&self) -> io::Result<()> {
        match &self.filter {
            Some((program, flags)) => crate::sys::install_filter(program, *flags),
            None => Ok(()),
        }
    }
}

fn strings(texts: &[String]) -> io::Result<Vec<CString>> {
    Ok(texts
        .iter()
        .map(|text| CString::new(text.as_str()))
        .collect::<Result<_, _>>()?)
}

fn arguments(spec: &Spec) -> &[String] {
    spec.process()
        .as_ref()
        .and_then(|process| process.args().as_deref())
        .unwrap_or_default()
}

fn search_path(spec: &Spec) -> &str {
    let environment = spec
        .process()
        .as_ref()
        .and_then(|process| process.env().as_deref())
        .unwrap_or_default();
    environment
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or_default()
}

/// The system's words without the number that the standard library appends.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// Finds the program as a shell would.
fn find(name: &str, search: &str) -> Result<PathBuf, ProgramError> {
    if name.contains('/') {
        return check(Path::new(name))
            .map(|()| name.into())
            .map_err(|error| match error.kind() {
                io::ErrorKind::IsADirectory => ProgramError::Directory(name.to_owned()),
                io::ErrorKind::PermissionDenied => ProgramError::Permission(name.to_owned()),
                _ => ProgramError::Stat(name.to_owned(), describe(&error)),
            });
    }
    let mut refused = None;
    for directory in std::env::split_paths(OsStr::new(search)).filter(|_| !name.is_empty()) {
        let path = if directory.as_os_str().is_empty() {
            Path::new("./").join(name)
        } else {
            directory.join(name)
        };
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(path),
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(path) => ProgramError::Permission(path.to_string_lossy().into_owned()),
        None => ProgramError::NotInPath(name.to_owned()),
    })
}

fn check(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Reduces the calling thread to the five sets.
fn apply(masks: &Masks) -> io::Result<()> {
    let raw = |set: Set| CapabilitySet::from_bits_retain(set.bits());
    for lost in crate::agent::facts::bounding()?.without(masks.bounding).each() {
        remove_capability_from_bounding_set(raw(lost))?;
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: raw(masks.effective),
            permitted: raw(masks.permitted),
            inheritable: raw(masks.inheritable),
        },
    )?;
    clear_ambient_capability_set()?;
    for one in masks.ambient.each() {
        configure_capability_in_ambient_set(raw(one), true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn errors_have_the_words_engines_look_for() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
        let path = dir.path().to_str().unwrap();
        let say = |name: &str| find(name, path).unwrap_err().to_string();
        assert_eq!(say("nope"), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(
            say("/no/pe"),
            "exec: \"/no/pe\": stat /no/pe: no such file or directory"
        );
        assert_eq!(say("/etc"), "exec: \"/etc\": is a directory");
        assert_eq!(say("plain"), format!("exec: \"{path}/plain\": permission denied"));
        assert_eq!(
            say(plain.to_str().unwrap()),
            format!("exec: \"{path}/plain\": permission denied")
        );
        assert_eq!(say(""), "exec: \"\": executable file not found in $PATH");
    }

    #[test]
    fn a_program_later_in_the_path_wins_over_one_that_cannot_run() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sh"), "").unwrap();
        let search = format!("{}:/nowhere:/bin", dir.path().display());
        assert_eq!(find("sh", &search), Ok(PathBuf::from("/bin/sh")));
    }
}
