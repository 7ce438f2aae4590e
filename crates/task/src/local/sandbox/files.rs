//! Tools on the files of a task: processes of the guest agent, beside the container.

use std::sync::Arc;
use std::time::Duration;

use super::super::process::{Process, Setup};
use super::super::stdin::Stdin;
use super::super::task::Task;
use super::Shared;
use crate::document;
use crate::error::{ErrorKind, Result, TaskError};
use crate::files::without_tools;
use crate::{AttachStreams, FilesSpec, TaskStatus};

/// How long tools may take to end once they are killed.
const KILLED: Duration = Duration::from_secs(5);

impl Shared {
    /// Starts a tool. The task cannot be deleted meanwhile; who deletes it later kills the tool.
    pub(super) async fn files(&self, id: &str, exec_id: &str, spec: &FilesSpec) -> Result<AttachStreams> {
        let task = self.task(id)?;
        let stage = task.turn.lock().await;
        let Some(mounts) = &stage.mounts else {
            return Err(TaskError::new(
                ErrorKind::InvalidState,
                format!("task {id} has no file system any more"),
            ));
        };
        let mut rooms = mounts.rooms();
        let state = task.state();
        rooms.pid = state.pid.filter(|_| state.status == TaskStatus::Running);
        let parameters = document::tool(&rooms, spec.place, &spec.work);
        let process = Arc::new(Process::new(
            gcs::NULL_ID,
            Setup {
                terminal: false,
                stdin: parameters.create_std_in_pipe.then(|| Stdin::new(true)),
                log: None,
            },
            &self.tracker,
        ));
        task.execs.add(exec_id, &process)?;
        let streams = self.attach(&process);
        let launched = process
            .launch(&self.machine, parameters, async { Ok(()) }, self.watcher(|_| {}))
            .await;
        if launched.is_err() {
            process.discard();
            task.execs.remove(exec_id);
        }
        launched.map_err(without_tools)?;
        Ok(streams)
    }

    /// Kills the tools of a task that is being deleted: they hold its mounts.
    pub(super) async fn end_tools(&self, task: &Task) {
        for tool in task.tools() {
            let ended = async {
                if let Err(error) = tool.signal(&self.machine, 9).await {
                    tracing::debug!(task = task.id, %error, "tool not killed");
                }
                tool.exited().await;
            };
            if tokio::time::timeout(KILLED, ended).await.is_err() {
                tracing::warn!(task = task.id, "tool of a task does not end");
            }
        }
    }
}
