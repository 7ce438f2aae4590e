//! What is done with a container that runs: other processes, signals, limits. What callers ask for comes by `sandbox`.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hcs::Document;
use serde_json::Value;

use super::super::process::Setup;
use super::super::stdin::Stdin;
use super::{Shared, attach};
use crate::document::windows as document;
use crate::error::{ErrorKind, Result, TaskError};
use crate::{AttachStreams, ProcessSpec, TaskStatus};

/// The number of the signal that ends a process.
const KILL: i32 = 9;
/// How long a guest may take to answer a kill.
const KILLED: Duration = Duration::from_secs(10);

impl Shared {
    /// Starts another process.
    pub(super) async fn exec(
        &self,
        id: &str,
        exec_id: &str,
        spec: ProcessSpec,
    ) -> Result<(u32, Option<AttachStreams>)> {
        let task = self.task(id)?;
        let system = task.turn.lock().await.system.clone();
        let system = system.filter(|_| task.state().status == TaskStatus::Running);
        let system = system
            .ok_or_else(|| TaskError::new(ErrorKind::InvalidState, format!("task {id} does not run")))?;
        let stdin = spec.stdin && !spec.detached;
        let parameters =
            document::process(&spec.oci_process, stdin, spec.terminal, !spec.detached)?.to_json();
        let process = self.process(
            id,
            Setup {
                terminal: spec.terminal,
                stdin: stdin.then(|| Stdin::new(true)),
                log: None,
            },
        );
        task.execs.add(exec_id, &process)?;
        let streams = (!spec.detached).then(|| attach(process.as_process()));
        let launched = process
            .launch(system.as_ref(), &parameters, self.watcher(|_| {}))
            .await;
        if launched.is_err() {
            process.as_process().discard();
            task.execs.remove(exec_id);
        }
        Ok((launched?, streams))
    }

    /// Signals a process. A machine whose guest does not answer a kill of the first one is ended with it.
    pub(super) async fn signal(self: &Arc<Self>, id: &str, exec: Option<&str>, number: i32) -> Result<()> {
        let process = self.task(id)?.process(exec)?;
        let lifeline = self
            .lifeline
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(lifeline) = lifeline.filter(|_| number == KILL && exec.is_none()) else {
            return process.signal(number).await;
        };
        match tokio::time::timeout(KILLED, process.signal(number)).await {
            Ok(sent) => sent,
            Err(_) => {
                lifeline.cut();
                let shared = Arc::clone(self);
                let reason =
                    format!("the guest did not answer a kill within {KILLED:?}, and its machine was ended");
                tracing::warn!(sandbox = self.spec.id, reason, "sandbox ended");
                self.tracker.spawn(async move { shared.end(reason).await });
                Ok(())
            }
        }
    }

    /// Changes the limits of a container in a machine, which stays as large as it is.
    pub(super) async fn update(&self, id: &str, resources: &Value) -> Result<()> {
        let task = self.task(id)?;
        let stage = task.turn.lock().await;
        let Some(system) = stage.system.as_ref().filter(|_| stage.hosted.is_some()) else {
            return Err(TaskError::new(
                ErrorKind::Unsupported,
                "limits of a Windows container without a machine of its own cannot be changed while it runs; create it again with other ones",
            ));
        };
        let machine = self.spec.memory_mb;
        let memory = resources["memory"]["limit"].as_u64().unwrap_or_default() >> 20;
        if memory > machine {
            let text = format!(
                "the machine of container {id} has {machine} MiB of memory, less than the limit of {memory} MiB; create the container again with it"
            );
            return Err(TaskError::new(ErrorKind::InvalidArgument, text));
        }
        let host = document::Host {
            machine_processors: self.spec.processors,
            ..document::Host::default()
        };
        for change in document::update(resources, &host)? {
            system.modify(&change.to_json()).await?;
        }
        Ok(())
    }
}
