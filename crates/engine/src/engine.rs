//! The engine itself: what it holds, lookup, creation and removal of containers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use image::{Images, Isolation, Platform};
use network::NetworkDriver;
use snapshot::{Differs, Snapshotter};
use store::{Durability, Resource, Store, Table};
use task::Runtime;
use tokio_util::task::TaskTracker;

use crate::container::{Container, Exit, WaitCondition};
use crate::convert;
use crate::create;
use crate::error::{Error, Kind, Result};
use crate::events::Events;
use crate::exec::Execs;
use crate::logs::{self, LogLine, LogOptions};
use crate::names;
use crate::networks::Networks;
use crate::record::{ContainerRecord, CreateOptions, Status};
use crate::sandboxes::{SandboxConfig, Sandboxes, Scope};
use crate::snapshots::Snapshots;
use crate::spec;

/// What the daemon injects.
pub struct Parts {
    /// Blobs and metadata.
    pub store: Store,
    /// Images over the same store.
    pub images: Images,
    /// Layers and scratches, one store for each operating system.
    pub snapshotters: Vec<Arc<dyn Snapshotter>>,
    /// Who unpacks which layers.
    pub differs: Arc<Differs>,
    /// Where sandboxes run.
    pub runtime: Arc<dyn Runtime>,
    /// Shape of a sandbox.
    pub sandbox: SandboxConfig,
    /// Networks of containers; none where there are none.
    pub network: Option<Arc<dyn NetworkDriver>>,
}

/// How to remove a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Kill it first when it runs.
    pub force: bool,
}

/// The engine; clones share it.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) images: Images,
    pub(crate) snapshots: Snapshots,
    pub(crate) differs: Arc<Differs>,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) network: Option<Arc<dyn NetworkDriver>>,
    pub(crate) networks: Networks,
    pub(crate) table: Table<ContainerRecord>,
    pub(crate) containers: RwLock<HashMap<String, Arc<Container>>>,
    /// Names that a creation in progress has claimed.
    pub(crate) claimed: std::sync::Mutex<std::collections::HashSet<String>>,
    pub(crate) execs: Execs,
    pub(crate) events: Events,
    pub(crate) tracker: TaskTracker,
}

impl Engine {
    /// Opens the engine: reads the records, finds the sandboxes of an earlier daemon, and settles what ended meanwhile.
    ///
    /// # Errors
    /// The records cannot be read.
    pub async fn open(parts: Parts) -> Result<Self> {
        // A killed daemon loses nothing; a power cut may lose the last moments, as it does of the containers' own files.
        let table = parts
            .store
            .table::<ContainerRecord>("containers")
            .durability(Durability::Eventual);
        let engine = Self(Arc::new(Inner {
            sandboxes: Sandboxes::new(parts.runtime, parts.sandbox),
            networks: Networks::open(&parts.store, parts.network.as_deref()).await?,
            network: parts.network,
            store: parts.store,
            images: parts.images,
            snapshots: Snapshots::new(parts.snapshotters),
            differs: parts.differs,
            table,
            containers: RwLock::default(),
            claimed: std::sync::Mutex::default(),
            execs: Execs::default(),
            events: Events::default(),
            tracker: TaskTracker::new(),
        }));
        engine.recover().await?;
        engine.reap_networks();
        Ok(engine)
    }

    /// Whether ports of containers can be published here.
    #[must_use]
    pub fn publishes_ports(&self) -> bool {
        self.0.network.is_some()
    }

    /// What happened and happens.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// Images; use the engine's own methods for what containers depend on.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.0.images
    }

    /// Starts the shared sandbox before somebody needs it, if it is to be, so that the first `run` is as fast as the others, and fills the
    /// pool of machines.
    ///
    /// # Errors
    /// The sandbox cannot be started.
    pub async fn warm_up(&self, shared: bool) -> Result<()> {
        let started = match shared {
            true => self.0.sandboxes.get(Scope::Shared).await.map(drop),
            false => Ok(()),
        };
        self.0.sandboxes.fill_pool().await;
        started
    }

    /// Lets go of everything without ending a container: they run on and a later engine finds them.
    pub async fn close(&self) {
        self.0.tracker.close();
        if let Err(error) = self.0.store.clone().close().await {
            tracing::error!(%error, "store not closed cleanly");
        }
    }

    /// Ends the sandboxes in which nothing runs; containers run on.
    pub async fn end_unused_sandboxes(&self) {
        let containers = self.list();
        let runs = |id: &str| {
            let record = containers.iter().find(|record| record.id == id);
            record.is_some_and(|record| matches!(record.state.status, Status::Running | Status::Paused))
        };
        self.0.sandboxes.end_unused(|id| !runs(id)).await;
    }

    /// Ends the sandboxes too, also those that boot right now; containers in them exit and no other starts.
    pub async fn shut_down_sandboxes(&self) {
        self.0.sandboxes.close().await;
        for sandbox in self.0.sandboxes.all() {
            if let Err(error) = sandbox.shutdown().await {
                tracing::warn!(sandbox = sandbox.id(), %error, "sandbox did not shut down");
            }
        }
        // Their networks go when their ends are booked.
        let containers: Vec<_> = self.read_containers().values().cloned().collect();
        for container in containers {
            if container.snapshot().state.network.is_some() {
                container.wait(WaitCondition::NotRunning).await;
                drop(container.turn().await);
            }
        }
    }

    /// Creates a container: checks, unpacks the image if needed, makes the scratch, stores the record.
    ///
    /// # Errors
    /// See [`Kind`]; nothing is left behind.
    pub async fn create(&self, mut options: CreateOptions) -> Result<ContainerRecord> {
        create::check(&options)?;
        self.check_network(&options)?;
        self.0.sandboxes.ready()?;
        let claim = self.claim_name(options.name.as_deref())?;
        let platform = match options.platform.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => Some(text.parse::<Platform>().map_err(|error| {
                Error::invalid(format!("invalid platform {text:?}"))
                    .because(error)
                    .hint("for example linux/amd64")
            })?),
            None => None,
        };
        let image = self
            .0
            .images
            .resolve(&options.image, platform.as_ref())
            .await
            .map_err(convert::image)?;
        match image.platform.os.as_str() {
            "linux" => create::check_linux(&options)?,
            "windows" => {
                spec::windows::check(&options, self.0.sandboxes.wine())?;
                let wanted = spec::windows::isolation(&options)?;
                let found = self.0.images.isolation(&image, wanted).map_err(convert::image)?;
                if let Some(found @ Isolation::HyperV) = found {
                    spec::windows::check_hyperv(&options)?;
                    // Kept, so that the container stays what it is when the host changes.
                    options.isolation = Some(found.to_string());
                }
            }
            _ => {
                return Err(Error::unimplemented(
                    format!("cannot run an image for {} here", image.platform),
                    "pull a linux image, or choose one with --platform linux/amd64",
                )
                .about("image", &options.image));
            }
        }
        self.settle_network(&mut options)?;
        create::prepare_sources(&options)?;
        self.unpack(&image).await?;
        let record = create::record(
            options,
            claim.name.clone(),
            &image,
            &self.0.store.root().join("containers"),
        )?;
        let folder = record
            .log_path
            .parent()
            .map_or_else(PathBuf::new, std::path::Path::to_path_buf);
        std::fs::create_dir_all(&folder).map_err(|error| {
            Error::new(Kind::Internal, format!("cannot create {}", folder.display())).because(error)
        })?;
        let stored = self.store_new(&record, &image.target).await;
        if let Err(error) = stored {
            self.discard(&record.id).await;
            return Err(error);
        }
        self.write_containers()
            .insert(record.id.clone(), Arc::new(Container::new(record.clone())));
        drop(claim);
        self.0
            .events
            .publish("container", "create", &record.id, record.event_attributes());
        Ok(record)
    }

    async fn store_new(&self, record: &ContainerRecord, target: &store::Digest) -> Result<()> {
        let mut resources = vec![Resource::content(target), Resource::content(&record.manifest)];
        resources.extend(Snapshots::resources(record));
        let store = &self.0.store;
        let root = root_name(&record.id);
        store
            .transaction_with(Durability::Eventual, move |txn| txn.put_root(&root, resources))
            .await
            .map_err(convert::store)?;
        let snapshotter = self.0.snapshots.of(record.is_windows())?;
        snapshotter
            .create_scratch(&record.id, record.options.storage_size)
            .await
            .map_err(convert::snapshot)?;
        self.0.table.put(&record.id, record).await.map_err(convert::store)
    }

    /// Takes away a container's files; failures are logged, and the next start of the daemon tries again.
    pub(crate) async fn dispose(&self, id: &str) {
        self.0.snapshots.remove_scratch(id).await;
        let folder = self.0.store.root().join("containers").join(id);
        if let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(container = id, %error, "container directory not removed");
        }
    }

    /// Takes away a container's record and root from the store.
    async fn strike(&self, id: &str) {
        let (table, key, root) = (self.0.table.clone(), id.to_owned(), root_name(id));
        let removed: Result<bool, store::StoreError> = self
            .0
            .store
            .transaction_with(Durability::Eventual, move |txn| {
                txn.remove(&table, &key)?;
                txn.remove_root(&root)
            })
            .await;
        if let Err(error) = removed {
            tracing::warn!(container = id, %error, "container record not removed");
        }
    }

    /// Takes away everything that belongs to a container but its record in memory.
    pub(crate) async fn discard(&self, id: &str) {
        self.strike(id).await;
        self.dispose(id).await;
    }

    /// Makes a container unknown; what it leaves on disk is [`Engine::dispose`]'s. Call in its turn.
    pub(crate) async fn forget(&self, container: &Container) {
        let record = container.set_state(|state| state.status = Status::Removing);
        container.take_waiting();
        self.strike(&record.id).await;
        self.write_containers().remove(&record.id);
        self.0.execs.forget(&record.id);
        self.0
            .events
            .publish("container", "destroy", &record.id, record.event_attributes());
        container.removed.send_replace(true);
    }

    /// Removes a container.
    ///
    /// # Errors
    /// It runs and `force` is not set, or does not exist.
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let container = self.find(name)?;
        let id = container.id();
        if matches!(container.status(), Status::Running | Status::Paused) {
            if !options.force {
                return Err(Error::new(
                    Kind::FailedPrecondition,
                    format!("cannot remove container \"{name}\": container is running: stop the container before removing or force remove"),
                )
                .about("container", name)
                .hint(format!("stop it with 'ctr-like stop {name}', or use 'ctr-like rm -f {name}'")));
            }
            let ended = container.wait(WaitCondition::NotRunning);
            self.kill_quietly(&container).await?;
            ended.await;
        }
        let turn = container.turn().await;
        if *container.removed.borrow() {
            return Ok(());
        }
        self.forget(&container).await;
        self.dispose(&id).await;
        drop(turn);
        Ok(())
    }

    /// The record of `name` (name, id or unique prefix of an id).
    ///
    /// # Errors
    /// No container, or several, answer to it.
    pub fn inspect(&self, name: &str) -> Result<ContainerRecord> {
        Ok(self.find(name)?.snapshot())
    }

    /// All records, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<ContainerRecord> {
        let mut records: Vec<_> = self
            .read_containers()
            .values()
            .map(|container| container.snapshot())
            .collect();
        records.sort_by(|a, b| b.created_ns.cmp(&a.created_ns).then_with(|| a.id.cmp(&b.id)));
        records
    }

    /// Subscribes to the end of `name`; await the returned future. Cancel-safe.
    ///
    /// # Errors
    /// The container does not exist.
    pub fn wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = Exit> + Send + use<>> {
        let container = self.find(name)?;
        let wait = container.wait(condition);
        Ok(async move {
            let exit = wait.await;
            drop(container);
            exit
        })
    }

    /// Reads, and with `follow` keeps reading, the log of `name`: until its run ends, or the first one of a container that
    /// was not started yet. A restart goes on.
    ///
    /// # Errors
    /// The container does not exist, or its log cannot be watched.
    pub fn logs(
        &self,
        name: &str,
        options: LogOptions,
    ) -> Result<tokio::sync::mpsc::Receiver<Result<LogLine>>> {
        let container = self.find(name)?;
        let path = container.record.borrow().log_path.clone();
        let more = if options.follow {
            container.has_a_future(&self.0.tracker)
        } else {
            tokio::sync::watch::channel(false).1
        };
        logs::read(&path, options, more)
    }

    /// Bytes that a container's writable layer takes, and that plus its image's layers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn container_sizes(&self, name: &str) -> Result<(u64, u64)> {
        let record = self.inspect(name)?;
        let scratch = self.0.snapshots.scratch(&record).await?;
        let own = scratch.map_or(0, |scratch| scratch.allocated_bytes);
        let mut all = own;
        for diff_id in &record.layers {
            let layer = self.0.snapshots.layer(&record, diff_id).await?;
            all += layer.map_or(0, |layer| layer.allocated_bytes);
        }
        Ok((own, all))
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<Container>> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let containers = self.read_containers();
        if let Some(container) = containers.get(bare) {
            return Ok(container.clone());
        }
        if let Some(container) = containers
            .values()
            .find(|container| container.record.borrow().name == bare)
        {
            return Ok(container.clone());
        }
        let mut by_prefix = containers
            .iter()
            .filter(|(id, _)| !bare.is_empty() && id.starts_with(bare));
        match (by_prefix.next(), by_prefix.next()) {
            (Some((_, container)), None) => Ok(container.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "multiple IDs found with provided prefix: {name}"
            ))
            .about("container", name)
            .hint("give more digits of the id, or the name")),
            _ => Err(Error::no_such_container(name)
                .about("container", name)
                .hint("run 'ctr-like ps -a' to see all containers")),
        }
    }

    fn claim_name(&self, wanted: Option<&str>) -> Result<NameClaim<'_>> {
        let mut claimed = self.0.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let containers = self.read_containers();
        let holder = |name: &str| {
            containers
                .values()
                .find(|container| container.record.borrow().name == name)
        };
        let name = match wanted {
            Some(wanted) => {
                let name = names::check_name(wanted)?;
                let holder_id = holder(&name).map(|container| container.id());
                if holder_id.is_some() || claimed.contains(&name) {
                    let by = holder_id.map_or_else(String::new, |id| format!(" by container \"{id}\""));
                    return Err(Error::new(
                        Kind::AlreadyExists,
                        format!(
                            "Conflict. The container name \"/{name}\" is already in use{by}. You have to remove (or rename) that container to be able to reuse that name."
                        ),
                    )
                    .about("container", name.clone())
                    .hint(format!("remove it with 'ctr-like rm {name}', or choose another --name")));
                }
                name
            }
            None => names::new_name(|name| holder(name).is_some() || claimed.contains(name)),
        };
        claimed.insert(name.clone());
        Ok(NameClaim { engine: self, name })
    }

    pub(crate) fn read_containers(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Container>>> {
        self.0.containers.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_containers(
        &self,
    ) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<Container>>> {
        self.0.containers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that nobody else can take while the container is being made.
struct NameClaim<'a> {
    engine: &'a Engine,
    name: String,
}

impl Drop for NameClaim<'_> {
    fn drop(&mut self) {
        self.engine
            .0
            .claimed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}

/// The name of the store's root that keeps a container's layers alive.
pub(crate) fn root_name(id: &str) -> String {
    format!("container/{id}")
}
