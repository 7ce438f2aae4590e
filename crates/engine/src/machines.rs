//! The machines that containers live in, for people who look after a host.
//!
//! `ctr-like system vm` asks for these. A machine is named by its id, the beginning of it, or a container in it. The console of
//! a machine outlives it, so that the reason of a crash can be read.
//!
//! Not here: when machines start and end by themselves (`sandboxes`).

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use task::{Sandbox, console};

use crate::convert;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::record::{ContainerRecord, Status};
use crate::sandboxes::Role;

/// A machine that lives.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub role: Role,
    /// It has a kernel of its own.
    pub virtual_machine: bool,
    /// Memory that it was given, in MiB.
    pub memory_mb: u64,
    /// Virtual processors.
    pub processors: u32,
    /// The containers that run in it.
    pub containers: Vec<ContainerRecord>,
}

impl Engine {
    /// The machines that live now, sandboxes without a kernel of their own included.
    #[must_use]
    pub fn machines(&self) -> Vec<Machine> {
        let records = self.list();
        let machines = self.0.sandboxes.roles().into_iter().map(|(sandbox, role)| {
            let spec = sandbox.spec();
            Machine {
                id: spec.id.clone(),
                role,
                virtual_machine: spec.virtual_machine,
                memory_mb: spec.memory_mb,
                processors: spec.processors,
                containers: records
                    .iter()
                    .filter(|record| lives_in(record, &spec.id))
                    .cloned()
                    .collect(),
            }
        });
        machines.collect()
    }

    /// Ids of the virtual machines that live now.
    #[must_use]
    pub fn virtual_machines(&self) -> HashSet<String> {
        let all = self.0.sandboxes.all();
        let machines = all.iter().filter(|sandbox| sandbox.spec().virtual_machine);
        machines.map(|sandbox| sandbox.id().to_owned()).collect()
    }

    /// Ends a machine and returns its id. What runs in it exits, with a cause.
    ///
    /// # Errors
    /// There is none of this name, or containers run in it and `force` is not set.
    pub async fn remove_machine(&self, name: &str, force: bool) -> Result<String> {
        let sandbox = self.machine(name)?;
        let id = sandbox.id().to_owned();
        let containers: Vec<String> = self
            .list()
            .into_iter()
            .filter(|record| lives_in(record, &id))
            .map(|record| record.name)
            .collect();
        if !force && !containers.is_empty() {
            return Err(Error::new(
                Kind::FailedPrecondition,
                format!("containers run in machine {id}: {}", containers.join(", ")),
            )
            .about("machine", name)
            .hint("stop them first, or end them with the machine: 'ctr-like system vm rm --force'"));
        }
        tracing::info!(sandbox = id, ?containers, "machine is ended on request");
        sandbox
            .shutdown()
            .await
            .map_err(|error| convert::task(error, name))?;
        Ok(id)
    }

    /// What a virtual machine wrote to its console, oldest line first, without what controls a terminal; at most the last
    /// `tail` lines. Blocks on the file system.
    ///
    /// # Errors
    /// No virtual machine of this name lives or left a console.
    pub fn machine_console(&self, name: &str, tail: Option<u64>) -> Result<Vec<String>> {
        let folder = self.0.sandboxes.consoles();
        let id = match self.container_machine(name) {
            Some(id) => Some(id),
            None => kept(&folder, name)?,
        };
        let lines = id.as_ref().and_then(|id| console::read(&folder, id));
        let lines = lines.ok_or_else(|| {
            let all = self.0.sandboxes.all();
            let living = all.iter().find(|sandbox| id.as_deref() == Some(sandbox.id()));
            if living.is_some_and(|sandbox| sandbox.spec().windows) {
                Error::new(
                    Kind::FailedPrecondition,
                    format!("machine {name} is of a Windows container and has no console"),
                )
                .about("machine", name)
                .hint("what the container wrote is in 'ctr-like logs', what became of the machine in the daemon's log")
            } else if living.is_some() {
                Error::new(
                    Kind::FailedPrecondition,
                    format!("machine {name} is a sandbox of this host's kernel and has no console"),
                )
                .about("machine", name)
                .hint("the kernel's messages are the host's: 'dmesg'; the agent's are in the daemon's log")
            } else {
                no_such_machine(name)
            }
        })?;
        let wanted = tail.map_or(lines.len(), |tail| usize::try_from(tail).unwrap_or(usize::MAX));
        let skipped = lines.len().saturating_sub(wanted);
        Ok(lines.into_iter().skip(skipped).collect())
    }

    /// The living machine of this name.
    pub(crate) fn machine(&self, name: &str) -> Result<Arc<dyn Sandbox>> {
        let all = self.0.sandboxes.all();
        if let Some(id) = self.container_machine(name) {
            let found = all.into_iter().find(|sandbox| sandbox.id() == id);
            return found.ok_or_else(|| {
                Error::new(
                    Kind::FailedPrecondition,
                    format!("the machine of container {name} has ended"),
                )
                .about("container", name)
            });
        }
        let mut found = all
            .into_iter()
            .filter(|sandbox| !name.is_empty() && sandbox.id().starts_with(name));
        match (found.next(), found.next()) {
            (Some(sandbox), None) => Ok(sandbox),
            (Some(_), Some(_)) => Err(ambiguous(name)),
            (None, _) => Err(no_such_machine(name)),
        }
    }

    /// The machine that a container runs in, or ran in last.
    fn container_machine(&self, name: &str) -> Option<String> {
        self.inspect(name).ok().and_then(|record| record.state.sandbox)
    }
}

fn lives_in(record: &ContainerRecord, sandbox: &str) -> bool {
    record.state.sandbox.as_deref() == Some(sandbox)
        && matches!(record.state.status, Status::Running | Status::Paused)
}

/// The machine with this id or the beginning of it that left a console.
fn kept(folder: &Path, name: &str) -> Result<Option<String>> {
    // What is no id must not become part of a path.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(None);
    };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".log")
                .map(str::to_owned)
        })
        .filter(|id| id.starts_with(name))
        .collect();
    if found.len() > 1 {
        return Err(ambiguous(name));
    }
    Ok(found.pop())
}

fn no_such_machine(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("No such machine: {name}"))
        .about("machine", name)
        .hint("'ctr-like system vm ls --all' lists those that live")
}

fn ambiguous(name: &str) -> Error {
    Error::invalid(format!("multiple machines found with provided prefix: {name}")).about("machine", name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn the_console_of_a_machine_is_found_by_the_beginning_of_its_id() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("abc1.log", "new"),
            ("abc1.log.1", "old\n"),
            ("abd2.log", "other"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(kept(folder.path(), "abc").unwrap().as_deref(), Some("abc1"));
        assert_eq!(
            kept(folder.path(), "ab").unwrap_err().kind(),
            Kind::InvalidArgument
        );
        for nothing in ["", "abe", "../abc1", "abc1.log", "/"] {
            assert_eq!(kept(folder.path(), nothing).unwrap(), None, "{nothing}");
        }
    }
}
