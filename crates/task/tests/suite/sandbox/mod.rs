//! A local sandbox against a scripted guest: what is sent in which order, what is undone after a failure, and what
//! becomes of streams and exits.

mod endings;
mod files;
mod lifecycle;
mod network;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use task::local::{LocalConfig, LocalRuntime};
use task::{ErrorKind, Runtime, Sandbox, TaskStatus};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::journal::{Journal, position};
use crate::support::{
    FakeService, logged, network_spec, process_spec, read_frames, sandbox_spec, share, task_spec,
};

struct Bench {
    dir: TempDir,
    service: Arc<FakeService>,
    journal: Arc<Journal>,
    sandbox: Arc<dyn Sandbox>,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Duration::ZERO).await
    }

    async fn with(layer_linger: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let service = Arc::new(FakeService::default());
        let runtime = LocalRuntime::new(
            service.clone(),
            LocalConfig {
                layer_linger,
                ..LocalConfig::default()
            },
        );
        let sandbox = runtime
            .create_sandbox(sandbox_spec(dir.path(), "s1"))
            .await
            .unwrap();
        let journal = service.journal.clone();
        journal.take();
        Self {
            dir,
            service,
            journal,
            sandbox,
        }
    }

    fn task(&self, id: &str, args: &[&str]) -> task::TaskSpec {
        task_spec(self.dir.path(), id, args)
    }

    /// Creates a task that is not started.
    async fn create(&self, id: &str, args: &[&str]) {
        self.sandbox.create(self.task(id, args)).await.unwrap();
    }

    /// Creates, attaches, starts, waits and deletes.
    async fn run(&self, spec: task::TaskSpec) -> (i32, String, String) {
        let id = spec.id.clone();
        self.sandbox.create(spec).await.unwrap();
        let streams = self.sandbox.attach(&id, None).await.unwrap();
        self.sandbox.start(&id).await.unwrap();
        let (out, err) = read_frames(streams.output).await;
        let code = self.sandbox.wait(&id, None).await.unwrap().code;
        self.sandbox.delete(&id).await.unwrap();
        (code, out, err)
    }

    fn log(&self, id: &str) -> Vec<(String, String)> {
        logged(&self.dir.path().join(format!("{id}.log")))
    }

    fn record(&self, id: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("sandboxes/s1/tasks/{id}.json"))
    }

    /// Waits until a line is in the journal.
    async fn until(&self, part: &str) {
        let work = async {
            while self.journal.count(part) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), work)
            .await
            .unwrap_or_else(|_| panic!("never: {part}"));
    }
}
