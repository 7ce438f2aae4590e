//! Sandbox mode: a utility VM made of namespaces instead of a kernel.
//!
//! The emulator spawns `ctr-like-guest sandbox '<json>'` in the host's namespaces. That process, the *launcher*, makes
//! the control groups, forks the sandbox's pid 1 into a new pid namespace and stays outside as its guardian. Pid 1
//! unshares the rest, builds a minimal root file system and becomes init and agent in one process ([`crate::agent`]).
//!
//! Nothing outlives the launcher's parent: the launcher holds a pidfd of it and kills pid 1, with it the whole pid
//! namespace, when the parent dies; pid 1 in turn is bound to the launcher by the parent-death signal. (The launcher
//! is not: that signal follows the parent's *thread*, and a runtime may end the thread that spawned it at any time.)
//! Mounts go with the mount namespace; the control groups are removed by the launcher, also after SIGTERM. A launcher
//! that is itself killed with SIGKILL leaves empty control groups behind.
//!
//! The launcher's exit code is pid 1's. Errors before the agent runs are one JSON log line on stderr and exit code 1.

mod launcher;
mod root;

use std::path::PathBuf;

use serde::Deserialize;

pub(crate) use launcher::{guard, run};
pub(crate) use root::pivot;

/// What the emulator passes as the only argument.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The sandbox's id.
    pub(crate) id: String,
    /// Its host name.
    pub(crate) hostname: String,
    /// An empty directory on the host; the root file system is mounted there, visible inside only.
    pub(crate) root_dir: PathBuf,
    /// Holds the unix sockets that stand for vsock ports.
    pub(crate) vsock_dir: PathBuf,
    /// Holds block devices by controller and LUN.
    pub(crate) devices_dir: PathBuf,
    /// Holds Plan 9 shares by name; later mounts below it appear inside.
    pub(crate) shares_dir: PathBuf,
    /// Keeps the host's network namespace.
    #[serde(default)]
    pub(crate) host_network: bool,
    /// The control group, absolute within each hierarchy of the host.
    pub(crate) cgroup: String,
    /// The words after `--` on the kernel command line.
    #[serde(default)]
    pub(crate) init_args: Vec<String>,
    /// A terminal on the host that becomes `/dev/console`.
    #[serde(default)]
    pub(crate) console: Option<PathBuf>,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// The argument is not the expected document.
    #[error("sandbox document is invalid")]
    Document(#[source] serde_json::Error),
    /// A path of the document cannot be used.
    #[error("sandbox document: {field} must be {expected}")]
    Field {
        /// The member.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// A step failed.
    #[error("{step}")]
    Step {
        /// What was being done.
        step: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl SandboxError {
    pub(crate) fn step<E: Into<std::io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |source| Self::Step {
            step,
            source: source.into(),
        }
    }
}

impl Config {
    fn parse(document: &str) -> Result<Self, SandboxError> {
        let config: Self = serde_json::from_str(document).map_err(SandboxError::Document)?;
        let absolute: [(&'static str, &PathBuf); 4] = [
            ("root_dir", &config.root_dir),
            ("vsock_dir", &config.vsock_dir),
            ("devices_dir", &config.devices_dir),
            ("shares_dir", &config.shares_dir),
        ];
        if let Some((field, _)) = absolute.into_iter().find(|(_, path)| !path.is_absolute()) {
            return Err(SandboxError::Field {
                field,
                expected: "an absolute path",
            });
        }
        let depth = config.cgroup.split('/').filter(|part| !part.is_empty()).count();
        let strange = config.cgroup.split('/').any(|part| part == "." || part == "..");
        if !config.cgroup.starts_with('/') || depth < 2 || strange {
            return Err(SandboxError::Field {
                field: "cgroup",
                expected: "an absolute path of two parts or more",
            });
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(cgroup: &str) -> String {
        format!(
            r#"{{"id":"s1","hostname":"h","root_dir":"/r","vsock_dir":"/v","devices_dir":"/d","shares_dir":"/s",
            "host_network":false,"cgroup":"{cgroup}","init_args":["-e","1"],"console":null}}"#
        )
    }

    #[test]
    fn the_emulators_document_is_understood() {
        let config = Config::parse(&document("/ctr-like/s1")).unwrap();
        assert_eq!(config.init_args, ["-e", "1"]);
        assert!(config.console.is_none());
    }

    #[test]
    fn a_control_group_that_is_not_the_sandboxs_own_is_refused() {
        for cgroup in ["/", "/ctr-like", "ctr-like/s1", "/ctr-like/../memory"] {
            assert!(Config::parse(&document(cgroup)).is_err(), "{cgroup}");
        }
    }
}
