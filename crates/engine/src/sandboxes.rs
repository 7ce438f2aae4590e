//! The sandboxes that containers live in.
//!
//! The shared one serves many containers: it is started on first use and kept warm, or, where it is a virtual machine, ends
//! after an idle time. Containers on the host's network share another, because a sandbox has one network. A container with
//! hypervisor isolation gets a virtual machine of its own, one for Linux from a pool of booted ones if there is one, and the machine
//! ends with the container. A sandbox that died is replaced on the next start; the containers in it have exited with its reason by
//! then.
//!
//! Whoever starts something in a sandbox holds a [`Ticket`] meanwhile, so that nobody takes the sandbox for idle.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use task::{Runtime, Sandbox, SandboxSpec, TaskInfo, TaskStatus};
use tokio::sync::{Mutex, RwLock};

use crate::error::{Error, Kind, Result};
use crate::names;

/// What a virtual machine needs besides a container's memory limit, in MiB: kernel, agent, page cache.
const VM_OWN_MEMORY_MB: u64 = 192;

/// The machine of a Windows container: its memory without a limit, what it needs besides one, and the steps it is given in, in MiB.
const WINDOWS_MEMORY_MB: u64 = 1024;
const WINDOWS_OWN_MEMORY_MB: u64 = 256;
const WINDOWS_STEP_MB: u64 = 512;
/// Its processors as a rule.
const WINDOWS_PROCESSORS: u32 = 2;

/// What sandboxes look like on this host.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Name under which compute systems are registered.
    pub owner: String,
    /// Memory of a sandbox that is no virtual machine, in MiB.
    pub memory_mb: u64,
    /// Processors of a sandbox that is no virtual machine.
    pub processors: u32,
    /// Directory of sockets and devices, gone after a reboot.
    pub run_dir: PathBuf,
    /// The shared sandbox is a virtual machine, too.
    pub shared_in_vm: bool,
    /// Where work on the files of containers that do not run is done.
    pub service: ServiceMode,
    /// What virtual machines look like.
    pub vm: VmConfig,
    /// Windows containers run under Wine, on a host that is not Windows.
    pub wine: bool,
    /// Processors of the host.
    pub host_processors: u32,
}

/// What a utility VM looks like.
#[derive(Clone, Debug)]
pub struct VmConfig {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initrd: PathBuf,
    /// Memory in MiB; one for a container with a larger limit gets more.
    pub memory_mb: u64,
    /// Processors.
    pub processors: u32,
    /// How many are kept booted for containers that want one of their own.
    pub pool: usize,
    /// How long a shared one is kept without containers.
    pub idle: Duration,
}

/// Which sandbox a container needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// With others that have networks of their own.
    Shared,
    /// With others on the host's network.
    HostNetwork,
    /// A virtual machine for itself.
    Own {
        /// The container's memory limit in bytes, 0 for none.
        memory: u64,
    },
    /// The virtual machine for work on the files of containers that do not run.
    Service,
    /// One Windows container, or work on the files of one.
    Windows,
    /// One Windows container in a virtual machine.
    WindowsMachine {
        /// The container's memory limit in bytes, 0 for none.
        memory: u64,
        /// The container's limit of processor time, in billionths of a processor, 0 for none.
        nano_cpus: u64,
    },
    /// A sandbox for one such piece of work.
    Instance {
        /// It is a virtual machine.
        virtual_machine: bool,
    },
}

/// Where work on the files of containers that do not run is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceMode {
    /// In one machine for all; without machines in the shared sandbox.
    #[default]
    Global,
    /// In a new one each time.
    PerInstance,
}

/// What a sandbox is for, as people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// For containers with networks of their own.
    Shared,
    /// For containers on the host's network.
    HostNetwork,
    /// For one container.
    Container,
    /// For work on the files of containers that do not run.
    Service,
    /// For the next container that wants a machine of its own.
    Pool,
    /// For what is left in it; it ends with its last container.
    Ending,
}

impl Role {
    /// The word that listings show.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::HostNetwork => "host-network",
            Self::Container => "container",
            Self::Service => "service",
            Self::Pool => "pool",
            Self::Ending => "ending",
        }
    }
}

/// A sandbox in which something is about to start.
pub(crate) struct Ticket {
    /// The sandbox.
    pub(crate) sandbox: Arc<dyn Sandbox>,
    _user: Arc<()>,
}

#[derive(Default)]
struct Slot {
    sandbox: Option<Arc<dyn Sandbox>>,
    /// As many clones as tickets, and one.
    users: Arc<()>,
}

impl Slot {
    fn living(&self) -> Option<Ticket> {
        let sandbox = self
            .sandbox
            .as_ref()
            .filter(|sandbox| sandbox.closed().is_none())?;
        Some(Ticket {
            sandbox: sandbox.clone(),
            _user: self.users.clone(),
        })
    }
}

pub(crate) struct Sandboxes {
    runtime: Arc<dyn Runtime>,
    config: SandboxConfig,
    slots: std::sync::Mutex<HashMap<Scope, Arc<Mutex<Slot>>>>,
    /// Booted machines that nobody has yet.
    pool: Mutex<Vec<Arc<dyn Sandbox>>>,
    /// All that live. Apart from the slots, because those are held while a sandbox boots.
    living: std::sync::Mutex<Vec<(Arc<dyn Sandbox>, Role)>>,
    /// Whether sandboxes may be started; held for reading while one boots and until it is in its place.
    open: RwLock<bool>,
}

impl Sandboxes {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, config: SandboxConfig) -> Self {
        Self {
            runtime,
            config,
            slots: std::sync::Mutex::default(),
            pool: Mutex::default(),
            living: std::sync::Mutex::default(),
            open: RwLock::new(true),
        }
    }

    /// Whether Windows containers run under Wine.
    pub(crate) fn wine(&self) -> bool {
        self.config.wine
    }

    /// Processors of the host.
    pub(crate) fn host_processors(&self) -> u32 {
        self.config.host_processors
    }

    /// Processors of the machine of a Windows container: as many as its limit can use, and two as a rule.
    pub(crate) fn windows_processors(&self, nano_cpus: u64) -> u32 {
        let host = match self.config.host_processors {
            0 => WINDOWS_PROCESSORS,
            known => known,
        };
        let used = u32::try_from(nano_cpus.div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        used.max(WINDOWS_PROCESSORS).min(host)
    }

    /// Whether this host can run containers at all.
    pub(crate) fn ready(&self) -> Result<()> {
        self.runtime.ready().map_err(|error| {
            Error::new(Kind::Unimplemented, error.message.clone())
                .hint("images can be pulled, listed, saved and pushed here; run containers on a Linux host")
                .because(error)
        })
    }

    /// A living sandbox for `scope`, started when there is none. Concurrent callers wait for one start.
    pub(crate) async fn get(&self, scope: Scope) -> Result<Ticket> {
        if is_dedicated(scope) {
            return self.own(scope).await;
        }
        let slot = self.slot(scope);
        let mut slot = slot.lock().await;
        if let Some(ticket) = slot.living() {
            return Ok(ticket);
        }
        let open = self.open.read().await;
        slot.sandbox = Some(self.start(scope, role(scope), *open).await?);
        Ok(slot.living().expect("it was just put there"))
    }

    /// The sandbox for work on the files of a container that does not run. What a machine's own kernel has written is
    /// mounted by the kernel of a machine again, never by the host's.
    pub(crate) fn service(&self, isolated: bool) -> Scope {
        let virtual_machine = isolated || self.config.shared_in_vm;
        match (self.config.service, virtual_machine) {
            (ServiceMode::PerInstance, virtual_machine) => Scope::Instance { virtual_machine },
            (ServiceMode::Global, true) => Scope::Service,
            (ServiceMode::Global, false) => Scope::Shared,
        }
    }

    /// A machine for one container; see [`Sandboxes::give_up`] and [`Sandbox::retire`] for its end.
    async fn own(&self, scope: Scope) -> Result<Ticket> {
        let wanted = self.spec(scope);
        let fits = |sandbox: &SandboxSpec| {
            sandbox.virtual_machine == wanted.virtual_machine
                && sandbox.windows == wanted.windows
                && sandbox.memory_mb >= wanted.memory_mb
        };
        let open = self.open.read().await;
        let pooled = {
            let mut pool = self.pool.lock().await;
            pool.retain(|sandbox| sandbox.closed().is_none());
            let fitting = pool.iter().position(|sandbox| fits(sandbox.spec()));
            fitting.map(|index| pool.remove(index))
        };
        let sandbox = match pooled {
            Some(sandbox) => sandbox,
            None => self.start(scope, role(scope), *open).await?,
        };
        self.enlist(&sandbox, role(scope));
        Ok(Ticket {
            sandbox,
            _user: Arc::default(),
        })
    }

    /// Boots machines until the pool is full; stops at the first failure, which is logged.
    pub(crate) async fn fill_pool(&self) {
        loop {
            // Held while one boots, so that two callers do not make too many.
            let mut pool = self.pool.lock().await;
            pool.retain(|sandbox| sandbox.closed().is_none());
            let open = self.open.read().await;
            if !*open || pool.len() >= self.config.vm.pool {
                return;
            }
            match self.start(Scope::Own { memory: 0 }, Role::Pool, *open).await {
                Ok(sandbox) => pool.push(sandbox),
                Err(error) => {
                    tracing::warn!(%error, causes = ?error.causes(), "cannot boot a machine for the pool");
                    return;
                }
            }
        }
    }

    /// Ends a machine whose container could not be started. Others are left alone.
    pub(crate) async fn give_up(&self, sandbox: &dyn Sandbox) {
        if sandbox.spec().dedicated
            && let Err(error) = sandbox.shutdown().await
        {
            tracing::warn!(sandbox = sandbox.id(), %error, "machine of a failed start not ended");
        }
    }

    /// How long to wait after the end of a container before [`Sandboxes::end_idle`]; `None`: for ever.
    pub(crate) fn patience(&self, sandbox: &dyn Sandbox) -> Option<Duration> {
        let spec = sandbox.spec();
        (spec.virtual_machine && !spec.dedicated).then_some(self.config.vm.idle)
    }

    /// Ends the shared machine, or that for work on files, with this id if nothing runs or starts in it.
    pub(crate) async fn end_idle(&self, id: &str) {
        for scope in [Scope::Shared, Scope::Service] {
            let slot = self.slot(scope);
            let mut slot = slot.lock().await;
            let Some(sandbox) = slot.sandbox.clone().filter(|sandbox| sandbox.id() == id) else {
                continue;
            };
            let idle = Arc::strong_count(&slot.users) == 1
                && sandbox.closed().is_none()
                && sandbox.tasks().await.is_ok_and(|tasks| tasks.is_empty());
            if idle {
                tracing::info!(sandbox = id, "idle machine ends");
                slot.sandbox = None;
                if let Err(error) = sandbox.shutdown().await {
                    tracing::warn!(sandbox = id, %error, "idle machine not ended");
                }
            }
        }
    }

    /// Ends the living sandboxes in which nothing runs, all at once: whoever leaves needs neither warm nor pooled ones. Those that
    /// boot right now are left alone, and those with the end of a container that is not `booked` yet, which the next daemon finds.
    pub(crate) async fn end_unused(&self, booked: impl Fn(&str) -> bool) {
        let over = |task: &TaskInfo| task.state.status == TaskStatus::Exited && booked(&task.id);
        let over = &over;
        let ending = self.all().into_iter().map(|sandbox| async move {
            if !sandbox.tasks().await.is_ok_and(|tasks| tasks.iter().all(over)) {
                return;
            }
            if let Err(error) = sandbox.shutdown().await {
                tracing::warn!(sandbox = sandbox.id(), %error, "unused sandbox not ended");
            }
        });
        futures_util::future::join_all(ending).await;
    }

    /// Lets no more sandboxes start; waits for those that boot.
    pub(crate) async fn close(&self) {
        *self.open.write().await = false;
    }

    async fn start(&self, scope: Scope, role: Role, open: bool) -> Result<Arc<dyn Sandbox>> {
        if !open {
            return Err(
                Error::new(Kind::Unavailable, "the daemon is about to end its sandboxes")
                    .hint("start it again with 'ctr-like daemon start'"),
            );
        }
        let spec = self.spec(scope);
        let (what, hint) = if spec.windows {
            (
                "cannot start a sandbox for a Windows container",
                "run 'ctr-like info' and look into the daemon's log",
            )
        } else if spec.virtual_machine {
            (
                "cannot start the virtual machine for Linux containers",
                match self.config.shared_in_vm {
                    true => "mend what the causes name; 'ctr-like doctor' looks at the host",
                    false => "leave --isolation out to use the sandbox, or mend what the causes name",
                },
            )
        } else {
            (
                "cannot start the sandbox for Linux containers",
                "run 'ctr-like info' and look into the daemon's log",
            )
        };
        let sandbox = self
            .runtime
            .create_sandbox(spec)
            .await
            .map_err(|error| Error::new(Kind::Unavailable, what).hint(hint).because(error))?;
        tracing::info!(sandbox = sandbox.id(), ?scope, "sandbox started");
        self.enlist(&sandbox, role);
        Ok(sandbox)
    }

    /// Sandboxes that outlived an earlier daemon, and what is known of those that did not. Each living one becomes the one
    /// of its scope if that has none and it is what the settings ask for; the others end with their last container.
    pub(crate) async fn recover(&self) -> Result<Vec<Arc<dyn Sandbox>>> {
        let found = self.runtime.recover().await.map_err(|error| {
            Error::new(Kind::Internal, "cannot look for sandboxes of an earlier daemon").because(error)
        })?;
        for sandbox in found.iter().filter(|sandbox| sandbox.closed().is_none()) {
            let spec = sandbox.spec();
            let scope = if spec.host_network {
                Scope::HostNetwork
            } else {
                Scope::Shared
            };
            let wanted = !spec.dedicated && spec.virtual_machine == self.spec(scope).virtual_machine;
            let own = if spec.dedicated {
                Role::Container
            } else {
                Role::Ending
            };
            let slot = self.slot(scope);
            let mut slot = slot.lock().await;
            if wanted && slot.sandbox.is_none() {
                slot.sandbox = Some(sandbox.clone());
                self.enlist(sandbox, role(scope));
                continue;
            }
            tracing::info!(
                sandbox = sandbox.id(),
                ?scope,
                "sandbox ends with its last container"
            );
            self.enlist(sandbox, own);
            if let Err(error) = sandbox.retire().await {
                tracing::warn!(sandbox = sandbox.id(), %error, "second sandbox not retired");
            }
        }
        Ok(found)
    }

    /// The living sandboxes. Never waits for one that boots.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Sandbox>> {
        self.roles().into_iter().map(|(sandbox, _)| sandbox).collect()
    }

    /// The living sandboxes and what they are for.
    pub(crate) fn roles(&self) -> Vec<(Arc<dyn Sandbox>, Role)> {
        let mut living = self.living();
        living.retain(|(sandbox, _)| sandbox.closed().is_none());
        living.clone()
    }

    /// The directory in which the consoles of machines are kept, a file `<id>.log` for each.
    pub(crate) fn consoles(&self) -> PathBuf {
        self.spec(Scope::Shared).consoles()
    }

    fn enlist(&self, sandbox: &Arc<dyn Sandbox>, role: Role) {
        let mut living = self.living();
        living.retain(|(other, _)| other.closed().is_none() && other.id() != sandbox.id());
        living.push((sandbox.clone(), role));
    }

    fn living(&self) -> std::sync::MutexGuard<'_, Vec<(Arc<dyn Sandbox>, Role)>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, scope: Scope) -> Arc<Mutex<Slot>> {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(scope)
            .or_default()
            .clone()
    }

    fn spec(&self, scope: Scope) -> SandboxSpec {
        let config = &self.config;
        let virtual_machine = match scope {
            Scope::Own { .. } | Scope::WindowsMachine { .. } | Scope::Service => true,
            Scope::Instance { virtual_machine } => virtual_machine,
            Scope::Shared => config.shared_in_vm,
            Scope::HostNetwork | Scope::Windows => false,
        };
        let (mut memory_mb, processors) = if let Scope::WindowsMachine { memory, nano_cpus } = scope {
            (windows_memory(memory), self.windows_processors(nano_cpus))
        } else if virtual_machine {
            (config.vm.memory_mb, config.vm.processors)
        } else {
            (config.memory_mb, config.processors)
        };
        if let Scope::Own { memory } = scope {
            let limit = memory.div_ceil(1 << 20);
            // The compute service wants an even number.
            memory_mb = memory_mb.max((limit + VM_OWN_MEMORY_MB).next_multiple_of(2) * u64::from(limit > 0));
        }
        SandboxSpec {
            id: names::new_id()[..32].to_owned(),
            owner: config.owner.clone(),
            memory_mb,
            processors,
            host_network: scope == Scope::HostNetwork,
            virtual_machine,
            windows: matches!(scope, Scope::Windows | Scope::WindowsMachine { .. }),
            dedicated: is_dedicated(scope),
            kernel: config.vm.kernel.clone(),
            initrd: config.vm.initrd.clone(),
            run_dir: config.run_dir.clone(),
            ..SandboxSpec::default()
        }
    }
}

/// It serves one container and ends with it.
fn is_dedicated(scope: Scope) -> bool {
    matches!(
        scope,
        Scope::Own { .. } | Scope::Instance { .. } | Scope::Windows | Scope::WindowsMachine { .. }
    )
}

/// Memory of the machine of a Windows container with this limit, in MiB.
fn windows_memory(limit: u64) -> u64 {
    match limit.div_ceil(1 << 20) {
        0 => WINDOWS_MEMORY_MB,
        limit => (limit + WINDOWS_OWN_MEMORY_MB).next_multiple_of(WINDOWS_STEP_MB),
    }
}

fn role(scope: Scope) -> Role {
    match scope {
        Scope::Shared => Role::Shared,
        Scope::HostNetwork => Role::HostNetwork,
        Scope::Own { .. } | Scope::Windows | Scope::WindowsMachine { .. } => Role::Container,
        Scope::Service | Scope::Instance { .. } => Role::Service,
    }
}
