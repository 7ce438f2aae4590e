//! What callers ask of a Windows sandbox, passed on to its one task.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use serde_json::Value;

use super::super::sandbox::panicked;
use super::{WindowsSandbox, attach};
use crate::error::{ErrorKind, Result, TaskError};
use crate::{
    AttachStreams, ExitStatus, FilesSpec, ProcessSpec, Sandbox, SandboxSpec, TaskInfo, TaskSpec, TaskState,
};

#[async_trait]
impl Sandbox for WindowsSandbox {
    fn id(&self) -> &str {
        &self.shared.spec.id
    }

    fn spec(&self) -> &SandboxSpec {
        &self.shared.spec
    }

    async fn create(&self, task: TaskSpec) -> Result<()> {
        self.run(Arc::clone(&self.shared).create(task)).await
    }

    async fn start(&self, id: &str) -> Result<u32> {
        self.run(Arc::clone(&self.shared).start(id.to_owned())).await
    }

    async fn exec(
        &self,
        id: &str,
        exec_id: &str,
        process: ProcessSpec,
    ) -> Result<(u32, Option<AttachStreams>)> {
        let shared = Arc::clone(&self.shared);
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        self.run(async move { shared.exec(&id, &exec_id, process).await })
            .await
    }

    async fn files(&self, id: &str, exec_id: &str, spec: FilesSpec) -> Result<AttachStreams> {
        let shared = Arc::clone(&self.shared);
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        self.run(async move { shared.files(&id, &exec_id, spec).await })
            .await
    }

    async fn delete_exec(&self, id: &str, exec_id: &str) -> Result<()> {
        self.shared.task(id)?.execs.forget(exec_id)
    }

    async fn signal(&self, id: &str, exec: Option<&str>, signal: i32) -> Result<()> {
        self.shared.signal(id, exec, signal).await
    }

    async fn resize(&self, id: &str, exec: Option<&str>, height: u16, width: u16) -> Result<()> {
        self.shared.task(id)?.process(exec)?.resize(height, width).await
    }

    async fn attach(&self, id: &str, exec: Option<&str>) -> Result<AttachStreams> {
        let process = self.shared.task(id)?.process(exec)?;
        Ok(attach(process.as_process()))
    }

    async fn wait(&self, id: &str, exec: Option<&str>) -> Result<ExitStatus> {
        let process = self.shared.task(id)?.process(exec)?;
        Ok(process.as_process().exited().await)
    }

    async fn state(&self, id: &str) -> Result<TaskState> {
        Ok(self.shared.task(id)?.state())
    }

    async fn tasks(&self) -> Result<Vec<TaskInfo>> {
        Ok(self.shared.known().iter().map(|task| task.info()).collect())
    }

    async fn stats(&self, id: &str) -> Result<Value> {
        let task = self.shared.task(id)?;
        let system = task.turn.lock().await.system.clone();
        let system = system
            .ok_or_else(|| TaskError::new(ErrorKind::InvalidState, format!("task {id} does not run")))?;
        let query = r#"{"PropertyTypes":["Statistics","ProcessList"]}"#;
        let text = system.properties(query).await?;
        serde_json::from_str(&text).map_err(|error| {
            TaskError::new(ErrorKind::Compute, "the compute service answered no properties").because(error)
        })
    }

    async fn update(&self, id: &str, resources: Value) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let id = id.to_owned();
        self.run(async move { shared.update(&id, &resources).await })
            .await
    }

    async fn delete(&self, id: &str) -> Result<ExitStatus> {
        // Also when the sandbox is gone: the record of its task remains.
        let work = Arc::clone(&self.shared).delete(id.to_owned());
        self.shared.tracker.spawn(work).await.map_err(panicked)?
    }

    /// Layers are separated from the scratch with the task.
    async fn trim(&self) -> Result<()> {
        Ok(())
    }

    async fn retire(&self) -> Result<()> {
        self.shared.retiring.store(true, Ordering::Release);
        if self.shared.known().is_none() {
            self.shared.end("no task is left".to_owned()).await;
        }
        Ok(())
    }

    async fn shutdown(&self) -> Result<()> {
        let work = Arc::clone(&self.shared).shutdown();
        self.shared.tracker.spawn(work).await.map_err(panicked)?
    }

    fn closed(&self) -> Option<String> {
        self.shared.reason()
    }

    async fn wait_closed(&self) -> String {
        let mut closed = self.shared.closed.subscribe();
        let reason = closed.wait_for(Option::is_some).await;
        let reason = reason.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| "shut down".to_owned())
    }
}
