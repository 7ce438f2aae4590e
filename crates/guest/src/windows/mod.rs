//! A Windows container under Wine: namespaces, a root that has nothing but Wine, and an init that starts Windows programs.
//!
//! The emulator spawns `ctr-like-guest windows '<json>'` with a control socket as descriptor 3 and, where the document names
//! one, a detached mount as descriptor 4. The launcher of [`crate::sandbox`] makes control groups and namespaces and stays as
//! guardian; its child builds the root ([`root`]), gives up every capability and serves the socket ([`serve`]).
//!
//! Windows sees `C:`, which is `Files` of the container's mount, and the drives of mapped directories; nothing else of this
//! root has a drive. Wine's own state (its server, the links to the registry files) is private to the container.
//!
//! The same binary stands in as Wine's preloader ([`preload`]): Wine runs it before every program, and it sets those variables
//! that Wine needs and Windows programs must not see. Errors before the init serves are one log line and exit code 1.

mod message;
mod process;
mod root;
mod serve;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde::Deserialize;

use crate::sandbox::{SandboxError, guard};
use crate::sys;

/// The first argument that leads here.
pub(crate) const COMMAND: &str = "windows";
/// The name under which Wine finds its preloader.
pub(crate) const PRELOADER: &str = "wine64-preloader";

/// Where control messages come and go.
const CONTROL: i32 = 3;
/// The container's files, when they come as a detached mount.
const FILES: i32 = 4;

/// What the emulator passes as the only argument.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The container's id.
    id: String,
    /// The name of its computer.
    hostname: String,
    /// An empty directory on the host; the root file system is mounted there, visible inside only.
    root_dir: PathBuf,
    /// The control group, absolute within each hierarchy of the host.
    cgroup: String,
    /// Keeps the host's network namespace.
    host_network: bool,
    /// Wine's loader.
    wine: PathBuf,
    /// The Windows side of this init.
    helper: PathBuf,
    /// A directory with `Files` and `Registry`; absent when descriptor 4 is a mount with them.
    files: Option<PathBuf>,
    /// Directories and files of the host.
    mounts: Vec<Mapped>,
    /// What the helper reads at the boot.
    boot: String,
}

/// A directory or file of the host in the container.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapped {
    source: PathBuf,
    /// A letter, lower case.
    drive: char,
    /// The names on the way; none is the drive itself.
    path: Vec<String>,
    read_only: bool,
}

/// Runs the launcher, and in its child the container. Returns in both.
pub(crate) fn run(document: &str) -> ExitCode {
    crate::log::start("info");
    match launch(document) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = crate::chain(&error), "container failed");
            ExitCode::FAILURE
        }
    }
}

fn launch(document: &str) -> Result<ExitCode, SandboxError> {
    let config: Config = serde_json::from_str(document).map_err(SandboxError::Document)?;
    let mut inherited = vec![sys::inherited(CONTROL).map_err(SandboxError::step("take the control socket"))?];
    if config.files.is_none() {
        inherited.push(sys::inherited(FILES).map_err(SandboxError::step("take the mount of the container"))?);
    }
    guard(&config.cgroup, config.host_network, inherited, |_, inherited| {
        let mut inherited = inherited.into_iter();
        let control = inherited.next().ok_or_else(|| {
            SandboxError::step::<std::io::Error>("take the control socket")(
                std::io::ErrorKind::NotFound.into(),
            )
        })?;
        root::enter(&config, inherited.next())?;
        serve::serve(&config, control)
    })
}

/// Runs what Wine wants to run, with what it needs in its environment.
pub(crate) fn preload(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(loader) = words.next() else {
        return ExitCode::from(2);
    };
    let mut command = Command::new(&loader);
    command.args(words).envs(root::ENVIRONMENT.iter().copied());
    let error = command.exec();
    tracing::debug!(%error, loader = %loader.display(), "cannot run Wine");
    ExitCode::from(127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulators_document_is_understood_and_strict() {
        let text = r#"{"id":"c1","hostname":"web-1","root_dir":"/r","cgroup":"/ctr-like/c1","host_network":false,
            "wine":"/usr/lib/wine/wine64","helper":"/h.exe","files":null,"boot":"",
            "mounts":[{"source":"/data","drive":"c","path":["db"],"read_only":true}]}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(config.mounts[0].path, ["db"]);
        let unknown = text.replacen("{", r#"{"colour":1,"#, 1);
        assert!(serde_json::from_str::<Config>(&unknown).is_err());
    }
}
