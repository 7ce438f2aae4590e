//! Layers of a sandbox: attached and mounted once, shared by all its tasks.
//!
//! [`super::mounts`] acquires the layers of a task and releases them. A layer without users stays mounted for a
//! while, because the next task of the same image is likely; [`Layers::trim`] unmounts idle layers at once.
//!
//! Each layer has a lock that is held while it is mounted or unmounted: a task that wants it meanwhile waits for the
//! outcome, different layers proceed at the same time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::machine::Machine;
use crate::document::{Slot, guest};
use crate::error::Result;

/// The layers of a sandbox.
pub(crate) struct Layers {
    machine: Arc<Machine>,
    entries: Mutex<HashMap<PathBuf, Entry>>,
    linger: Duration,
    tracker: TaskTracker,
    stop: CancellationToken,
}

struct Entry {
    users: usize,
    /// Counts releases to zero, so that an old timer does not end a newer idle time.
    idles: u64,
    /// Where it is mounted, if it is.
    mounted: Arc<tokio::sync::Mutex<Option<Slot>>>,
}

impl Layers {
    pub(crate) fn new(
        machine: Arc<Machine>,
        linger: Duration,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            machine,
            entries: Mutex::default(),
            linger,
            tracker,
            stop,
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<PathBuf, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that the layers are mounted, all at once, and returns their slots in the same order.
    pub(crate) async fn acquire(self: &Arc<Self>, paths: &[PathBuf]) -> Result<Vec<Slot>> {
        // The slots are taken in order here, so that the same tasks give the same documents.
        let wanted: Vec<_> = {
            let mut entries = self.entries();
            let users = paths.iter().map(|path| {
                let entry = entries.entry(path.clone()).or_insert_with(|| Entry {
                    users: 0,
                    idles: 0,
                    mounted: Arc::default(),
                });
                entry.users += 1;
                Arc::clone(&entry.mounted)
            });
            users.collect()
        };
        let slots = join_all(
            wanted
                .iter()
                .zip(paths)
                .map(|(mounted, path)| self.mount(mounted, path)),
        )
        .await;
        if slots.iter().any(Result::is_err) {
            self.release(paths);
        }
        slots.into_iter().collect()
    }

    async fn mount(&self, mounted: &tokio::sync::Mutex<Option<Slot>>, path: &Path) -> Result<Slot> {
        let mut mounted = mounted.lock().await;
        if let Some(slot) = *mounted {
            return Ok(slot);
        }
        let slot = self.machine.take_slot()?;
        self.machine
            .add_disk(slot, path, true, &guest::mount_layer(slot))
            .await?;
        *mounted = Some(slot);
        Ok(slot)
    }

    /// Says that a task does not use the layers any more.
    pub(crate) fn release(self: &Arc<Self>, paths: &[PathBuf]) {
        let mut idle = Vec::new();
        {
            let mut entries = self.entries();
            for path in paths {
                let entry = entries
                    .get_mut(path)
                    .expect("a layer that is in use has an entry");
                entry.users -= 1;
                if entry.users == 0 {
                    entry.idles += 1;
                    idle.push((path.clone(), entry.idles));
                }
            }
        }
        if idle.is_empty() {
            return;
        }
        let layers = Arc::clone(self);
        self.tracker.spawn(async move {
            tokio::select! {
                () = layers.stop.cancelled() => return,
                () = tokio::time::sleep(layers.linger) => {}
            }
            let still = |path: &PathBuf, idles| {
                layers
                    .entries()
                    .get(path)
                    .is_some_and(|entry| entry.idles == idles)
            };
            idle.retain(|(path, idles)| still(path, *idles));
            join_all(idle.iter().map(|(path, _)| layers.unmount(path))).await;
        });
    }

    /// Unmounts what no task uses.
    pub(crate) async fn trim(&self) {
        let idle: Vec<PathBuf> = self
            .entries()
            .iter()
            .filter(|(_, entry)| entry.users == 0)
            .map(|(path, _)| path.clone())
            .collect();
        join_all(idle.iter().map(|path| self.unmount(path))).await;
    }

    /// Unmounts a layer unless a task has begun to use it again.
    async fn unmount(&self, path: &Path) {
        let Some(mounted) = self.entries().get(path).map(|entry| Arc::clone(&entry.mounted)) else {
            return;
        };
        let mut mounted = mounted.lock().await;
        // Who takes the layer from here on waits for the lock and finds it unmounted.
        if self.entries().get(path).is_none_or(|entry| entry.users > 0) {
            return;
        }
        if let Some(slot) = *mounted {
            if let Err(error) = self.machine.remove_disk(slot, &guest::unmount_layer(slot)).await {
                tracing::warn!(layer = %path.display(), %error, "layer not unmounted");
                return;
            }
            *mounted = None;
        }
        let mut entries = self.entries();
        if entries.get(path).is_some_and(|entry| entry.users == 0) {
            entries.remove(path);
        }
    }
}
