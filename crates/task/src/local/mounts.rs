//! The root file system of one task: what is attached and mounted for it, and how it is taken down.
//!
//! Going up: layers and the scratch disk are attached and mounted at the same time; on the scratch the shares and,
//! on all of them, the overlay. Going down is the reverse. [`Mounts`] remembers how far it got, so a failure half-way
//! and a deletion are the same walk down; a step that fails is logged and does not stop the others.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;

use super::layers::Layers;
use super::machine::Machine;
use crate::document::guest::{self, BindSource};
use crate::document::{Rooms, Slot, machine};
use crate::error::{ErrorKind, Result, TaskError};
use crate::{Share, TaskSpec};

/// What is mounted for one task.
pub(crate) struct Mounts {
    id: String,
    machine: Arc<Machine>,
    layers: Arc<Layers>,
    layer_paths: Vec<PathBuf>,
    /// Where the layers are, topmost first.
    lower: Vec<Slot>,
    scratch: Option<Slot>,
    shares: Vec<Shared>,
    combined: bool,
}

/// A share of one task.
struct Shared {
    name: String,
    mount_index: usize,
    read_only: bool,
    file: Option<String>,
    mounted: bool,
}

impl Mounts {
    /// Mounts everything, or nothing.
    pub(crate) async fn assemble(
        machine: Arc<Machine>,
        layers: Arc<Layers>,
        task: &TaskSpec,
    ) -> Result<Self> {
        let mut mounts = Self {
            id: task.id.clone(),
            machine,
            layers,
            layer_paths: Vec::new(),
            lower: Vec::new(),
            scratch: None,
            shares: Vec::new(),
            combined: false,
        };
        match mounts.go_up(task).await {
            Ok(()) => Ok(mounts),
            Err(error) => {
                mounts.go_down().await;
                Err(error)
            }
        }
    }

    /// Where the binds come from, in the guest.
    pub(crate) fn binds(&self) -> Vec<BindSource> {
        let bind = |share: &Shared| BindSource {
            mount_index: share.mount_index,
            file: share.file.clone(),
        };
        self.shares.iter().map(bind).collect()
    }

    /// What tools work on.
    pub(crate) fn rooms(&self) -> Rooms<'_> {
        Rooms {
            id: &self.id,
            lower: &self.lower,
            pid: None,
        }
    }

    async fn go_up(&mut self, task: &TaskSpec) -> Result<()> {
        if task.layers.is_empty() {
            return Err(TaskError::new(
                ErrorKind::InvalidArgument,
                "a task needs at least one layer",
            ));
        }
        let (machine, layers) = (Arc::clone(&self.machine), Arc::clone(&self.layers));
        let paths = lower_layers(&task.layers);
        let lower = async {
            let slots = layers.acquire(&paths).await?;
            Ok::<_, TaskError>((slots, paths))
        };
        let id = self.id.clone();
        let scratch = async {
            // Polled after the layers have taken their slots.
            let slot = machine.take_slot()?;
            machine
                .add_disk(slot, &task.scratch, false, &guest::mount_scratch(&id, slot))
                .await?;
            Ok::<_, TaskError>(slot)
        };
        let shares = join_all(task.shares.iter().map(|share| offer(&machine, share)));
        let (lower, scratch, shares) = tokio::join!(lower, scratch, shares);
        // Everything that worked is booked before the first failure is reported.
        let mut failure = None;
        match lower {
            Ok((mounted, paths)) => (self.lower, self.layer_paths) = (mounted, paths),
            Err(error) => failure = Some(error),
        }
        match scratch {
            Ok(slot) => self.scratch = Some(slot),
            Err(error) => failure = failure.or(Some(error)),
        }
        for share in shares {
            match share {
                Ok(share) => self.shares.push(share),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let request = guest::combine(&self.id, &self.lower);
        let overlay = self.machine.guest(&request);
        let mounted = join_all(self.shares.iter_mut().map(|share| async {
            let request = guest::mount_share(&id, share.mount_index, &share.name, share.read_only);
            machine.guest(&request).await?;
            share.mounted = true;
            Ok::<_, TaskError>(())
        }));
        let (overlay, mounted) = tokio::join!(overlay, mounted);
        self.combined = overlay.is_ok();
        overlay?;
        mounted.into_iter().collect()
    }

    /// Takes everything down.
    pub(crate) async fn go_down(mut self) {
        let (machine, id) = (&self.machine, &self.id);
        let overlay = async {
            if std::mem::take(&mut self.combined) {
                warn(
                    id,
                    "overlay not unmounted",
                    machine.guest(&guest::uncombine(id)).await,
                );
            }
        };
        let shares = join_all(self.shares.drain(..).map(|share| async move {
            if share.mounted {
                let request = guest::unmount_share(id, share.mount_index, &share.name);
                warn(id, "share not unmounted", machine.guest(&request).await);
            }
            warn(
                id,
                "share not removed",
                machine.host(&machine::remove_share(&share.name)).await,
            );
        }));
        tokio::join!(overlay, shares);
        if let Some(slot) = self.scratch.take() {
            let removed = machine.remove_disk(slot, &guest::unmount_scratch(id, slot)).await;
            warn(id, "scratch not unmounted", removed);
        }
        let paths = std::mem::take(&mut self.layer_paths);
        self.layers.release(&paths);
    }
}

/// The layers as the overlay wants them: topmost first. Of a layer that an image has twice the upper one is enough,
/// and overlayfs refuses the second.
fn lower_layers(base_first: &[PathBuf]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::with_capacity(base_first.len());
    for path in base_first.iter().rev() {
        if !paths.contains(path) {
            paths.push(path.clone());
        }
    }
    paths
}

/// The host's half of a share.
async fn offer(machine: &Machine, share: &Share) -> Result<Shared> {
    let source = &share.source;
    let describe = |error| TaskError::io(format_args!("bind source {}", source.display()), error);
    let is_directory = std::fs::metadata(source).map_err(describe)?.is_dir();
    let (directory, file) = if is_directory {
        (source.as_path(), None)
    } else {
        // A path to something that is not a directory has both.
        let name = source.file_name().map(|name| name.to_string_lossy().into_owned());
        (source.parent().unwrap_or(source), name)
    };
    let name = machine.share_name();
    machine
        .host(&machine::add_share(
            &name,
            directory,
            file.as_deref(),
            share.read_only,
        ))
        .await?;
    let Share {
        read_only,
        mount_index,
        ..
    } = *share;
    Ok(Shared {
        name,
        mount_index,
        read_only,
        file,
        mounted: false,
    })
}

/// Going down continues after a failure.
fn warn(id: &str, text: &'static str, outcome: Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(task = id, %error, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_stacked_topmost_first_and_each_once() {
        let paths: Vec<PathBuf> = ["a", "b", "a", "c"].into_iter().map(PathBuf::from).collect();
        let stacked = lower_layers(&paths);
        assert_eq!(stacked, ["c", "a", "b"].map(PathBuf::from));
    }
}
