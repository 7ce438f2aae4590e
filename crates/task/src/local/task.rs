//! One task of a local sandbox: its processes and where it is in its life.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::mounts::Mounts;
use super::process::Process;
use crate::error::{ErrorKind, Result, TaskError};
use crate::{TaskInfo, TaskState, TaskStatus};

/// How many execs that have exited are remembered.
const REMEMBERED: usize = 64;

/// One task.
pub(crate) struct Task {
    pub(crate) id: String,
    /// The first process.
    pub(crate) init: Arc<Process>,
    /// Held by create, start and delete, which exclude each other.
    pub(crate) turn: Arc<tokio::sync::Mutex<Stage>>,
    deleting: AtomicBool,
    execs: Mutex<HashMap<String, Arc<Process>>>,
}

/// How far a task has come.
#[derive(Default)]
pub(crate) struct Stage {
    /// What is mounted.
    pub(crate) mounts: Option<Mounts>,
    /// The agent knows of no container: there is nothing to start and nothing to delete.
    pub(crate) only_mounted: bool,
    /// The start was tried; a second one would confuse the agent.
    pub(crate) started: bool,
}

impl Task {
    pub(crate) fn new(id: &str, init: Process) -> Self {
        Self {
            id: id.to_owned(),
            init: Arc::new(init),
            turn: Arc::default(),
            deleting: AtomicBool::new(false),
            execs: Mutex::default(),
        }
    }

    /// Says that the task is about to go: a new one with its id waits for it.
    pub(crate) fn set_deleting(&self, deleting: bool) {
        self.deleting.store(deleting, Ordering::Release);
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.deleting.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> TaskState {
        let (pid, exit) = (self.init.pid(), self.init.exit());
        let status = match (&exit, pid) {
            (Some(_), _) => TaskStatus::Exited,
            (None, Some(_)) => TaskStatus::Running,
            (None, None) => TaskStatus::Created,
        };
        TaskState { status, pid, exit }
    }

    pub(crate) fn info(&self) -> TaskInfo {
        let state = self.state();
        TaskInfo {
            id: self.id.clone(),
            running: state.status == TaskStatus::Running,
            state,
        }
    }

    fn execs(&self) -> MutexGuard<'_, HashMap<String, Arc<Process>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first process or an exec.
    pub(crate) fn process(&self, exec: Option<&str>) -> Result<Arc<Process>> {
        let Some(exec) = exec else {
            return Ok(Arc::clone(&self.init));
        };
        let found = self.execs().get(exec).map(Arc::clone);
        found.ok_or_else(|| TaskError::new(ErrorKind::NotFound, format!("no such exec: {exec}")))
    }

    /// Registers an exec. Of those that have exited and nobody forgot, only some are kept.
    pub(crate) fn add_exec(&self, exec: &str, process: &Arc<Process>) -> Result<()> {
        let mut execs = self.execs();
        if execs.contains_key(exec) {
            return Err(TaskError::new(
                ErrorKind::AlreadyExists,
                format!("exec {exec} exists already"),
            ));
        }
        if execs.len() >= REMEMBERED {
            let exited = |process: &Arc<Process>| process.exit().map(|exit| exit.exited_unix_ms);
            let oldest = execs
                .iter()
                .filter_map(|(id, process)| Some((exited(process)?, id)))
                .min();
            if let Some(oldest) = oldest.map(|(_, id)| id.clone()) {
                execs.remove(&oldest);
            }
        }
        execs.insert(exec.to_owned(), Arc::clone(process));
        Ok(())
    }

    pub(crate) fn remove_exec(&self, exec: &str) {
        self.execs().remove(exec);
    }

    /// The tools that work on the task's files.
    pub(crate) fn tools(&self) -> Vec<Arc<Process>> {
        let execs = self.execs();
        let tools = execs.values().filter(|process| process.is_tool());
        tools
            .filter(|process| process.pid().is_some() && process.exit().is_none())
            .map(Arc::clone)
            .collect()
    }

    /// Every process that has not exited.
    pub(crate) fn living(&self) -> Vec<Arc<Process>> {
        let execs = self.execs();
        let all = execs.values().chain([&self.init]);
        all.filter(|process| process.pid().is_some() && process.exit().is_none())
            .map(Arc::clone)
            .collect()
    }
}
