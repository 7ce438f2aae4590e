//! Programs in the machine itself, beside all containers: what a person runs to look into it.

use std::sync::Arc;

use super::super::process::{Process, Setup};
use super::super::stdin::Stdin;
use super::Shared;
use crate::document::guest;
use crate::error::{ErrorKind, Result, TaskError};
use crate::{AttachStreams, MACHINE, ProcessSpec};

impl Shared {
    /// Starts a program in the machine; it is known under [`MACHINE`] and its exec id.
    pub(super) async fn program(
        &self,
        exec_id: &str,
        spec: ProcessSpec,
    ) -> Result<(u32, Option<AttachStreams>)> {
        let stdin = (spec.stdin && !spec.detached).then(|| Stdin::new(true));
        let parameters = guest::program(stdin.is_some(), spec.terminal, !spec.detached, &spec.oci_process);
        let process = Arc::new(Process::new(
            gcs::NULL_ID,
            Setup {
                terminal: spec.terminal,
                stdin,
                log: None,
            },
            &self.tracker,
        ));
        self.itself.execs.add(exec_id, &process)?;
        let streams = (!spec.detached).then(|| self.attach(&process));
        let launched = process
            .launch(&self.machine, parameters, async { Ok(()) }, self.watcher(|_| {}))
            .await;
        if launched.is_err() {
            process.discard();
            self.itself.execs.remove(exec_id);
        }
        Ok((launched?, streams))
    }

    /// A process of a task, or a program of the machine.
    pub(super) fn process(&self, id: &str, exec: Option<&str>) -> Result<Arc<Process>> {
        match (id, exec) {
            (MACHINE, Some(_)) => self.itself.process(exec),
            (MACHINE, None) => Err(TaskError::new(
                ErrorKind::NotFound,
                "the machine itself has no first process",
            )),
            _ => self.task(id)?.process(exec),
        }
    }
}
