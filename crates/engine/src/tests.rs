//! The engine over sandboxes that misbehave.
//!
//! What needs real containers is in the system suites; here is what no real sandbox does on demand.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use image::{Images, RegistryConfig};
use serde_json::Value;
use snapshot::{Differs, LcowConfig, LcowLayers};
use store::{Digest, Store};
use task::{
    AttachStreams, ErrorKind, ExitStatus, FilesSpec, ProcessSpec, Runtime, Sandbox, SandboxSpec, TaskError,
    TaskInfo, TaskSpec, TaskState, TaskStatus,
};

use crate::record::{ContainerRecord, CreateOptions, State, Status};
use crate::sandboxes::{Sandboxes, Scope};
use crate::{Engine, Parts, RemoveOptions, SandboxConfig, ServiceMode, VmConfig, WaitCondition};

mod networks;
mod stats;

/// A sandbox with one task, `box`.
struct Odd {
    spec: SandboxSpec,
    /// Its waits panic.
    panics: bool,
    /// It has no task.
    idle: AtomicBool,
    closed: Mutex<Option<String>>,
    retired: AtomicBool,
    killed: AtomicBool,
    /// Its answer about statistics; without one there is none, ever.
    statistics: Option<Value>,
}

fn odd(id: &str) -> Odd {
    Odd {
        spec: SandboxSpec {
            id: id.to_owned(),
            ..SandboxSpec::default()
        },
        panics: false,
        idle: AtomicBool::new(false),
        closed: Mutex::default(),
        retired: AtomicBool::new(false),
        killed: AtomicBool::new(false),
        statistics: None,
    }
}

type Answer<T> = task::Result<T>;

fn absent<T>() -> Answer<T> {
    Err(TaskError::new(ErrorKind::NotFound, "no such task"))
}

#[async_trait]
impl Sandbox for Odd {
    fn id(&self) -> &str {
        &self.spec.id
    }
    fn spec(&self) -> &SandboxSpec {
        &self.spec
    }
    async fn create(&self, _: TaskSpec) -> Answer<()> {
        absent()
    }
    async fn start(&self, _: &str) -> Answer<u32> {
        absent()
    }
    async fn exec(&self, _: &str, _: &str, _: ProcessSpec) -> Answer<(u32, Option<AttachStreams>)> {
        absent()
    }
    async fn files(&self, _: &str, _: &str, _: FilesSpec) -> Answer<AttachStreams> {
        absent()
    }
    async fn delete_exec(&self, _: &str, _: &str) -> Answer<()> {
        absent()
    }
    async fn signal(&self, _: &str, _: Option<&str>, _: i32) -> Answer<()> {
        self.killed.store(true, Ordering::Relaxed);
        Ok(())
    }
    async fn resize(&self, _: &str, _: Option<&str>, _: u16, _: u16) -> Answer<()> {
        absent()
    }
    async fn attach(&self, _: &str, _: Option<&str>) -> Answer<AttachStreams> {
        absent()
    }
    async fn wait(&self, _: &str, _: Option<&str>) -> Answer<ExitStatus> {
        assert!(!self.panics, "a bug in the wait");
        if self.killed.load(Ordering::Relaxed) {
            return Ok(ExitStatus::default());
        }
        std::future::pending().await
    }
    async fn state(&self, _: &str) -> Answer<TaskState> {
        absent()
    }
    async fn tasks(&self) -> Answer<Vec<TaskInfo>> {
        if self.idle.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        Ok(vec![TaskInfo {
            id: "box".to_owned(),
            running: true,
            state: TaskState {
                status: TaskStatus::Running,
                pid: Some(1),
                exit: None,
            },
        }])
    }
    async fn stats(&self, _: &str) -> Answer<Value> {
        match &self.statistics {
            Some(statistics) => Ok(statistics.clone()),
            None => std::future::pending().await,
        }
    }
    async fn update(&self, _: &str, _: Value) -> Answer<()> {
        absent()
    }
    async fn delete(&self, _: &str) -> Answer<ExitStatus> {
        absent()
    }
    async fn trim(&self) -> Answer<()> {
        Ok(())
    }
    async fn retire(&self) -> Answer<()> {
        self.retired.store(true, Ordering::Relaxed);
        Ok(())
    }
    async fn shutdown(&self) -> Answer<()> {
        *self.closed.lock().unwrap() = Some("shut down".to_owned());
        Ok(())
    }
    fn closed(&self) -> Option<String> {
        self.closed.lock().unwrap().clone()
    }
    async fn wait_closed(&self) -> String {
        std::future::pending().await
    }
}

/// Sandboxes that an earlier daemon left; new ones are without tasks.
struct Left(Vec<Arc<Odd>>);

#[async_trait]
impl Runtime for Left {
    async fn create_sandbox(&self, spec: SandboxSpec) -> Answer<Arc<dyn Sandbox>> {
        let sandbox = Odd { spec, ..odd("") };
        sandbox.idle.store(true, Ordering::Relaxed);
        Ok(Arc::new(sandbox))
    }
    async fn recover(&self) -> Answer<Vec<Arc<dyn Sandbox>>> {
        let found = self.0.iter().cloned();
        Ok(found.map(|sandbox| sandbox as Arc<dyn Sandbox>).collect())
    }
}

/// The record of a container that runs in `sandbox`.
pub(crate) fn running(sandbox: &str) -> ContainerRecord {
    let digest = Digest::of(b"image");
    ContainerRecord {
        id: "box".to_owned(),
        name: "box".to_owned(),
        created_ns: 1,
        image: "image".to_owned(),
        image_id: digest.clone(),
        manifest: digest,
        platform: "linux/amd64".to_owned(),
        layers: Vec::new(),
        args: Vec::new(),
        args_escaped: false,
        env: Vec::new(),
        working_dir: "/".to_owned(),
        user: String::new(),
        hostname: "box".to_owned(),
        stop_signal: 15,
        options: CreateOptions::default(),
        log_path: PathBuf::from("/nonexistent/log.json"),
        state: State {
            status: Status::Running,
            sandbox: Some(sandbox.to_owned()),
            ..State::default()
        },
    }
}

fn config(root: &std::path::Path) -> SandboxConfig {
    SandboxConfig {
        owner: "test".to_owned(),
        memory_mb: 64,
        processors: 1,
        run_dir: root.join("run"),
        shared_in_vm: false,
        wine: true,
        host_processors: 2,
        service: ServiceMode::Global,
        vm: VmConfig {
            kernel: PathBuf::new(),
            initrd: PathBuf::new(),
            memory_mb: 64,
            processors: 1,
            pool: 0,
            idle: std::time::Duration::from_secs(60),
        },
    }
}

/// An engine that finds these sandboxes, with one container that runs in the last.
async fn engine(root: &std::path::Path, left: Vec<Arc<Odd>>) -> Engine {
    with_network(root, left, None).await
}

/// The same on a host with networks.
async fn with_network(
    root: &std::path::Path,
    left: Vec<Arc<Odd>>,
    network: Option<Arc<dyn network::NetworkDriver>>,
) -> Engine {
    let store = Store::open(root).await.unwrap();
    let record = running(left.last().unwrap().id());
    let table = store.table::<ContainerRecord>("containers");
    table.put("box", &record).await.unwrap();
    let layers = LcowLayers::open(&store, LcowConfig::default()).await.unwrap();
    let parts = Parts {
        images: Images::new(store.clone(), RegistryConfig::default()).unwrap(),
        snapshotters: vec![layers.clone()],
        differs: Arc::new(Differs::new(vec![layers])),
        runtime: Arc::new(Left(left)),
        sandbox: config(root),
        network,
        store,
    };
    Engine::open(parts).await.unwrap()
}

#[tokio::test]
async fn a_monitor_that_panics_ends_its_container_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let sandbox = Odd {
        panics: true,
        ..odd("s1")
    };
    let engine = engine(root.path(), vec![Arc::new(sandbox)]).await;
    let exit = engine.wait("box", WaitCondition::NotRunning).unwrap().await;
    assert_eq!(exit.code, 255);
    assert!(exit.error.unwrap().contains("the daemon failed"));
    // Its turn is free, and so is everything else.
    engine.remove("box", RemoveOptions::default()).await.unwrap();
    assert!(engine.list().is_empty());
    engine.close().await;
}

#[tokio::test]
async fn of_two_living_sandboxes_one_is_used_and_the_other_ends_with_its_containers() {
    let root = tempfile::tempdir().unwrap();
    let dead = Odd {
        closed: Mutex::new(Some("its shim died".to_owned())),
        ..odd("dead")
    };
    let (first, second) = (Arc::new(odd("first")), Arc::new(odd("second")));
    let left = vec![Arc::new(dead), first.clone(), second.clone()];
    let engine = engine(root.path(), left).await;
    let mut living: Vec<String> = engine.machines().into_iter().map(|machine| machine.id).collect();
    living.sort();
    assert_eq!(living, ["first", "second"]);
    assert!(!first.retired.load(Ordering::Relaxed) && second.retired.load(Ordering::Relaxed));
    // A task that is not where its container runs is a leftover; the container is still within reach.
    assert!(first.killed.load(Ordering::Relaxed) && !second.killed.load(Ordering::Relaxed));
    engine.kill("box", None).await.unwrap();
    assert!(second.killed.load(Ordering::Relaxed));
    engine.close().await;
}

fn machines(pool: usize) -> Sandboxes {
    let mut config = config(std::path::Path::new("/nonexistent"));
    config.vm.pool = pool;
    config.shared_in_vm = true;
    Sandboxes::new(Arc::new(Left(Vec::new())), config)
}

#[tokio::test]
async fn a_container_with_hypervisor_isolation_has_a_machine_for_itself() {
    let sandboxes = machines(0);
    let shared = sandboxes.get(Scope::Shared).await.unwrap();
    let first = sandboxes.get(Scope::Own { memory: 0 }).await.unwrap();
    let second = sandboxes.get(Scope::Own { memory: 100 << 20 }).await.unwrap();
    let specs = [shared.sandbox.spec(), first.sandbox.spec(), second.sandbox.spec()];
    assert!(specs.iter().all(|spec| spec.virtual_machine));
    assert_eq!(specs.map(|spec| spec.dedicated), [false, true, true]);
    assert_ne!(specs[1].id, specs[2].id);
    // The second has room for its container and an even number of MiB.
    assert_eq!((specs[1].memory_mb, specs[2].memory_mb), (64, 292));
    // The machine of a start that failed ends, the shared one does not.
    sandboxes.give_up(&*first.sandbox).await;
    sandboxes.give_up(&*shared.sandbox).await;
    assert!(first.sandbox.closed().is_some() && shared.sandbox.closed().is_none());
}

#[tokio::test]
async fn the_machine_of_a_windows_container_has_room_for_it_and_is_taken_from_no_pool() {
    let mut config = config(std::path::Path::new("/nonexistent"));
    (config.vm.pool, config.shared_in_vm, config.host_processors) = (1, true, 8);
    config.vm.memory_mb = 8192;
    let sandboxes = Sandboxes::new(Arc::new(Left(Vec::new())), config);
    sandboxes.fill_pool().await;
    let pooled = sandboxes.all()[0].id().to_owned();
    for (memory, nano_cpus, expected) in [
        (0, 0, (1024, 2)),
        (256 << 20, 500_000_000, (512, 2)),
        ((2 << 30) + 1, 3_500_000_000, (2560, 4)),
        (0, 99_000_000_000, (1024, 8)),
    ] {
        let wanted = Scope::WindowsMachine { memory, nano_cpus };
        let ticket = sandboxes.get(wanted).await.unwrap();
        let spec = ticket.sandbox.spec();
        assert_ne!(spec.id, pooled);
        assert!(spec.windows && spec.virtual_machine && spec.dedicated);
        assert_eq!((spec.memory_mb, spec.processors), expected);
    }
    // Nor does one without a machine take it.
    let ticket = sandboxes.get(Scope::Windows).await.unwrap();
    assert!(!ticket.sandbox.spec().virtual_machine);
}

#[tokio::test]
async fn the_pool_serves_who_fits_and_is_filled_again() {
    let sandboxes = machines(2);
    sandboxes.fill_pool().await;
    let booted: Vec<String> = sandboxes
        .all()
        .iter()
        .map(|sandbox| sandbox.id().to_owned())
        .collect();
    assert_eq!(booted.len(), 2);
    let large = sandboxes.get(Scope::Own { memory: 1 << 30 }).await.unwrap();
    assert!(!booted.contains(&large.sandbox.id().to_owned()));
    let small = sandboxes.get(Scope::Own { memory: 0 }).await.unwrap();
    assert!(booted.contains(&small.sandbox.id().to_owned()));
    sandboxes.fill_pool().await;
    assert_eq!(sandboxes.all().len(), 4);
}

#[tokio::test]
async fn an_idle_shared_machine_ends_but_not_under_a_start() {
    let sandboxes = machines(0);
    let ticket = sandboxes.get(Scope::Shared).await.unwrap();
    let machine = ticket.sandbox.clone();
    assert!(sandboxes.patience(&*machine).is_some());
    sandboxes.end_idle(machine.id()).await;
    assert!(
        machine.closed().is_none(),
        "somebody is about to start something in it"
    );
    drop(ticket);
    sandboxes.end_idle("another").await;
    assert!(machine.closed().is_none());
    sandboxes.end_idle(machine.id()).await;
    assert!(machine.closed().is_some());
    let next = sandboxes.get(Scope::Shared).await.unwrap();
    assert_ne!(next.sandbox.id(), machine.id());
}

#[tokio::test]
async fn sandboxes_in_which_nothing_runs_end_with_the_daemon() {
    let sandboxes = machines(2);
    sandboxes.fill_pool().await;
    let shared = sandboxes.get(Scope::Shared).await.unwrap().sandbox;
    assert_eq!(sandboxes.all().len(), 3);
    sandboxes.end_unused(|_| true).await;
    assert!(shared.closed().is_some());
    assert!(sandboxes.all().is_empty());
}

#[tokio::test]
async fn files_of_what_does_not_run_are_worked_on_where_settings_and_isolation_ask_for() {
    // Without machines in the shared sandbox, but never what another kernel has written.
    let mut plain = config(std::path::Path::new("/nonexistent"));
    let sandboxes = Sandboxes::new(Arc::new(Left(Vec::new())), plain.clone());
    assert_eq!(sandboxes.service(false), Scope::Shared);
    assert_eq!(sandboxes.service(true), Scope::Service);
    plain.service = ServiceMode::PerInstance;
    let each = Sandboxes::new(Arc::new(Left(Vec::new())), plain);
    for isolated in [false, true] {
        let first = each.get(each.service(isolated)).await.unwrap();
        let second = each.get(each.service(isolated)).await.unwrap();
        assert_ne!(first.sandbox.id(), second.sandbox.id());
        let spec = first.sandbox.spec();
        assert_eq!((spec.dedicated, spec.virtual_machine), (true, isolated));
    }
    // Machines: one more, which is not the shared one, and ends when idle.
    let sandboxes = machines(0);
    let shared = sandboxes.get(Scope::Shared).await.unwrap();
    let service = sandboxes.get(sandboxes.service(false)).await.unwrap().sandbox;
    assert_ne!(shared.sandbox.id(), service.id());
    let again = sandboxes.get(sandboxes.service(true)).await.unwrap();
    assert_eq!(again.sandbox.id(), service.id());
    sandboxes.end_idle(service.id()).await;
    assert!(service.closed().is_none(), "somebody works in it");
    drop(again);
    assert!(sandboxes.patience(&*service).is_some());
    sandboxes.end_idle(service.id()).await;
    assert!(service.closed().is_some() && shared.sandbox.closed().is_none());
}

#[tokio::test]
async fn nothing_boots_after_the_sandboxes_were_closed() {
    let sandboxes = machines(1);
    sandboxes.close().await;
    for scope in [Scope::Shared, Scope::HostNetwork, Scope::Own { memory: 0 }] {
        let Err(error) = sandboxes.get(scope).await else {
            panic!("{scope:?} has booted");
        };
        assert_eq!(error.kind(), crate::Kind::Unavailable);
    }
    sandboxes.fill_pool().await;
    assert!(sandboxes.all().is_empty());
}
