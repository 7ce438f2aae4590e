//! What a new engine does about the containers of an earlier one.
//!
//! Sandboxes outlive the daemon. For each record: a task that runs is watched again; one that ended meanwhile is settled
//! with the exit status that its sandbox kept; one whose sandbox is gone has exited with code 255 and the reason. Tasks and
//! scratches without a record are leftovers of a crash and removed.

use std::collections::HashSet;
use std::sync::Arc;

use task::{ExitStatus, Sandbox, TaskInfo};

use crate::clock;
use crate::container::Container;
use crate::convert;
use crate::engine::Engine;
use crate::error::Result;
use crate::record::Status;

impl Engine {
    pub(crate) async fn recover(&self) -> Result<()> {
        for (id, record) in self.0.table.list().await.map_err(convert::store)? {
            self.write_containers()
                .insert(id, Arc::new(Container::new(record)));
        }
        let mut tasks = Vec::new();
        for sandbox in self.0.sandboxes.recover().await? {
            match sandbox.tasks().await {
                Ok(found) => tasks.extend(found.into_iter().map(|task| (sandbox.clone(), task))),
                Err(error) => tracing::warn!(sandbox = sandbox.id(), %error, "sandbox does not answer"),
            }
        }
        let containers: Vec<_> = self.read_containers().values().cloned().collect();
        for container in containers {
            let record = container.snapshot();
            let found = tasks
                .iter()
                .position(|(_, task)| task.id == record.id)
                .map(|index| tasks.swap_remove(index));
            match record.state.status {
                Status::Running | Status::Paused => self.recover_running(&container, found).await,
                Status::Removing | Status::Dead => {
                    self.discard_task(found).await;
                    self.discard(&record.id).await;
                    self.write_containers().remove(&record.id);
                }
                Status::Created | Status::Exited => {
                    self.recover_stopped(&container, found).await;
                }
            }
        }
        for leftover in tasks {
            self.discard_task(Some(leftover)).await;
        }
        self.discard_unknown_scratches().await?;
        self.remove_unknown_folders();
        Ok(())
    }

    async fn recover_running(&self, container: &Arc<Container>, found: Option<(Arc<dyn Sandbox>, TaskInfo)>) {
        match found {
            // A task that has ended answers the monitor's wait at once.
            Some((sandbox, _)) => self.monitor(container.clone(), sandbox),
            None => {
                let lost = ExitStatus {
                    code: 255,
                    exited_unix_ms: u64::try_from(clock::now_ns() / 1_000_000).unwrap_or(0),
                    reason: Some("the container's sandbox ended while no daemon was running".to_owned()),
                };
                self.settle(container, None, lost).await;
            }
        }
    }

    /// A daemon that died during a start leaves a task that its record does not know.
    async fn recover_stopped(&self, container: &Arc<Container>, found: Option<(Arc<dyn Sandbox>, TaskInfo)>) {
        let record = container.snapshot();
        self.discard_task(found).await;
        if record.options.auto_remove && record.state.status == Status::Exited {
            self.discard(&record.id).await;
            self.write_containers().remove(&record.id);
        }
    }

    async fn discard_task(&self, task: Option<(Arc<dyn Sandbox>, TaskInfo)>) {
        let Some((sandbox, task)) = task else { return };
        if task.running
            && let Err(error) = sandbox.signal(&task.id, None, crate::signal::KILL).await
        {
            tracing::warn!(task = task.id, %error, "leftover task not killed");
        }
        if let Err(error) = sandbox.delete(&task.id).await {
            tracing::warn!(task = task.id, %error, "leftover task not deleted");
        }
    }

    async fn discard_unknown_scratches(&self) -> Result<()> {
        for scratch in self.0.snapshotter.scratches().await.map_err(convert::snapshot)? {
            if !self.read_containers().contains_key(&scratch.id)
                && let Err(error) = self.0.snapshotter.remove_scratch(&scratch.id).await
            {
                tracing::warn!(scratch = scratch.id, %error, "leftover scratch not removed");
            }
        }
        let known: HashSet<String> = self
            .read_containers()
            .keys()
            .map(|id| crate::engine::root_name(id))
            .collect();
        for root in self.0.store.roots().await.map_err(convert::store)? {
            if root.name.starts_with("container/") && !known.contains(&root.name) {
                self.0
                    .store
                    .remove_root(&root.name)
                    .await
                    .map_err(convert::store)?;
            }
        }
        Ok(())
    }

    fn remove_unknown_folders(&self) {
        let Ok(entries) = std::fs::read_dir(self.0.store.root().join("containers")) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !self
                .read_containers()
                .contains_key(name.to_string_lossy().as_ref())
                && let Err(error) = std::fs::remove_dir_all(entry.path())
            {
                tracing::warn!(folder = %entry.path().display(), %error, "leftover container directory not removed");
            }
        }
    }
}
