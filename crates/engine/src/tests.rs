//! The engine over sandboxes that misbehave.
//!
//! What needs real containers is in the system suites; here is what no real sandbox does on demand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use image::{Images, RegistryConfig};
use serde_json::Value;
use snapshot::{Differs, LcowConfig, LcowLayers};
use store::{Digest, Store};
use task::{
    AttachStreams, ErrorKind, ExitStatus, ProcessSpec, Runtime, Sandbox, SandboxSpec, TaskError, TaskInfo,
    TaskSpec, TaskState, TaskStatus,
};

use crate::record::{ContainerRecord, CreateOptions, State, Status};
use crate::{Engine, Parts, RemoveOptions, SandboxConfig, VmConfig, WaitCondition};

/// A sandbox with one task, `box`.
struct Odd {
    spec: SandboxSpec,
    /// Its waits panic.
    panics: bool,
    closed: Option<String>,
    retired: AtomicBool,
    killed: AtomicBool,
}

fn odd(id: &str) -> Odd {
    Odd {
        spec: SandboxSpec {
            id: id.to_owned(),
            ..SandboxSpec::default()
        },
        panics: false,
        closed: None,
        retired: AtomicBool::new(false),
        killed: AtomicBool::new(false),
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
        absent()
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
        Ok(())
    }
    fn closed(&self) -> Option<String> {
        self.closed.clone()
    }
    async fn wait_closed(&self) -> String {
        std::future::pending().await
    }
}

/// Sandboxes that an earlier daemon left.
struct Left(Vec<Arc<Odd>>);

#[async_trait]
impl Runtime for Left {
    async fn create_sandbox(&self, _: SandboxSpec) -> Answer<Arc<dyn Sandbox>> {
        absent()
    }
    async fn recover(&self) -> Answer<Vec<Arc<dyn Sandbox>>> {
        let found = self.0.iter().cloned();
        Ok(found.map(|sandbox| sandbox as Arc<dyn Sandbox>).collect())
    }
}

/// The record of a container that runs in `sandbox`.
fn running(sandbox: &str) -> ContainerRecord {
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

/// An engine that finds these sandboxes, with one container that runs in the last.
async fn engine(root: &std::path::Path, left: Vec<Arc<Odd>>) -> Engine {
    let store = Store::open(root).await.unwrap();
    let record = running(left.last().unwrap().id());
    let table = store.table::<ContainerRecord>("containers");
    table.put("box", &record).await.unwrap();
    let layers = LcowLayers::open(&store, LcowConfig::default()).await.unwrap();
    let parts = Parts {
        images: Images::new(store.clone(), RegistryConfig::default()).unwrap(),
        snapshotter: layers.clone(),
        differs: Arc::new(Differs::new(vec![layers])),
        runtime: Arc::new(Left(left)),
        sandbox: SandboxConfig {
            owner: "test".to_owned(),
            memory_mb: 64,
            processors: 1,
            run_dir: root.join("run"),
            shared_in_vm: false,
            vm: VmConfig {
                kernel: PathBuf::new(),
                initrd: PathBuf::new(),
                memory_mb: 64,
                processors: 1,
                pool: 0,
                idle: std::time::Duration::from_secs(60),
            },
        },
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
        closed: Some("its shim died".to_owned()),
        ..odd("dead")
    };
    let (first, second) = (Arc::new(odd("first")), Arc::new(odd("second")));
    let left = vec![Arc::new(dead), first.clone(), second.clone()];
    let engine = engine(root.path(), left).await;
    let mut living: Vec<String> = engine.sandboxes().await.into_iter().map(|(id, _)| id).collect();
    living.sort();
    assert_eq!(living, ["first", "second"]);
    assert!(!first.retired.load(Ordering::Relaxed) && second.retired.load(Ordering::Relaxed));
    // A task that is not where its container runs is a leftover; the container is still within reach.
    assert!(first.killed.load(Ordering::Relaxed) && !second.killed.load(Ordering::Relaxed));
    engine.kill("box", None).await.unwrap();
    assert!(second.killed.load(Ordering::Relaxed));
    engine.close().await;
}
