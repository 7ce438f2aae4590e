//! What a new engine does about the containers of an earlier one.
//!
//! Sandboxes outlive the daemon. For each record: a task that runs is watched again; one that ended meanwhile is settled
//! with the exit status that its sandbox kept; one whose sandbox is gone has exited with code 255 and the reason. Tasks and
//! scratches without a record are leftovers of a crash and removed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use task::{Sandbox, TaskInfo};

use crate::container::Container;
use crate::convert;
use crate::engine::Engine;
use crate::error::Result;
use crate::lifecycle::lost;
use crate::record::Status;

/// How long a killed task may take to end.
const KILLED: Duration = Duration::from_secs(30);

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
        // First what nobody has: a scratch can be removed only when no sandbox uses it any more. The same container may be
        // known to the sandbox that died under it and to the one in which it was started again.
        let containers: Vec<_> = self.read_containers().values().cloned().collect();
        let mut living = Vec::new();
        for (sandbox, task) in tasks {
            let runs_there = containers.iter().any(|container| {
                let record = container.record.borrow();
                record.id == task.id
                    && matches!(record.state.status, Status::Running | Status::Paused)
                    && record.state.sandbox.as_deref() == Some(sandbox.id())
            });
            if runs_there {
                living.push((sandbox, task));
            } else {
                discard_task(&*sandbox, &task).await;
            }
        }
        for container in containers {
            let record = container.snapshot();
            match record.state.status {
                Status::Running | Status::Paused => {
                    let found = living.iter().find(|(_, task)| task.id == record.id);
                    self.recover_running(&container, found.map(|(sandbox, _)| sandbox))
                        .await;
                }
                Status::Exited if !record.options.auto_remove => {}
                Status::Created => {}
                Status::Exited | Status::Removing | Status::Dead => {
                    self.discard(&record.id).await;
                    self.write_containers().remove(&record.id);
                }
            }
        }
        self.discard_unknown_scratches().await?;
        self.remove_unknown_folders();
        Ok(())
    }

    async fn recover_running(&self, container: &Arc<Container>, sandbox: Option<&Arc<dyn Sandbox>>) {
        match sandbox {
            // A task that has ended answers the monitor's wait at once.
            Some(sandbox) => self.monitor(container.clone(), sandbox.clone()),
            None => {
                // What it had of a network is reaped with what else is left: a start waits for no network service.
                container.set_state(|state| state.network = None);
                let lost = lost("the container's sandbox ended while no daemon was running".to_owned());
                self.settle(container, None, lost).await;
            }
        }
    }

    async fn discard_unknown_scratches(&self) -> Result<()> {
        for snapshotter in self.0.snapshots.all() {
            for scratch in snapshotter.scratches().await.map_err(convert::snapshot)? {
                if !self.read_containers().contains_key(&scratch.id)
                    && let Err(error) = snapshotter.remove_scratch(&scratch.id).await
                {
                    tracing::warn!(scratch = scratch.id, %error, "leftover scratch not removed");
                }
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

/// Takes down a task that a daemon left when it died, during a start for example.
async fn discard_task(sandbox: &dyn Sandbox, task: &TaskInfo) {
    if task.running {
        let ended = async {
            sandbox.signal(&task.id, None, crate::signal::KILL).await?;
            sandbox.wait(&task.id, None).await
        };
        match tokio::time::timeout(KILLED, ended).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(task = task.id, %error, "leftover task not killed"),
            Err(_) => tracing::warn!(task = task.id, "leftover task does not end"),
        }
    }
    if let Err(error) = sandbox.delete(&task.id).await {
        tracing::warn!(task = task.id, %error, "leftover task not deleted");
    }
}
