//! A Windows container with Hyper-V isolation: a machine for it alone, and everything of it that is brought in.
//!
//! [`Hosted::assemble`] boots the machine ([`boot`]), plugs it into the network, shows it the layers and attaches the scratch, has
//! the guest join them, shows it directories, files and pipes, and makes the container, which for the rest of the sandbox is
//! a compute system like any other ([`container`], [`process`]). Each step that has to be taken back leaves its opposite in a
//! list; [`Hosted::take_down`] does what is in the lists, last first, and ends the machine. Shares stay: they are mapped directly and go
//! with the machine.
//!
//! Not here: what the documents mean (`crate::document`), and the files on the host ([`snapshot::windows::Hosted`]).

mod boot;
mod container;
mod process;

pub(super) use container::LOST;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use compute::{ComputeService, ComputeSystem};
use gcs::NULL_ID;
use gcs::host::Bridge;
use hcs::{Document, GuestRequest, Layer, ModifySettingRequest};
use snapshot::windows::Hosted as Files;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::container::HostedContainer;
use super::super::LocalConfig;
use super::super::boot::SETTLE;
use super::super::machine::Machine;
use super::super::sandbox::panicked;
use super::system::{final_path, layer_id, terminate};
use crate::document::windows::{self as document, change};
use crate::error::{ErrorKind, Result, TaskError};
use crate::{NetworkSpec, SandboxSpec, Share, TaskSpec};

/// The place of the scratch at the controller, after the machine's own disk.
const SCRATCH: u8 = 1;
/// The number of its mount in the guest.
const MOUNT: u32 = 0;

/// How long one step back may take before the machine is given up.
const STEP: Duration = Duration::from_secs(30);

/// A machine with one container.
pub(super) struct Hosted {
    machine: Arc<Machine>,
    files: Option<Files>,
    /// What takes back the network, and what the rest, in the order in which it was done.
    network: Vec<Undo>,
    rooms: Vec<Undo>,
    shares: u32,
    /// The machine or its guest is lost: there is nothing to take back.
    lost: CancellationToken,
    /// Nobody needs to know of its end any more.
    stop: CancellationToken,
}

/// What a machine hangs on, for whoever gives its guest up.
#[derive(Clone)]
pub(super) struct Lifeline {
    bridge: Bridge,
    lost: CancellationToken,
}

impl Lifeline {
    /// Gives the guest up: nobody speaks with it any more.
    pub(super) fn cut(&self) {
        self.lost.cancel();
        self.bridge.close();
    }
}

/// The opposite of a step.
enum Undo {
    Host(ModifySettingRequest),
    Guest(GuestRequest),
}

impl Hosted {
    /// Boots a machine and makes the container in it. Nothing is left after a failure.
    pub(super) async fn assemble(
        compute: &dyn ComputeService,
        sandbox: &SandboxSpec,
        config: &LocalConfig,
        task: &TaskSpec,
        tracker: &TaskTracker,
    ) -> Result<(Self, Arc<dyn ComputeSystem>)> {
        // What the container cannot have is told before anything is made.
        document::hosted(&task.id, &task.oci_spec, document::Host::default())?;
        let pipes = document::pipes(&task.oci_spec)?;
        let files = files(task).await?;
        let machine = match boot::boot(compute, sandbox, config, &files).await {
            Ok(machine) => Arc::new(machine),
            Err(error) => {
                release(Some(files)).await;
                return Err(error);
            }
        };
        let mut hosted = Self {
            machine,
            files: Some(files),
            network: Vec::new(),
            rooms: Vec::new(),
            shares: 0,
            lost: CancellationToken::new(),
            stop: CancellationToken::new(),
        };
        match hosted.furnish(sandbox, task, &pipes, tracker).await {
            Ok(container) => Ok((hosted, Arc::new(container))),
            Err(error) => {
                hosted.take_down().await;
                Err(error)
            }
        }
    }

    async fn furnish(
        &mut self,
        sandbox: &SandboxSpec,
        task: &TaskSpec,
        pipes: &[String],
        tracker: &TaskTracker,
    ) -> Result<HostedContainer> {
        if let Some(network) = &task.network {
            self.plug_in(network).await?;
        }
        let layers = self.join_layers().await?;
        let sources = self.show(&task.shares).await?;
        for pipe in pipes {
            self.host(&change::add_pipe(pipe)).await?;
            self.rooms.push(Undo::Host(change::remove_pipe(pipe)));
        }
        let host = document::Host {
            layers,
            volume: change::disk_path(MOUNT),
            sources,
            machine_processors: sandbox.processors,
            ..document::Host::default()
        };
        let config = document::hosted(&task.id, &task.oci_spec, host)?.to_value();
        HostedContainer::create(&self.machine, &task.id, &config, tracker).await
    }

    /// Announces the container's network to the guest and plugs the machine into it.
    async fn plug_in(&mut self, network: &NetworkSpec) -> Result<()> {
        let Some(described) = &network.described else {
            return Err(TaskError::new(
                ErrorKind::InvalidArgument,
                "the network of a Windows container in a machine is not described",
            ));
        };
        let adapter = uuid::Uuid::new_v4().to_string();
        let (endpoint, mac) = (&network.endpoint, &network.mac_address);
        let namespace = &described.namespace;
        let plugged = async {
            self.guest(&change::add_namespace(namespace.clone())).await?;
            self.network
                .push(Undo::Guest(change::remove_namespace(namespace.clone())));
            self.guest(&change::announce_adapter(&adapter, described.endpoint.clone()))
                .await?;
            self.host(&change::add_adapter(&adapter, endpoint, mac)).await?;
            self.network
                .push(Undo::Host(change::remove_adapter(&adapter, endpoint, mac)));
            self.guest(&change::adapter_added(&adapter)).await?;
            self.network.push(Undo::Guest(change::adapter_removed(&adapter)));
            Ok(())
        };
        plugged.await.map_err(TaskError::of_network)
    }

    /// Shows the layers to the machine, attaches the scratch, and has the guest join them. Returns the layers as the guest sees
    /// them.
    async fn join_layers(&mut self) -> Result<Vec<Layer>> {
        let Some(files) = self.files.take() else {
            return Ok(Vec::new());
        };
        let joined = self.join(&files).await;
        self.files = Some(files);
        joined
    }

    async fn join(&mut self, files: &Files) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for (path, id) in files.layers() {
            let name = self.next_share();
            let share = change::layer_share(&name, &path.to_string_lossy(), false);
            self.host(&change::add_share(&share)).await?;
            layers.push(Layer {
                id: id
                    .map_or_else(|| layer_id(path), uuid::Uuid::from_u128)
                    .to_string(),
                path: change::share_path(&name, None),
                ..Layer::default()
            });
        }
        let system = &self.machine.system;
        system.grant(&files.parent.to_string_lossy()).await?;
        let disk = files.disk.to_string_lossy();
        self.host(&change::attach_disk(SCRATCH, &disk)).await?;
        self.rooms.push(Undo::Host(change::detach_disk(SCRATCH)));
        self.guest(&change::mount_disk(SCRATCH, MOUNT)).await?;
        self.rooms.push(Undo::Guest(change::unmount_disk(SCRATCH, MOUNT)));
        let root = change::disk_path(MOUNT);
        self.guest(&change::combine(&root, &layers)).await?;
        self.rooms.push(Undo::Guest(change::uncombine(&root)));
        Ok(layers)
    }

    /// Shows directories and files of the host to the machine. Returns where the guest finds them, by the index of their mount.
    async fn show(&mut self, shares: &[Share]) -> Result<BTreeMap<usize, String>> {
        let mut sources = BTreeMap::new();
        for share in shares {
            let describe =
                |error| TaskError::io(format_args!("bind source {}", share.source.display()), error);
            let is_directory = std::fs::metadata(&share.source).map_err(describe)?.is_dir();
            let path = PathBuf::from(final_path(&share.source));
            let name = self.next_share();
            let text = |path: &Path| path.to_string_lossy().into_owned();
            let (shown, file) = match (path.parent(), path.file_name()) {
                (Some(parent), Some(file)) if !is_directory => {
                    let file = file.to_string_lossy().into_owned();
                    let shown = change::file_share(&name, &text(parent), &[&file], share.read_only, false);
                    (shown, Some(file))
                }
                _ => (
                    change::directory_share(&name, &text(&path), share.read_only, false),
                    None,
                ),
            };
            self.host(&change::add_share(&shown)).await?;
            sources.insert(share.mount_index, change::share_path(&name, file.as_deref()));
        }
        Ok(sources)
    }

    fn next_share(&mut self) -> String {
        self.shares += 1;
        change::share_name(self.shares)
    }

    async fn host(&self, request: &ModifySettingRequest) -> Result<()> {
        self.machine.host(request).await
    }

    async fn guest(&self, request: &GuestRequest) -> Result<()> {
        let bridge = &self.machine.bridge;
        Ok(bridge.modify_document(NULL_ID, &request.to_value()).await?)
    }

    /// What it hangs on.
    pub(super) fn lifeline(&self) -> Lifeline {
        Lifeline {
            bridge: self.machine.bridge.clone(),
            lost: self.lost.clone(),
        }
    }

    /// Resolves with the reason when the machine or its guest is lost, and with none when that does not matter any more.
    pub(super) fn lost(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let (machine, lost, stop) = (Arc::clone(&self.machine), self.lost.clone(), self.stop.clone());
        async move {
            let exit = async {
                match compute::wait_for_exit(machine.system.as_ref()).await {
                    Ok(status) => format!("the VM ended: {:?}", status.exit_type),
                    Err(error) => format!("the compute service lost the VM: {error}"),
                }
            };
            tokio::pin!(exit);
            let reason = tokio::select! {
                () = stop.cancelled() => return None,
                reason = &mut exit => reason,
                reason = machine.bridge.closed() => {
                    // That the machine ended says more than that its connection broke.
                    let ended = tokio::time::timeout(SETTLE, exit).await;
                    ended.unwrap_or_else(|_| format!("lost the guest: {reason}"))
                }
            };
            if stop.is_cancelled() {
                return None;
            }
            lost.cancel();
            Some(reason)
        }
    }

    /// Takes everything out of the machine and ends it. A step that fails is logged and does not stop the others.
    pub(super) async fn take_down(mut self) {
        let steps: Vec<Undo> = self
            .network
            .drain(..)
            .rev()
            .chain(self.rooms.drain(..).rev())
            .collect();
        for step in steps {
            if self.lost.is_cancelled() {
                break;
            }
            let undone = tokio::time::timeout(STEP, async {
                match &step {
                    Undo::Host(request) => self.host(request).await,
                    Undo::Guest(request) => self.guest(request).await,
                }
            });
            let sandbox = self.machine.system.id();
            match undone.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(sandbox, %error, "a part of a container is left to its machine");
                }
                Err(_) => {
                    tracing::warn!(sandbox, "a machine does not let its container go and is given up");
                    self.lost.cancel();
                }
            }
        }
        self.stop.cancel();
        self.machine.bridge.close();
        terminate(self.machine.system.as_ref()).await;
        release(self.files.take()).await;
    }
}

/// Makes the files ready, on a thread that may block.
async fn files(task: &TaskSpec) -> Result<Files> {
    let (scratch, layers) = (task.scratch.clone(), task.layers.clone());
    let work = move || {
        Files::prepare(&scratch, &layers).map_err(|error| {
            let kind = match error {
                snapshot::SnapshotError::Unsupported { .. } => ErrorKind::Unsupported,
                _ => ErrorKind::Io,
            };
            TaskError::new(kind, error.to_string()).because(error)
        })
    };
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}

/// Removes the machine's disk, on a thread that may block.
async fn release(files: Option<Files>) {
    if let Err(error) = tokio::task::spawn_blocking(move || drop(files)).await {
        tracing::warn!(%error, "disk of a machine not removed");
    }
}
